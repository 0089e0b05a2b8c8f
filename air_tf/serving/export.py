"""The SavedModel: its endpoints, and writing it so that a server never sees half a version."""

import os
import shlex
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from air_tf.air import AIR
from air_tf.image_files import as_png
from air_tf.paths import expand, first_line
from air_tf.serving import versions
from air_tf.serving.endpoints import Endpoints, endpoint_functions

MODEL_NAME = "air"  # under which TF Serving serves it
SERVED_BATCHES = 1, 2, 4, 8, 16, 32, 64  # sizes to which TF Serving's batching pads
GRPC_PORT, REST_PORT = 8500, 8501
SERVING_IMAGE = "tensorflow/serving:2.19.1"
SERVER_CONFIGS = {
    "batching.config": f"max_batch_size {{ value: {SERVED_BATCHES[-1]} }}\n"
    "batch_timeout_micros { value: 1000 }\n"
    "max_enqueued_batches { value: 1000 }\n"
    "num_batch_threads { value: 2 }\n"
    + "\n".join(f"allowed_batch_sizes: {batch}" for batch in SERVED_BATCHES)
    + "\n",
    "monitoring.config": "prometheus_config {\n  enable: true\n"
    '  path: "/monitoring/prometheus/metrics"\n}\n',
    "models.config": f'model_config_list {{\n  config {{\n    name: "{MODEL_NAME}"\n'
    f'    base_path: "/models/{MODEL_NAME}"\n    model_platform: "tensorflow"\n  }}\n}}\n',
}  # by name, beside the versions


def export(model: AIR, out: str | Path) -> Path:
    """Writes the next version of the model below `out`, for TF Serving and other TF code.

    Endpoints, all with a dynamic batch: `serving_default(images)`, `encoded(image_bytes)`,
    `prepare(image_bytes)`, which gives the `images` that `encoded` looks at, `decode(counts, z_...)`,
    and `layers(counts, z_...)`, which gives what each object draws by itself.

    Returns:
        The version's folder, `out/VERSION`.

    Raises:
        ValueError: `out` is a file, or holds the last version that there can be, or the model draws with
            a renderer that is a black box.
        OSError: it cannot be written, for example on a full disk; nothing is left behind.
    """
    out = expand(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder to export to. Received: {out}, which is a file.")
    if not model.objects.compiled:
        raise ValueError(
            "Expected a model that TensorFlow can compute by itself, which a SavedModel has to be. "
            "Received: one whose renderer is a black box."
        )
    out.mkdir(parents=True, exist_ok=True)

    # Trap: tf.saved_model.save of a Keras 3 model fails in the Session loader that TF Serving uses. The
    # variables that endpoints use are saved anyway: with track(model), each would be written twice.
    archive, inputs = keras.export.ExportArchive(), model.endpoints.inputs
    for name, function in endpoint_functions(model).items():
        archive.add_endpoint(name, function, list(inputs[name].values()))
    with versions.writing(out, {"model", *SERVER_CONFIGS}) as temporary:
        try:
            archive.write_out(str(temporary / "model"), verbose=False)
            write_warmup_requests(model.endpoints, temporary / "model")
        except tf.errors.OpError as error:
            raise OSError(f"The model cannot be written to {out}: {first_line(error)}") from error
        write_server_configs(out, temporary)
        return versions.publish(temporary / "model", out)


def write_warmup_requests(endpoints: Endpoints, folder: Path) -> None:
    """Writes what TF Serving runs before a version answers: each endpoint at each SERVED_BATCHES.

    Args:
        endpoints: the model's.
        folder: of the SavedModel.
    """

    def same(value, *shape):  # a tensor of one value, stored once
        return tf.make_tensor_proto(value, shape=shape)

    objects = endpoints.inputs["decode"]
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    empty = as_png(np.zeros((*endpoints.image_shape[:2], 3), np.uint8))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch in SERVED_BATCHES:
            files = [empty] * batch
            ones = {
                name: same(spec.dtype.as_numpy_dtype(1), batch, *spec.shape[1:])
                for name, spec in objects.items()
            }
            inputs = {
                "serving_default": {"images": same(0.0, batch, *endpoints.image_shape)},
                "encoded": {"image_bytes": tf.make_tensor_proto(files)},
                "prepare": {"image_bytes": tf.make_tensor_proto(files)},
                "decode": ones,
                "layers": ones,
            }
            for endpoint, tensors in inputs.items():
                writer.write(prediction_log(endpoint, tensors))


def prediction_log(endpoint: str, tensors: dict) -> bytes:
    """A request to an endpoint as a serialized `tensorflow.serving.PredictionLog`.

    The message's class is in tensorflow-serving-api, a large package that an export does without.

    Args:
        endpoint: its name.
        tensors: TensorProtos by the names of the endpoint's inputs.
    """
    model_spec = _field(1, MODEL_NAME.encode()) + _field(3, endpoint.encode())
    request = _field(1, model_spec)
    for name, tensor in tensors.items():
        request += _field(2, _field(1, name.encode()) + _field(2, tensor.SerializeToString()))
    return _field(6, _field(1, request))


def _field(number: int, value: bytes) -> bytes:
    """A field of a protobuf message that is a string or a message: its number, its length, its value."""
    prefix, length = bytes([number << 3 | 2]), len(value)
    while length > 127:  # seven bits in each byte, the lowest first
        prefix += bytes([length & 127 | 128])
        length >>= 7
    return prefix + bytes([length]) + value


def write_server_configs(out: Path, temporary: Path) -> None:
    """Writes SERVER_CONFIGS beside the versions, where they are not yet."""
    for name, text in SERVER_CONFIGS.items():
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
