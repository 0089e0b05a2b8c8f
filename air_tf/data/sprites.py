"""A few coloured shapes on black, as SuPAIR was tested on: [1] of `air_tf.data.noisy`."""

import numpy as np
from tqdm import tqdm

from air_tf.data import glyphs
from air_tf.data.base import Dataset, GeneratedBase
from air_tf.data.cache import BAR_AFTER
from air_tf.data.glyphs import Glyphs, Placed
from air_tf.parts import kind
from air_tf.validation import Images, settings

CANVAS_SIZE, MOST = 50, 2  # pixels; shapes in an image
SIDES = range(12, 17)  # pixels
CORNERS = CANVAS_SIZE - SIDES[0] + 1  # places for an upper or left edge
SHAPES = "disc", "square", "diamond"  # red, green and blue: labels 0, 1 and 2


@settings
class SpritesSettings(GeneratedBase):
    """Red discs, green squares and blue diamonds, 0 to 2 on 50 x 50, never overlapping (SuPAIR's)."""

    dataset: kind("sprites") = "sprites"

    test_images: Images = 12_500
    """Held-out images."""

    def load(self) -> Dataset:
        bank = sprites()
        line = "Sprites: red discs, green squares and blue diamonds."
        return glyphs.dataset(
            self, {"train": bank, "test": bank}, place, CANVAS_SIZE, self.dataset, line
        )


def sprites() -> Glyphs:
    """The shapes, each of every side: glyph `len(SIDES) * shape + side - SIDES[0]`."""
    images = np.zeros((len(SHAPES) * len(SIDES), SIDES[-1], SIDES[-1], 3), np.uint8)
    for i, image in enumerate(images):
        shape, side = i // len(SIDES), SIDES[i % len(SIDES)]
        y, x = np.abs(np.indices((side, side)) - side // 2)
        inside = (x**2 + y**2 < (side // 2) ** 2, np.full((side, side), True), x + y < side // 2)
        image[:side, :side, shape][inside[shape]] = 255
    labels, sides = np.divmod(np.arange(len(images)), len(SIDES))
    return Glyphs.of(images, labels, sides + SIDES[0])


def place(bank: Glyphs, num_images: int, random: np.random.Generator) -> Placed:
    """Places 0 to 2 sprites; one that meets another's pixels is drawn anew, shape and side included."""
    ink = bank.images.max(axis=-1) > 0
    counts = random.integers(0, MOST + 1, num_images)
    placements = np.zeros((num_images, MOST, 4), np.int32)
    bar = {"desc": "Placing sprites", "unit": " images", "leave": False, "delay": BAR_AFTER}
    for count, of_image in tqdm(zip(counts, placements), total=num_images, **bar):
        taken = np.zeros((CANVAS_SIZE, CANVAS_SIZE), bool)
        for i in range(count):
            while True:
                top, left = random.integers(0, CORNERS, 2)
                largest = min(SIDES[-1], CANVAS_SIZE - max(top, left))
                side = random.integers(SIDES[0], largest + 1)
                index = len(SIDES) * random.integers(len(SHAPES)) + side - SIDES[0]
                window = taken[top : top + side, left : left + side]
                if not (window & ink[index, :side, :side]).any():
                    break
            window |= ink[index, :side, :side]
            of_image[i] = index, side, top, left
    return Placed(counts, placements)
