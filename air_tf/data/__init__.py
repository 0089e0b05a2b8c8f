"""Data sets: `load_splits` makes or reads the one that a `DataConfig` names."""

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from air_tf.config import DataConfig
from air_tf.data.cache import cached
from air_tf.data.digits import load_digits
from air_tf.data.multi_mnist import compose, multi_mnist, segments, split_names
from air_tf.data.omniglot import load_omniglot
from air_tf.data.own_images import load_own_images
from air_tf.data.split import Composer, Split, as_float, batches, check_batch_size
from air_tf.paths import expand

__all__ = ["Composer", "Dataset", "Split", "as_float", "batches", "check_batch_size", "load_splits"]


class Dataset(NamedTuple):
    """The splits by name, what they are made of, and lines that say so."""

    splits: dict[str, Split]
    digits: str  # "none" of one's own images
    fingerprint: str  # of the digits or files
    description: str
    model_fields: dict  # of `ModelConfig`, that the images fix
    segments: Callable[[str, Split], np.ndarray] | None  # (split's name, a part of it) to (S, H, W)
    compose: Composer | None  # images like those to train on


def load_splits(config: DataConfig) -> Dataset:
    """Reads the data set from the cache, or makes it.

    Raises:
        ValueError: the digits, drawings or pictures asked for cannot be had, or the cache's folder is
            a file.
    """

    side = config.canvas_size
    image_shape = (
        (side, side, 1) if config.dataset == "multi_mnist" else (*config.image_size, config.channels)
    )
    folder = _cache_folder(config)

    def kept(version, make, names=("train", "test")):
        if folder is None:
            return make()
        return cached(folder / f"{config.dataset}-{version}.npz", make, names, image_shape)

    if config.dataset == "images":
        own, fingerprint = load_own_images(config, kept)
        return Dataset(own.splits, "none", fingerprint, own.description, own.model_fields, None, None)
    if config.dataset == "omniglot":
        splits, fingerprint, description, fields = load_omniglot(config, kept)
        return Dataset(splits, "none", fingerprint, description, fields, None, None)
    digits, description = load_digits(config)
    recipe = config.recipe
    fingerprint = digits.fingerprint()
    version = hashlib.sha256(f"{recipe} {fingerprint}".encode()).hexdigest()[:12]
    splits = kept(f"{digits.name}-{version}", lambda: multi_mnist(digits, recipe), split_names(digits))
    return Dataset(
        splits, digits.name, fingerprint, description, {"image_shape": splits["train"].image_shape},
        segments=functools.partial(segments, digits), compose=functools.partial(compose, digits, recipe),
    )  # fmt: skip


def _cache_folder(config: DataConfig) -> Path | None:
    """The folder for generated images; None if it is to be in a home folder, and there is none."""
    try:
        return expand(config.cache_dir)
    except ValueError as error:
        if config.cache_dir != DataConfig.cache_dir:
            raise
        print(f"{error} The images are not kept.", file=sys.stderr)
        return None
