"""What is measured, as plain functions on arrays.

Boxes are (ymin, xmin, ymax, xmax) as fractions of the image.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment


def count_accuracy(counts: np.ndarray, true_counts: np.ndarray) -> float:
    """Share of images whose count is right."""
    return float(np.mean(counts == true_counts))


def count_accuracy_by_count(counts: np.ndarray, true_counts: np.ndarray) -> dict[str, float]:
    """`count_accuracy` of the images with each true count."""
    by_count = (true_counts == count for count in np.unique(true_counts))
    return {
        str(true_counts[these][0]): count_accuracy(counts[these], true_counts[these])
        for these in by_count
    }


def collapsed(counts: np.ndarray, max_objects: int, share: float = 0.99) -> str | None:
    """How the counts have collapsed, in words, or None if they have not.

    A model that counts has seen images of different counts; one that gives (nearly) all images the
    same count, in `share` of them, does not count.
    """
    count, size = max(zip(*np.unique(counts, return_counts=True)), key=lambda pair: pair[1])
    if size < share * len(counts):
        return None
    always = "always N, the most objects" if count == max_objects else "the same count"
    return f"{size / len(counts):.0%} of the images are given {always}, {count}"


def pairwise_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of each of `(n, 4)` with each of `(m, 4)`: `(n, m)`."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    intersection = np.prod(np.maximum(high - low, 0.0), axis=-1)
    union = _area(boxes)[:, None] + _area(others)[None] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)


def match_boxes(boxes: np.ndarray, true_boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs boxes `(n, 4)` with true ones `(m, 4)` so that the sum of IoU is greatest.

    Returns:
        IoU of each pair, `(k,)`, and the vector from true to inferred centre, (y, x), `(k, 2)`, with
        k = min(n, m).
    """
    iou = pairwise_iou(boxes, true_boxes)
    rows, columns = linear_sum_assignment(iou, maximize=True)
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
