"""Which pixels belong to which object."""

from collections.abc import Callable

import numpy as np

from air_tf.data.split import Split

LEAST_SHOWN = 0.2  # of an object's pixels, for it to be told from others
Ink = Callable[[np.ndarray], tuple[np.ndarray, int, int]]  # placement to (h, w) uint8, top, left


def ink_edges(image: np.ndarray) -> np.ndarray:
    """Edges of the pixels above 0, (ymin, xmin, ymax, xmax) in pixels; all 0 without any."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if not len(rows):
        return np.zeros(4, np.int64)
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def segments(draw: Ink, split: Split, hide: bool = False) -> np.ndarray:
    """Which object each pixel belongs to: the one with most ink there, the first of several.

    Args:
        draw: an object's ink, and where its first row and column lie.
        split: images.
        hide: objects hide those before them: the last one with ink there.

    Returns:
        `(S, H, W)` integers: 0 for the background, i for object i (from 1).
    """
    most = split.placements.shape[1]
    result = np.zeros(split.images.shape[:3], np.uint8 if most <= 255 else np.uint16)
    for segment, count, placements in zip(result, split.counts, split.placements):
        fullest = np.zeros(segment.shape, np.uint8)
        for i, placement in enumerate(placements[:count], start=1):
            ink, top, left = draw(placement)
            window = np.s_[top : top + ink.shape[0], left : left + ink.shape[1]]
            shows = ink > (0 if hide else fullest[window])
            segment[window][shows] = i
            fullest[window] = np.maximum(ink, fullest[window])
    return result


def whole(draw: Ink, split: Split) -> np.ndarray:
    """The pixels of each object, hidden ones too: `(S, M, H, W)` bool."""
    result = np.zeros((*split.placements.shape[:2], *split.images.shape[1:3]), bool)
    for masks, count, placements in zip(result, split.counts, split.placements):
        for mask, placement in zip(masks[:count], placements):
            ink, top, left = draw(placement)
            mask[top : top + ink.shape[0], left : left + ink.shape[1]] = ink > 0
    return result


def inseparable(masks: np.ndarray, hide: bool) -> np.ndarray:
    """In which images nobody could tell all objects apart: one shows less than a fifth of its pixels.

    Of objects that hide those before them, a pixel shows the last one there. Of objects that are added
    up, a pixel in which several lie shows none of them by itself.

    Args:
        masks: the pixels of each object, hidden ones too, `(S, M, H, W)` bool.
        hide: whether objects hide those before them; else they are added up.

    Returns:
        `(S,)` bool.
    """
    if hide:
        after = np.cumsum(masks[:, ::-1], axis=1, dtype=np.int32)[:, ::-1] - masks
    else:
        after = masks.sum(axis=1, keepdims=True, dtype=np.int32) - masks
    shown = (masks & (after == 0)).sum(axis=(2, 3))
    return (shown < LEAST_SHOWN * masks.sum(axis=(2, 3))).any(axis=1)


def overlapping(masks: np.ndarray) -> np.ndarray:
    """In which images two objects have a pixel in common, `(S,)`, from masks as of `inseparable`."""
    return (masks.sum(axis=1, dtype=np.int32) > 1).any(axis=(1, 2))
