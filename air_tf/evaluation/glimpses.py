"""What lies in windows, cut out of images for people to look at."""

import numpy as np
import tensorflow as tf

from air_tf.model.sampling import sample_points
from air_tf.scene import Layers

SIDE = 28  # pixels of a glimpse


def crops(images: np.ndarray, corners: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The parts of images in windows, upright, resized bilinearly.

    Args:
        images: `(B, H, W, C)`.
        corners: `(B, 4, 2)`, (y, x) of each window's, clockwise, as fractions of the image.
        side: of the result, in pixels.

    Returns:
        `(B, side, side, C)`; what lies outside of the image, and an empty window, is black.
    """
    size = np.array(images.shape[1:3], np.float32)
    points = 2 * (np.asarray(corners, np.float32) * size - 0.5) / (size - 1) - 1  # as `sample_points`
    upper_left, upper_right, _, lower_left = np.moveaxis(points[:, :, None, None], 1, 0)
    across = np.linspace(0, 1, side, dtype=np.float32)[:, None]
    down = across[:, None]
    points = upper_left + down * (lower_left - upper_left) + across * (upper_right - upper_left)
    there = np.any(corners[:, 0] != corners[:, 2], axis=-1)
    cut = sample_points(tf.constant(images, tf.float32), points[..., 0], points[..., 1])
    return cut.numpy() * there[:, None, None, None]


def glimpses_and_recons(images: np.ndarray, drawn: Layers) -> tuple[np.ndarray, np.ndarray]:
    """What each step looks at, and what it draws there: `(B, N, SIDE, SIDE, C)` each.

    Args:
        images: `(B, H, W, C)`.
        drawn: what each step draws.
    """
    layers, corners = np.asarray(drawn.layers), np.asarray(drawn.corners)
    steps = range(corners.shape[1])
    glimpses = [crops(images, corners[:, step]) for step in steps]
    recons = [crops(layers[:, step], corners[:, step]) for step in steps]
    return np.stack(glimpses, axis=1), np.stack(recons, axis=1)
