"""Where an object is: the maps between image and glimpse, and the boxes they mean.

z_where maps image to glimpse coordinates, u = scale * x + shift in each direction, both in [-1, 1] with
-1 and 1 at the centres of the corner pixels.

Under scale and shift alone, an image is sampled along its rows and columns, which is fast; a rotation
needs a point for each pixel.

References:
    [1] Jaderberg et al. 2015, Spatial Transformer Networks. arXiv 1506.02025, equation 1.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.model.latent import normal
from air_tf.model.sampling import grid, sample_axes, sample_points
from air_tf.parts import kind, one_of
from air_tf.validation import Scale, Shift, require, settings

tfd = tfp.distributions
CORNERS = [[0, 1], [0, 3], [2, 3], [2, 1]]  # (y, x) of a box's, clockwise from the upper left one


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
        pixels, axes = grid(size), self._columns(z_where)
        rows = (pixels - axes.shift_y) / axes.scale_y
        return sample_axes(image, rows, (pixels - axes.shift_x) / axes.scale_x)

    def place(self, glimpse: tf.Tensor, z_where: tf.Tensor, image_shape) -> tf.Tensor:
        """Draws glimpses `(B, h, w, C)` at `z_where (B, D)` on empty images: the inverse of `attend`.

        Args:
            glimpse: `(B, h, w, C)`.
            z_where: `(B, D)`.
            image_shape: `(height, width, channels)` of the image, in pixels.

        Returns:
            The images, `(B, height, width, C)`, 0 outside of the glimpse.
        """
        y, x = map(grid, image_shape[:2])
        axes = self._columns(z_where)
        return sample_axes(glimpse, axes.scale_y * y + axes.shift_y, axes.scale_x * x + axes.shift_x)

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

    def corners(self, z_where: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
        """The (y, x) of the glimpse's corners in the image, `(..., 4, 2)`, as of `corners_of`."""
        return corners_of(self.windows(z_where, image_shape))

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
    """Mean and standard deviation of an object's shift. Its centre is -shift / scale, so small objects
    that lie anywhere need a deviation of about half the scale."""

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


@settings
class RotatedSettings(ScaleShiftSettings):
    """One scale, and an angle: z_where = (scale, shift_x, shift_y, angle).

    Pixels are gathered one by one, so a training step takes 3.6 times as long (benchmarks.where).
    """

    where: kind("rotated") = "rotated"

    angle_prior: tuple[Shift, Scale] = (0.0, 0.5)
    """Mean and standard deviation of an object's angle, in radians, clockwise."""

    def make(self) -> Where:
        priors = self.scale_prior, self.shift_prior, self.shift_prior, self.angle_prior
        return Rotated(*zip(*priors), (self.min_scale, -np.inf, -np.inf, -np.inf))


class Rotated(ScaleShift):
    """z_where = (scale, shift_x, shift_y, angle): a window of the image's own shape, turned about its
    centre.

    With (x, y) in image coordinates, the window's are

        u = R v,  v = scale (x, y) + (shift_x, shift_y),  R = [[cos, r sin], [-sin / r, cos]]

    where r is the height over the width, from corner pixel to corner pixel, so that nothing is sheared
    in images that are not square.
    """

    def axes(self, z_where):
        return super().axes(z_where[..., :3])

    def centred(self, loc, place):
        return tf.concat([super().centred(loc[..., :3], place), loc[..., 3:]], axis=-1)

    def attend(self, image, z_where, size):
        axes, (y, x) = self._columns(z_where), _crossings(size, size)
        x, y = _turned(x, y, -z_where[:, 3, None, None], image.shape)
        rows = (y - axes.shift_y[..., None]) / axes.scale_y[..., None]
        return sample_points(image, rows, (x - axes.shift_x[..., None]) / axes.scale_x[..., None])

    def place(self, glimpse, z_where, image_shape):
        axes, (y, x) = self._columns(z_where), _crossings(*image_shape[:2])
        x = axes.scale_x[..., None] * x + axes.shift_x[..., None]
        y = axes.scale_y[..., None] * y + axes.shift_y[..., None]
        x, y = _turned(x, y, z_where[:, 3, None, None], image_shape)
        return sample_points(glimpse, y, x)

    def windows(self, z_where, image_shape):
        """The least box along the image's edges that holds the turned window, as `Where.windows`."""
        corners = self.corners(z_where, image_shape)
        return tf.concat([tf.reduce_min(corners, axis=-2), tf.reduce_max(corners, axis=-2)], axis=-1)

    def corners(self, z_where, image_shape):
        upright = corners_of(super().windows(z_where, image_shape)) * image_shape[:2]  # pixels
        centre = tf.reduce_mean(upright, axis=-2, keepdims=True)
        y, x = tf.unstack(upright - centre, axis=-1)
        cos, sin = tf.cos(z_where[..., 3, None]), tf.sin(z_where[..., 3, None])
        turned = tf.stack([cos * y + sin * x, cos * x - sin * y], axis=-1)
        return (centre + turned) / image_shape[:2]


def corners_of(boxes: tf.Tensor) -> tf.Tensor:
    """The corners of boxes `(..., 4)` as (y, x), `(..., 4, 2)`: clockwise from the upper left one."""
    return tf.gather(boxes, CORNERS, axis=-1)


def _crossings(height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The coordinates y and x of all pixels, `(1, height, width)` each."""
    y, x = tf.meshgrid(grid(height), grid(width), indexing="ij")
    return y[None], x[None]


def _turned(x, y, angle, image_shape) -> tuple[tf.Tensor, tf.Tensor]:
    """R (x, y) of `Rotated`, as (x, y)."""
    ratio = (image_shape[-3] - 1) / (image_shape[-2] - 1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    return cos * x + ratio * sin * y, cos * y - sin / ratio * x


WhereSettings = one_of("where", ScaleShiftSettings, TwoScalesSettings, RotatedSettings)


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
