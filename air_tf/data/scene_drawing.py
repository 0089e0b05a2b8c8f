"""Draws scenes: objects of random sizes and turns, placed by a rule on a ground."""

from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from air_tf.data import things
from air_tf.data.cache import BAR_AFTER
from air_tf.data.grounds import Ground
from air_tf.data.multi_dsprites import COLOURS
from air_tf.data.placing import MOST_POSITIONS, Rule, place
from air_tf.data.split import Split

if TYPE_CHECKING:
    from air_tf.data.scenes import ScenesSettings

MOST_TRIES = 200  # to place the objects of one image
AT_ONCE = 1000  # images whose ground is made together


def draw_scenes(
    bank: things.Things,
    ground: Ground,
    how: "ScenesSettings",
    num_images: int,
    random: np.random.Generator,
) -> Split:
    """Draws images with their objects' masks, boxes and labels.

    Args:
        bank: the things to choose from, all equally likely.
        ground: makes what they lie on.
        how: sizes, counts and rules.
        num_images: to draw.
        random: source of randomness.

    Raises:
        ValueError: the objects of an image have found no place in MOST_TRIES tries.
    """
    size, most = how.canvas_size, max(how.object_counts)
    images = np.empty((num_images, size, size, how.channels), np.uint8)
    for start in range(0, num_images, AT_ONCE):
        part = images[start : start + AT_ONCE]
        part[:] = ground(len(part), random)
    weights = np.array(how.count_weights or [1.0] * len(how.object_counts))
    counts = random.choice(how.object_counts, num_images, p=weights / weights.sum()).astype(np.int32)
    labels = np.zeros((num_images, most), np.int32)
    boxes = np.zeros((num_images, most, 4), np.float32)
    placements = np.zeros((num_images, most, 6), np.int32)
    bar = {"desc": "Drawing scenes", "unit": " images", "leave": False, "delay": BAR_AFTER}
    for i in tqdm(range(num_images), **bar):
        for j, (index, form, ink, corner) in enumerate(_objects(bank, how, counts[i], random)):
            edges = np.concatenate([corner, corner + ink.shape])
            paste(images[i], ink, edges, _colour(how, random), how.paste == "over")
            placements[i, j] = index, *form, *corner
            boxes[i, j], labels[i, j] = edges / size, bank[index].label
    return Split(images, counts, labels, boxes, placements)


def _objects(
    bank: things.Things, how: "ScenesSettings", count: int, random: np.random.Generator
) -> list[tuple]:
    """As many objects as asked, all anew where they find no place: index, form, ink, (top, left)."""
    rule = Rule(how.canvas_size, how.margin, how.gap, how.overlap)
    for _ in range(MOST_TRIES):
        indices = random.integers(0, len(bank), count).tolist()
        forms = [_form(bank[index], how, random) for index in indices]
        inks = [things.draw(bank[index], form) for index, form in zip(indices, forms)]
        places = place(inks, rule, random)
        if places is not None:
            return [*zip(indices, forms, inks, places)]
    raise ValueError(
        f"Expected {count} objects to find room within {MOST_TRIES} tries of {MOST_POSITIONS} positions "
        f"each. Received: canvas_size={how.canvas_size}, side_range={how.side_range}, "
        f"margin={how.margin}, gap={how.gap}, overlap={how.overlap}."
    )


def _form(thing: things.Thing, how: "ScenesSettings", random: np.random.Generator) -> things.Form:
    stretch = random.uniform(*how.stretch_range), random.uniform(*how.stretch_range)
    side, angle = random.uniform(*how.side_range), random.uniform(*how.rotation_range)
    return things.form(thing, side, stretch, angle)


def _colour(how: "ScenesSettings", random: np.random.Generator) -> np.ndarray:
    """Of an object: a grey, or one of seven colours that is darkened; `(C,)`, from 0 to 255."""
    hues = np.array([*COLOURS.values()] if how.channels == 3 else [[255]])
    return hues[random.integers(len(hues))] * random.uniform(*how.object_range)


def paste(image: np.ndarray, ink: np.ndarray, edges: np.ndarray, colour: np.ndarray, hide: bool) -> None:
    """Draws an object into an image, in place.

    Args:
        image: `(H, W, C)` uint8.
        ink: how much of each pixel the object covers, `(h, w)` uint8.
        edges: where it lies, (top, left, bottom, right) in pixels.
        colour: `(C,)`, from 0 to 255.
        hide: whether the object hides what is there; else it is added, cut at white.
    """
    top, left, bottom, right = edges
    window, share = image[top:bottom, left:right], ink[..., None] / np.float32(255)
    mixed = window + share * (colour - window if hide else colour)
    window[:] = np.round(np.minimum(mixed, 255))
