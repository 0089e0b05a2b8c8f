import itertools

import numpy as np
import pytest

from air_tf import metrics

random = np.random.default_rng(0)


def random_boxes(count, size=20):
    """Boxes with corners on a grid of `size`, so that pixels can be counted."""
    low = random.integers(0, size // 2, (count, 2))
    high = low + random.integers(1, size // 2, (count, 2))
    return np.concatenate([low, high], axis=-1) / size


def pixels(box, size=20):
    mask = np.zeros((size, size), bool)
    ymin, xmin, ymax, xmax = np.round(box * size).astype(int)
    mask[ymin:ymax, xmin:xmax] = True
    return mask


def test_iou_equals_counted_pixels():
    boxes, others = random_boxes(6), random_boxes(5)
    iou = metrics.pairwise_iou(boxes, others)
    for (i, a), (j, b) in itertools.product(enumerate(boxes), enumerate(others)):
        a, b = pixels(a), pixels(b)
        assert iou[i, j] == pytest.approx((a & b).sum() / (a | b).sum())


def test_iou_of_empty_boxes_is_zero():
    assert metrics.pairwise_iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0


def test_matching_is_the_best_of_all_pairings():
    boxes, true_boxes = random_boxes(4), random_boxes(4)
    iou, _ = metrics.match_boxes(boxes, true_boxes)
    table = metrics.pairwise_iou(boxes, true_boxes)
    sums = [table[range(4), order].sum() for order in itertools.permutations(range(4))]
    assert iou.sum() == pytest.approx(max(sums))


def test_box_metrics_look_at_right_counts_only():
    true_boxes = np.array([[[0, 0, 0.5, 0.5]], [[0, 0, 0.5, 0.5]], [[0.5, 0.5, 1, 1]]])
    boxes = np.array([[[0, 0, 0.5, 0.5]], [[0.9, 0.9, 1, 1]], [[0.4, 0.5, 0.9, 1]]])
    results = metrics.box_metrics(boxes, np.array([1, 0, 1]), true_boxes, np.ones(3), (50, 50), 1)
    assert results["box_iou"] == pytest.approx((1 + 0.4 / 0.6) / 2)
    assert results["centre_error"] == pytest.approx((0 + 0.1 * 50) / 2)


def test_box_metrics_without_any_right_count_are_none():
    boxes = np.zeros((2, 1, 4))
    results = metrics.box_metrics(boxes, np.zeros(2), boxes, np.ones(2), (50, 50), 1)
    assert results == {"box_iou": None, "centre_error": None}


def test_count_accuracy_by_count():
    counts, true_counts = np.array([0, 1, 1, 3, 2]), np.array([0, 1, 2, 2, 2])
    assert metrics.count_accuracy(counts, true_counts) == pytest.approx(3 / 5)
    expected = {"0": 1.0, "1": 1.0, "2": pytest.approx(1 / 3)}
    assert metrics.count_accuracy_by_count(counts, true_counts) == expected


def test_collapse_is_noticed():
    assert "the same count, 1" in metrics.collapsed(np.ones(500, int), 3)
    assert "always N" in metrics.collapsed(np.full(500, 3), 3)
    assert "99%" in metrics.collapsed(np.array([1] * 498 + [2] * 4), 3)
    assert metrics.collapsed(np.array([0, 1, 2] * 50), 3) is None
