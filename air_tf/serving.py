"""The SavedModel: its endpoints, and writing it so that a server never sees half a version."""

import os
import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from air_tf.model import AIR
from air_tf.run import load_model
from air_tf.scene import Scene, check_images

EXPORTS = Path("exports", "air")
PRETRAINED = Path(__file__).parents[1] / "pretrained"


def export(model: AIR, out: str | Path) -> Path:
    """Writes the next version of the model below `out`, for TF Serving and other TF code.

    Endpoints, all with a dynamic batch: `serving_default(images)`, `encoded(image_bytes)`,
    `decode(counts, z_what, z_where)`, and `prepare(image_bytes)`, which gives the `images` that
    `encoded` looks at.

    Returns:
        The version's folder, `out/VERSION`.

    Raises:
        ValueError: `out` is a file.
        OSError: it cannot be written, for example on a full disk; nothing is left behind.
    """
    out = Path(out).expanduser()
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder to export to. Received: {out}, which is a file.")
    out.mkdir(parents=True, exist_ok=True)

    batch, config = (None,), model.config
    images = tf.TensorSpec((*batch, *config.image_shape), tf.float32, "images")
    image_bytes = tf.TensorSpec(batch, tf.string, "image_bytes")
    objects = (*batch, config.max_objects)
    latents = (
        tf.TensorSpec(batch, tf.int32, "counts"),
        tf.TensorSpec((*objects, config.z_what_size), tf.float32, "z_what"),
        tf.TensorSpec((*objects, 3), tf.float32, "z_where"),
    )

    # Trap: tf.saved_model.save of a Keras 3 model fails in the Session loader that TF Serving uses.
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", lambda images: model(images)._asdict(), [images])
    archive.add_endpoint(
        "encoded", lambda image_bytes: model.infer_encoded(image_bytes)._asdict(), [image_bytes]
    )
    archive.add_endpoint(
        "prepare",
        lambda image_bytes: {"images": model.prepare(image_bytes)},
        [image_bytes],
    )
    archive.add_endpoint(
        "decode",
        lambda counts, z_what, z_where: {"images": model.decode(counts, z_what, z_where)},
        list(latents),
    )
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=out))
    try:
        try:
            archive.write_out(str(temporary / "model"), verbose=False)
        except tf.errors.OpError as error:
            reason = str(error).splitlines()[0]
            raise OSError(f"The model cannot be written to {out}: {reason}") from error
        return _publish(temporary / "model", out)
    finally:
        shutil.rmtree(temporary)


def _publish(folder: Path, out: Path) -> Path:
    """Renames a finished folder to the next free integer below `out`."""
    while True:
        versions = [int(path.name) for path in out.iterdir() if path.name.isdecimal()]
        version = out / str(max(versions, default=0) + 1)
        try:
            os.rename(folder, version)
            return version
        except OSError:
            if not version.exists():  # else another export took it: try the next
                raise


def default_model() -> Path:
    """The newest export in exports/air, else the model that comes with the repository.

    Raises:
        ValueError: there is neither.
    """
    for folder in EXPORTS, PRETRAINED:
        if folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir()):
            return folder
    raise ValueError(f"Expected a model in {EXPORTS} or {PRETRAINED}. Received: none; name one.")


def load(folder: str | Path) -> "AIR | ServedModel":
    """A trained model, by the folder of its run or of its SavedModel.

    Both have `infer(images)`, which gives a `Scene`, `infer_encoded(image_bytes)`, `decode` and
    `image_shape`.

    Raises:
        ValueError: the folder is neither.
    """
    if (Path(folder).expanduser() / "config.json").is_file():
        return load_model(folder)
    return ServedModel(folder)


class ServedModel:
    """A SavedModel that `export` wrote, for inference where the run is not at hand.

    Args:
        folder: a version's folder, or that of all versions: then the newest.

    Raises:
        ValueError: the folder holds no SavedModel, or one without the endpoints.
    """

    def __init__(self, folder: str | Path):
        folder = _newest_version(Path(folder).expanduser())
        try:
            self._loaded = tf.saved_model.load(str(folder))  # keeps the variables alive
        except (tf.errors.OpError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"Expected a SavedModel in {folder}. Received: {reason}") from error
        endpoints = self._loaded.signatures
        missing = sorted({"serving_default", "encoded", "prepare", "decode"} - set(endpoints))
        if missing:
            has = ", ".join(sorted(endpoints)) or "none"
            raise ValueError(
                f"Expected a SavedModel with the endpoints of export.py in {folder}. "
                f"Received: {', '.join(missing)} missing; it has: {has}."
            )
        self._infer, self._decode = endpoints["serving_default"], endpoints["decode"]
        self._infer_encoded, self._prepare = endpoints["encoded"], endpoints["prepare"]
        inputs, outputs = self._infer.structured_input_signature[1], self._infer.structured_outputs
        if "images" not in inputs or set(outputs) != set(Scene._fields):
            raise ValueError(
                f"Expected a SavedModel with the outputs {', '.join(Scene._fields)} in {folder}. "
                f"Received: {', '.join(sorted(outputs))}."
            )
        self.image_shape = tuple(inputs["images"].shape[1:])

    def infer(self, images) -> Scene:
        """Scenes of images `(B, H, W, C)` in [0, 1]; raises ValueError as `AIR.infer`."""
        check_images(images, self.image_shape)
        return Scene(**self._infer(images=tf.convert_to_tensor(images, tf.float32)))

    def infer_encoded(self, image_bytes) -> Scene:
        """As `AIR.infer_encoded`."""
        return Scene(**self._infer_encoded(image_bytes=tf.constant(image_bytes)))

    def prepare(self, image_bytes) -> tf.Tensor:
        """As `AIR.prepare`."""
        return self._prepare(image_bytes=tf.constant(image_bytes))["images"]

    def decode(self, counts, z_what, z_where) -> tf.Tensor:
        """As `AIR.decode`."""
        latents = {"z_what": tf.constant(z_what), "z_where": tf.constant(z_where)}
        return self._decode(counts=tf.constant(counts), **latents)["images"]


def _newest_version(folder: Path) -> Path:
    """The greatest integer among the folders below, where the folder itself is no SavedModel."""
    if (folder / "saved_model.pb").exists() or not folder.is_dir():
        return folder
    versions = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    return folder / str(max(versions)) if versions else folder
