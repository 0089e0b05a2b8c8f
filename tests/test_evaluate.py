"""evaluate.py as a user runs it, and the parts of a report."""

import functools
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector

import air_tf
from air_tf import cli
from air_tf.commands import evaluate
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.split import Split
from air_tf.evaluation import report
from air_tf.evaluation.evaluate import canvases, evaluate_fully, importance_bounds, infer_all
from air_tf.evaluation.glimpses import SIDE
from air_tf.evaluation.job import EvaluateConfig
from air_tf.image_files import as_png
from air_tf.json_files import write_json
from air_tf.paths import as_text
from air_tf.serving.export import export
from air_tf.serving.served import PRETRAINED, ServedModel
from air_tf.training import run_record
from tests.conftest import run_eagerly

IMAGES = 40


@pytest.fixture(scope="module")
def evaluated(short_run, run_script, tmp_path_factory):
    """A copy of the short run, evaluated; what was printed."""
    folder = shutil.copytree(short_run[0], tmp_path_factory.mktemp("evaluated") / "run")
    flags = ["--num-images", IMAGES, "--importance-samples", 3, "--rho", 0.1]
    with run_eagerly():
        done = run_script("evaluate.py", "--run", folder, *flags)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def dataset(cache_dir):
    recipe = {"train_images": 100, "test_images": 60}
    return MultiMNISTSettings(digits="embedded", cache_dir=str(cache_dir), **recipe).load()


@pytest.fixture(scope="module")
def held_out(dataset):
    """The first test images, and their true segments."""
    split = dataset.splits["test"][:IMAGES]
    return split, dataset.segments("test", split)


@pytest.fixture(scope="module")
def pretrained():
    return ServedModel(PRETRAINED)


@pytest.fixture(scope="module")
def exported(short_run, tmp_path_factory):
    """The short run's model, exported."""
    return export(run_record.load_model(short_run[0]), tmp_path_factory.mktemp("exported")).parent


def record_of(folder):
    return json.loads((folder / "evaluation" / "test" / "evaluation.json").read_text())


@pytest.mark.usefixtures("eagerly")
def test_evaluation_has_the_models_numbers(evaluated, held_out):
    folder, printed = evaluated
    record, (split, _) = record_of(folder), held_out
    model = run_record.load_model(folder, rho=0.1)
    scene = model.infer(split.float_images())
    right = scene.counts.numpy() == split.counts
    assert record["count_accuracy"] == pytest.approx(right.mean())
    assert np.trace(record["confusion_matrix"]) == right.sum()
    assert np.sum(record["confusion_matrix"]) == record["images"] == IMAGES
    error = np.mean((scene.reconstructions - split.float_images()) ** 2)
    assert record["pixel_mse"] == pytest.approx(error, rel=1e-4)
    assert record["rho"] == 0.1
    elbo = model.elbo(split.float_images())["elbo"]
    assert record["elbo"] == pytest.approx(np.mean(elbo), rel=1e-4)
    assert record["importance_bounds"] == importance_bounds(model, split, 3, show_progress=False)
    assert "foreground_ari" in printed and "report.html" in printed


def test_the_pretrained_model_counts_boxes_and_segments(pretrained, held_out):
    split, segments = held_out
    _, metrics = evaluate_fully(pretrained, split, lambda part: segments, show_progress=False)
    assert metrics["count_accuracy"] > 0.9
    assert metrics["ap50"] > 0.5 and metrics["ap"] > 0.05
    assert metrics["foreground_ari"] > 0.8


def test_report_is_one_page_without_a_network(evaluated):
    folder = evaluated[0] / "evaluation" / "test"
    page = (folder / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == len(list((folder / "figures").glob("*.png"))) >= 6
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "://" not in page
    assert f"{record_of(evaluated[0])['foreground_ari']:.4g}" in page


def test_projector_has_the_codes_labels_and_pictures(pretrained, held_out, tmp_path):
    (split, _), folder = held_out, tmp_path
    scene = infer_all(pretrained, split)
    assert report.write_projector(scene, split, folder) == scene.counts.sum()
    config = projector.ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), config)
    [embedding] = config.embeddings
    codes = np.loadtxt(folder / embedding.tensor_path, delimiter="\t")
    header, *rows = (folder / embedding.metadata_path).read_text().splitlines()
    assert header.split("\t") == ["digit", "step", "image"]
    digits, steps, images = np.array([row.split("\t") for row in rows], int).T
    assert len(codes) == len(rows) == scene.counts.sum()
    np.testing.assert_allclose(codes, scene.z_what[images, steps - 1], rtol=1e-3, atol=1e-3)

    # images of one digit that are counted right: no doubt which digit it is
    single = (scene.counts[images] == 1) & (split.counts[images] == 1)
    assert single.sum() > 5
    np.testing.assert_array_equal(digits[single], split.labels[images[single], 0])

    side = int(np.ceil(np.sqrt(len(rows)))) * SIDE
    with Image.open(folder / embedding.sprite.image_path) as sprites:
        assert sprites.size == (side, side)


