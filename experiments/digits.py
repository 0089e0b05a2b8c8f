"""What the experiments on images of digits ask of a data set."""

import numpy as np

from air_tf.data.split import Split
from air_tf.evaluation.metrics import pairwise_iou


def held_out_digits(splits: dict[str, Split]) -> Split:
    """Images of digits that no training image has."""
    return splits.get("test_digits", splits["test"])


def apart(boxes: np.ndarray) -> np.ndarray:
    """Whether no two of each image's boxes `(S, M, 4)` overlap, `(S,)`."""
    return np.array([not np.triu(pairwise_iou(each, each), 1).any() for each in boxes])
