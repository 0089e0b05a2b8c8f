"""Omniglot from its files and through tensorflow-datasets; --preset and what goes with it."""

import shutil
import zipfile

import pytest
from PIL import Image, ImageDraw

from air_tf import cli, image_files, memory, replaced
from air_tf.config import Config, ModelConfig, RunConfig
from air_tf.data import downloads
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.omniglot import OmniglotSettings, omniglot_files
from air_tf.presets import NINE_DIGITS, OMNIGLOT, PRESETS
from air_tf.training.loop import train

ALPHABETS = "Greek", "Korean", "Latin", "Sanskrit", "Tagalog"


def draw(folder, alphabets=ALPHABETS, drawings=3):
    """Drawings of one line in the original layout; the line tells the alphabet."""
    for alphabet in alphabets:
        row = ALPHABETS.index(alphabet)
        place = folder / alphabet / "character01"
        place.mkdir(parents=True)
        for i in range(drawings):
            picture = Image.new("1", (105, 105), 1)
            ImageDraw.Draw(picture).line([10, 20 + 12 * row, 95, 20 + 12 * row], fill=0, width=5)
            picture.save(place / f"{row:02}{i}_01.png")
    return folder


def config_of(path, tmp_path, **fields):
    return OmniglotSettings(omniglot=str(path), cache_dir=str(tmp_path / "cache"), **fields)


def rows_of(split):
    """Of each image, the row with the most ink."""
    return split.images[..., 0].sum(axis=2).argmax(axis=1)


def test_one_alphabet_in_four_is_held_out_where_the_original_holds_out_none(tmp_path):
    draw(tmp_path / "images_background")
    dataset = config_of(tmp_path, tmp_path).load()
    train, test = dataset.splits["train"], dataset.splits["test"]
    assert len(train) == 12 and len(test) == 3
    sanskrit = (20 + 12 * 3) * 50 / 105  # the fourth
    assert (abs(rows_of(test) - sanskrit) < 1).all()
    assert not set(rows_of(train)) & set(rows_of(test))
    assert not test.labelled().any()
    assert dataset.model_settings == {"image_shape": (50, 50, 1), "dark_objects": True}
    assert "12 drawings" in dataset.description and "3 of other alphabets" in dataset.description


def test_ink_is_light_on_black(tmp_path):
    draw(tmp_path / "images_background")
    images = config_of(tmp_path, tmp_path, image_size=(21, 21)).load().splits["train"].images
    assert images.shape[1:] == (21, 21, 1)
    line = images[0, 4, 4:17, 0]  # 5 pixels of 105 are one of 21
    assert line.min() > 150 and images[0, 10:].max() == 0


def test_the_originals_own_alphabets_are_held_out(tmp_path):
    draw(tmp_path / "images_background", ALPHABETS[:2])
    draw(tmp_path / "images_evaluation", ALPHABETS[2:4], drawings=2)
    splits = config_of(tmp_path, tmp_path).load().splits
    assert len(splits["train"]) == 6 and len(splits["test"]) == 4


def test_the_evaluation_set_alone_is_split_like_the_others(tmp_path):
    draw(tmp_path / "images_evaluation")
    draw(tmp_path / "all_runs" / "run01", ["Latin"])  # the one-shot task's, and what a Mac adds
    (tmp_path / "images_evaluation" / "Latin" / "character01" / "._0.png").write_bytes(b"no picture")
    splits = config_of(tmp_path, tmp_path).load().splits
    assert len(splits["train"]) == 12 and len(splits["test"]) == 3


@pytest.mark.parametrize("inside", [False, True])
def test_zips_are_read_and_drawings_in_two_of_them_once(tmp_path, inside):
    """A zip, or a folder of them; the small background sets have alphabets in common."""
    zips = tmp_path / "zips"
    for name, alphabets in ("one", ALPHABETS[:3]), ("two", ALPHABETS[1:]):
        draw(tmp_path / name / f"images_background_{name}", alphabets)
        shutil.make_archive(str(zips / name), "zip", tmp_path / name)
    alphabets = [drawing.alphabet for drawing in omniglot_files(zips if inside else zips / "one.zip")]
    expected = ALPHABETS if inside else ALPHABETS[:3]
    assert sorted(alphabets) == sorted(expected * 3)


