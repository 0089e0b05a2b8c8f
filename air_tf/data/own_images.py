"""One's own pictures as a data set, with labels for evaluation where there are any."""

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from air_tf.data.base import Dataset, DatasetBase
from air_tf.data.cache import contents, fingerprint
from air_tf.data.crops import Crops, Turns, draw_crops
from air_tf.data.labels import label_files
from air_tf.data.pictures import whole_pictures
from air_tf.data.proposal import Look, look, readable_sizes
from air_tf.data.split import COPIES, Split
from air_tf.image_files import LONGEST, find_pictures
from air_tf.memory import check_memory
from air_tf.model.where import ScaleShiftSettings
from air_tf.parts import kind
from air_tf.paths import shown
from air_tf.preparation import Preparation
from air_tf.validation import Images, ModelSide, Text, require, settings

WINDOW_SIDE = 1.1  # sides of the object that a glimpse's window has, with its margin


def has_dark_objects(seen: Look) -> bool:
    """Whether what stands out is rather darker than the ground."""
    return seen.objects is not None and seen.objects.dark > 0.5


def scale_prior_of(
    object_size: float, image_size: tuple[int, int], sizes: list[tuple[int, int]]
) -> tuple[tuple[float, float], float]:
    """The prior of z_where's scale for objects of this size, and their side in the model, in pixels.

    The window of scale s is 1/s of the image, and WINDOW_SIDE times the object; mean and standard
    deviation stand to each other as in the default prior.

    Args:
        object_size: an object's usual side, in pixels of the pictures as they are on disk.
        image_size: (height, width) of the model's images, in pixels.
        sizes: (height, width) of some pictures or crops: how much they are shrunk.
    """
    factors = [np.min(np.array(image_size) / size) for size in sizes]
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

    ground: Literal["subtract", "keep"] = "subtract"
    """subtract: take the colour of the border off each image, for a model without a background; keep:
    leave it, for one that has a background."""

    object_size: Annotated[float, Field(ge=0)] = 0.0
    """An object's usual side, in pixels of the pictures as they are on disk; sets the prior of z_where's
    scale. 0: leave it."""

    crop: Annotated[int, Field(ge=0, le=LONGEST)] = 0
    """Train on random square crops with this side, in pixels of the pictures as they are on disk, so
    that few large pictures are enough, or one. 0: whole pictures."""

    crop_turns: Turns = "none"
    """mirrored: half of the crops to train on are mirrored; all: quarter turns too."""

    train_images: Images = 20_000
    """Crops to train on, drawn once."""

    test_images: Images = 1000
    """Held-out crops. They come from a tenth of the pictures; of a single one, from an end of it."""

    def __post_init__(self):
        require(not 0 < self.crop < self.object_size, "a crop of at least an object's side",
                crop=self.crop, object_size=self.object_size)  # fmt: skip

    def load(self) -> Dataset:
        if not self.images:
            raise ValueError("Expected --dataset images together with --images 'GLOB'. Received: none.")
        paths = find_pictures(self.images)
        shape = (*self.image_size, self.channels)
        num_images = self.train_images + self.test_images if self.crop else len(paths)
        check_memory(
            COPIES * num_images * math.prod(shape), f"{num_images:,} {self._what()} {shape} pixels"
        )
        dark = has_dark_objects(look(paths)) if self.invert == "auto" else self.invert == "yes"
        how = Preparation(dark_objects=dark, subtract_ground=self.ground == "subtract")
        all_files = contents(paths + label_files(paths))
        splits = self._splits(paths, how, all_files)
        description = (
            f"Images: {sum(map(len, splits.values())):,} {self._what()} {shown(self.images)}, "
            f"{len(splits['test']):,} of them held out, {labelled(splits):,} with a count; "
            f"{self._taken(dark)}."
        )
        fields = {"image_shape": shape, "dark_objects": how.dark_objects}
        fields["subtract_ground"] = how.subtract_ground
        if self.object_size:
            sizes = [(self.crop, self.crop)] if self.crop else readable_sizes(paths)
            (mean, deviation), inside = scale_prior_of(self.object_size, self.image_size, sizes)
            fields["scale_prior"] = mean, deviation
            description += (
                f"\nObjects of {self.object_size:g} pixels are {inside:.1f} of the model's "
                f"{min(self.image_size)}: z_where's scale has the prior {mean:.2f} +- {deviation:.2f}."
            )
        return Dataset(splits, self, fingerprint(all_files[: len(paths)]), description, fields)

    def _taken(self, dark: bool) -> str:
        if self.ground == "keep":
            return "inverted" if dark else "as they are"
        return "dark objects, inverted" if dark else "light objects"

    def _what(self) -> str:
        return "crops of" if self.crop else "pictures of"

    def _splits(self, paths: list[Path], how: Preparation, all_files) -> dict[str, Split]:
        """The pictures, or crops of them, from the cache if they are there."""
        shape = (*self.image_size, self.channels)
        if not self.crop:
            version = fingerprint(all_files, shape, how)
            return self.kept(version, lambda: whole_pictures(paths, shape, how), shape)
        crops = Crops(self.crop, self.crop_turns, self.train_images, self.test_images)
        version = fingerprint(all_files, shape, how, crops)
        return self.kept(version, lambda: draw_crops(paths, crops, shape, how), shape)


def labelled(splits: dict[str, Split]) -> int:
    """How many images have a count."""
    return sum(int(split.labelled().sum()) for split in splits.values())
