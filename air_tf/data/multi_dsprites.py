"""Small coloured shapes on black that may overlap, as an AIR in PyTorch was trained on.

References:
    [1] Dittadi, multi-object-datasets. https://github.com/addtt/multi-object-datasets
"""

import functools

import numpy as np

from air_tf.data import glyphs
from air_tf.data.base import Dataset, GeneratedBase
from air_tf.data.glyphs import Glyphs
from air_tf.parts import kind
from air_tf.validation import Images, settings

CANVAS_SIZE, SIDE, MOST = 64, 18, 2  # of the images and of a shape, in pixels; shapes in an image
SCALES, NUM_ANGLES = np.linspace(0.5, 1.0, 6), 40
SHAPES = "square", "triangle", "ellipse"  # labels 0, 1 and 2
COLOURS = {
    "white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255),
    "yellow": (255, 255, 0), "magenta": (255, 0, 255), "cyan": (0, 255, 255),
}  # fmt: skip
EDGE = 1e-9  # a pixel's centre on an edge is inside


@settings
class MultiDspritesSettings(GeneratedBase):
    """Coloured squares, triangles and ellipses of up to 18 pixels, 0 to 2 on 64 x 64 (addtt's)."""

    dataset: kind("multi_dsprites") = "multi_dsprites"

    train_images: Images = 90_000
    """Images to train on."""

    def load(self) -> Dataset:
        bank = dsprites()
        line = "Multi-dSprites: coloured squares, triangles and ellipses."
        place = glyphs.anywhere(MOST, CANVAS_SIZE)
        return glyphs.dataset(
            self, {"train": bank, "test": bank}, place, CANVAS_SIZE, self.dataset, line
        )


def dsprites() -> Glyphs:
    """All 5,040 shapes: 6 scales, 40 angles, 3 shapes, 7 colours."""
    angles = 2 * np.pi * np.arange(NUM_ANGLES) / NUM_ANGLES
    filled = [of(scale, angle) for scale in SCALES for angle in angles for of in FILLS]
    masks, colours = np.array(filled)[:, None, :, :, None], np.array([*COLOURS.values()], np.uint8)
    images = (masks * colours[:, None, None]).reshape(-1, SIDE, SIDE, 3)
    labels = np.arange(len(filled)).repeat(len(COLOURS)) % len(SHAPES)
    return Glyphs.of(images, labels, SIDE)


def polygon(corners: int, scale: float, angle: float) -> np.ndarray:
    """The pixels of a regular polygon, `(18, 18)` bool; the first corner lies at the angle."""
    half, turn = SIDE / 2, 2 * np.pi / corners
    y, x = (np.indices((SIDE, SIDE)) - half) / half
    middles = angle + turn * (np.arange(corners) + 0.5)  # of the edges, seen from the centre
    outward = np.sin(middles)[:, None, None] * x + np.cos(middles)[:, None, None] * y
    return (outward <= scale * np.cos(turn / 2) + EDGE).all(axis=0)


def ellipse(scale: float, angle: float) -> np.ndarray:
    """The pixels of an ellipse of half axes 1 and 2/3, times half the patch and the scale."""
    y, x = (np.indices((SIDE, SIDE)) - SIDE / 2) / (scale * SIDE / 2)
    along, across = y * np.cos(angle) + x * np.sin(angle), y * np.sin(angle) - x * np.cos(angle)
    return along**2 + (1.5 * across) ** 2 < 1


FILLS = functools.partial(polygon, 4), functools.partial(polygon, 3), ellipse  # as in SHAPES
