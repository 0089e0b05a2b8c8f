"""A model that TF Serving serves, called over gRPC."""

import numpy as np
import tensorflow as tf

from air_tf.scene import Scene, check_images
from air_tf.serving import MODEL_NAME, check_endpoints

TIMEOUT = 10.0  # seconds
LARGEST_MESSAGE = 256 * 2**20  # bytes


class RemoteModel:
    """A served model as one calls a local one: `infer`, `infer_encoded`, `prepare`, `decode`.

    Args:
        address: HOST:PORT of the server's gRPC.
        name: of the model there.

    Raises:
        ValueError: no server answers there, it does not have the model, or refuses a request.
    """

    def __init__(self, address: str, name: str = MODEL_NAME):
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
        response.metadata["signature_def"].Unpack(signatures)
        check_endpoints({name: s.outputs for name, s in signatures.signature_def.items()}, address)
        images = signatures.signature_def["serving_default"].inputs["images"]
        self.image_shape = tuple(size.size for size in images.tensor_shape.dim[1:])

    def _call(self, method, request):
        try:
            return method(request, timeout=TIMEOUT)
        except self._grpc.RpcError as error:
            raise ValueError(
                f"Expected a server with the model {self._name!r} at {self._address} to answer. "
                f"Received: {error.code().name}: {error.details()}"
            ) from error

    def _predict(self, endpoint: str, **inputs) -> dict[str, np.ndarray]:
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._name, endpoint
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        response = self._call(self._service.Predict, request)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def infer(self, images) -> Scene:
        """As `AIR.infer`."""
        check_images(images, self.image_shape)
        return Scene(**self._predict("serving_default", images=np.asarray(images, np.float32)))

    def infer_encoded(self, image_bytes) -> Scene:
        """As `AIR.infer_encoded`."""
        return Scene(**self._predict("encoded", image_bytes=image_bytes))

    def prepare(self, image_bytes) -> np.ndarray:
        """As `AIR.prepare`."""
        return self._predict("prepare", image_bytes=image_bytes)["images"]

    def decode(self, counts, z_what, z_where) -> np.ndarray:
        """As `AIR.decode`."""
        return self._predict("decode", counts=counts, z_what=z_what, z_where=z_where)["images"]
