"""Where an object is: the maps between image and glimpse, and the boxes they mean.

z_where = (scale, shift_x, shift_y) maps image to glimpse coordinates,
u = scale * x + shift, both in [-1, 1] with -1 and 1 at the centres of the corner pixels.

Bilinear sampling [1] under scale and shift alone is separable, so it is two matrix products with
tent weights, out = W_y . image . W_x^T, and its gradient is two more.

References:
    [1] Jaderberg et al. 2015, Spatial Transformer Networks. arXiv 1506.02025, equations 1 and 5.
"""

import keras
import numpy as np
import tensorflow as tf


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


class Attend(keras.layers.Layer):
    """Cuts the glimpse at `z_where` out of an image. No weights.

    Args:
        glimpse_size: side of the glimpse, in pixels.

    Call arguments:
        image: `(B, H, W, C)`.
        z_where: `(B, 3)`, with a scale above 0.

    Returns:
        The glimpse, `(B, glimpse_size, glimpse_size, C)`.
    """

    def __init__(self, glimpse_size: int, **kwargs):
        super().__init__(**kwargs)
        self.grid = np.linspace(-1, 1, glimpse_size, dtype=np.float32)

    def call(self, image, z_where):
        scale, shift_x, shift_y = tf.split(z_where, 3, axis=-1)  # (B, 1) each
        return _resample(image, (self.grid - shift_y) / scale, (self.grid - shift_x) / scale)


class Place(keras.layers.Layer):
    """Draws a glimpse at `z_where` on an empty image: the inverse of `Attend`. No weights.

    Args:
        image_shape: `(height, width, channels)` of the image.

    Call arguments:
        glimpse: `(B, h, w, C)`.
        z_where: `(B, 3)`.

    Returns:
        The image, `(B, H, W, C)`, 0 outside of the glimpse.
    """

    def __init__(self, image_shape: tuple[int, int, int], **kwargs):
        super().__init__(**kwargs)
        self.rows = np.linspace(-1, 1, image_shape[0], dtype=np.float32)
        self.columns = np.linspace(-1, 1, image_shape[1], dtype=np.float32)

    def call(self, glimpse, z_where):
        scale, shift_x, shift_y = tf.split(z_where, 3, axis=-1)  # (B, 1) each
        return _resample(glimpse, scale * self.rows + shift_y, scale * self.columns + shift_x)


def boxes(z_where: tf.Tensor, image_shape: tuple[int, int, int]) -> tf.Tensor:
    """The window of each `z_where` as image edges.

    Args:
        z_where: `(..., 3)`.
        image_shape: `(height, width, channels)`, in pixels.

    Returns:
        `(..., 4)`: (ymin, xmin, ymax, xmax) as fractions of the image, clipped to [0, 1].

    >>> print(boxes(tf.constant([2.0, 0.0, 0.0]), (51, 51, 1)).numpy().round(3))
    [0.255 0.255 0.745 0.745]
    """
    height, width, _ = image_shape
    scale, shift_x, shift_y = tf.unstack(z_where, axis=-1)

    def edges(shift, size):
        centre = (1.0 - shift / scale) / 2.0 * (size - 1)
        half_side = (size - 1) / (2.0 * scale)
        return (centre - half_side + 0.5) / size, (centre + half_side + 0.5) / size

    (ymin, ymax), (xmin, xmax) = edges(shift_y, height), edges(shift_x, width)
    return tf.clip_by_value(tf.stack([ymin, xmin, ymax, xmax], axis=-1), 0.0, 1.0)


def tight_boxes(placed: tf.Tensor, threshold: float) -> tf.Tensor:
    """The box of the pixels of each image above `threshold` times its brightest one.

    Args:
        placed: `(..., H, W, C)`, an object drawn alone.
        threshold: from 0 to 1.

    Returns:
        `(..., 4)`, as `boxes`; zeros where the image is empty.
    """
    brightness = tf.reduce_max(placed, axis=-1)
    brightest = tf.reduce_max(brightness, axis=[-2, -1], keepdims=True)
    ink = (brightness >= threshold * brightest) & (brightest > 0.0)

    def edges(some, size):
        """First and last of `some (..., size)`, as fractions."""
        first = tf.argmax(some, axis=-1, output_type=tf.int32)
        last = size - tf.argmax(tf.reverse(some, [-1]), axis=-1, output_type=tf.int32)
        return tf.cast(first, tf.float32) / size, tf.cast(last, tf.float32) / size

    rows, columns = (tf.cast(tf.reduce_any(ink, axis=axis), tf.int32) for axis in (-1, -2))
    (ymin, ymax), (xmin, xmax) = edges(rows, placed.shape[-3]), edges(columns, placed.shape[-2])
    found = tf.cast(tf.reduce_any(ink, axis=[-2, -1]), tf.float32)
    return tf.stack([ymin, xmin, ymax, xmax], axis=-1) * found[..., None]
