"""What goes into a model and what comes out."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Scene(NamedTuple):
    """What AIR sees in a batch of images; past an image's count, boxes are zeros."""

    counts: tf.Tensor  # (B,) int32, the most probable number of objects
    count_probs: tf.Tensor  # (B, N + 1), q(n)
    boxes: tf.Tensor  # (B, N, 4), (ymin, xmin, ymax, xmax) as fractions of the image
    scores: tf.Tensor  # (B, N), q(n >= i)
    reconstructions: tf.Tensor  # (B, H, W, C), of the counted objects
    z_what: tf.Tensor  # (B, N, z_what_size)
    z_where: tf.Tensor  # (B, N, 3), (scale, shift_x, shift_y)


def check_images(images, image_shape: tuple[int, int, int]) -> None:
    """Refuses what is no batch of images in [0, 1].

    Raises:
        ValueError: says what was expected and what came.
    """
    expected = "(batch, {}, {}, {})".format(*image_shape)
    shape, dtype = tuple(np.shape(images)), tf.as_dtype(getattr(images, "dtype", np.float32))
    if len(shape) != 4 or shape[1:] != tuple(image_shape) or shape[0] == 0:
        raise ValueError(f"Expected images of shape {expected}. Received: shape={shape}.")
    if not dtype.is_floating:
        raise ValueError(f"Expected floating-point images in [0, 1]. Received: dtype={dtype.name}.")
    low, high = float(np.min(images)), float(np.max(images))
    if not (low >= 0.0 and high <= 1.0):  # also true for NaN
        raise ValueError(f"Expected pixels in [0, 1]. Received: pixels from {low:g} to {high:g}.")
