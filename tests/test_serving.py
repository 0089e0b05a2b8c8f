import io
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from air_tf.serving import versions
from air_tf.serving.export import export, prediction_log
from air_tf.serving.served import load
from tests.prediction_server import SessionModel

random = np.random.default_rng(0)
OUTPUTS = {
    "counts", "count_probs", "boxes", "tight_boxes", "scores", "reconstructions", "backgrounds",
    "z_what", "z_where",
}  # fmt: skip
ENDPOINTS = "serving_default", "encoded", "prepare", "decode", "layers"
CONFIGS = ["batching.config", "models.config", "monitoring.config"]


@pytest.fixture
def model(served_model):
    return served_model


@pytest.fixture
def exported(exports):
    return exports / "1"


@pytest.fixture(params=[1, 3, 64])
def images(request):
    return random.random((request.param, 12, 10, 1), np.float32)


def assert_same(outputs, scene):
    assert set(outputs) == OUTPUTS
    for name, expected in scene.outputs().items():
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5, err_msg=name)


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("images", [3], indirect=True)
def test_loads_where_air_tf_cannot_be_imported(exported, model, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    script = f"""
import sys
sys.modules["air_tf"] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load({str(exported)!r})
outputs = model.signatures["serving_default"](tf.constant(np.load("images.npy")))
np.savez("outputs.npz", **{{name: values.numpy() for name, values in outputs.items()}})
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, capture_output=True)
    assert_same(dict(np.load(tmp_path / "outputs.npz")), model.infer(images))


@pytest.mark.slow
@pytest.mark.parametrize("images", [3], indirect=True)
def test_saved_model_cli_runs_it(exported, model, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    command = [
        sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", str(exported),
        "--tag_set", "serve", "--signature_def", "serving_default",
        "--inputs", f"images={tmp_path / 'images.npy'}", "--outdir", str(tmp_path / "out"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    outputs = {path.stem: np.load(path) for path in (tmp_path / "out").glob("*.npy")}
    assert_same(outputs, model.infer(images))


def test_session_loader_runs_it(session_model, model, images):
    assert_same(session_model("serving_default", images=images), model.infer(images))


def test_session_decodes(session_model, model, images):
    scene = model.infer(images)
    outputs = session_model(
        "decode", counts=scene.counts.numpy(), z_what=scene.z_what.numpy(), z_where=scene.z_where.numpy()
    )
    np.testing.assert_allclose(outputs["images"], scene.reconstructions, atol=1e-5)


@pytest.mark.parametrize("images", [3], indirect=True)
def test_keras_layer_runs_it(exported, model, images):
    import keras

    layer = keras.layers.TFSMLayer(str(exported), call_endpoint="serving_default")
    assert_same(layer(images), model.infer(images))


def test_encoded_images_of_the_models_size(session_model, model, images):
    pixels = np.uint8(images * 255)
    outputs = session_model("encoded", image_bytes=[png(image[..., 0]) for image in pixels])
    assert_same(outputs, model.infer(pixels.astype(np.float32) / np.float32(255)))


def test_encoded_boxes_are_in_the_originals_coordinates(small_model, tmp_path):
    """An image of twice the model's width is scaled by 1/2 and gets bars above and below."""
    small_model.inference.pres_head.outputs.bias.assign([30.0])
    encoded = SessionModel(export(small_model, tmp_path))
    wide = np.uint8(random.integers(0, 256, (12, 20, 3)))
    outputs = encoded("encoded", image_bytes=[png(wide)])
    ymin, xmin, ymax, xmax = outputs["boxes"][0, 0]
    assert outputs["counts"][0] == 2
    # the window of z_where, in the letterboxed image, by hand: 6 of 12 rows, from row 3 on
    scale, shift_x, shift_y = outputs["z_where"][0, 0]
    centre_y, centre_x = (1 - shift_y / scale) / 2 * 11, (1 - shift_x / scale) / 2 * 9
    half_y, half_x = 11 / (2 * scale), 9 / (2 * scale)
    expected = [
        (centre_y - half_y + 0.5 - 3) / 6, (centre_x - half_x + 0.5) / 10,
        (centre_y + half_y + 0.5 - 3) / 6, (centre_x + half_x + 0.5) / 10,
    ]  # fmt: skip
    letterboxed = np.clip([(centre_y - half_y + 0.5), (centre_y + half_y + 0.5)], 0, 12)
    expected[0], expected[2] = (letterboxed - 3) / 6
    np.testing.assert_allclose([ymin, xmin, ymax, xmax], np.clip(expected, 0, 1), atol=1e-5)


def test_jpeg_and_colour_are_taken(session_model):
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (40, 30, 3), np.uint8)).save(file, "jpeg")
    outputs = session_model("encoded", image_bytes=[file.getvalue(), png(np.zeros((3, 90), np.uint8))])
    assert outputs["reconstructions"].shape == (2, 12, 10, 1)
    assert np.isfinite(outputs["boxes"]).all()


