"""What goes into a model and what comes out."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from air_tf import drawing

Array = Any  # a tensor, or a NumPy array
COLUMNS = 8  # images side by side in a drawing
SHOWN = 10  # images in a table


class Layers(NamedTuple):
    """The N objects of each image, one by one, counted or not."""

    layers: Array  # (B, N, H, W, C), each drawn by itself
    masks: Array  # (B, N, H, W), how much of each pixel it shows among those counted
    corners: Array  # (B, N, 4, 2), (y, x) of each window's, clockwise; also outside of it


class Scene(NamedTuple):
    """What AIR sees in a batch of images; past an image's count, boxes are zeros."""

    counts: Array  # (B,) int32, the most probable number of objects
    count_probs: Array  # (B, N + 1), q(n)
    boxes: Array  # (B, N, 4), (ymin, xmin, ymax, xmax) as fractions of the image
    tight_boxes: Array  # (B, N, 4), the same, of each object's ink
    scores: Array  # (B, N), q(n >= i)
    reconstructions: Array  # (B, H, W, C), of the counted objects on their background
    backgrounds: Array  # (B, H, W, C), what is behind the objects
    latents: dict[str, Array]  # by their names, (B, N, size) of objects and (B, size) of backgrounds
    readings: dict[str, Array] = {}  # noqa: RUF012 - (B, N, ...), what is read from latents, by name

    @classmethod
    def of(cls, outputs: dict[str, Array]) -> "Scene":
        """The scenes that an endpoint's `outputs` stand for."""
        fields, latents, readings = {}, {}, {}
        for name, value in outputs.items():
            if name.startswith("z_"):
                latents[name[2:]] = value
            else:
                (fields if name in cls._fields else readings)[name] = value
        return cls(**fields, latents=latents, readings=readings)

    def outputs(self) -> dict[str, Array]:
        """All fields by their names, latents as z_NAME, and readings: what an endpoint gives."""
        fields = self._asdict()
        latents, readings = fields.pop("latents"), fields.pop("readings")
        return fields | readings | {f"z_{name}": value for name, value in latents.items()}

    def numpy(self) -> "Scene":
        """The scenes as arrays."""
        return tf.nest.map_structure(np.asarray, self)

    def part(self, index) -> "Scene":
        """The scenes of the images that a slice or an array of indices picks."""
        return tf.nest.map_structure(lambda values: values[index], self)

    @classmethod
    def joined(cls, scenes: list["Scene"]) -> "Scene":
        """The scenes of several batches, as arrays, one after the other."""
        return tf.nest.map_structure(lambda *values: np.concatenate(values), *scenes)

    @property
    def z_what(self) -> Array:
        """Codes of glimpses, `(B, N, z_what_size)`."""
        return self.latents["what"]

    @property
    def z_where(self) -> Array:
        """Where glimpses lie, `(B, N, 3)`: (scale, shift_x, shift_y), or as `--where` says."""
        return self.latents["where"]

    def __str__(self):
        """A table of the first images: counts, their probability, tight boxes in hundredths."""
        if not isinstance(self.counts, (np.ndarray, tf.__internal__.EagerTensor)):
            return tuple.__repr__(self)
        counts, probs, _, boxes = (np.asarray(values)[:SHOWN] for values in self[:4])
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
