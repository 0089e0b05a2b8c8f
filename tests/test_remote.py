"""Servers that answer with anything but what a model's endpoints give."""

import threading
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

from air_tf.serving.remote import RemoteModel
from tests.test_prediction_server import tensor_shape

random = np.random.default_rng(0)


class Hostile(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers as a server does, after changes to its answers."""

    def __init__(self, server):
        self.server = server
        self.change_metadata = self.change_outputs = lambda answer: None

    def GetModelMetadata(self, request, context):
        answer = self.server.GetModelMetadata(request, context)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        self.change_metadata(signatures.signature_def)
        answer.metadata["signature_def"].Pack(signatures)
        return answer

    def Predict(self, request, context):
        answer = self.server.Predict(request, context)
        self.change_outputs(answer.outputs)
        return answer


@pytest.fixture(scope="module")
def hostile(server):
    """A hostile service and its address."""
    service = Hostile(server)
    options = [("grpc.max_send_message_length", -1)]
    host = grpc.server(futures.ThreadPoolExecutor(2), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, host)
    port = host.add_insecure_port("127.0.0.1:0")
    host.start()
    yield service, f"127.0.0.1:{port}"
    host.stop(None)


def answer_with(name, values=None, **proto):
    tensor = tensor_pb2.TensorProto(**proto) if values is None else tf.make_tensor_proto(values)
    return lambda outputs: outputs[name].CopyFrom(tensor)


INT32 = {"dtype": tf.int32.as_datatype_enum}
OUTPUTS = {
    "boxes of": lambda outputs: outputs.pop("boxes"),
    "counts of int32 and the shape .1": answer_with("counts", np.int32([1, 1])),
    "no counts of int32": answer_with("counts", np.float32([1])),
    "counts from 7 to 7": answer_with("counts", np.int32([7])),
    "scores from nan": answer_with("scores", np.full((1, 2), np.nan, np.float32)),
    "boxes from 9 to 9": answer_with("boxes", np.full((1, 2, 4), 9, np.float32)),
    "images|reconstructions from inf": answer_with(
        "reconstructions", np.full((1, 12, 10, 1), np.inf, np.float32)),
    "counts of": answer_with("counts", **INT32, int_val=[1], **tensor_shape(10**13)),
    "counts: ": answer_with("counts", **INT32, tensor_content=b"12", **tensor_shape(1)),
    "no counts": answer_with("counts", **INT32, tensor_shape={"unknown_rank": True}),
    "RESOURCE_EXHAUSTED": answer_with("more", np.zeros(5000, np.float32)),
    "UNKNOWN": lambda outputs: 1 / 0,
}  # fmt: skip


@pytest.mark.parametrize("received", OUTPUTS)
def test_wrong_outputs_of_a_server_are_refused_in_one_line(hostile, monkeypatch, received):
    service, address = hostile
    monkeypatch.setattr("air_tf.serving.remote.LARGEST_MESSAGE", 10_000)
    remote, images = RemoteModel(address), np.zeros((1, 12, 10, 1), np.float32)
    assert len(remote.infer(images).counts) == 1
    monkeypatch.setattr(service, "change_outputs", OUTPUTS[received])
    with pytest.raises(ValueError, match=f"^Expected a server [^\n]+Received: .*({received})[^\n]*$"):
        remote.infer(images)


def resize(endpoint, name, size):
    def change(signatures):
        signatures[endpoint].inputs[name].tensor_shape.dim[1].size = size

    return change


def read_of_more_objects(signatures):
    outputs = signatures["serving_default"].outputs
    outputs["classes"].CopyFrom(outputs["scores"])
    outputs["classes"].tensor_shape.dim[1].size = 9


METADATA = {
    r"an output classes of the shape \(None, 9\)": read_of_more_objects,
    "decode missing": lambda signatures: signatures.pop("decode"),
    "'images'": lambda signatures: signatures["serving_default"].inputs.pop("images"),
    "outputs of serving_default": lambda signatures: signatures["serving_default"].outputs.pop("boxes"),
    "the sizes": resize("serving_default", "images", -1),
    "the sizes .*-5": resize("serving_default", "images", -5),
    "outputs of": resize("serving_default", "images", 10**9),
    "inputs of": resize("decode", "z_where", 7),
}


@pytest.mark.parametrize("received", METADATA)
def test_wrong_endpoints_of_a_server_are_refused_in_one_line(hostile, monkeypatch, received):
    service, address = hostile
    monkeypatch.setattr(service, "change_metadata", METADATA[received])
    with pytest.raises(ValueError, match=f"^Expected [^\n]+Received: .*{received}[^\n]*$"):
        RemoteModel(address)


def test_a_server_that_does_not_answer_is_given_up(hostile, monkeypatch):
    service, address = hostile
    release = threading.Event()
    monkeypatch.setattr(service, "change_metadata", lambda signatures: release.wait(60))
    monkeypatch.setattr("air_tf.serving.remote.TIMEOUT", 0.2)
    with pytest.raises(ValueError, match="Received: DEADLINE_EXCEEDED"):
        RemoteModel(address)
    release.set()


def test_batches_go_to_a_server_in_chunks_that_it_takes(served_model, remote):
    images = random.random((2 * remote.chunk + 1, 12, 10, 1), np.float32)
    answered, expected = remote.infer(images).outputs(), served_model.infer(images).outputs()
    for name, values in expected.items():
        np.testing.assert_allclose(answered[name], values, atol=1e-5, err_msg=name)


def test_inputs_of_different_sizes_are_refused(remote):
    zeros = np.zeros((1, 2, 4), np.float32)
    with pytest.raises(ValueError, match="as many in each input. Received: 2 2 1"):
        remote.decode([1, 1], z_what=zeros, z_where=np.ones((2, 2, 3), np.float32))
