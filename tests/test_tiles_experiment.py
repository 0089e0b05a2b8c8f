"""Many objects, learnt on crops and counted tile by tile."""

import numpy as np
import pytest

from air_tf.data.split import Split
from experiments import tiles
from tests.test_experiments import quickly


def test_counts_and_boxes_are_measured_against_the_truth():
    boxes = np.zeros((3, 2, 4), np.float32)
    boxes[1, 0], boxes[2] = (0.1, 0.2, 0.4, 0.6), [(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)]
    split = Split.of(np.zeros((3, 20, 40, 1), np.uint8), np.array([0, 1, 2]), boxes)
    right = [[], [(0.9, 8, 2, 16, 6)], [(0.9, 0, 0, 20, 10), (0.8, 20, 10, 20, 10)]]
    found = tiles.measured(split, right)
    assert found == {"count_accuracy": 1, "count_error": 0, "ap50": pytest.approx(1)}
    wrong = [[(0.1, 0, 0, 5, 5), (0.1, 9, 9, 5, 5)], *right[1:]]
    found = tiles.measured(split, wrong)
    assert found["count_accuracy"] == pytest.approx(2 / 3) == found["count_error"]
    assert tiles.measured(split, [[], [], []])["ap50"] == 0


@pytest.mark.slow
def test_tiles(tmp_path, cache_dir):
    [run] = quickly("tiles", tmp_path, cache_dir)
    assert 0 <= run["count_accuracy"] <= 1 and run["count_error"] >= 0 and 0 <= run["ap50"] <= 1
