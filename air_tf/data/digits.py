"""Handwritten digits, 28 x 28: scikit-learn's, which need no download, and MNIST."""

import dataclasses
import hashlib
import os
import zlib
from typing import ClassVar, Literal

import numpy as np
from PIL import Image

from air_tf.data.archives import Header, read_npz
from air_tf.data.base import GeneratedBase
from air_tf.data.downloads import check_can_be_had, reason_of
from air_tf.paths import expand, shown
from air_tf.validation import Text, require, settings

DIGIT_SIZE = 28  # pixels, of a digit before it is shrunk
EMBEDDED_INK_SIZE = 20  # pixels: MNIST's digits fill 20 x 20 of their 28 x 28 too
EMBEDDED_TRAIN = 1500  # of 1,797 digits; the rest test
MNIST_SIZE = 60_000  # digits to train on, in one batch
MNIST_KEYS = "x_train", "y_train", "x_test", "y_test"  # of an npz in the Keras layout
MOST_MNIST_BYTES = 2**30  # unpacked: 1.3 million digits, more than any data set in this layout has
MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz"


@settings
class DigitsBase(GeneratedBase):
    """Settings of images that are made of digits."""

    places: ClassVar[set[str]] = GeneratedBase.places | {"mnist"}

    digits: Literal["auto", "mnist", "embedded"] = "auto"
    """embedded: scikit-learn's, no download; mnist: from --mnist, else through tensorflow-datasets;
    auto: mnist where it can be had, else embedded."""

    mnist: Text = ""
    """An mnist.npz in the Keras layout (default: the variable AIR_MNIST, if it is set)."""

    def __post_init__(self):
        require(not self.mnist or self.digits != "embedded", "mnist with digits of MNIST alone",
                mnist=self.mnist, digits=self.digits)  # fmt: skip

    def of_digits(self) -> str:
        return self.digits


@dataclasses.dataclass(frozen=True)
class Digits:
    """Digits to train on and to test with: images `(n, 28, 28)` uint8, labels `(n,)`."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def fingerprint(self) -> str:
        """Tells one set of digits from another."""
        arrays = self.train_images, self.train_labels, self.test_images, self.test_labels
        return "".join(f"{zlib.crc32(np.ascontiguousarray(array)):08x}" for array in arrays)


def load_digits(which: str, mnist: str = "") -> tuple[Digits, str]:
    """The digits that are asked for, and a line that says which they are.

    Args:
        which: auto, mnist or embedded.
        mnist: an npz to read MNIST from; "": the file that the environment's AIR_MNIST names, if any.

    Raises:
        ValueError: the MNIST file is not one, or MNIST is asked for and cannot be had.
    """
    if which == "embedded":
        return embedded_digits(), "Digits: scikit-learn's (embedded)."
    if file := mnist or os.environ.get("AIR_MNIST", ""):
        return mnist_from_file(file), f"Digits: MNIST from {shown(file)}."
    try:
        check_can_be_had("mnist", MNIST_URL)
        return mnist_from_tfds(), "Digits: MNIST through tensorflow-datasets."
    except Exception as error:  # whatever a download, a disk or a proxy may raise
        if which == "mnist":
            raise ValueError(
                "Expected MNIST through tensorflow-datasets, or from --mnist FILE.npz. "
                f"Received: {reason_of(error)}"
            ) from error
    return embedded_digits(), (
        "Digits: scikit-learn's (embedded), since MNIST cannot be downloaded here; "
        "to use MNIST, give --mnist FILE.npz."
    )


def embedded_digits() -> Digits:
    """scikit-learn's 1,797 real digits of 8 x 8, bicubic to 20 x 20, centred in 28 x 28."""
    from sklearn import datasets  # slow to import

    images, labels = datasets.load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    size, margin = (EMBEDDED_INK_SIZE,) * 2, (DIGIT_SIZE - EMBEDDED_INK_SIZE) // 2
    resized = [Image.fromarray(image).resize(size, Image.Resampling.BICUBIC) for image in images]
    images = np.pad(np.stack(resized), [(0, 0), (margin, margin), (margin, margin)])
    train, test = slice(EMBEDDED_TRAIN), slice(EMBEDDED_TRAIN, None)
    return Digits("embedded", images[train], labels[train], images[test], labels[test])


def mnist_from_file(path: str) -> Digits:
    """MNIST from an npz in the Keras layout.

    Raises:
        ValueError: there is no such file, or it has other keys, shapes or types, or unpacks to over
            MOST_MNIST_BYTES.
    """
    try:
        arrays = read_npz(expand(path), _choose_mnist)
    except Exception as error:  # NumPy, zipfile and zlib raise many kinds on what is no npz
        raise ValueError(
            f"Expected --mnist to be an npz with {', '.join(MNIST_KEYS)} (the Keras layout). "
            f"Received: {shown(path)}: {shown(error)}."
        ) from error
    return Digits("mnist", *(arrays[key] for key in MNIST_KEYS))


def _choose_mnist(headers: dict[str, Header]) -> tuple[str, ...]:
    """MNIST_KEYS, if these arrays are what they are to be, and not too large."""
    for key in MNIST_KEYS:
        if key not in headers:
            raise ValueError(f"no {key}")
    for split in "train", "test":
        images, labels = headers[f"x_{split}"], headers[f"y_{split}"]
        if (
            images.shape[1:] != (DIGIT_SIZE, DIGIT_SIZE)
            or images.dtype != np.uint8
            or not images.shape[0]
        ):
            raise ValueError(
                f"x_{split} is not of shape (n, 28, 28) and dtype uint8, "
                f"but shape={images.shape}, dtype={images.dtype}"
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"y_{split} is not of shape {images.shape[:1]} with integers, "
                f"but shape={labels.shape}, dtype={labels.dtype}"
            )
    num_bytes = sum(headers[key].num_bytes for key in MNIST_KEYS)
    if num_bytes > MOST_MNIST_BYTES:
        raise ValueError(f"arrays of {num_bytes:,} bytes in all, over {MOST_MNIST_BYTES:,}")
    return MNIST_KEYS


def mnist_from_tfds() -> Digits:
    """MNIST through tensorflow-datasets, which downloads it when it is not there yet."""
    import tensorflow_datasets as tfds  # slow to import

    sets = tfds.load("mnist", split=["train", "test"], batch_size=MNIST_SIZE, as_supervised=True)
    arrays = []
    for name, examples in zip(("train", "test"), sets):
        images, labels = next(iter(tfds.as_numpy(examples)))
        order = np.argsort(tfds_order(name, len(images)))
        arrays += [images[order, :, :, 0], labels[order]]
    return Digits("mnist", *arrays)


def tfds_order(split: str, size: int) -> list[int]:
    """Which original example stands at each place in tensorflow-datasets' own order.

    It keeps examples sorted by the md5 hash of their number, salted with the split's name (its
    `core.hashing.Hasher`). The benchmark draws digits by their original number.
    """
    return sorted(range(size), key=lambda i: hashlib.md5(f"{split}{i}".encode()).digest())
