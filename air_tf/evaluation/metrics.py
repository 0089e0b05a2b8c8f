"""What is measured, as plain functions on arrays.

Boxes are (ymin, xmin, ymax, xmax) as fractions of the image. Counts are `(S,)` integers.

References:
    [1] Lin et al. 2014, Microsoft COCO. arXiv 1405.0312; its metrics are those of pycocotools.
    [2] Hubert and Arabie 1985, Comparing partitions. Journal of Classification 2.
    [3] Greff et al. 2019, IODINE. arXiv 1903.00450, section 4: the index on foreground pixels.
"""

import contextlib
import io

import numpy as np
from scipy.optimize import linear_sum_assignment


def count_accuracy(counts: np.ndarray, true_counts: np.ndarray) -> float:
    """Share of images whose count is right.

    >>> count_accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1]))
    0.75
    """
    return float(np.mean(counts == true_counts))


def count_accuracy_by_count(counts: np.ndarray, true_counts: np.ndarray) -> dict[str, float]:
    """`count_accuracy` of the images with each true count."""
    by_count = (true_counts == count for count in np.unique(true_counts))
    return {
        str(true_counts[these][0]): count_accuracy(counts[these], true_counts[these])
        for these in by_count
    }


def count_error(counts: np.ndarray, true_counts: np.ndarray) -> float:
    """Mean of |inferred - true count|, objects.

    >>> count_error(np.array([0, 3]), np.array([0, 1]))
    1.0
    """
    return float(np.mean(np.abs(np.subtract(counts, true_counts, dtype=np.int64))))


def confusion_matrix(counts: np.ndarray, true_counts: np.ndarray) -> np.ndarray:
    """Images with each true (row) and inferred (column) count, from 0 to the greatest of both."""
    size = max(counts.max(), true_counts.max()) + 1
    return np.bincount(true_counts * size + counts, minlength=size**2).reshape(size, size)


def pixel_mse(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Mean squared error of each image's pixels, `(S,)`; `(S, H, W, C)` in [0, 1] both."""
    return np.mean(np.square(images - reconstructions), axis=(1, 2, 3))


def collapsed(counts: np.ndarray, max_objects: int, share: float = 0.99) -> str | None:
    """How the counts have collapsed, in words, or None if they have not.

    A model that counts has seen images of different counts; one that gives (nearly) all images the
    same count, in `share` of them, does not count.
    """
    count, size = max(zip(*np.unique(counts, return_counts=True)), key=lambda pair: pair[1])
    if size < share * len(counts):
        return None
    most = ", the most there can be" if count == max_objects else ""
    return f"{size / len(counts):.0%} of the images are given the same count, {count}{most}"


def pairwise_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of each of `(n, 4)` with each of `(m, 4)`: `(n, m)`.

    >>> halves = np.array([[0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]])
    >>> pairwise_iou(halves, np.array([[0.0, 0.0, 1.0, 1.0]])).tolist()
    [[0.5], [0.5]]
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    intersection = np.prod(np.maximum(high - low, 0.0), axis=-1)
    union = _area(boxes)[:, None] + _area(others)[None] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)