def test_versions_count_up_and_no_half_written_one_is_seen(model, tmp_path, monkeypatch):
    class Empty:  # to write what a version holds takes its time, and is tested above
        def add_endpoint(self, *_):
            pass

        def write_out(self, folder, verbose):
            Path(folder).mkdir()

    monkeypatch.setattr(keras.export, "ExportArchive", Empty)
    assert export(model, tmp_path) == tmp_path / "1"
    assert export(model, tmp_path) == tmp_path / "2"
    (tmp_path / "7").mkdir()
    assert export(model, tmp_path) == tmp_path / "8"
    seen = []

    def fail(folder, out):
        seen.extend(path.name for path in out.iterdir() if path.name.isdecimal())
        raise OSError("disk full")

    monkeypatch.setattr(versions, "publish", fail)
    with pytest.raises(OSError, match="disk full"):
        export(model, tmp_path)
    assert sorted(seen) == ["1", "2", "7", "8"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "7", "8", *CONFIGS]


def test_a_full_disk_leaves_nothing_behind(model, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes that a file may have
    try:
        with pytest.raises(OSError, match=f"cannot be written to {tmp_path}"):
            export(model, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_383, 16_384, 3_000_000])
def test_a_warm_up_request_is_the_message_that_tf_serving_reads(size):
    tensors = {
        "image_bytes": tf.make_tensor_proto([b"x" * size, b""]),
        "z_what": tf.make_tensor_proto(random.random((2, size // 1000), np.float32)),
    }
    expected = prediction_log_pb2.PredictionLog()
    request = expected.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "air", "encoded"
    for name, tensor in tensors.items():
        request.inputs[name].CopyFrom(tensor)
    assert prediction_log_pb2.PredictionLog.FromString(prediction_log("encoded", tensors)) == expected


def cut_variables(folder):
    (data,) = (folder / "variables").glob("*.data*")
    data.write_bytes(data.read_bytes()[:500])


DAMAGES = {
    "variables cut short": cut_variables,
    "index empty": lambda folder: (folder / "variables" / "variables.index").write_bytes(b""),
    "no variables": lambda folder: shutil.rmtree(folder / "variables"),
    "graph empty": lambda folder: (folder / "saved_model.pb").write_bytes(b""),
    "graph of junk": lambda folder: (folder / "saved_model.pb").write_bytes(b"\xff\x00junk" * 100),
    "no graph": lambda folder: (folder / "saved_model.pb").unlink(),
    "graph a folder": lambda folder: ((folder / "saved_model.pb").unlink(),
                                      (folder / "saved_model.pb").mkdir()),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_saved_model_is_refused_in_one_line(exported, tmp_path, damage):
    folder = tmp_path / "1"
    shutil.copytree(exported, folder)
    DAMAGES[damage](folder)
    with pytest.raises(ValueError, match=f"^Expected a SavedModel in {folder}. Received: [^\n]+$"):
        load(folder)


def test_another_saved_model_is_refused(tmp_path):
    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def call(self, x):
            return {"images": x}

    other, expected = Other(), "Expected a SavedModel with the endpoints of air export in"
    cases = {
        "decode, encoded, layers, prepare missing": ["serving_default"],
        "others: ": list(ENDPOINTS),
    }
    for received, names in cases.items():
        folder = tmp_path / names[-1]
        tf.saved_model.save(other, str(folder), signatures=dict.fromkeys(names, other.call))
        with pytest.raises(ValueError, match=f"{expected} {folder}. Received: {received}"):
            load(folder)


def test_an_export_folder_that_is_a_file_is_refused(model, tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=f"Received: {file}, which is a file"):
        export(model, file)
