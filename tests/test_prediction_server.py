"""Serving over gRPC: the C++ session behind tensorflow.serving.PredictionService."""

import io
import re
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from air_tf.image_files import as_png
from air_tf.serving.export import SERVED_BATCHES, docker_command, export
from air_tf.serving.remote import RemoteModel
from tests.prediction_server import Server

random = np.random.default_rng(0)


@pytest.fixture
def model(served_model):
    return served_model


def test_every_endpoint_answers_as_the_model_does(model, remote, small_config):
    assert remote.image_shape == small_config.image_shape
    images = random.random((5, 12, 10, 1), np.float32)
    scene = model.infer(images)
    files = [as_png(random.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(3)]
    latents = {"z_what": scene.z_what.numpy(), "z_where": scene.z_where.numpy()}
    answers = (
        remote.infer(images), remote.infer_encoded(files), remote.prepare(files),
        remote.decode(scene.counts.numpy(), **latents), remote.layers_of(scene.numpy()),
    )  # fmt: skip
    expected = (
        scene, model.infer_encoded(files), model.prepare(files), scene.reconstructions,
        model.layers_of(scene),
    )  # fmt: skip
    tf.nest.map_structure(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-5), answers, expected
    )


def test_the_warm_up_file_covers_every_endpoint_at_every_batch_size(server):
    assert server.version.warmed_up == 5 * len(SERVED_BATCHES)


def test_a_request_without_a_signature_is_the_default_one_and_outputs_can_be_chosen(server):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(f"127.0.0.1:{server.port}")
    )
    request = predict_pb2.PredictRequest(output_filter=["counts"])
    request.model_spec.name = "air"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(np.zeros((2, 12, 10, 1), np.float32)))
    response = stub.Predict(request, timeout=10)
    assert list(response.outputs) == ["counts"]
    assert response.model_spec.signature_name == "serving_default"
    request.model_spec.version.value = 99
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request, timeout=10)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "inputs, words",
    [
        ({"images": np.zeros((12, 10, 1), np.float32)}, "Expected images of float32"),
        ({"images": np.zeros((1, 10, 12, 1), np.float32)}, "Expected images of float32"),
        ({"images": np.zeros((1, 12, 10, 1), np.float64)}, "Received: float64"),
        ({"images": np.full((1, 12, 10, 1), np.nan, np.float32)}, "Expected pixels in"),
        ({"images": np.full((1, 12, 10, 1), 255, np.float32)}, "Expected pixels in"),
        ({"images": np.zeros((0, 12, 10, 1), np.float32)}, "Expected from 1 to 4,096 images"),
        ({"pixels": np.zeros((1, 12, 10, 1), np.float32)}, "Expected inputs"),
    ],
)
def test_bad_images_are_refused_with_a_reason(remote, inputs, words):
    with pytest.raises(ValueError, match=f"INVALID_ARGUMENT: .*{words}"):
        remote._predict("serving_default", inputs)
    assert len(remote.infer(np.zeros((1, 12, 10, 1), np.float32)).counts) == 1  # it goes on


@pytest.mark.parametrize("cut", [0, 30, -30])
def test_bad_files_are_refused_with_a_reason(remote, cut):
    file = as_png(random.integers(0, 256, (20, 30, 3), np.uint8))[:cut]
    with pytest.raises(ValueError, match="INVALID_ARGUMENT"):
        remote.infer_encoded([file])
    with pytest.raises(ValueError, match="INVALID_ARGUMENT: Expected from 1 to 4,096 images"):
        remote.infer_encoded(np.array([], object))


def test_a_huge_picture_is_refused_before_it_is_decoded(remote, model):
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "png")
    jpeg = io.BytesIO()
    Image.new("L", (9_000, 8_000)).save(jpeg, "jpeg")
    for picture in (file, jpeg):
        with pytest.raises(ValueError, match="INVALID_ARGUMENT: .*at most 64,000,000 pixels"):
            remote.infer_encoded([picture.getvalue()])
    file = io.BytesIO()
    Image.new("L", (300, 200), 40).save(file, "jpeg")
    np.testing.assert_allclose(
        remote.infer_encoded([file.getvalue()]).counts, model.infer_encoded([file.getvalue()]).counts
    )


def test_a_server_that_is_down_or_has_another_model_is_said(server):
    with pytest.raises(ValueError, match="to answer. Received: UNAVAILABLE"):
        RemoteModel("127.0.0.1:1")
    with pytest.raises(ValueError, match="NOT_FOUND: There is no model 'other'"):
        RemoteModel(f"127.0.0.1:{server.port}", "other")


