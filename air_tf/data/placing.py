"""Where objects lie on a canvas: inside its margin, and apart from each other as a rule wants it."""

from typing import Literal, NamedTuple

import numpy as np

MOST_POSITIONS = 50  # tried for one object, until all objects of an image are placed anew


class Rule(NamedTuple):
    """What a position has to keep to; lengths in pixels."""

    canvas_size: int
    margin: int = 0  # from the border to an object's box
    gap: int = 0  # between two objects' boxes, or inks
    overlap: Literal["box", "ink", "any"] = "any"  # what of two objects must not overlap


def place(inks: list[np.ndarray], rule: Rule, random: np.random.Generator) -> np.ndarray | None:
    """Finds a place for each object, one after the other, uniformly among those that are free.

    Args:
        inks: of each object, `(h, w)` uint8.
        rule: what the places have to keep to.
        random: source of randomness.

    Returns:
        `(n, 2)`, the objects' top and left; None if one has found no place in MOST_POSITIONS tries.
    """
    size, margin, gap, overlap = rule
    taken = np.zeros((size + 2 * gap, size + 2 * gap), bool)  # the canvas, a gap around it
    places = np.zeros((len(inks), 2), np.int32)
    for corner, ink in zip(places, inks):
        height, width = ink.shape
        own = ink > 0 if overlap == "ink" else np.ones(ink.shape, bool)
        corners = size - 2 * margin - height + 1, size - 2 * margin - width + 1
        if min(corners) < 1:
            return None
        for top, left in margin + random.integers(0, corners, (MOST_POSITIONS, 2)):
            window = taken[gap + top : gap + top + height, gap + left : gap + left + width]
            if overlap == "any" or not (window & own).any():
                break
        else:
            return None
        corner[:] = top, left
        taken[top : top + height + 2 * gap, left : left + width + 2 * gap] |= grown(own, gap)
    return places


def grown(mask: np.ndarray, gap: int) -> np.ndarray:
    """The mask `(h, w)` and all within `gap` pixels of it, `(h + 2 gap, w + 2 gap)`."""
    rows = np.zeros((mask.shape[0] + 2 * gap, mask.shape[1]), bool)
    for shift in range(2 * gap + 1):
        rows[shift : shift + mask.shape[0]] |= mask
    result = np.zeros((len(rows), mask.shape[1] + 2 * gap), bool)
    for shift in range(2 * gap + 1):
        result[:, shift : shift + mask.shape[1]] |= rows
    return result
