import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from air_tf.config import DataConfig
from air_tf.data import load_splits
from air_tf.pictures import as_png
from air_tf.serving import PRETRAINED


@pytest.fixture(scope="module")
def split(cache_dir):
    return load_splits(DataConfig(digits="embedded", cache_dir=str(cache_dir))).splits["test"][:12]


@pytest.fixture(scope="module")
def folder(split, tmp_path_factory):
    """Twelve images as files, and two that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(split.images):
        Image.fromarray(image[..., 0]).resize((100, 100)).save(folder / f"{i:02}.png")
    (folder / "text.png").write_text("not a picture")
    whole = as_png(np.repeat(split.images[0], 3, axis=-1))
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def test_files_become_a_table_boxes_and_pictures(folder, split, run_script, tmp_path):
    out = tmp_path / "out"
    done = run_script(
        "predict.py", f"{folder}/*", "--model", PRETRAINED, "--out", out, "--batch-size", 5
    )
    assert done.returncode == 1, done.stderr
    assert "text.png" in done.stderr and "cut.jpg" in done.stderr
    assert "12 of 14 pictures" in done.stdout
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(folder / f"{i:02}.png") for i in range(12)]
    counts = np.array([int(row["count"]) for row in rows])
    assert (counts == split.counts).sum() >= 11
    record = json.loads((out / "predictions.json").read_text())
    assert [image["file_name"] for image in record["images"]] == [row["file"] for row in rows]
    for i, (count, true_boxes) in enumerate(zip(counts, split.boxes)):
        found = [a["bbox"] for a in record["annotations"] if a["image_id"] == i]
        assert len(found) == count
        if count == split.counts[i] == 1:  # in pixels of the file, twice the size
            x, y, width, height = found[0]
            np.testing.assert_allclose([y, x, y + height, x + width], true_boxes[0] * 100, atol=8)
        with Image.open(out / "pictures" / f"{i:05}-{i:02}.png") as picture:
            assert picture.size == (100, 100)
            coloured = (np.ptp(np.asarray(picture).astype(int), axis=-1) > 50).any()
        assert coloured == (count > 0)


def test_nothing_is_written_where_nothing_can_be_read(folder, run_script, tmp_path):
    out = tmp_path / "out"
    for images, words in [(folder / "text.png", "that cannot"), (tmp_path, "names none")]:
        done = run_script("predict.py", images, "--model", PRETRAINED, "--out", out)
        assert done.returncode == 2 and words in done.stderr.splitlines()[-1]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    done = run_script("predict.py", folder, "--model", PRETRAINED, "--out", tmp_path / "other")
    assert done.returncode == 2 and "thesis.tex" in done.stderr
    done = run_script("predict.py", folder, "--model", tmp_path)
    assert done.returncode == 2 and "Expected a SavedModel" in done.stderr
    assert not out.exists()
    album = shutil.copytree(folder, tmp_path / "album" / "pictures")
    for images in (album, folder):  # one that would be replaced, and a folder that is no result
        done = run_script("predict.py", images, "--model", PRETRAINED, "--out", album.parent)
        assert done.returncode == 2 and "Expected" in done.stderr.splitlines()[-1]
    assert len(list(album.iterdir())) == len(list(folder.iterdir()))


def test_dark_ink_on_white_is_turned_round(split, run_script, tmp_path):
    [one, *_] = np.flatnonzero(split.counts == 1)
    Image.fromarray(255 - split.images[one, ..., 0]).save(tmp_path / "paper.png")
    counts = {}
    for invert in ("auto", "yes", "no"):
        flags = ["--model", PRETRAINED, "--out", tmp_path / invert, "--invert", invert, "--no-pictures"]
        assert run_script("predict.py", tmp_path / "paper.png", *flags).returncode == 0
        with open(tmp_path / invert / "predictions.csv", newline="") as file:
            counts[invert] = [row["count"] for row in csv.DictReader(file)]
    assert counts["auto"] == counts["yes"] == ["1"]
    assert counts["no"] != ["1"]