def test_a_saved_model_gives_the_same_figures_without_the_elbo(evaluated, exported, held_out):
    folder, (split, segments) = evaluated[0], held_out
    served = ServedModel(exported)  # finds the newest version
    results = evaluate_fully(served, split, lambda part: segments, show_progress=False)
    record = record_of(folder)
    assert not {"elbo", "log_px", "kl_count"} & set(results.metrics)
    for name, value in results.metrics.items():
        expected = record[name]
        if isinstance(value, float):
            assert value == pytest.approx(expected, abs=1e-3)
    assert set(report.make_figures(served, results.scene, split, [])) >= {"progress", "where"}


def test_a_run_and_its_export_load_alike(short_run, exported, held_out, tmp_path):
    run, served = air_tf.load(short_run[0]), air_tf.load(exported)
    split = held_out[0][:12]
    images = split.float_images()
    close = functools.partial(np.testing.assert_allclose, atol=1e-5)
    tf.nest.map_structure(close, run.infer(images).outputs(), served.infer(images).outputs())
    files = [as_png(np.repeat(image, 3, axis=-1)) for image in split.images]
    np.testing.assert_allclose(served.prepare(files), images, atol=1e-3)
    tf.nest.map_structure(
        close, run.infer_encoded(files).outputs(), served.infer_encoded(files).outputs()
    )
    with pytest.raises(ValueError, match="Expected a SavedModel"):
        air_tf.load(tmp_path / "none")


def test_canvases_are_the_reconstructions_object_by_object(small_model, small_images):
    small_model.inference.pres_head.outputs.bias.assign([0.1])
    scene = small_model.infer(small_images).numpy()
    drawn = canvases(small_model, scene)
    assert not drawn[:, 0].any()
    of_count = drawn[np.arange(5), scene.counts]
    np.testing.assert_allclose(of_count, scene.reconstructions, atol=1e-5)


def test_the_code_is_the_objects_largest_latent_in_whatever_order_a_saved_model_has_them():
    small, large, of_background = np.zeros((2, 3, 4)), np.ones((2, 3, 50)), np.ones((2, 64))
    for latents in {"where": small, "what": large}, {"what": large, "where": small}:
        scene = air_tf.Scene(*[None] * 7, latents | {"background": of_background})
        assert report.code_of(scene) == "what"
    assert report.code_of(scene._replace(readings={"classes": small[..., 0]})) is None


def test_object_labels_are_those_of_the_boxes_they_match():
    boxes = np.float32([[0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.9, 0.9], [0, 0.8, 0.1, 0.9]])
    scene = air_tf.Scene(
        counts=np.array([3, 0]), count_probs=None, boxes=np.stack([boxes[[2, 1, 0]], 0 * boxes]),
        tight_boxes=None, scores=None, reconstructions=None, backgrounds=None, latents={},
    )  # fmt: skip
    zeros = np.zeros((2, 50, 50, 1), np.uint8)
    labels = np.array([[7, 4, 0], [0, 0, 0]])
    split = Split(zeros, np.array([2, 1]), labels, np.stack([boxes, boxes]), np.zeros((2, 3, 4), int))
    image_of, step_of, found = report.object_labels(scene, split)
    np.testing.assert_array_equal(image_of, [0, 0, 0])
    np.testing.assert_array_equal(step_of, [0, 1, 2])
    np.testing.assert_array_equal(found[1:], [4, 7])
    assert found[0] == -1  # the box that no true one is left for
    *_, found = report.object_labels(scene._replace(counts=np.array([1, 0])), split)
    assert found.tolist() == [-1]  # the true ones are elsewhere


def refusal(capsys, **flags):
    """The line on the terminal of an evaluation that is refused."""
    flags = {name: str(f) if isinstance(f, Path) else f for name, f in flags.items()}
    config = EvaluateConfig(**{"data": MultiMNISTSettings(digits="embedded"), **flags})
    assert cli.run(lambda: evaluate.main(config)) == cli.EXIT_BAD_INPUT
    [line] = [li for li in capsys.readouterr().err.splitlines() if li.startswith("error: ")]
    return line


