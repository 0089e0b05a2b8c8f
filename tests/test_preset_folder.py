import json
import shutil

import numpy as np
import pytest

import air_tf
from air_tf import AIR, preset_folder, replaced
from air_tf.serving.served import PRETRAINED
from air_tf.training.loop import initialise, source_model


@pytest.fixture
def preset(small_model, tmp_path):
    """A folder with the small model."""
    small_model.save_to_preset(tmp_path / "preset")
    return tmp_path / "preset"


@pytest.mark.parametrize("presence", ["enumerate", "nvil"])
def test_a_model_comes_back_from_its_preset(small_config, small_images, tmp_path, presence):
    model = AIR(replaced(small_config, presence=presence), seed=3)
    model.compile("adam")
    model.save_to_preset(tmp_path / "preset")
    loaded = AIR.from_preset(tmp_path / "preset")
    assert (loaded.config, loaded.seed) == (model.config, 3)
    for weight, same in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    untrained = AIR.from_preset(tmp_path / "preset", load_weights=False)
    assert not np.array_equal(untrained.infer(small_images).z_what, model.infer(small_images).z_what)


def test_the_files_are_those_of_kerashub(small_model, preset):
    assert sorted(path.name for path in preset.iterdir()) == sorted(preset_folder.FILES)
    config, metadata = (
        json.loads((preset / f"{name}.json").read_text()) for name in ("config", "metadata")
    )
    assert (config["module"], config["class_name"]) == ("air_tf.air", "AIR")
    assert config["registered_name"] == "air_tf>AIR" and "config" in config
    assert metadata["parameter_count"] == small_model.count_params()
    assert {"keras_version", "date_saved"} <= set(metadata)


def test_an_earlier_preset_is_replaced_and_other_files_stay(small_config, preset):
    (preset / "mine.txt").write_text("mine")
    other = AIR(replaced(small_config, z_what_size=7))
    other.save_to_preset(preset)
    assert AIR.from_preset(preset).config == other.config
    assert (preset / "mine.txt").read_text() == "mine" and len([*preset.iterdir()]) == 4
    with pytest.raises(
        ValueError, match="Expected a folder for a preset. Received: .*, which is a file"
    ):
        other.save_to_preset(preset / "mine.txt")
    (preset / "config.json").write_text('{"data": {}}')  # a run's, say
    with pytest.raises(ValueError, match="Expected the config of an earlier preset, to be replaced"):
        other.save_to_preset(preset)
    assert (preset / "config.json").read_text() == '{"data": {}}'


def test_the_preset_in_the_package_is_the_pretrained_model(small_images):
    model, served = AIR.from_preset("multi_mnist"), air_tf.load(PRETRAINED)
    images = np.zeros((2, 50, 50, 1), np.float32)
    images[0, 10:30, 24:27] = 1.0
    ours, theirs = model.infer(images).outputs(), served.infer(images).outputs()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, atol=1e-4, err_msg=name)
    assert sum(path.stat().st_size for path in PRETRAINED.rglob("*") if path.is_file()) <= 16 * 2**20


def test_presets_and_runs_are_loaded_by_their_folders(preset, short_run):
    assert air_tf.load(preset).config == AIR.from_preset(preset).config
    assert air_tf.load(short_run[0]).config.max_objects == 2


@pytest.mark.parametrize("name", ["nine_hundred", "no/such/folder"])
def test_what_names_no_preset_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=rf"Expected the name of a preset \(multi_mnist\).*: {name}, which"
    ):
        AIR.from_preset(name)


