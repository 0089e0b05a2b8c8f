"""What lies in boxes, cut out of images for people to look at."""

import numpy as np
import tensorflow as tf

from air_tf.scene import Layers

SIDE = 28  # pixels of a glimpse


def crops(images: np.ndarray, boxes: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The parts of images in boxes, resized bilinearly.

    Args:
        images: `(B, H, W, C)`.
        boxes: `(B, 4)`, (ymin, xmin, ymax, xmax) as fractions of the image.
        side: of the result, in pixels.

    Returns:
        `(B, side, side, C)`; what has an empty box is black.
    """
    size = np.tile(images.shape[1:3], 2).astype(np.float32)
    corners = (np.asarray(boxes, np.float32) * size - 0.5) / (size - 1)  # of pixels' centres
    cut = tf.image.crop_and_resize(images, corners, np.arange(len(images)), (side, side))
    there = np.all(boxes[:, 2:] > boxes[:, :2], axis=-1)
    return cut.numpy() * there[:, None, None, None]


def glimpses_and_recons(images: np.ndarray, drawn: Layers) -> tuple[np.ndarray, np.ndarray]:
    """What each step looks at, and what it draws there: `(B, N, SIDE, SIDE, C)` each.

    Args:
        images: `(B, H, W, C)`.
        drawn: what each step draws.
    """
    layers, windows = np.asarray(drawn.layers), np.asarray(drawn.windows)
    steps = range(windows.shape[1])
    glimpses = [crops(images, windows[:, step]) for step in steps]
    recons = [crops(layers[:, step], windows[:, step]) for step in steps]
    return np.stack(glimpses, axis=1), np.stack(recons, axis=1)
