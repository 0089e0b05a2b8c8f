import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from air_tf import memory, replaced
from air_tf.commands import evaluate
from air_tf.config import Config, ModelConfig, RunConfig, TrainingConfig
from air_tf.data import pictures, proposal
from air_tf.data.own_images import OwnImagesSettings
from air_tf.data.pictures import is_held_out
from air_tf.data.split import UNKNOWN
from air_tf.preparation import Preparation
from air_tf.training.loop import train
from air_tf.training.run_record import load_model

random = np.random.default_rng(0)


def draw(folder, number=20, size=(60, 40), ground=200, ink=40):
    """Pictures with a square in a random place; those with an even number have none."""
    folder.mkdir(exist_ok=True)
    corners = {}
    for i in range(number):
        picture = np.full(size, ground, np.uint8)
        if i % 2:
            top, left = random.integers(0, size[0] - 12), random.integers(0, size[1] - 12)
            picture[top : top + 12, left : left + 12] = ink
            corners[f"{i:02}.png"] = int(left), int(top)
        Image.fromarray(picture).save(folder / f"{i:02}.png")
    return corners


SMALL = {
    "max_objects": 2, "glimpse_size": 12, "z_what_size": 4, "embedding_units": 8, "lstm_units": 8,
    "hidden_units": 8,
}  # fmt: skip


def write_boxes(folder, corners, number=20):
    images = [{"id": i, "file_name": f"{i:02}.png"} for i in range(number)]
    annotations = [
        {"id": i, "image_id": int(name[:2]), "category_id": 1, "bbox": [*corner, 12, 12]}
        for i, (name, corner) in enumerate(corners.items())
    ]
    (folder / "boxes.json").write_text(json.dumps({"images": images, "annotations": annotations}))


def write_counts(folder, rows):
    with open(folder / "counts.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "count"), *rows])


@pytest.fixture
def config(tmp_path):
    return OwnImagesSettings(
        images=str(tmp_path / "own"), image_size=(30, 30),
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "own"


def all_of(dataset):
    return [np.concatenate([getattr(s, name) for s in dataset.splits.values()])
            for name in ("images", "counts", "boxes")]  # fmt: skip


def test_dark_squares_come_out_light_with_their_boxes(config, folder):
    write_boxes(folder, draw(folder))
    dataset = config.load()
    expected = {"image_shape": (30, 30, 1), "dark_objects": True, "subtract_ground": True}
    assert dataset.model_settings == expected
    assert set(dataset.splits) == {"train", "test"} and min(map(len, dataset.splits.values())) > 0
    images, counts, boxes = all_of(dataset)
    assert sorted(counts) == [0] * 10 + [1] * 10
    for image, box in zip(images[counts == 1], boxes[counts == 1, 0]):
        bright = image[..., 0] > 0.5 * image.max()
        rows, columns = np.nonzero(bright)
        ink = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]) / 30
        np.testing.assert_allclose(box, ink, atol=1.01 / 30)  # 60 x 40 is shrunk by 1/2
    assert not images[counts == 0].any() and not boxes[counts == 0].any()


@pytest.mark.parametrize(
    "ground, ink, invert, dark",
    [(200, 40, "auto", True), (10, 240, "auto", False), (120, 200, "auto", False),
     (200, 40, "no", False), (10, 240, "yes", True)],
)  # fmt: skip
def test_polarity(config, folder, ground, ink, invert, dark):
    draw(folder, ground=ground, ink=ink)
    dataset = replaced(config, invert=invert).load()
    assert dataset.model_settings["dark_objects"] is dark


def test_the_object_size_sets_the_scale_prior(config, folder):
    draw(folder)
    dataset = replaced(config, object_size=12).load()
    # 12 pixels of 60 x 40 are 6 of 30; the window is 1.1 times that
    mean, deviation = dataset.model_settings["scale_prior"]
    assert mean == pytest.approx(30 / 6.6, abs=1e-3)
    assert deviation / mean == pytest.approx(0.2 / 3.0, abs=1e-3)
    assert "Objects of 12 pixels are 6.0 of the model's 30" in dataset.description
    for size in (0.5, 100):
        with pytest.raises(ValueError, match="Expected an object_size between"):
            replaced(config, object_size=size).load()


def test_counts_are_known_only_where_they_are_given(config, folder):
    draw(folder)
    _, counts, boxes = all_of(config.load())
    assert (counts == UNKNOWN).all() and boxes.shape == (20, 0, 4)
    write_counts(folder, [("00.png", 0), ("01.png", 3), ("other.png", 5)])
    _, counts, _ = all_of(config.load())
    assert sorted(counts) == [UNKNOWN] * 18 + [0, 3]


