"""A model that TF Serving serves, called over gRPC."""

import numpy as np
import tensorflow as tf

from air_tf.extras import extra
from air_tf.image_files import LARGEST
from air_tf.serving.endpoints import NAMES, Endpoints
from air_tf.serving.export import MODEL_NAME, SERVED_BATCHES
from air_tf.serving.predictor import Predictor, reason

TIMEOUT = 10.0  # seconds
LARGEST_MESSAGE = 256 * 2**20  # bytes
LARGEST_VALUE, ROUNDING = 1e6, 1e-3  # of numbers that it gives
MOST_OBJECTS, LARGEST_CODE = 1000, 100_000  # that a server's model may have


class RemoteModel(Predictor):
    """A served model as one calls a local one: `infer`, `infer_encoded`, `prepare`, `decode`.

    Args:
        address: HOST:PORT of the server's gRPC.
        name: of the model there.

    Raises:
        ValueError: no server answers there, it does not have the model, refuses a request, or answers
            with anything but what the model's endpoints give; or the package's extra `serve` is missing.
    """

    chunk = SERVED_BATCHES[-1]  # what a server that batches takes

    def __init__(self, address: str, name: str = MODEL_NAME):
        from google.protobuf.message import DecodeError

        with extra("serve"):
            import grpc
            from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

        self._address, self._name, self._grpc = address, name, grpc
        options = [("grpc.max_receive_message_length", LARGEST_MESSAGE)]
        self._channel = grpc.insecure_channel(address, options)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = name
        response = self._call(self._service.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        try:
            response.metadata["signature_def"].Unpack(signatures)
            found = {name: s for name, s in signatures.signature_def.items() if name in NAMES}
            inputs = {name: _specs(signature.inputs) for name, signature in found.items()}
            outputs = {name: _specs(signature.outputs) for name, signature in found.items()}
        except (DecodeError, TypeError, ValueError) as error:
            raise self._unexpected(str(error)) from error
        self.endpoints = Endpoints.of(inputs, outputs, address)
        (height, width, channels), objects, latents, behind, _ = self.endpoints
        code = max([*latents.values(), *behind.values()])
        if height * width * channels > LARGEST or objects > MOST_OBJECTS or code > LARGEST_CODE:
            raise self._unexpected(f"the sizes {self.endpoints}")

    def _unexpected(self, received: str) -> ValueError:
        return ValueError(
            f"Expected a server with the model {self._name!r} at {self._address} to answer. "
            f"Received: {' '.join(received.split())}"
        )

    def _call(self, method, request):
        try:
            return method(request, timeout=TIMEOUT)
        except self._grpc.RpcError as error:
            said = reason(error.details() or "")
            raise self._unexpected(f"{error.code().name}: {said}") from error

    def _predict(self, endpoint, inputs):
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._name, endpoint
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        response = self._call(self._service.Predict, request)
        batch = len(next(iter(inputs.values())))  # of the others too, or the server refuses them
        outputs = {}
        for name, spec in self.endpoints.outputs[endpoint].items():
            shape = [batch, *spec.shape[1:]]
            proto = response.outputs[name]  # of none: an empty one
            if proto.dtype != spec.dtype.as_datatype_enum or _shape(proto.tensor_shape) != shape:
                raise self._unexpected(f"no {name} of {spec.dtype.name} and the shape {shape}")
            try:
                outputs[name] = tf.make_ndarray(proto)
            except ValueError as error:  # more or fewer values than the shape has
                raise self._unexpected(f"{name}: {error}") from error
        self._check_values(outputs)
        return outputs

    def _check_values(self, outputs: dict[str, np.ndarray]) -> None:
        """Raises ValueError for numbers that no model gives, on which a caller might fail."""
        largest = dict.fromkeys(("boxes", "tight_boxes", "count_probs", "scores"), 1.0)
        largest["counts"] = self.endpoints.max_objects
        for name, values in outputs.items():
            low, high = float(values.min()), float(values.max())
            least, most = (0.0, largest[name]) if name in largest else (-LARGEST_VALUE, LARGEST_VALUE)
            if not (low >= least - ROUNDING and high <= most + ROUNDING):  # true for NaN too
                raise self._unexpected(f"{name} from {low:g} to {high:g}")


def _specs(infos) -> dict[str, tf.TensorSpec]:
    """Of a signature's TensorInfos; raises TypeError or ValueError if they describe no tensors."""
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype))
        for name, info in infos.items()
    }


def _shape(proto) -> list[int] | None:
    return None if proto.unknown_rank else [size.size for size in proto.dim]