def tensor_shape(*sizes):
    return {"tensor_shape": tf.TensorShape(sizes).as_proto()}


@pytest.mark.parametrize(
    "proto, words",
    [
        ({"float_val": [0.5], **tensor_shape(200_000, 12, 10, 1)}, "from 1 to 4,096 images.*200000"),
        ({"float_val": [0.5], **tensor_shape(2**62, 12, 10, 1)}, "Tensor parsing error: images"),
        ({"float_val": [0.5], **tensor_shape(None, 12, 10, 1)}, "Tensor parsing error: images"),
        ({"tensor_content": b"123", **tensor_shape(1, 12, 10, 1)}, "Tensor parsing error: images"),
        ({"dtype": 0, **tensor_shape(1, 12, 10, 1)}, "Expected images of float32"),
    ],
)
def test_a_request_that_is_packed_or_malformed_is_refused(server, proto, words):
    """The first one is of 80 bytes and unpacks to 200,000 images, which the graph refuses."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(
        grpc.insecure_channel(f"127.0.0.1:{server.port}")
    )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "air"
    tensor = tensor_pb2.TensorProto(**{"dtype": tf.float32.as_datatype_enum} | proto)
    request.inputs["images"].CopyFrom(tensor)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(request, timeout=60)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert re.search(words, refused.value.details())


@pytest.mark.slow
def test_clients_are_served_while_a_new_version_is_renamed_into_place(small_model, tmp_path):
    """No call fails, and after the swap every answer is the new model's."""
    model = small_model
    model.inference.pres_head.outputs.bias.assign([1.0])
    exports = export(model, tmp_path / "air").parent
    server = Server(exports)
    address, images = f"127.0.0.1:{server.port}", random.random((1, 12, 10, 1), np.float32)
    before, stop, failures = model.infer(images), threading.Event(), []
    answers = [[] for _ in range(4)]  # of each client

    def call(answers):
        client = RemoteModel(address)
        while not stop.wait(0.1):
            try:
                answers.append(float(client.infer(images).count_probs[0, 0]))
            except ValueError as error:
                failures.append(error)

    clients = [threading.Thread(target=call, args=(each,)) for each in answers]
    for client in clients:
        client.start()
    model.inference.pres_head.outputs.bias.assign([-1.0])
    after = model.infer(images)
    export(model, exports)

    def wait_for(condition):
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)

    wait_for(lambda: server.version.number == 2)
    known = [len(each) + 1 for each in answers]  # what is on its way may be the old model's
    wait_for(lambda: all(len(each) > first + 5 for each, first in zip(answers, known)))
    stop.set()
    for client in clients:
        client.join()
    server.stop()
    expected = float(before.count_probs[0, 0]), float(after.count_probs[0, 0])
    assert not failures and abs(expected[0] - expected[1]) > 0.1
    assert all(min(abs(answer - e) for e in expected) < 1e-5 for answer in sum(answers, []))
    for each, first in zip(answers, known):
        assert len(each) > first + 5
        np.testing.assert_allclose(each[first:], expected[1], atol=1e-5)


def test_the_servers_configs_are_written_beside_the_versions(exports):
    models = (exports / "models.config").read_text()
    assert 'name: "air"' in models and 'base_path: "/models/air"' in models
    assert "max_batch_size { value: 64 }" in (exports / "batching.config").read_text()
    allowed = [
        line for line in (exports / "batching.config").read_text().splitlines() if "allowed" in line
    ]
    assert len(allowed) == len(SERVED_BATCHES)
    assert "enable: true" in (exports / "monitoring.config").read_text()


def test_the_docker_command_names_what_was_written(exports):
    command = docker_command(exports)
    assert f"-v {exports}:/models/air:ro" in command
    for name in ("models.config", "monitoring.config"):
        assert f"/models/air/{name}" in command


@pytest.mark.slow
def test_the_benchmark_finds_every_request_answered(exports, tmp_path):
    from tests.conftest import REPOSITORY

    command = [sys.executable, "-m", "benchmarks.serving", "--saved-model", exports, "--seconds", "2"]
    command += ["--out", tmp_path / "serving.json", "--no-page"]
    done = subprocess.run([*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    import json

    load = json.loads((tmp_path / "serving.json").read_text())["under_load"]
    assert load["wrong"] == 0 and load["bad_refused"] > 0 and load["good_answered"] > 0
