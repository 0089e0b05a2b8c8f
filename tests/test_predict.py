import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import predict
from air_tf import cli
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


def refusal(capsys, *images, **flags):
    """The line on the terminal of a prediction that is refused."""
    config = predict.PredictConfig(tuple(map(str, images)), **{n: str(f) for n, f in flags.items()})
    assert cli.run(lambda: predict.main(config)) == cli.EXIT_BAD_INPUT
    return capsys.readouterr().err.splitlines()[-1]


def test_nothing_is_written_where_nothing_can_be_read(folder, tmp_path, capsys):
    out = tmp_path / "out"
    given = {"model": PRETRAINED, "out": out}
    assert "that cannot" in refusal(capsys, folder / "text.png", **given)
    assert "names none" in refusal(capsys, tmp_path, **given)
    assert "Expected picture files" in refusal(capsys, **given)
    assert "Expected a SavedModel" in refusal(capsys, folder, model=tmp_path, out=out)
    assert not out.exists()


def test_folders_that_are_no_results_are_left_alone(folder, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    assert "with thesis.tex in it" in refusal(capsys, folder, model=PRETRAINED, out=other)
    album = shutil.copytree(folder, tmp_path / "album" / "pictures")
    given = {"model": PRETRAINED, "out": album.parent}
    assert "with pictures in it" in refusal(capsys, folder, **given)
    (album.parent / "predictions.csv").touch()
    assert "Expected pictures outside of" in refusal(capsys, album, **given)
    assert len(list(album.iterdir())) == len(list(folder.iterdir()))


def test_dark_ink_on_white_is_turned_round(split, tmp_path):
    [one, *_] = np.flatnonzero(split.counts == 1)
    Image.fromarray(255 - split.images[one, ..., 0]).save(tmp_path / "paper.png")
    counts = {}
    for invert in ("auto", "yes", "no"):
        place = {"model": str(PRETRAINED), "out": str(tmp_path / invert)}
        images = (str(tmp_path / "paper.png"),)
        config = predict.PredictConfig(images, **place, invert=invert, pictures=False)
        assert predict.main(config) == 0
        with open(tmp_path / invert / "predictions.csv", newline="") as file:
            counts[invert] = [row["count"] for row in csv.DictReader(file)]
    assert counts["auto"] == counts["yes"] == ["1"]
    assert counts["no"] != ["1"]
