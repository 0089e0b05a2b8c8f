"""Where an object is: the maps between image and glimpse, and the boxes they mean.

z_where maps image to glimpse coordinates, u = scale * x + shift in each direction, both in [-1, 1] with
-1 and 1 at the centres of the corner pixels.

Bilinear sampling [1] under scale and shift alone is separable, so it is two matrix products with
tent weights, out = W_y . image . W_x^T, and its gradient is two more.

References:
    [1] Jaderberg et al. 2015, Spatial Transformer Networks. arXiv 1506.02025, equations 1 and 5.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.model.latent import normal
from air_tf.parts import kind, one_of
from air_tf.validation import Scale, Shift, require, settings

tfd = tfp.distributions


def _tent_weights(coordinates: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear weights of `size` pixels at coordinates `(B, K)` in [-1, 1]: `(B, K, size)`.

    Outside of the pixels the weights fall to 0 within one pixel.
    """
    position = (coordinates[..., None] + 1.0) / 2.0 * (size - 1)
    return tf.nn.relu(1.0 - tf.abs(position - tf.range(size, dtype=position.dtype)))


def _resample(image: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Samples `(B, H, W, C)` at rows `y (B, h)` and columns `x (B, w)`: `(B, h, w, C)`."""
    rows = _tent_weights(y, image.shape[1])[:, None]  # (B, 1, h, H)
    columns = _tent_weights(x, image.shape[2])[:, None]  # (B, 1, w, W)
    planes = tf.transpose(image, [0, 3, 1, 2])  # (B, C, H, W)
    planes = tf.matmul(tf.matmul(rows, planes), columns, transpose_b=True)  # (B, C, h, w)
    return tf.transpose(planes, [0, 2, 3, 1])


class Axes(NamedTuple):
    """The map of each direction, u = scale * x + shift: `(...,)` each."""

    scale_x: tf.Tensor
    scale_y: tf.Tensor
    shift_x: tf.Tensor
    shift_y: tf.Tensor


class Where(keras.layers.Layer):
    """How an object lies in the image: the meaning of z_where, its prior, and what follows from both.

    The spatial transformer [1], without weights. Subclasses say in `axes` which maps a z_where means.

    Args:
        loc: the prior's mean, `(D,)`.
        stddev: the prior's standard deviation, `(D,)`.
        least: `(D,)`, what a sampled z_where is kept above: attending divides by the scale.
    """

    def __init__(self, loc, stddev, least, **kwargs):
        super().__init__(**kwargs)
        self.loc, self.stddev = np.float32(loc), np.float32(stddev)
        self.least = np.float32(least)
        self.built = True

    @property
    def size(self) -> int:
        """Numbers in a z_where."""
        return len(self.loc)

    def axes(self, z_where) -> Axes:
        """The maps that `z_where (..., D)` stands for."""
        raise NotImplementedError

    def centred(self, loc: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """The z_where `(B, D)` with its shifts relative to a place instead of to the image's middle.

        Args:
            loc: `(B, D)`.
            place: (x, y) in image coordinates, `(B, 2)`.
        """
        raise NotImplementedError

    def prior(self) -> tfd.Distribution:
        """p(z_where_i), the same for every object."""
        return normal(tf.constant(self.loc), tf.constant(self.stddev))

    def constrain(self, z_where) -> tf.Tensor:
        """`z_where (..., D)` with scales that one can divide by."""
        return tf.maximum(z_where, self.least)

    def drawable(self, z_where) -> tf.Tensor:
        """Whether something can be drawn there, `(...,)`: its scales are above 0."""
        axes = self.axes(z_where)
        return (axes.scale_x > 0.0) & (axes.scale_y > 0.0)

    def attend(self, image: tf.Tensor, z_where: tf.Tensor, size: int) -> tf.Tensor:
        """Cuts the glimpse at `z_where (B, D)` out of images `(B, H, W, C)`: `(B, size, size, C)`."""
        grid, axes = np.linspace(-1, 1, size, dtype=np.float32), self._columns(z_where)
        rows = (grid - axes.shift_y) / axes.scale_y
        return _resample(image, rows, (grid - axes.shift_x) / axes.scale_x)

    def place(self, glimpse: tf.Tensor, z_where: tf.Tensor, image_shape) -> tf.Tensor:
        """Draws glimpses `(B, h, w, C)` at `z_where (B, D)` on empty images: the inverse of `attend`.

        Args:
            glimpse: `(B, h, w, C)`.
            z_where: `(B, D)`.
            image_shape: `(height, width, channels)` of the image, in pixels.

        Returns:
            The images, `(B, height, width, C)`, 0 outside of the glimpse.
        """
        y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in image_shape[:2])
        axes = self._columns(z_where)
        return _resample(glimpse, axes.scale_y * y + axes.shift_y, axes.scale_x * x + axes.shift_x)

    def windows(self, z_where: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
        """The window of each `z_where` as image edges.

        Args:
            z_where: `(..., D)`.
            image_shape: `(height, width, channels)`, in pixels.

        Returns:
            `(..., 4)`: (ymin, xmin, ymax, xmax) as fractions of the image; outside of it too.

        >>> where = ScaleShiftSettings().make()
        >>> print(where.windows(tf.constant([2.0, 0.0, 0.0]), (51, 51, 1)).numpy().round(3))
        [0.255 0.255 0.745 0.745]
        """
        height, width, _ = image_shape
        axes = self.axes(z_where)

        def edges(scale, shift, size):
            centre = (1.0 - shift / scale) / 2.0 * (size - 1)
            half_side = (size - 1) / (2.0 * scale)
            return (centre - half_side + 0.5) / size, (centre + half_side + 0.5) / size

        ymin, ymax = edges(axes.scale_y, axes.shift_y, height)
        xmin, xmax = edges(axes.scale_x, axes.shift_x, width)
        return tf.stack([ymin, xmin, ymax, xmax], axis=-1)

    def _columns(self, z_where) -> Axes:
        """`axes` of `(B, D)`, each `(B, 1)`."""
        return Axes(*(part[:, None] for part in self.axes(z_where)))


@settings
class ScaleShiftSettings:
    """One scale for both directions, as in Eslami et al. 2016: z_where = (scale, shift_x, shift_y)."""

    where: kind("scale_shift") = "scale_shift"

    scale_prior: tuple[Scale, Scale] = (3.0, 0.2)
    """Mean and standard deviation of an object's scale: image side over object side."""

    shift_prior: tuple[Shift, Scale] = (0.0, 1.0)
    """Mean and standard deviation of an object's shift, before division by the scale."""

    min_scale: Scale = 0.2
    """Sampled scales are kept above it: attending divides by the scale."""

    def __post_init__(self):
        require(self.min_scale <= self.scale_prior[0], "min_scale at most the mean of scale_prior",
                min_scale=self.min_scale, scale_prior=self.scale_prior)  # fmt: skip

    def make(self) -> Where:
        loc, stddev = zip(self.scale_prior, self.shift_prior, self.shift_prior)
        return ScaleShift(loc, stddev, (self.min_scale, -np.inf, -np.inf))


class ScaleShift(Where):
    """z_where = (scale, shift_x, shift_y): a window of the image's own shape."""

    def axes(self, z_where):
        scale, shift_x, shift_y = tf.unstack(z_where, axis=-1)
        return Axes(scale, scale, shift_x, shift_y)

    def centred(self, loc, place):
        scale, shift = tf.split(loc, [1, 2], axis=-1)
        # the glimpse's centre is where scale * x + shift = 0
        return tf.concat([scale, shift - scale * place], axis=-1)


@settings
class TwoScalesSettings(ScaleShiftSettings):
    """Width and height apart: z_where = (scale_x, scale_y, shift_x, shift_y)."""

    where: kind("two_scales") = "two_scales"

    def make(self) -> Where:
        priors = self.scale_prior, self.scale_prior, self.shift_prior, self.shift_prior
        return TwoScales(*zip(*priors), (self.min_scale, self.min_scale, -np.inf, -np.inf))


class TwoScales(Where):
    """z_where = (scale_x, scale_y, shift_x, shift_y): a window of any shape."""

    def axes(self, z_where):
        return Axes(*tf.unstack(z_where, axis=-1))

    def centred(self, loc, place):
        scales, shift = tf.split(loc, 2, axis=-1)
        return tf.concat([scales, shift - scales * place], axis=-1)


WhereSettings = one_of("where", ScaleShiftSettings, TwoScalesSettings)


def tight_boxes(ink: tf.Tensor, threshold: float) -> tf.Tensor:
    """The box of the pixels of each image above `threshold` times its fullest one.

    Args:
        ink: `(..., H, W)`, how much of an object there is in each pixel.
        threshold: from 0 to 1.

    Returns:
        `(..., 4)`, (ymin, xmin, ymax, xmax) as fractions of the image; zeros where the image is empty.
    """
    fullest = tf.reduce_max(ink, axis=[-2, -1], keepdims=True)
    ink = (ink >= threshold * fullest) & (fullest > 0.0)

    def edges(some, size):
        """First and last of `some (..., size)`, as fractions."""
        first = tf.argmax(some, axis=-1, output_type=tf.int32)
        last = size - tf.argmax(tf.reverse(some, [-1]), axis=-1, output_type=tf.int32)
        return tf.cast(first, tf.float32) / size, tf.cast(last, tf.float32) / size

    rows, columns = (tf.cast(tf.reduce_any(ink, axis=axis), tf.int32) for axis in (-1, -2))
    (ymin, ymax), (xmin, xmax) = edges(rows, ink.shape[-2]), edges(columns, ink.shape[-1])
    found = tf.cast(tf.reduce_any(ink, axis=[-2, -1]), tf.float32)
    return tf.stack([ymin, xmin, ymax, xmax], axis=-1) * found[..., None]
