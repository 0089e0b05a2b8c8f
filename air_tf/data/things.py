"""What scenes are made of: digits and shapes, drawn at any size, turned and stretched."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from air_tf.data.masks import Ink, ink_edges

SHAPES = "square", "triangle", "disc"  # labels 0, 1 and 2
SHAPE_SIDE = 32  # pixels, before it is shrunk
HUNDREDTHS, TENTHS = 100, 10  # of a pixel, of a degree: what placements hold are integers
LEAST_INK = 0.25  # of the fullest pixel; fainter ones are left out


class Thing(NamedTuple):
    """An object to draw."""

    picture: Image.Image  # its ink in greys, one black pixel around it
    label: int


class Form(NamedTuple):
    """How a thing is drawn."""

    height: int  # hundredths of a pixel, of its ink, upright
    width: int
    angle: int  # tenths of a degree, clockwise


class Things(Sequence[Thing]):
    """Things to choose from, each cut out along its ink when it is first asked for.

    Args:
        images: `(n, h, w)` uint8; those without any ink are left out.
        labels: `(n,)`.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        (self._with_ink,) = images.any(axis=(1, 2)).nonzero()
        self._images, self._labels = images, labels
        self._made: dict[int, Thing] = {}

    def __len__(self):
        return len(self._with_ink)

    def __getitem__(self, index):
        if index not in self._made:
            image, label = (of[self._with_ink[index]] for of in (self._images, self._labels))
            top, left, bottom, right = ink_edges(image)
            picture = Image.fromarray(np.pad(image[top:bottom, left:right], 1))
            self._made[index] = Thing(picture, int(label))
        return self._made[index]


def shapes() -> Things:
    """A square, a triangle and a disc."""
    y, x = (np.indices((SHAPE_SIDE, SHAPE_SIDE)) + 0.5) / SHAPE_SIDE * 2 - 1
    inside = np.full(x.shape, True), abs(x) <= (y + 1 + 1 / SHAPE_SIDE) / 2, x**2 + y**2 <= 1
    return Things(255 * np.array(inside, np.uint8), np.arange(len(SHAPES)))


def form(
    thing: Thing, side: float, stretch: tuple[float, float] = (1.0, 1.0), angle: float = 0.0
) -> Form:
    """How a thing is drawn whose longer side, upright and before it is stretched, is given.

    Args:
        thing: to draw.
        side: in pixels.
        stretch: factors of height and width.
        angle: in degrees, clockwise.
    """
    width, height = np.subtract(thing.picture.size, 2)
    scale = HUNDREDTHS * side / max(height, width)
    height, width = (max(1, round(s * scale * size)) for s, size in zip(stretch, (height, width)))
    return Form(height, width, round(TENTHS * angle))


def draw(thing: Thing, how: Form) -> np.ndarray:
    """The thing's ink, `(h, w)` uint8, cut out tight; pixels with hardly any of it are black.

    Each pixel is the mean of finer ones, which are interpolated bilinearly in the thing's picture.
    """
    height, width = how.height / HUNDREDTHS, how.width / HUNDREDTHS
    turn = math.radians(how.angle / TENTHS)
    cos, sin = math.cos(turn), math.sin(turn)
    rows = math.ceil(abs(height * cos) + abs(width * sin)) + 2
    columns = math.ceil(abs(width * cos) + abs(height * sin)) + 2
    across, down = (thing.picture.width - 2) / width, (thing.picture.height - 2) / height
    fine = max(2, math.ceil(max(across, down)))  # finer pixels along one
    a, b, d, e = cos * across / fine, sin * across / fine, -sin * down / fine, cos * down / fine
    middle_x, middle_y = fine * columns / 2, fine * rows / 2
    c = thing.picture.width / 2 - a * middle_x - b * middle_y
    f = thing.picture.height / 2 - d * middle_x - e * middle_y
    turned = thing.picture.transform(
        (fine * columns, fine * rows), Image.Transform.AFFINE, (a, b, c, d, e, f),
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    ink = np.asarray(turned.reduce(fine))
    ink = np.where(ink >= max(1, LEAST_INK * ink.max()), ink, np.uint8(0))
    top, left, bottom, right = ink_edges(ink)
    return ink[top:bottom, left:right]


def inks(things: Things) -> Ink:
    """Draws things alone, from their placements: (thing, height, width, angle, top, left)."""

    def draw_one(placement):
        index, height, width, angle, top, left = placement.tolist()
        return draw(things[index], Form(height, width, angle)), top, left

    return draw_one
