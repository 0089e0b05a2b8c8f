"""One's own pictures as a data set, with labels for evaluation where there are any."""

import contextlib
import math
import os
import sys
import zlib
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field
from tqdm import tqdm

from air_tf.data.base import Dataset, DatasetBase
from air_tf.data.cache import contents, fingerprint
from air_tf.data.labels import label_files, read_labels
from air_tf.data.split import COPIES, Split
from air_tf.image_files import find_pictures, read_picture
from air_tf.memory import check_memory
from air_tf.model.where import ScaleShiftSettings
from air_tf.parts import kind
from air_tf.paths import shown
from air_tf.preparation import Preparation, Shape, border_median, fit
from air_tf.validation import ModelSide, Text, settings

TEST_SHARE = 0.1  # of the pictures, held out
WINDOW_SIDE = 1.1  # sides of the object that a glimpse's window has, with its margin
LOOKED_AT = 20  # pictures that tell light objects from dark ones, and sizes


class Look(NamedTuple):
    """What a picture tells of the others."""

    size: tuple[int, int]  # height and width, pixels
    lightness: float  # of its mean pixel, above the border's median colour


def own_images(paths: list[Path], image_shape: Shape, how: Preparation) -> dict[str, Split]:
    """Reads, fits and splits the pictures; those that cannot be read are reported and left out.

    Raises:
        ValueError: fewer than two can be read, or a file with labels is none.
    """
    images, edges, sizes, kept = [], [], [], []
    for path in tqdm(paths, desc="Reading pictures", unit=" pictures", leave=False, dynamic_ncols=True):
        try:
            picture = read_picture(path, image_shape[2])
        except ValueError as error:
            tqdm.write(f"{error}: left out.", file=sys.stderr)
            continue
        image, edge = fit(picture, image_shape, how)
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


def scale_prior_of(
    object_size: float, image_size: tuple[int, int], looks: list[Look]
) -> tuple[tuple[float, float], float]:
    """The prior of z_where's scale for objects of this size, and their side in the model, in pixels.

    The window of scale s is 1/s of the image, and WINDOW_SIDE times the object; mean and standard
    deviation stand to each other as in the default prior.

    Args:
        object_size: an object's usual side, in pixels of the pictures as they are on disk.
        image_size: (height, width) of the model's images, in pixels.
        looks: at some pictures: their median size tells how much they are shrunk.
    """
    factors = [np.min(np.array(image_size) / look.size) for look in looks]
    inside, size = object_size * float(np.median(factors)), min(image_size)
    scale = size / (WINDOW_SIDE * inside)
    if not 1.0 <= scale <= size / 2:
        raise ValueError(
            f"Expected an object_size between 2 pixels of the model's image and all of its {size}. "
            f"Received: object_size={object_size:g}, which is {inside:.1f} of them."
        )
    mean, deviation = ScaleShiftSettings.scale_prior
    return (round(scale, 4), round(scale * deviation / mean, 4)), inside


@settings
class OwnImagesSettings(DatasetBase):
    """PNG and JPEG pictures of one's own, named by --images."""

    places: ClassVar[set[str]] = DatasetBase.places | {"images"}

    dataset: kind("images") = "images"

    images: Text = ""
    """PNG and JPEG files, a folder or a glob in quotes ('photos/*.png', ** for subfolders). For
    evaluation only, a counts.csv (file,count) or a boxes.json (COCO) beside them is read."""

    image_size: tuple[ModelSide, ModelSide] = (50, 50)
    """(height, width) in pixels to fit pictures into, their shape kept."""

    channels: Literal[1, 3] = 1
    """1: grey; 3: colour."""

    invert: Literal["auto", "yes", "no"] = "auto"
    """AIR wants light objects on a dark ground. auto: invert where objects are darker."""

    object_size: Annotated[float, Field(ge=0)] = 0.0
    """An object's usual side, in pixels of the pictures as they are on disk; sets the prior of z_where's
    scale. 0: leave it."""

    def load(self) -> Dataset:
        if not self.images:
            raise ValueError("Expected --dataset images together with --images 'GLOB'. Received: none.")
        paths = find_pictures(self.images)
        shape = (*self.image_size, self.channels)
        check_memory(
            COPIES * len(paths) * math.prod(shape), f"{len(paths):,} pictures of {shape} pixels"
        )
        looks = look_at(paths, self.channels)
        lighter = np.mean([look.lightness for look in looks]) >= 0
        dark = not lighter if self.invert == "auto" else self.invert == "yes"
        how = Preparation(dark_objects=bool(dark), subtract_ground=True)
        all_files = contents(paths + label_files(paths))
        version = fingerprint(all_files, shape, how)
        splits = self.kept(version, lambda: own_images(paths, shape, how), shape)
        labelled = sum(int(split.labelled().sum()) for split in splits.values())
        total = sum(map(len, splits.values()))
        description = (
            f"Images: {total:,} pictures of {shown(self.images)}, {len(splits['test']):,} of them held "
            f"out, {labelled:,} with a count; {'dark objects, inverted' if dark else 'light objects'}."
        )
        fields = {"image_shape": shape, "dark_objects": how.dark_objects, "subtract_ground": True}
        if self.object_size:
            (mean, deviation), inside = scale_prior_of(self.object_size, self.image_size, looks)
            fields["scale_prior"] = mean, deviation
            description += (
                f"\nObjects of {self.object_size:g} pixels are {inside:.1f} of the model's "
                f"{min(self.image_size)}: z_where's scale has the prior {mean:.2f} +- {deviation:.2f}."
            )
        return Dataset(splits, self, fingerprint(all_files[: len(paths)]), description, fields)
