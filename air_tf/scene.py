"""What goes into a model and what comes out."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from air_tf import drawing

Array = Any  # a tensor, or a NumPy array
COLUMNS = 8  # images side by side in a drawing
SHOWN = 10  # images in a table


class Scene(NamedTuple):
    """What AIR sees in a batch of images; past an image's count, boxes are zeros."""

    counts: Array  # (B,) int32, the most probable number of objects
    count_probs: Array  # (B, N + 1), q(n)
    boxes: Array  # (B, N, 4), (ymin, xmin, ymax, xmax) as fractions of the image
    tight_boxes: Array  # (B, N, 4), the same, of each object's ink
    scores: Array  # (B, N), q(n >= i)
    reconstructions: Array  # (B, H, W, C), of the counted objects
    z_what: Array  # (B, N, z_what_size)
    z_where: Array  # (B, N, 3), (scale, shift_x, shift_y)

    def __str__(self):
        """A table of the first images: counts, their probability, tight boxes in hundredths."""
        if not all(isinstance(values, (np.ndarray, tf.__internal__.EagerTensor)) for values in self):
            return tuple.__repr__(self)
        counts, probs, boxes = (np.asarray(v)[:SHOWN] for v in (*self[:2], self.tight_boxes))
        lines = ["image  objects  probability  tight boxes (ymin xmin ymax xmax, % of the image)"]
        for i, (count, prob, of_image) in enumerate(zip(counts, probs, boxes)):
            each = ", ".join(" ".join(f"{100 * edge:.0f}" for edge in box) for box in of_image[:count])
            lines.append(f"{i:5}  {count:7}  {prob[count]:11.1%}  {each}")
        more = len(self.counts) - SHOWN
        return "\n".join(lines + [f"and {more:,} more"] * (more > 0))

    def draw(self, images=None, tight: bool = True) -> Image.Image:
        """The images side by side, with the box of each counted object in its step's colour.

        Args:
            images: `(B, H, W, C)` in [0, 1]; None: the reconstructions.
            tight: whether to draw `tight_boxes`, else `boxes`.

        Raises:
            ValueError: the images are not as many as the scene's.
        """
        images = np.asarray(self.reconstructions if images is None else images)
        if len(images) != len(self.counts):
            raise ValueError(f"Expected {len(self.counts)} images. Received: {len(images)}.")
        counts, boxes = np.asarray(self.counts), np.asarray(self.tight_boxes if tight else self.boxes)
        drawn = [
            drawing.with_boxes(*each) for each in zip(images, (b[:n] for b, n in zip(boxes, counts)))
        ]
        return drawing.side_by_side(drawn, COLUMNS)


def check_images(images, image_shape: tuple[int, int, int]) -> None:
    """Refuses what is no batch of images in [0, 1].

    >>> check_images(np.full((2, 50, 50, 1), 255.0), (50, 50, 1))
    Traceback (most recent call last):
    ValueError: Expected pixels in [0, 1]. Received: pixels from 255 to 255.

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
