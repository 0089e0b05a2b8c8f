"""Images of a few small drawings, out of a bank of them."""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from air_tf.data import masks
from air_tf.data.base import Dataset, GeneratedBase
from air_tf.data.cache import BAR_AFTER, fingerprint
from air_tf.data.split import COPIES, Split
from air_tf.memory import check_memory

MAX_PIXEL = 255
SEED = 681307


class Glyphs(NamedTuple):
    """G drawings, each in the upper left of a square that holds the largest."""

    images: np.ndarray  # (G, side, side, C) uint8
    labels: np.ndarray  # (G,): their classes
    sides: np.ndarray  # (G,): each one's own side, in pixels
    edges: np.ndarray  # (G, 4): tight around its ink, (ymin, xmin, ymax, xmax) in pixels

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, sides: np.ndarray | int) -> "Glyphs":
        """The bank of these drawings."""
        edges = np.array([masks.ink_edges(image.any(axis=-1)) for image in images])
        return cls(images, labels, np.broadcast_to(sides, len(images)), edges)

    def checksum(self) -> int:
        """Tells one bank from another."""
        return zlib.crc32(np.ascontiguousarray(self.images))


class Placed(NamedTuple):
    """Where the objects of S images lie, M of each at most."""

    counts: np.ndarray  # (S,)
    placements: np.ndarray  # (S, M, 4): glyph, side, top, left; anything past the count


Place = Callable[[Glyphs, int, np.random.Generator], Placed]  # (bank, number of images, random)


def draw(glyphs: Glyphs, placed: Placed, canvas_size: int) -> Split:
    """Adds the placed glyphs up on black, cut at white.

    Args:
        glyphs: the bank.
        placed: which of them lie where.
        canvas_size: height and width of the images, in pixels.
    """
    counts = placed.counts.astype(np.int32)
    present = np.arange(placed.placements.shape[1]) < counts[:, None]
    placements = (placed.placements * present[..., None]).astype(np.int32)
    images = np.zeros((len(counts), canvas_size, canvas_size, glyphs.images.shape[-1]), np.uint8)
    bar = {"desc": "Drawing images", "unit": " images", "leave": False, "delay": BAR_AFTER}
    for image, count, of_image in tqdm(zip(images, counts, placements), total=len(images), **bar):
        for index, side, top, left in of_image[:count]:
            window = image[top : top + side, left : left + side]
            window += np.minimum(glyphs.images[index, :side, :side], MAX_PIXEL - window)
    edges = glyphs.edges[placements[..., 0]] + np.tile(placements[..., 2:], 2)
    boxes = (edges / canvas_size * present[..., None]).astype(np.float32)
    labels = (glyphs.labels[placements[..., 0]] * present).astype(np.int32)
    return Split(images, counts, labels, boxes, placements)


def inks(glyphs: Glyphs) -> masks.Ink:
    """Draws glyphs alone, from their placements; the ink of a colour is its lightest channel."""
    ink = glyphs.images.max(axis=-1)

    def draw_one(placement):
        index, side, top, left = placement
        return ink[index, :side, :side], top, left

    return draw_one


def dataset(
    settings: GeneratedBase,
    banks: dict[str, Glyphs],
    place: Place,
    canvas_size: int,
    made_of: str,
    description: str,
) -> Dataset:
    """The images of a bank of glyphs for each split, from the cache or drawn.

    Args:
        settings: the data set's.
        banks: the glyphs of `train` and of `test`.
        place: decides what lies where.
        canvas_size: height and width of the images, in pixels.
        made_of: tells what the glyphs are made of from other digits or files.
        description: a line that says what the images are.

    Raises:
        ValueError: the images do not fit into memory.
    """
    sizes = {"train": settings.train_images, "test": settings.test_images}
    shape = (canvas_size, canvas_size, banks["train"].images.shape[-1])
    what = f"{sum(sizes.values()):,} images of {canvas_size} x {canvas_size} pixels"
    check_memory(COPIES * sum(sizes.values()) * int(np.prod(shape)), what)

    def drawn(name, num_images, seed):
        random = np.random.default_rng(seed)
        return draw(banks[name], place(banks[name], num_images, random), canvas_size)

    def make():
        return {name: drawn(name, size, [SEED, i]) for i, (name, size) in enumerate(sizes.items())}

    version = fingerprint(sizes, shape, [bank.checksum() for bank in banks.values()])
    return Dataset(
        settings.kept(version, make, shape), settings, made_of, description, {"image_shape": shape},
        lambda name, split: masks.segments(inks(banks[name]), split),
        lambda num_images, seed: drawn("train", num_images, seed).images,
        lambda name, split: masks.whole(inks(banks[name]), split),
    )  # fmt: skip


def anywhere(most: int, canvas_size: int) -> Place:
    """Places 0 to `most` glyphs, all counts equally likely, anywhere inside; they may overlap."""

    def place(glyphs, num_images, random):
        counts = random.integers(0, most + 1, num_images)
        index = random.integers(0, len(glyphs.images), (num_images, most))
        sides = glyphs.sides[index]
        top, left = (random.integers(0, canvas_size - sides + 1) for _ in "yx")
        return Placed(counts, np.stack([index, sides, top, left], axis=-1))

    return place
