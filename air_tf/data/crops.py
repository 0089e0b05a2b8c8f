"""Random crops of large pictures as images to train on, so that one photograph is enough."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from air_tf.data.labels import read_labels
from air_tf.data.pictures import is_held_out, within_image
from air_tf.data.split import UNKNOWN, Split
from air_tf.image_files import LARGEST_IN_PARTS, read_picture
from air_tf.paths import shown
from air_tf.preparation import Preparation, Shape, fit

Size = tuple[int, int]  # (height, width), in pixels
Turns = Literal["none", "mirrored", "all"]
HELD_OUT_END = 0.1  # of a single photograph's longer side, or one crop where that is more
BAR_AFTER = 2.0  # seconds until the progress is shown


class Crops(NamedTuple):
    """How crops are drawn."""

    side: int  # pixels of the pictures
    turns: Turns
    num_train: int
    num_test: int


class Region(NamedTuple):
    """The part of a picture that crops of a split lie in."""

    split: str
    top: int  # and the other edges, in pixels
    left: int
    bottom: int
    right: int
    number: int  # of crops


class Crop(NamedTuple):
    """A crop, with the boxes (ymin, xmin, ymax, xmax) of its objects as fractions of it, if known."""

    pixels: np.ndarray  # (side, side, C) uint8
    boxes: np.ndarray | None  # (n, 4)


def draw_crops(
    paths: list[Path], crops: Crops, image_shape: Shape, how: Preparation
) -> dict[str, Split]:
    """Draws crops of all pictures, about as many of each, and fits them into the model's images.

    Held-out crops lie in held-out pictures; of a single picture, in the end of its longer side. Crops
    are the same for every run, and those held out are never turned. An object belongs to a crop if the
    centre of its box lies inside. Crops of pictures that lack a box for an object have no count.

    Args:
        paths: of the pictures; those that cannot be read are reported and left out.
        crops: `Crops`.
        image_shape: `(H, W, C)` of the model's images.
        how: `Preparation`.

    Raises:
        ValueError: a crop does not fit into a picture, or no picture can be read to train on or to
            hold out.
    """
    sizes = sizes_of(paths, crops.side)
    labels = read_labels([*sizes], np.array([*sizes.values()]))
    random, drawn = np.random.default_rng(0), {"train": [], "test": []}
    total = crops.num_train + crops.num_test
    bar = tqdm(total=total, desc="Drawing crops", unit=" crops", leave=False, delay=BAR_AFTER)
    for (path, size), count, boxes, regions in zip(sizes.items(), *labels, regions_of(sizes, crops)):
        try:
            picture = read_picture(path, image_shape[2], LARGEST_IN_PARTS)
        except ValueError as error:
            tqdm.write(f"{error}: left out.", file=sys.stderr)
            continue
        known = boxes.any(axis=-1).sum() == count
        objects = boxes[:count] * np.tile(size, 2) if known else None
        for region in regions:
            turns = crops.turns if region.split == "train" else "none"
            for crop in random_crops(picture, objects, region, crops.side, turns, random):
                drawn[region.split].append(_fitted(crop, image_shape, how))
                bar.update()
    bar.close()
    if not all(drawn.values()):
        numbers = " and ".join(f"{len(each):,}" for each in drawn.values())
        raise ValueError(
            "Expected pictures that can be read, to train on and to hold out. "
            f"Received: {numbers} crops of them."
        )
    return {name: _split(each, random) for name, each in drawn.items()}


def sizes_of(paths: list[Path], side: int) -> dict[Path, Size]:
    """The size of each picture; those that cannot be read are reported and left out.

    Raises:
        ValueError: none can be read, or a crop is larger than the smallest one.
    """
    sizes = {}
    for path in tqdm(paths, "Looking at sizes", unit=" pictures", leave=False, delay=BAR_AFTER):
        try:
            # decoded, not only opened: of a broken file the header may be whole
            sizes[path] = read_picture(path, 1, LARGEST_IN_PARTS).shape[:2]
        except ValueError as error:
            tqdm.write(f"{error}: left out.", file=sys.stderr)
    if not sizes:
        raise ValueError(f"Expected pictures that can be read. Received: {len(paths):,} that cannot.")
    smallest = min(sizes, key=lambda path: min(sizes[path]))
    height, width = sizes[smallest]
    if min(height, width) < side:
        raise ValueError(
            f"Expected a crop that fits into the smallest picture. Received: crop={side} and "
            f"{shown(smallest)} of {width} x {height} pixels."
        )
    return sizes


def regions_of(sizes: dict[Path, Size], crops: Crops) -> list[list[Region]]:
    """Where the crops of each picture lie, and how many there are."""
    if len(sizes) == 1:
        [(path, size)] = sizes.items()
        return [regions_of_one(size, crops, path)]
    held_out = is_held_out([*sizes])
    numbers = _shares(crops.num_train, ~held_out) + _shares(crops.num_test, held_out)
    return [
        [Region("test" if tests else "train", 0, 0, *size, number)]
        for size, tests, number in zip(sizes.values(), held_out, numbers)
    ]


def regions_of_one(size: Size, crops: Crops, path: Path) -> list[Region]:
    """The parts of a single picture to train on and to hold out.

    Raises:
        ValueError: it has no room for a crop in each of them.
    """
    height, width = size
    longer = max(size)
    end = longer - max(crops.side, round(HELD_OUT_END * longer))
    if end < crops.side:
        raise ValueError(
            "Expected a single picture with a longer side of at least two crops, since one end of it is "
            f"held out. Received: crop={crops.side} and {shown(path)} of {width} x {height} pixels."
        )
    bottom, right, top, left = (height, end, 0, end) if width == longer else (end, width, end, 0)
    return [
        Region("train", 0, 0, bottom, right, crops.num_train),
        Region("test", top, left, height, width, crops.num_test),
    ]


def _shares(total: int, of: np.ndarray) -> np.ndarray:
    """Whole numbers `(S,)` that add up to `total`, about equal where `of (S,)` is true, else 0."""
    shares = np.zeros(len(of), np.int64)
    shares[of] = np.diff(np.linspace(0, total, of.sum() + 1).astype(np.int64))
    return shares


def random_crops(
    picture: np.ndarray, objects: np.ndarray | None, region: Region, side: int, turns: Turns,
    random: np.random.Generator,
) -> Iterator[Crop]:  # fmt: skip
    """Yields crops at random places of a region, each place as likely as any other.

    Args:
        picture: `(h, w, C)` uint8.
        objects: boxes `(n, 4)` in pixels; None: unknown.
        region: that the crops lie in.
        side: of a crop, in pixels.
        turns: none; mirrored: half of the crops; all: and turned by a random number of quarter turns.
        random: draws places and turns.
    """
    for _ in range(region.number):
        top = random.integers(region.top, region.bottom - side + 1)
        left = random.integers(region.left, region.right - side + 1)
        pixels, boxes = picture[top : top + side, left : left + side], objects
        if objects is not None:
            boxes = (objects - [top, left, top, left]) / side
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            boxes = boxes[((centres >= 0) & (centres < 1)).all(axis=-1)].clip(0, 1)
        crop = Crop(pixels, boxes)
        if turns != "none" and random.integers(2):
            crop = mirrored(crop)
        for _ in range(random.integers(4) if turns == "all" else 0):
            crop = turned_left(crop)
        yield crop


def mirrored(crop: Crop) -> Crop:
    """Left and right exchanged."""
    pixels, boxes = crop
    if boxes is not None:
        top, left, bottom, right = boxes.T
        boxes = np.stack([top, 1 - right, bottom, 1 - left], axis=-1)
    return Crop(pixels[:, ::-1], boxes)


def turned_left(crop: Crop) -> Crop:
    """Turned by a quarter, against the clock."""
    pixels, boxes = crop
    if boxes is not None:
        top, left, bottom, right = boxes.T
        boxes = np.stack([1 - right, top, 1 - left, bottom], axis=-1)
    return Crop(np.rot90(pixels), boxes)


def _fitted(crop: Crop, image_shape: Shape, how: Preparation) -> Crop:
    """The crop as one of the model's images."""
    image, edges = fit(np.ascontiguousarray(crop.pixels), image_shape, how)
    boxes = crop.boxes
    return Crop(image, boxes if boxes is None else within_image(boxes, edges))


def _split(crops: list[Crop], random: np.random.Generator) -> Split:
    """The crops in random order, since those of a picture were drawn one after the other."""
    crops = [crops[i] for i in random.permutation(len(crops))]
    counts = [UNKNOWN if boxes is None else len(boxes) for _, boxes in crops]
    boxes = np.zeros((len(crops), max(0, *counts), 4))
    for row, (_, known) in zip(boxes, crops):
        if known is not None:
            row[: len(known)] = known
    return Split.of(np.stack([crop.pixels for crop in crops]), np.array(counts, np.int32), boxes)