@pytest.mark.parametrize("missing", preset_folder.FILES)
def test_a_folder_that_is_no_preset_is_refused(preset, missing):
    (preset / missing).unlink()
    with pytest.raises(ValueError, match=f"Expected a preset with .*, which lacks {missing}"):
        AIR.from_preset(preset)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config.json", b"{}", "Expected the config of a preset in"),
        ("config.json", b'{"class_name": "Dense", "config": {}}', "Expected the config of a preset in"),
        ("model.weights.h5", b"", "Expected the weights of the preset's model in"),
        ("model.weights.h5", b"\x89HDF\r\n", "Expected the weights of the preset's model in"),
    ],
)
def test_a_damaged_preset_is_refused_in_one_line(preset, name, content, message):
    (preset / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{message} [^\n]+$"):
        AIR.from_preset(preset)


def test_weights_of_another_model_are_refused(small_config, preset, tmp_path):
    AIR(replaced(small_config, lstm_units=9)).save_to_preset(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.weights.h5", preset)
    with pytest.raises(ValueError, match="Expected the weights of the preset's model"):
        AIR.from_preset(preset)


def test_a_preset_on_hugging_face_is_downloaded(preset, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        return str(preset)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert AIR.from_preset("hf://someone/air").config == AIR.from_preset(preset).config
    assert asked == [("someone/air", list(preset_folder.FILES))]

    def no_network(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_network)
    with pytest.raises(ValueError, match="Received: hf://someone/air: no network"):
        AIR.from_preset("hf://someone/air")


@pytest.mark.parametrize("presence", ["enumerate", "nvil"])
def test_training_starts_from_a_presets_weights(small_config, small_images, presence):
    """Of an estimator with an optimizer of its own, that one begins anew."""
    config = replaced(small_config, presence=presence)
    source, target = AIR(config), AIR(config)
    line = initialise(target, source, "here")
    np.testing.assert_array_equal(target.infer(small_images).z_what, source.infer(small_images).z_what)
    assert line == f"Starting from {len(target.weights)} of {len(target.weights)} weights of here."


def test_weights_that_do_not_fit_stay_as_they_were_and_are_named(small_config, preset):
    source, target = AIR.from_preset(preset), AIR(replaced(small_config, z_what_size=5))
    before = [weight.numpy() for weight in target.weights]
    line = initialise(target, source, "here")
    shapes = [weight.shape for weight in source.weights]
    fitting = [weight.shape == shape for weight, shape in zip(target.weights, shapes, strict=True)]
    assert 0 < sum(fitting) < len(fitting) and f"Starting from {sum(fitting)} of {len(fitting)}" in line
    assert "inference/lstm" in line and "decoder" in line
    for weight, theirs, was, fits in zip(target.weights, source.weights, before, fitting, strict=True):
        np.testing.assert_array_equal(weight, theirs if fits else was)


def test_a_preset_of_another_image_size_is_no_start(small_config, preset):
    config = replaced(air_tf.Config(), init_from=str(preset))
    with pytest.raises(
        ValueError, match="images of 50 x 50 pixels with 1 channels.*for 12 x 10 pixels with 1 channels"
    ):
        source_model(config)
    with pytest.raises(ValueError, match="Expected the name of a preset"):
        source_model(replaced(config, init_from="nowhere"))


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_run_goes_on_from_another_runs_weights(run_script, short_run, tmp_path):
    folder, _ = short_run
    from tests.conftest import SHORT_RUN

    flags = ["--runs-dir", tmp_path, "--name", "tuned", *SHORT_RUN, "--init-from", folder]
    done = run_script("train.py", *flags, "--steps", 2, "--learning-rate", 1e-12)
    assert done.returncode == 0, done.stderr
    assert f"weights of {folder}" in done.stdout
    tuned, source = air_tf.load(tmp_path / "tuned"), air_tf.load(folder)
    for weight, same in zip(tuned.weights, source.weights, strict=True):
        np.testing.assert_allclose(weight, same, atol=1e-6)
    resumed = [*flags, "--steps", 3, "--learning-rate", 1e-12, "--resume"]
    again = run_script("train.py", *resumed)
    assert again.returncode == 0 and "Going on from step 2" in again.stdout
    shutil.rmtree(tmp_path / "tuned" / "checkpoints")  # as of a run that was killed before its first one
    again = run_script("train.py", *resumed)
    assert again.returncode == 0 and f"weights of {folder}" in again.stdout