def test_what_is_no_omniglot_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="Expected Omniglot's images_background/ALPHABET.*Received"):
        config_of(tmp_path / "empty", tmp_path).load()
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    with pytest.raises(ValueError, match="Expected drawings of Omniglot, or zips"):
        config_of(text, tmp_path).load()
    draw(tmp_path / "one" / "images_background", ALPHABETS[:1])
    with pytest.raises(ValueError, match="two alphabets at least. Received: 1"):
        config_of(tmp_path / "one", tmp_path).load()
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("1", (9, 9)).save(flat / "a.png")
    with pytest.raises(ValueError, match="Expected Omniglot's images_background"):
        config_of(flat, tmp_path).load()
    with pytest.raises(ValueError, match="Expected omniglot only with dataset omniglot"):
        replaced(Config(), omniglot="x")
    with pytest.raises(ValueError, match="Expected digits only with dataset multi_mnist"):
        replaced(Config(), dataset="omniglot", digits="mnist")


@pytest.mark.parametrize("zipped", [False, True])
def test_changed_drawings_of_the_same_names_and_sizes_are_read_anew(tmp_path, zipped):
    place = draw(tmp_path / "set" / "images_background").parent
    path = tmp_path / "set.zip" if zipped else place

    def load():
        if zipped:
            with zipfile.ZipFile(path, "w") as file:
                for png in sorted(place.rglob("*.png")):
                    file.write(png, png.relative_to(place))
        return config_of(path, tmp_path).load()

    first = load()
    for png in place.rglob("*.png"):
        size = png.stat().st_size
        Image.new("1", (105, 105), 1).save(png)
        png.write_bytes(png.read_bytes().ljust(size, b"\0"))
        assert png.stat().st_size == size
    second = load()
    assert first.fingerprint != second.fingerprint
    assert first.splits["train"].images.any() and not second.splits["train"].images.any()


def test_more_drawings_than_memory_holds_are_refused(tmp_path, monkeypatch):
    draw(tmp_path / "images_background")
    monkeypatch.setattr(memory, "memory_bytes", lambda: 20_000)
    monkeypatch.setattr(image_files, "check_memory", lambda *_: None)  # a single file would fit
    with pytest.raises(ValueError, match=r"drawings of \(50, 50, 1\) pixels to fit into"):
        config_of(tmp_path, tmp_path).load()


def test_convolutions_that_do_not_fit_leave_no_run_behind(tmp_path):
    draw(tmp_path / "images_background")
    data, runs_dir = config_of(tmp_path, tmp_path, image_size=(20, 20)), tmp_path / "runs"
    model = replaced(
        ModelConfig(), embedding_filters=(2,), embedding_kernels=(21,), embedding_strides=(1,)
    )
    with pytest.raises(ValueError, match=r"at least 21 x 21 .* image_shape=\(20, 20, 1\)"):
        train(Config(data, model, run=RunConfig(runs_dir=str(runs_dir))))
    assert not runs_dir.exists()


def test_through_tensorflow_datasets(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(downloads, "is_prepared", lambda name: name == "omniglot")
    with tfds.testing.mock_data(num_examples=5):
        dataset = config_of("", tmp_path).load()
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 5, "test": 5}
    assert "tensorflow-datasets" in dataset.description


def test_without_a_network_it_says_so_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "is_prepared", lambda name: False)
    monkeypatch.setattr(downloads, "network_reaches", lambda url: False)
    with pytest.raises(
        ValueError, match="FOLDER_OR_ZIP. Received: ConnectionError: no answer from https"
    ):
        config_of("", tmp_path).load()


def test_a_preset_gives_the_defaults_of_the_other_flags():
    assert cli.parse_run([]).model == PRESETS["multi_mnist"].model
    config = cli.parse_run(["--preset", "nine_digits", "--steps", "7"])
    assert config.model == NINE_DIGITS.model and config.data.digit_counts == tuple(range(10))
    assert config.training.steps == 7 and config.run.preset == "nine_digits"
    assert cli.parse_run(["--preset=nine_digits", "--max-objects", "4"]).model.max_objects == 4


def test_a_data_set_brings_its_preset():
    assert cli.parse_run(["--dataset", "omniglot"]).model == OMNIGLOT.model
    assert cli.parse_run(["--dataset", "images"]).model == PRESETS["multi_mnist"].model


def test_an_unknown_preset_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse_run(["--preset", "none_such"])
    assert stopped.value.code == 2 and "nine_digits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"digit_counts": (0, 3), "canvas_size": 40}, "canvas_size at least 44"),
        ({"digit_counts": ()}, "digit_counts to be different numbers"),
        ({"digit_counts": (0,)}, "one of them above 0"),
        ({"digit_counts": (1, 1)}, "different numbers"),
        ({"digit_counts": (-1, 2)}, "digit_counts at least 0"),
        ({"digit_counts": (40,), "canvas_size": 158}, "canvas_size at least 348"),
        ({"digit_counts": (1.5,)}, "digit_counts to fit: input should be a valid integer"),
        ({"test_images": 0}, "test_images at least 1"),
    ],
)
def test_digits_that_cannot_be_drawn_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MultiMNISTSettings(**fields)
