"""One's own pictures as a data set, with labels for evaluation where there are any."""

import contextlib
import math
import os
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from air_tf.config import DataConfig, ModelConfig
from air_tf.data.cache import contents, fingerprint
from air_tf.data.labels import label_files, read_labels
from air_tf.data.split import COPIES, Split
from air_tf.image_files import find_pictures, read_picture
from air_tf.memory import check_memory
from air_tf.paths import shown
from air_tf.preparation import border_median, fit

TEST_SHARE = 0.1  # of the pictures, held out
WINDOW_SIDE = 1.1  # sides of the object that a glimpse's window has, with its margin
LOOKED_AT = 20  # pictures that tell light objects from dark ones, and sizes


class Look(NamedTuple):
    """What a picture tells of the others."""

    size: tuple[int, int]  # height and width, pixels
    lightness: float  # of its mean pixel, above the border's median colour


class OwnImages(NamedTuple):
    """The splits `train` and `test`, the model's fields they fix, and lines that say what was done."""

    splits: dict[str, Split]
    model_fields: dict
    description: str


def own_images(paths: list[Path], model: ModelConfig) -> dict[str, Split]:
    """Reads, fits and splits the pictures; those that cannot be read are reported and left out.

    Raises:
        ValueError: fewer than two can be read, or a file with labels is none.
    """
    images, edges, sizes, kept = [], [], [], []
    for path in tqdm(paths, desc="Reading pictures", unit=" pictures", leave=False, dynamic_ncols=True):
        try:
            picture = read_picture(path, model.image_shape[2])
        except ValueError as error:
            tqdm.write(f"{error}: left out.", file=sys.stderr)
            continue
        image, edge = fit(picture, model)
        images.append(image)
        edges.append(edge)
        sizes.append(picture.shape[:2])
        kept.append(path)
    if len(kept) < 2:
        raise ValueError(f"Expected at least two pictures that can be read. Received: {len(kept)}.")
    counts, boxes = read_labels(kept, np.array(sizes))
    corner, extent = (np.tile(part, 2)[:, None] for part in np.split(np.array(edges), 2, axis=1))
    boxes = (boxes * extent + corner) * boxes.any(axis=-1, keepdims=True)
    split = Split.of(np.stack(images), counts, boxes.astype(np.float32))
    held_out = is_held_out(kept)
    return {"train": split[~held_out], "test": split[held_out]}


def is_held_out(paths: list[Path]) -> np.ndarray:
    """Which pictures test, `(S,)`: by a hash of each name, so that no other picture changes it."""
    hashes = np.array([zlib.crc32(os.fsencode(path.name)) / 2**32 for path in paths])
    held_out = hashes < TEST_SHARE
    held_out[hashes.argmin()], held_out[hashes.argmax()] = True, False  # one of each at least
    return held_out


def look_at(paths: list[Path], channels: int) -> list[Look]:
    """Looks at up to LOOKED_AT pictures, spread over the files, and at others for those that are broken.

    Raises:
        ValueError: none can be read.
    """
    spread = paths[:: -(-len(paths) // LOOKED_AT)]
    looks, wanted = [], len(spread)
    for path in dict.fromkeys(spread + paths):
        with contextlib.suppress(ValueError):  # reported when all are read
            pixels = read_picture(path, channels)
            ground = border_median(pixels).numpy().mean()
            looks.append(Look(pixels.shape[:2], float(pixels.mean() - ground)))
        if len(looks) == wanted:
            break
    if not looks:
        raise ValueError(
            f"Expected pictures that can be read. Received: {len(paths):,} that cannot, "
            f"{shown(paths[0])} among them."
        )
    return looks


def load_own_images(config: DataConfig, cached) -> tuple[OwnImages, str]:
    """The data set that `config.images` names, and its fingerprint.

    Args:
        config: `DataConfig`.
        cached: keeps splits on disk: (fingerprint, how to make them) to splits.

    Raises:
        ValueError: as `own_images`, or an object size that does not fit.
    """
    paths = find_pictures(config.images)
    shape = (*config.image_size, config.channels)
    check_memory(COPIES * len(paths) * math.prod(shape), f"{len(paths):,} pictures of {shape} pixels")
    looks = look_at(paths, config.channels)
    lighter = np.mean([look.lightness for look in looks]) >= 0
    dark = not lighter if config.invert == "auto" else config.invert == "yes"
    fields = {"image_shape": shape, "dark_objects": dark, "subtract_ground": True}
    all_files = contents(paths + label_files(paths))
    version = fingerprint(all_files, fields)
    splits = cached(version, lambda: own_images(paths, ModelConfig(**fields)))
    labelled = sum(int(split.labelled().sum()) for split in splits.values())
    total = sum(map(len, splits.values()))
    description = (
        f"Images: {total:,} pictures of {shown(config.images)}, {len(splits['test']):,} of them held "
        f"out, {labelled:,} with a count; {'dark objects, inverted' if dark else 'light objects'}."
    )
    if config.object_size:
        fields["scale_prior"], inside = scale_prior_of(config, looks)
        mean, deviation = fields["scale_prior"]
        description += (
            f"\nObjects of {config.object_size:g} pixels are {inside:.1f} of the model's "
            f"{min(config.image_size)}: z_where's scale has the prior {mean:.2f} +- {deviation:.2f}."
        )
    return OwnImages(splits, fields, description), fingerprint(all_files[: len(paths)])


def scale_prior_of(config: DataConfig, looks: list[Look]) -> tuple[tuple[float, float], float]:
    """The prior of z_where's scale for objects of `config.object_size`, and their side in the model.

    The window of scale s is 1/s of the image, and WINDOW_SIDE times the object; mean and standard
    deviation stand to each other as in the default prior.

    Args:
        config: `DataConfig`.
        looks: at some pictures: their median size tells how much they are shrunk.
    """
    factors = [np.min(np.array(config.image_size) / look.size) for look in looks]
    inside, size = config.object_size * float(np.median(factors)), min(config.image_size)
    scale = size / (WINDOW_SIDE * inside)
    if not 1.0 <= scale <= size / 2:
        raise ValueError(
            f"Expected an object_size between 2 pixels of the model's image and all of its {size}. "
            f"Received: object_size={config.object_size:g}, which is {inside:.1f} of them."
        )
    mean, deviation = ModelConfig().scale_prior
    return (round(scale, 4), round(scale * deviation / mean, 4)), inside