@pytest.mark.parametrize(
    "name, text", [("counts.csv", "file,count\n00.png,many\n"), ("boxes.json", "{")]
)
def test_labels_in_another_layout_are_refused(config, folder, name, text):
    draw(folder)
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=f"Expected .* in .*{re.escape(name)}. Received"):
        config.load()


@pytest.mark.parametrize("name", [b"\xff\n.png", b"n" * 251 + b".png"])
def test_files_may_have_any_name(config, folder, capsys, name):
    draw(folder, number=6)
    os.rename(os.fsencode(folder / "01.png"), os.fsencode(folder) + b"/" + name)
    (folder / os.fsdecode(b"\xfe.png")).write_text("no picture")
    dataset = replaced(config, images=f"{folder}/*").load()
    assert len(all_of(dataset)[0]) == 6
    assert dataset.description.isprintable()
    assert r"\udcfe.png" in capsys.readouterr().err


def test_others_are_looked_at_in_place_of_broken_pictures(config, folder):
    """Every second file of forty is looked at, and all of those are broken."""
    draw(folder, number=40)
    for i in range(0, 40, 2):
        (folder / f"{i:02}.png").write_text("no picture")
    dataset = config.load()
    assert dataset.model_settings["dark_objects"] is True
    assert len(all_of(dataset)[0]) == 20
    for file in folder.iterdir():
        file.write_text("no picture")
    with pytest.raises(ValueError, match="pictures that can be read. Received: 40 that cannot"):
        config.load()


def test_other_pictures_of_equal_names_sizes_and_times_are_read_anew(config, folder, tmp_path):
    """And so are other labels."""

    def load(name, ink, count):
        place = tmp_path / name
        place.mkdir()
        for i in range(4):
            pixels = np.full((20, 20), 200, np.uint8)
            pixels[5:9, 5:9] = ink
            Image.fromarray(pixels).save(place / f"{i}.png", compress_level=0)
        write_counts(place, [("0.png", count)])
        for file in place.iterdir():
            os.utime(file, (1, 1))
        dataset = replaced(config, images=str(place)).load()
        return dataset.fingerprint, *all_of(dataset)[:2]

    first, images, counts = load("first", 10, 1)
    again, same_images, other_counts = load("again", 10, 2)
    assert first == again and (images == same_images).all()
    assert counts.max() == 1 and other_counts.max() == 2
    other, other_images, _ = load("other", 99, 1)
    assert first != other and (images != other_images).any()


def test_more_pictures_than_memory_holds_are_refused_before_they_are_read(config, folder, monkeypatch):
    draw(folder, number=4)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 3 * 4 * 30 * 30 - 1)
    for module in (pictures, proposal):
        monkeypatch.setattr(module, "read_picture", lambda *_: pytest.fail("read"))
    with pytest.raises(ValueError, match=r"4 pictures of \(30, 30, 1\) pixels to fit into"):
        config.load()


def test_a_bad_file_is_reported_and_left_out(config, folder, capsys):
    draw(folder, number=6)
    (folder / "bad.png").write_text("no picture")
    assert len(all_of(config.load())[0]) == 6
    assert "bad.png" in capsys.readouterr().err


def test_changed_files_are_read_anew(config, folder):
    draw(folder, number=6)
    first = config.load()
    again = config.load()
    assert first.fingerprint == again.fingerprint
    draw(folder, number=8)
    assert len(all_of(config.load())[0]) == 8


def test_a_picture_stays_held_out_whatever_is_added():
    paths = [Path(f"{i:04}.png") for i in range(2000)]
    held_out = is_held_out(paths)
    assert 0.08 < held_out.mean() < 0.12
    np.testing.assert_array_equal(is_held_out(paths[500:]), held_out[500:])
    np.testing.assert_array_equal(sorted(is_held_out(paths[:2])), [False, True])


def test_pictures_of_one_name_in_many_folders_are_held_out_one_by_one():
    paths = [Path("data", f"{i:04}", "frame.png") for i in range(2000)]
    held_out = is_held_out(paths)
    assert 0.08 < held_out.mean() < 0.12
    np.testing.assert_array_equal(is_held_out(paths[500:]), held_out[500:])
    np.testing.assert_array_equal(is_held_out([Path("elsewhere") / path for path in paths]), held_out)


