"""The coins of a photograph that examples/photograph.py counts."""

import json
import sys

import numpy as np
import pytest
from scipy import ndimage

from air_tf.data.pictures import is_held_out
from air_tf.image_files import picture_size
from examples import photograph
from tests.conftest import run_eagerly

QUICK = (
    "--max-objects 2 --batch-size 4 --steps-per-call 2 --glimpse-size 8 --embedding-units 8 "
    "--lstm-units 8 --hidden-units 8 --z-what-size 4 --train-images 40 --test-images 20"
)


def test_the_true_boxes_are_those_of_24_coins_that_lie_apart():
    """A coin is lighter than its surroundings, and no box reaches into another."""
    picture = pytest.importorskip("skimage.data").coins()
    boxes = photograph.true_boxes(picture)
    edges = np.round(boxes * np.tile(picture.shape, 2)).astype(int)
    assert boxes.shape == (24, 4)
    covered = np.zeros(picture.shape, int)
    for top, left, bottom, right in edges:
        covered[top:bottom, left:right] += 1
        inside = picture[top:bottom, left:right].mean()
        around = picture[max(0, top - 6) : bottom + 6, max(0, left - 6) : right + 6].mean()
        assert inside > around
    assert covered.max() == 1
    assert ndimage.label(covered)[1] <= 24


def test_the_true_boxes_score_one_and_a_box_elsewhere_costs_precision():
    picture = pytest.importorskip("skimage.data").coins()
    edges = photograph.true_boxes(picture) * np.tile(picture.shape, 2)
    found = [
        {"bbox": [xmin, ymin, xmax - xmin, ymax - ymin], "score": 0.9}
        for ymin, xmin, ymax, xmax in edges.tolist()
    ]
    assert photograph.score(found, picture) == {"count": 24, "true_count": 24, "ap50": 1.0}
    elsewhere = {"bbox": [0, 0, 20, 20], "score": 1.0}
    measured = photograph.score([elsewhere, *found[1:]], picture)
    assert measured["count"] == 24 and measured["ap50"] < 0.97


@pytest.mark.slow
def test_one_command_trains_counts_and_draws(tmp_path, monkeypatch, capsys):
    pytest.importorskip("skimage")
    out = tmp_path / "photograph"
    flags = ["--out", str(out), "--steps", "2", f"--flags={QUICK}"]
    monkeypatch.setattr(sys, "argv", ["photograph", *flags])
    with run_eagerly():
        assert photograph.main() == 0
    printed = capsys.readouterr().out
    found = json.loads((out / "counted" / "predictions.json").read_text())["annotations"]
    assert f"{len(found)} coins of 24" in printed
    whole, left = (picture_size(out / name) for name in ("whole.png", "halves/left.png"))
    assert whole == (303, 384) and left == (303, 192)
    assert is_held_out(sorted((out / "halves").iterdir())).tolist() == [False, True]
    [picture] = (out / "counted" / "pictures").iterdir()
    assert picture_size(picture) == whole and str(picture) in printed
    result = json.loads((out / "result.json").read_text())
    assert result["count"] == len(found) and result["seed"] == 0
    with pytest.raises(ValueError, match="Expected a new folder"):
        photograph.main()
