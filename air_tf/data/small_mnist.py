"""Small digits in white on black, as an AIR in PyTorch was trained on.

References:
    [1] Dittadi, multi-object-datasets. https://github.com/addtt/multi-object-datasets
"""

import dataclasses

import numpy as np
from scipy import ndimage

from air_tf.data import glyphs
from air_tf.data.base import Dataset
from air_tf.data.digits import DIGIT_SIZE, DigitsBase, load_digits
from air_tf.data.glyphs import Glyphs
from air_tf.parts import kind
from air_tf.validation import Images, settings

CANVAS_SIZE, SIDE, MOST = 64, 18, 2  # of the images and of a digit, in pixels; digits in an image


@settings
class SmallMNISTSettings(DigitsBase):
    """Digits of 18 x 18 pixels, black and white, 0 to 2 on 64 x 64 (addtt's)."""

    dataset: kind("small_mnist") = "small_mnist"

    train_images: Images = 90_000
    """Images to train on."""

    def load(self) -> Dataset:
        digits, description = load_digits(self.digits, self.mnist)
        banks = {
            "train": small_digits(digits.train_images, digits.train_labels),
            "test": small_digits(digits.test_images, digits.test_labels),
        }
        return glyphs.dataset(
            dataclasses.replace(self, digits=digits.name), banks, glyphs.anywhere(MOST, CANVAS_SIZE),
            CANVAS_SIZE, digits.fingerprint(), description,
        )  # fmt: skip


def small_digits(images: np.ndarray, labels: np.ndarray) -> Glyphs:
    """Digits `(n, 28, 28)` uint8, shrunk and rounded to 0 or 255; those that vanish are left out."""
    shrink = shrinking(DIGIT_SIZE, SIDE)
    grey = shrink @ (images.astype(np.float32) / 255) @ shrink.T
    ink = np.round(grey) > 0
    kept = ink.any(axis=(1, 2))
    return Glyphs.of(255 * ink[kept, :, :, None].astype(np.uint8), labels[kept], SIDE)


def shrinking(size: int, smaller: int) -> np.ndarray:
    """The matrix `(smaller, size)` that shrinks an axis by cubic splines, blurred first, black around.

    The blur's standard deviation is (size / smaller - 1) / 2 pixels.
    """
    blurred = ndimage.gaussian_filter1d(
        np.eye(size, dtype=np.float32), (size / smaller - 1) / 2, axis=0, mode="constant"
    )
    zoom = (smaller / size, 1)
    return np.asarray(ndimage.zoom(blurred, zoom, order=3, mode="grid-constant", grid_mode=True))