def test_labels_are_no_part_of_what_a_run_is_trained_on(config, folder):
    draw(folder)
    before = config.load().fingerprint
    write_counts(folder, [("00.png", 0)])
    os.utime(folder / "01.png", (1, 1))
    assert config.load().fingerprint == before
    (folder / "00.png").unlink()
    assert config.load().fingerprint != before


def test_a_count_in_counts_csv_comes_before_that_of_the_boxes(config, folder):
    write_boxes(folder, draw(folder))
    (folder / "counts.csv").write_bytes("\ufefffile,count\r\n00.png,2\r\n".encode())  # as from Excel
    _, counts, _ = all_of(config.load())
    assert sorted(counts) == [0] * 9 + [1] * 10 + [2]


def test_flags_that_do_nothing_are_refused(config, folder, tmp_path):
    for flags in ({"object_size": 9.0}, {"channels": 3}, {"image_size": (60, 60)}, {"invert": "no"}):
        with pytest.raises(ValueError, match=f"Expected {next(iter(flags))} only with dataset .*images"):
            replaced(Config(), **flags)
    draw(folder)
    data = replaced(config, object_size=12.0)
    run = RunConfig(runs_dir=str(tmp_path / "runs"))
    with pytest.raises(ValueError, match="Expected either --object-size or --scale-prior"):
        train(
            Config(data, replaced(ModelConfig(), scale_prior=(2.0, 0.1)), TrainingConfig(steps=2), run)
        )


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--dataset images together with --images"):
        OwnImagesSettings().load()
    with pytest.raises(ValueError, match="Expected images only with dataset images"):
        replaced(Config(), images="x")
    empty = OwnImagesSettings(images=str(tmp_path), cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="which names none"):
        empty.load()


@pytest.mark.usefixtures("eagerly")
def test_a_run_without_labels_says_null_and_its_model_takes_files(config, folder, tmp_path):
    draw(folder)
    model = replaced(ModelConfig(), **SMALL)
    training = TrainingConfig(steps=4, batch_size=8, evaluate_every=2, checkpoint_every=4)
    run = RunConfig(runs_dir=str(tmp_path / "runs"))
    run_folder, metrics = train(Config(config, model, training, run))
    assert run_folder.name == "images-seed0"
    assert metrics["count_accuracy"] is None and metrics["count_accuracy_by_count"] == {}
    assert sum(metrics["count_histogram"].values()) == pytest.approx(1)
    assert metrics["digits"] == "none" and metrics["dataset"] == "images"
    loaded = load_model(run_folder)
    assert loaded.config.preparation == Preparation(dark_objects=True, subtract_ground=True)
    file = (folder / "01.png").read_bytes()
    prepared = loaded.prepare([file]).numpy()
    dataset = config.load()
    nearest = min(np.abs(prepared - image / 255).max() for image in all_of(dataset)[0])
    assert nearest < 1.01 / 255
    assert loaded.infer_encoded([file]).counts.shape == (1,)


@pytest.mark.usefixtures("eagerly")
def test_what_can_be_seen_without_labels_is_shown(config, folder, tmp_path):
    draw(folder)
    model = replaced(ModelConfig(), **SMALL)
    training = TrainingConfig(steps=2, batch_size=8)
    run_folder, _ = train(Config(config, model, training, RunConfig(runs_dir=str(tmp_path / "runs"))))
    # the data set's settings are the run's
    evaluate.main(evaluate.parse(["--run", str(run_folder), "--cache-dir", config.cache_dir]))
    out = run_folder / "evaluation" / "test"
    record = json.loads((out / "evaluation.json").read_text())
    assert record["count_accuracy"] is None and record["foreground_ari"] is None
    assert "confusion_matrix" not in record and "ap50" not in record
    assert record["pixel_mse"] > 0 and record["images"] == len(config.load().splits["test"])
    figures = {path.stem for path in (out / "figures").iterdir()}
    assert {"counts", "failures", "progress"} <= figures and "confusion" not in figures


def test_stopping_by_labels_needs_labels(config, folder, tmp_path):
    draw(folder)
    training = TrainingConfig(steps=2, batch_size=8, stop_at_accuracy=0.5)
    run = RunConfig(runs_dir=str(tmp_path / "runs"))
    with pytest.raises(ValueError, match="Expected images with counts"):
        train(Config(config, replaced(ModelConfig(), glimpse_size=12), training, run))
    training = TrainingConfig(steps=2, batch_size=8, fresh_images=True)
    with pytest.raises(ValueError, match="Expected a generated data set"):
        train(Config(config, replaced(ModelConfig(), glimpse_size=12), training, run))
