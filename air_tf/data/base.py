"""What a data set is: settings that load it, and what they load."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from air_tf.data.cache import cached
from air_tf.data.split import Composer, Split
from air_tf.paths import expand
from air_tf.scene import Scene
from air_tf.validation import Images, Text, settings


class Dataset(NamedTuple):
    """The splits by name, what they are made of, and lines that say so."""

    splits: dict[str, Split]  # `train`, `test`, and further held-out ones
    settings: "DatasetBase"  # with what was left open decided
    fingerprint: str  # of the digits or files
    description: str
    model_settings: dict[str, Any]  # that the images fix, by their names
    segments: Callable[[str, Split], np.ndarray] | None = None  # (split's name, part) to (S, H, W)
    compose: Composer | None = None  # images like those to train on
    masks: Callable[[str, Split], np.ndarray] | None = None  # (name, part) to (S, M, H, W) bool
    measure: Callable[[Scene, Split], dict] | None = None  # metrics that only such images have, by name
    picture: Callable[[Scene, Split], dict] | None = None  # (caption, figure) likewise

    @property
    def digits(self) -> str:
        """The digits that the images are made of; "none" without any."""
        return self.settings.of_digits()


@settings
class DatasetBase:
    """Settings of a data set. Subclasses have a `kind` as their `dataset`, and load themselves."""

    places: ClassVar[set[str]] = {"cache_dir"}  # settings that say where, but not which images
    drawn_with: ClassVar[str] = "glimpse"  # the kind of objects that a model of the images has

    dataset: str = ""

    cache_dir: Text = os.path.join("~", ".cache", "air_tf")
    """Folder for generated images; made anew when missing or damaged."""

    def of_digits(self) -> str:
        """Which digits the images are made of; "none" without any."""
        return "none"

    def check_trainable(self) -> None:
        """Raises ValueError if the images can be loaded, but no model can be trained on them."""

    def load(self) -> Dataset:
        """Reads the data set from the cache, or makes it.

        Raises:
            ValueError: what the images are made of cannot be had, or the cache's folder is a file.
        """
        raise NotImplementedError

    def kept(
        self,
        version: str,
        make: Callable[[], dict[str, Split]],
        image_shape: tuple[int, int, int],
        names: Iterable[str] = ("train", "test"),
    ) -> dict[str, Split]:
        """The splits of this version from the cache; made, and kept there, when missing or damaged."""
        folder = self._cache_folder()
        if folder is None:
            return make()
        return cached(folder / f"{self.dataset}-{version}.npz", make, names, image_shape)

    def _cache_folder(self) -> Path | None:
        """The folder for generated images; None if it is to be in a home folder, and there is none."""
        try:
            return expand(self.cache_dir)
        except ValueError as error:
            if self.cache_dir != DatasetBase.cache_dir:
                raise
            print(f"{error} The images are not kept.", file=sys.stderr)
            return None


@settings
class GeneratedBase(DatasetBase):
    """Settings of images that are drawn, as many as one likes."""

    train_images: Images = 50_000
    """Images to train on."""

    test_images: Images = 10_000
    """Held-out images."""
