"""Which pixels belong to which object."""

from collections.abc import Callable

import numpy as np

from air_tf.data.split import Split

Ink = Callable[[np.ndarray], tuple[np.ndarray, int, int]]  # placement to (h, w) uint8, top, left


def ink_edges(image: np.ndarray) -> np.ndarray:
    """Edges of the pixels above 0, (ymin, xmin, ymax, xmax) in pixels; all 0 without any."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if not len(rows):
        return np.zeros(4, np.int64)
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def segments(draw: Ink, split: Split) -> np.ndarray:
    """Which object each pixel belongs to: the one with most ink there, the first of several.

    Args:
        draw: an object's ink, and where its first row and column lie.
        split: images.

    Returns:
        `(S, H, W)` integers: 0 for the background, i for object i (from 1).
    """
    most = split.placements.shape[1]
    result = np.zeros(split.images.shape[:3], np.uint8 if most <= 255 else np.uint16)
    for segment, count, placements in zip(result, split.counts, split.placements):
        brightest = np.zeros(segment.shape, np.uint8)
        for i, placement in enumerate(placements[:count], start=1):
            ink, top, left = draw(placement)
            window = np.s_[top : top + ink.shape[0], left : left + ink.shape[1]]
            brighter = ink > brightest[window]
            segment[window][brighter] = i
            brightest[window] = np.maximum(ink, brightest[window])
    return result
