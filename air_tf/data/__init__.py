"""Data sets: `load_splits` makes or reads the one that a `DataConfig` names."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from air_tf.config import DataConfig, MultiDigitRecipe
from air_tf.data.cache import cached
from air_tf.data.digits import load_digits
from air_tf.data.multi_mnist import compose, multi_mnist, segments
from air_tf.data.split import Composer, Split, as_float, batches, check_batch_size

__all__ = ["Composer", "Dataset", "Split", "as_float", "batches", "check_batch_size", "load_splits"]


class Dataset(NamedTuple):
    """The splits by name, the digits they are made of, and a line that says so."""

    splits: dict[str, Split]
    digits: str
    fingerprint: str  # of the digits
    description: str
    segments: Callable[[str, Split], np.ndarray]  # (name of the split, a part of it) to (S, H, W)
    compose: Composer  # images like those to train on


def load_splits(config: DataConfig, recipe: MultiDigitRecipe = MultiDigitRecipe()) -> Dataset:
    """Reads the data set from the cache, or makes it.

    Raises:
        ValueError: the digits asked for cannot be had, or the cache's folder is a file.
    """
    digits, description = load_digits(config)
    fingerprint = digits.fingerprint()
    version = hashlib.sha256(f"{recipe} {fingerprint}".encode()).hexdigest()[:12]
    path = Path(config.cache_dir).expanduser() / f"{config.dataset}-{digits.name}-{version}.npz"
    splits = cached(path, lambda: multi_mnist(digits, recipe))
    return Dataset(
        splits, digits.name, fingerprint, description,
        segments=functools.partial(segments, digits), compose=functools.partial(compose, digits, recipe),
    )  # fmt: skip