def match_pairs(boxes: np.ndarray, true_boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of boxes `(n, 4)` and true ones `(m, 4)` so paired that the sum of IoU is greatest."""
    return linear_sum_assignment(pairwise_iou(boxes, true_boxes), maximize=True)


def match_boxes(boxes: np.ndarray, true_boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well boxes `(n, 4)` and true ones `(m, 4)` fit, paired by `match_pairs`.

    Returns:
        IoU of each pair, `(k,)`, and the vector from true to inferred centre, (y, x), `(k, 2)`, with
        k = min(n, m).
    """
    iou = pairwise_iou(boxes, true_boxes)
    rows, columns = match_pairs(boxes, true_boxes)
    centres, true_centres = ((b[:, :2] + b[:, 2:]) / 2 for b in (boxes, true_boxes))
    return iou[rows, columns], centres[rows] - true_centres[columns]


def box_metrics(
    boxes, counts, true_boxes, true_counts, image_size, count: int
) -> dict[str, float | None]:
    """Mean IoU and centre error on the images with `count` objects that are counted right.

    Args:
        boxes: `(B, N, 4)`.
        counts: `(B,)`.
        true_boxes: `(B, M, 4)`, tight.
        true_counts: `(B,)`.
        image_size: `(height, width)` in pixels.
        count: objects in the images to look at.

    Returns:
        `box_iou` (fraction) and `centre_error` (pixels), means over objects; None without any.
    """
    images = np.flatnonzero((counts == count) & (true_counts == count))
    if not len(images):
        return {"box_iou": None, "centre_error": None}
    pairs = [match_boxes(boxes[i, :count], true_boxes[i, :count]) for i in images]
    iou, offsets = (np.concatenate(values) for values in zip(*pairs))
    distance = np.linalg.norm(offsets * np.asarray(image_size), axis=-1)
    return {"box_iou": float(iou.mean()), "centre_error": float(distance.mean())}


def average_precision(
    boxes: np.ndarray, scores: np.ndarray, counts: np.ndarray, true_boxes: np.ndarray,
    true_counts: np.ndarray, image_size: tuple[int, int],
) -> dict[str, float]:  # fmt: skip
    """COCO's average precision [1] of the counted boxes, ranked by their scores.

    Args:
        boxes: `(S, N, 4)`, of which the first `counts` are detections.
        scores: `(S, N)`.
        counts: inferred.
        true_boxes: `(S, M, 4)`.
        true_counts: of objects.
        image_size: `(height, width)` in pixels.

    Returns:
        `ap50`, at an IoU of 0.5, and `ap`, its mean over IoU from 0.5 to 0.95: from 0 to 1.
    """
    if not counts.any() or not true_counts.any():
        return {"ap": 0.0, "ap50": 0.0}
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = COCO(), COCO()
    truth.dataset = _coco(true_boxes, np.ones(true_boxes.shape[:2]), true_counts, image_size)
    found.dataset = _coco(boxes, scores, counts, image_size)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0, -1]  # (IoU, recall)
    return {"ap": float(precision.mean()), "ap50": float(precision[0].mean())}


def _coco(boxes, scores, counts, image_size) -> dict:
    """The first `counts` boxes of each image in COCO's layout, pixels."""
    height, width = image_size
    image_of, object_of = np.nonzero(np.arange(boxes.shape[1]) < counts[:, None])
    annotations = []
    for i, (image, each) in enumerate(zip(image_of.tolist(), object_of.tolist()), start=1):
        ymin, xmin, ymax, xmax = (boxes[image, each] * [height, width, height, width]).tolist()
        box = [xmin, ymin, xmax - xmin, ymax - ymin]
        annotations.append(
            {"id": i, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3],
             "iscrowd": 0, "score": float(scores[image, each])}
        )  # fmt: skip
    images = [{"id": i, "height": height, "width": width} for i in range(len(counts))]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1}]}


def foreground_ari(segments: np.ndarray, true_segments: np.ndarray) -> np.ndarray:
    """Adjusted Rand index [2] over the pixels of true objects [3], of each image with two or more.

    A single object is left out: there is nothing to tell apart, and finding nothing would score 1.

    Args:
        segments: `(S, H, W)` integers, the inferred object of each pixel.
        true_segments: the same, 0 for the background.

    Returns:
        `(images with two or more objects,)`: 1 for the same partition, about 0 for a random one.
    """
    from sklearn.metrics import adjusted_rand_score

    pairs = (
        (found, true)
        for found, true in zip(segments, true_segments)
        if len(np.unique(true[true > 0])) > 1
    )
    return np.array([adjusted_rand_score(t[t > 0], s[t > 0]) for s, t in pairs])


def segments_of(masks: np.ndarray) -> np.ndarray:
    """Which counted object shows most in each pixel.

    Args:
        masks: how much of each pixel each object shows, `(S, N, H, W)`; 0 of those not counted.

    Returns:
        `(S, H, W)`: 0 where none shows anything, i for object i (from 1).
    """
    return np.where(masks.max(axis=1) > 0, masks.argmax(axis=1) + 1, 0)