@pytest.fixture
def run_copy(short_run, tmp_path):
    return shutil.copytree(short_run[0], tmp_path / "run")


def test_a_run_without_a_checkpoint_is_refused(run_copy, capsys):
    shutil.rmtree(run_copy / "checkpoints")
    line = refusal(capsys, run=run_copy)
    assert re.search("Expected a run with a checkpoint. Received: .*run, which has none", line)


@pytest.mark.parametrize(
    "part, changes",
    [("networks", {"hidden_units": 60}), ("estimator", {"presence": "nvil"}),
     ("count", {"rho_schedule": "learned"})],
)  # fmt: skip
def test_a_checkpoint_of_another_config_is_refused(run_copy, capsys, part, changes):
    config = json.loads((run_copy / "config.json").read_text())
    config["model"][part] = changes if part == "estimator" else config["model"][part] | changes
    (run_copy / "config.json").write_text(json.dumps(config))
    line = refusal(capsys, run=run_copy)
    assert "of another config" in line and "config.json" in line


def test_images_of_another_size_are_refused_with_both_sizes(small_config, run_copy, cache_dir, capsys):
    model = air_tf.AIR(small_config)
    shutil.rmtree(run_copy / "checkpoints")
    tf.train.Checkpoint(model=model).write(str(run_copy / "checkpoints" / "step-1"))
    config = json.loads((run_copy / "config.json").read_text())
    config["model"] = json.loads(json.dumps(model.get_config()["config"]))
    (run_copy / "config.json").write_text(json.dumps(config))
    data = MultiMNISTSettings(digits="embedded", cache_dir=str(cache_dir), train_images=1, test_images=5)
    line = refusal(capsys, run=run_copy, data=data)
    assert "12 x 10 pixels with 1 channels" in line and "50 x 50 pixels with 1 channels" in line


def test_a_saved_model_without_the_endpoints_is_refused(tmp_path, capsys):
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec((), tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"other": module.f})
    line = refusal(capsys, saved_model=tmp_path)
    assert "decode, encoded, layers, prepare, serving_default missing; it has: other" in line


def test_flags_that_do_not_go_together_are_refused(run_copy, tmp_path, capsys):
    assert "Received: 0" in refusal(capsys, run=run_copy, importance_samples=0)
    assert "Received: 1000000000" in refusal(capsys, run=run_copy, importance_samples=10**9)
    assert "either --run or --saved-model" in refusal(capsys)
    assert "either --run or --saved-model" in refusal(capsys, run="a", saved_model="b")
    assert "which has no ELBO" in refusal(capsys, saved_model="b", importance_samples=5)
    assert "Received: 1.5" in refusal(capsys, run=run_copy, rho=1.5)
    assert "SavedModel in" in refusal(capsys, saved_model=tmp_path / "nothing")
    assert "config.json" in refusal(capsys, run=tmp_path / "nothing")


def test_folders_with_other_files_are_left_alone(run_copy, tmp_path, capsys):
    precious = tmp_path / "home" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("all of it")
    (precious.parent / "evaluation.json").write_text("{}")
    for name in ("evaluation.json", "thesis.tex"):
        assert f"with {name} in it" in refusal(capsys, run=run_copy, out=precious.parent)
        (precious.parent / "evaluation.json").unlink(missing_ok=True)
    assert precious.read_text() == "all of it"
    album = tmp_path / "album" / "figures"
    album.mkdir(parents=True)
    assert "with figures in it" in refusal(capsys, run=run_copy, out=album.parent)
    assert album.exists()


def test_numbers_that_are_none_become_null(tmp_path):
    values = {
        "a": float("nan"),
        "b": [np.inf, (-np.inf, 1.5)],
        "c": {"d": np.float64("nan")},
        "e": "NaN",
    }
    write_json(values, tmp_path / "x.json")
    text = (tmp_path / "x.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found == {"a": None, "b": [None, [None, 1.5]], "c": {"d": None}, "e": "NaN"}


def test_any_name_of_a_run_can_be_written_on_the_page(tmp_path):
    title = as_text(os.fsdecode(b"runs/caf\xe9"))
    report.write_page(title, {"model": title}, {}, tmp_path)
    assert "runs/caf\\xe9" in (tmp_path / "report.html").read_text(encoding="utf-8")
