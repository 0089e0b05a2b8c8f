"""The SavedModel: its endpoints, and writing it so that a server never sees half a version."""

import os
import shlex
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from air_tf.config import ModelConfig
from air_tf.model import AIR
from air_tf.pictures import as_png
from air_tf.run import load_model
from air_tf.scene import Scene, check_images

EXPORTS = Path("exports", "air")
PRETRAINED = Path(__file__).parents[1] / "pretrained"
MODEL_NAME = "air"  # under which TF Serving serves it
SERVED_BATCHES = 1, 2, 4, 8, 16, 32, 64  # sizes to which TF Serving's batching pads
GRPC_PORT, REST_PORT = 8500, 8501
SERVING_IMAGE = "tensorflow/serving:2.19.1"


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

    # Trap: tf.saved_model.save of a Keras 3 model fails in the Session loader that TF Serving uses. The
    # variables that endpoints use are saved anyway: with track(model), each would be written twice.
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", lambda images: model(_checked(images))._asdict(), [images])
    archive.add_endpoint(
        "encoded",
        lambda image_bytes: model.infer_encoded(_not_empty(image_bytes))._asdict(),
        [image_bytes],
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
            write_warmup_requests(config, temporary / "model")
        except tf.errors.OpError as error:
            reason = str(error).splitlines()[0]
            raise OSError(f"The model cannot be written to {out}: {reason}") from error
        write_server_configs(out, temporary)
        return _publish(temporary / "model", out)
    finally:
        shutil.rmtree(temporary)


def _checked(images: tf.Tensor) -> tf.Tensor:
    """The images; in the served graph, what `check_images` refuses is an InvalidArgumentError."""
    valid = tf.reduce_all((images >= 0.0) & (images <= 1.0))  # false for NaN too
    message = "Expected pixels in [0, 1]. Received: others, or NaN; from, to:"
    bounds = tf.reduce_min(images), tf.reduce_max(images)
    with tf.control_dependencies([tf.debugging.Assert(valid, [message, *bounds])]):
        return _not_empty(images)


def _not_empty(batch: tf.Tensor) -> tf.Tensor:
    message = "Expected at least one image. Received: an empty batch."
    with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(batch)[0], message)]):
        return tf.identity(batch)


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


def write_warmup_requests(config: ModelConfig, folder: Path) -> None:
    """Writes what TF Serving runs before a version answers: each endpoint at each SERVED_BATCHES.

    Args:
        config: `ModelConfig`.
        folder: of the SavedModel.
    """
    from tensorflow_serving.apis import prediction_log_pb2  # slow to import

    def same(value, *shape):  # a tensor of one value, stored once
        return tf.make_tensor_proto(value, shape=shape)

    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    empty = as_png(np.zeros((*config.image_shape[:2], 3), np.uint8))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch in SERVED_BATCHES:
            files, objects = [empty] * batch, (batch, config.max_objects)
            inputs = {
                "serving_default": {"images": same(0.0, batch, *config.image_shape)},
                "encoded": {"image_bytes": tf.make_tensor_proto(files)},
                "prepare": {"image_bytes": tf.make_tensor_proto(files)},
                "decode": {
                    "counts": same(1, batch),
                    "z_what": same(0.0, *objects, config.z_what_size),
                    "z_where": same(1.0, *objects, 3),
                },
            }
            for endpoint, tensors in inputs.items():
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = MODEL_NAME
                request.model_spec.signature_name = endpoint
                for name, tensor in tensors.items():
                    request.inputs[name].CopyFrom(tensor)
                writer.write(log.SerializeToString())


def write_server_configs(out: Path, temporary: Path) -> None:
    """Writes TF Serving's batching.config, monitoring.config and models.config beside the versions,
    where they are not yet."""
    allowed = "\n".join(f"allowed_batch_sizes: {batch}" for batch in SERVED_BATCHES)
    texts = {
        "batching.config": f"max_batch_size {{ value: {SERVED_BATCHES[-1]} }}\n"
        "batch_timeout_micros { value: 1000 }\n"
        "max_enqueued_batches { value: 1000 }\n"
        f"num_batch_threads {{ value: 2 }}\n{allowed}\n",
        "monitoring.config": "prometheus_config {\n  enable: true\n"
        '  path: "/monitoring/prometheus/metrics"\n}\n',
        "models.config": f'model_config_list {{\n  config {{\n    name: "{MODEL_NAME}"\n'
        f'    base_path: "/models/{MODEL_NAME}"\n    model_platform: "tensorflow"\n  }}\n}}\n',
    }
    for name, text in texts.items():
        if not (out / name).exists():
            (temporary / name).write_text(text)
            os.replace(temporary / name, out / name)


def docker_command(out: Path) -> str:
    """How TF Serving's image serves the exports in `out`.

    Without batching: a bad request would fail those that it is batched with.
    """
    folder = f"/models/{MODEL_NAME}"
    return (
        f"docker run --rm -p {GRPC_PORT}:8500 -p {REST_PORT}:8501 "
        f"-v {shlex.quote(str(out.resolve()))}:{folder}:ro {SERVING_IMAGE} "
        f"--model_config_file={folder}/models.config "
        f"--monitoring_config_file={folder}/monitoring.config"
    )


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

    >>> model = load(PRETRAINED)
    >>> image = np.zeros((1, 50, 50, 1), np.float32)
    >>> image[0, 10:30, 24:27] = 1.0
    >>> print(model.infer(image))
    image  objects  probability  tight boxes (ymin xmin ymax xmax, % of the image)
        0        1       100.0%  20 48 60 54

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
        self.folder = folder = _newest_version(Path(folder).expanduser())
        try:
            self._loaded = tf.saved_model.load(str(folder))  # keeps the variables alive
        except (tf.errors.OpError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"Expected a SavedModel in {folder}. Received: {reason}") from error
        endpoints = self._loaded.signatures
        check_endpoints({name: e.structured_outputs for name, e in endpoints.items()}, folder)
        self._infer, self._decode = endpoints["serving_default"], endpoints["decode"]
        self._infer_encoded, self._prepare = endpoints["encoded"], endpoints["prepare"]
        inputs = self._infer.structured_input_signature[1]
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


def check_endpoints(outputs: dict, place) -> None:
    """Raises ValueError unless there are the endpoints of `export`; `outputs` are each one's."""
    missing = sorted({"serving_default", "encoded", "prepare", "decode"} - set(outputs))
    if missing:
        raise ValueError(
            f"Expected a SavedModel with the endpoints of export.py in {place}. "
            f"Received: {', '.join(missing)} missing; it has: {', '.join(sorted(outputs)) or 'none'}."
        )
    if set(outputs["serving_default"]) != set(Scene._fields):
        raise ValueError(
            f"Expected a SavedModel with the outputs {', '.join(Scene._fields)} in {place}. "
            f"Received: {', '.join(sorted(outputs['serving_default']))}."
        )


def _newest_version(folder: Path) -> Path:
    """The greatest integer among the folders below, where the folder itself is no SavedModel."""
    if (folder / "saved_model.pb").exists() or not folder.is_dir():
        return folder
    versions = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    return folder / str(max(versions)) if versions else folder
