import itertools

import numpy as np
import pytest

from air_tf.evaluation import metrics

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
    assert "the same count, 3, the most there can be" in metrics.collapsed(np.full(500, 3), 3)
    assert "99%" in metrics.collapsed(np.array([1] * 498 + [2] * 4), 3)
    assert metrics.collapsed(np.array([0, 1, 2] * 50), 3) is None


def test_confusion_matrix_and_count_error():
    counts, true_counts = np.array([0, 1, 1, 3, 2]), np.array([0, 1, 2, 2, 2])
    expected = np.zeros((4, 4), int)
    for true, found in zip(true_counts, counts):
        expected[true, found] += 1
    np.testing.assert_array_equal(metrics.confusion_matrix(counts, true_counts), expected)
    assert metrics.count_error(counts, true_counts) == pytest.approx((1 + 1) / 5)
    assert metrics.count_error(np.uint8([0]), np.uint8([2])) == 2


def test_pixel_mse():
    images, others = random.random((2, 3, 4, 1)), random.random((2, 3, 4, 1))
    expected = [sum((a - b).ravel() ** 2) / 12 for a, b in zip(images, others)]
    np.testing.assert_allclose(metrics.pixel_mse(images, others), expected)


def average_precision_by_hand(detections, number_of_objects, threshold):
    """COCO's: mean over 101 recalls of the best precision at that recall or a higher one.

    Detections are (score, image, box); each takes the free true box of its image it fits best.
    """
    hits, taken = [], set()
    for _, _, candidates in sorted(detections, key=lambda d: -d[0]):
        fits = [
            (iou, name) for name, iou in candidates.items() if name not in taken and iou >= threshold
        ]
        hits.append(bool(fits))
        if fits:
            taken.add(max(fits)[1])
    hits = np.array(hits)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    recall = np.cumsum(hits) / number_of_objects
    return np.mean([max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)])


def test_average_precision_equals_its_definition():
    num_images = 60
    true_counts, counts = random.integers(0, 3, num_images), random.integers(0, 4, num_images)
    true_boxes = np.stack([random_boxes(2) for _ in range(num_images)])
    jitter = random.uniform(-0.02, 0.02, size=(num_images, 3, 4))  # the least side is 0.05
    boxes = np.concatenate([true_boxes, true_boxes[:, :1]], axis=1) + jitter
    scores = random.random((num_images, 3))
    results = metrics.average_precision(boxes, scores, counts, true_boxes, true_counts, (40, 60))
    detections = []
    for i in range(num_images):
        iou = metrics.pairwise_iou(boxes[i], true_boxes[i])
        for j in range(counts[i]):
            candidates = {(i, k): iou[j, k] for k in range(true_counts[i])}
            detections.append((scores[i, j], i, candidates))
    levels = [
        average_precision_by_hand(detections, true_counts.sum(), threshold)
        for threshold in np.arange(0.5, 1.0, 0.05)
    ]
    assert 0.1 < levels[0] < 0.9
    assert results["ap50"] == pytest.approx(levels[0], abs=1e-6)
    assert results["ap"] == pytest.approx(np.mean(levels), abs=1e-6)


def test_average_precision_of_true_boxes_is_1_and_without_boxes_0():
    boxes, ones = random_boxes(8)[:, None], np.ones(8, int)
    args = (boxes, np.full((8, 1), 0.5))
    assert metrics.average_precision(*args, ones, boxes, ones, (50, 50)) == {"ap": 1.0, "ap50": 1.0}
    nothing = metrics.average_precision(*args, 0 * ones, boxes, ones, (50, 50))
    assert nothing == {"ap": 0.0, "ap50": 0.0}


def test_foreground_ari_equals_counted_pairs():
    """The adjusted Rand index from all pairs of foreground pixels."""
    segments, true_segments = random.integers(0, 3, (4, 5, 5)), random.integers(0, 3, (4, 5, 5))
    true_segments[3] = np.minimum(true_segments[3], 1)  # one object: not in the result
    expected = []
    for found, true in zip(segments[:3], true_segments[:3]):
        found, true = found[true > 0], true[true > 0]
        pairs = list(itertools.combinations(range(len(true)), 2))
        same = np.array([(found[a] == found[b], true[a] == true[b]) for a, b in pairs])
        both, chance = same.all(axis=1).mean(), same[:, 0].mean() * same[:, 1].mean()
        expected.append((both - chance) / (same.mean() - chance))
    np.testing.assert_allclose(metrics.foreground_ari(segments, true_segments), expected)
    np.testing.assert_allclose(metrics.foreground_ari(5 - true_segments, true_segments), 1)


def test_segments_are_of_the_object_that_draws_most():
    placed = random.random((2, 2, 3, 3, 1))
    placed[:, :, 0, 0] = 0
    masks = placed[..., 0] * (np.arange(2) < np.array([[2], [1]]))[..., None, None]
    both, first = metrics.segments_of(masks)
    for y, x in itertools.product(range(3), range(3)):
        order = 1 + int(placed[0, 1, y, x, 0] > placed[0, 0, y, x, 0])
        assert both[y, x] == (order if (y, x) != (0, 0) else 0)
        assert first[y, x] == int((y, x) != (0, 0))
