"""tensorflow.serving.PredictionService over the versions in a folder, for tests and benchmarks.

    python tests/prediction_server.py exports/air

TF Serving's own binary is in no package registry. This one uses what that is made of: SavedModels in
a Session (C++), and TF Serving's own messages and service (tensorflow-serving-api). As TF Serving does,
it serves the greatest version, replays its warm-up file before it answers, and lets what runs on the
version before it finish. It does not batch.
"""

import argparse
import re
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

MODEL_NAME = "air"
POLL_SECONDS = 0.2
SIGNATURES = "signature_def"


STATUSES = {status.value[0]: status for status in grpc.StatusCode}  # by TensorFlow's error codes


class BadRequest(Exception):
    """A status code and what is wrong."""


class SessionModel:
    """A SavedModel in a version 1 Session, as TF Serving loads it."""

    def __init__(self, path: Path):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            graph = tf.compat.v1.saved_model.load(self.session, ["serve"], str(path))
        self.signatures = dict(graph.signature_def)

    def __call__(self, signature_name: str, **inputs) -> dict[str, np.ndarray]:
        signature = self.signatures[signature_name]
        fetches = {name: tensor.name for name, tensor in signature.outputs.items()}
        feeds = {signature.inputs[name].name: values for name, values in inputs.items()}
        return self.session.run(fetches, feeds)


class Version(SessionModel):
    """A version in a folder of versions, warmed up."""

    def __init__(self, path: Path):
        self.number = int(path.name)
        super().__init__(path)
        self.warmed_up = 0
        warmup = path / "assets.extra" / "tf_serving_warmup_requests"
        if warmup.exists():
            for record in tf.data.TFRecordDataset(str(warmup)):
                log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
                self.predict(log.predict_log.request)
                self.warmed_up += 1

    def predict(self, request) -> dict[str, np.ndarray]:
        """The outputs of a PredictRequest.

        Raises:
            BadRequest: as TF Serving refuses it.
        """
        name = request.model_spec.signature_name or "serving_default"
        if name not in self.signatures:
            raise BadRequest(grpc.StatusCode.INVALID_ARGUMENT, f"There is no signature {name!r}.")
        signature = self.signatures[name]
        if set(request.inputs) != set(signature.inputs):
            expected, received = sorted(signature.inputs), sorted(request.inputs)
            raise BadRequest(
                grpc.StatusCode.INVALID_ARGUMENT, f"Expected inputs {expected}. Received: {received}."
            )
        feeds = {
            info.name: _parsed(key, request.inputs[key], info) for key, info in signature.inputs.items()
        }
        wanted = list(request.output_filter) or list(signature.outputs)
        if unknown := set(wanted) - set(signature.outputs):
            raise BadRequest(grpc.StatusCode.INVALID_ARGUMENT, f"There is no output {min(unknown)!r}.")
        try:
            return self.session.run({key: signature.outputs[key].name for key in wanted}, feeds)
        except tf.errors.OpError as error:
            raise BadRequest(STATUSES[error.error_code], error.message) from error


def _parsed(key: str, proto, info) -> np.ndarray:
    """The tensor of an input, by the parser that TF Serving has, which takes any size.

    Raises:
        BadRequest: it cannot be parsed, or is of another type or shape than the signature's `info`.
    """
    expected = f"Expected {key} of {tf.as_dtype(info.dtype).name} {tf.TensorShape(info.tensor_shape)}."
    if proto.dtype != info.dtype:
        known = proto.dtype in types_pb2.DataType.values() and proto.dtype != types_pb2.DT_INVALID
        received = tf.as_dtype(proto.dtype).name if known else f"the type {proto.dtype}"
        raise BadRequest(grpc.StatusCode.INVALID_ARGUMENT, f"{expected} Received: {received}.")
    try:
        tensor = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(info.dtype))
    except tf.errors.OpError as error:
        message = f"Tensor parsing error: {key}"
        raise BadRequest(grpc.StatusCode.INVALID_ARGUMENT, message) from error
    if not tf.TensorShape(info.tensor_shape).is_compatible_with(tensor.shape):
        raise BadRequest(grpc.StatusCode.INVALID_ARGUMENT, f"{expected} Received: {tensor.shape}.")
    return tensor.numpy()


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves the greatest version in a folder, and follows the folder.

    Args:
        folder: of the versions.
        port: 0 takes a free one, which `port` then tells.
        workers: requests at a time.
    """

    def __init__(self, folder: str | Path, port: int = 0, workers: int = 16):
        self.folder = Path(folder)
        self.version = self._load(None)
        if self.version is None:
            raise ValueError(f"Expected a version in {folder}. Received: none.")
        self.stopped = threading.Event()
        self.server = grpc.server(
            futures.ThreadPoolExecutor(workers),
            options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()

    def _load(self, current: Version | None) -> Version | None:
        found = [path for path in self.folder.iterdir() if re.fullmatch("[0-9]+", path.name)]
        newest = max((p for p in found if int(p.name) < 2**63), key=lambda p: int(p.name), default=None)
        if newest is None or (current and int(newest.name) <= current.number):
            return current
        return Version(newest)

    def _watch(self):
        while not self.stopped.wait(POLL_SECONDS):
            try:
                self.version = self._load(self.version)  # the one before closes when its last call ends
            except Exception as error:  # a version that does not load leaves the one before
                print(f"A version in {self.folder} does not load: {error}", file=sys.stderr)

    def stop(self):
        self.stopped.set()
        self.watcher.join()
        self.server.stop(grace=5).wait()

    def _version_of(self, spec) -> Version:
        version = self.version
        if spec.name != MODEL_NAME:
            raise BadRequest(grpc.StatusCode.NOT_FOUND, f"There is no model {spec.name!r}.")
        if spec.HasField("version") and spec.version.value != version.number:
            raise BadRequest(grpc.StatusCode.NOT_FOUND, f"There is no version {spec.version.value}.")
        return version

    def Predict(self, request, context):
        try:
            version = self._version_of(request.model_spec)
            outputs = version.predict(request)
        except BadRequest as refused:
            context.abort(*refused.args)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = MODEL_NAME
        response.model_spec.version.value = version.number
        response.model_spec.signature_name = request.model_spec.signature_name or "serving_default"
        for key, values in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(values))
        return response

    def GetModelMetadata(self, request, context):
        try:
            version = self._version_of(request.model_spec)
        except BadRequest as refused:
            context.abort(*refused.args)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in version.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = MODEL_NAME
        response.model_spec.version.value = version.number
        response.metadata[SIGNATURES].Pack(signatures)
        return response


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the versions")
    parser.add_argument("--port", type=int, default=8500, help="0: a free one (default: 8500)")
    arguments = parser.parse_args()
    server = Server(arguments.folder, arguments.port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stopped.set())
    print(f"Serving version {server.version.number} on 127.0.0.1:{server.port}.", flush=True)
    server.stopped.wait()
    server.stop()


if __name__ == "__main__":
    sys.exit(main())
