"""Bilinear sampling [1] of images: along rows and columns, and at any points.

Coordinates are in [-1, 1], with -1 and 1 at the centres of the corner pixels. Outside of the image there
is nothing: values fall to 0 within one pixel.

References:
    [1] Jaderberg et al. 2015, Spatial Transformer Networks. arXiv 1506.02025, equation 5.
"""

import numpy as np
import tensorflow as tf


def _pixels(coordinates: tf.Tensor, size: int) -> tf.Tensor:
    """Coordinates as numbers of pixels, from 0 to `size` - 1."""
    return (coordinates + 1.0) / 2.0 * (size - 1)


def grid(size: int) -> np.ndarray:
    """The coordinates of the centres of `size` pixels: `(size,)`."""
    return np.linspace(-1, 1, size, dtype=np.float32)


def _tent_weights(coordinates: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear weights of `size` pixels at coordinates `(B, K)`: `(B, K, size)`."""
    position = _pixels(coordinates, size)[..., None]
    return tf.nn.relu(1.0 - tf.abs(position - tf.range(size, dtype=position.dtype)))


def sample_axes(image: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Samples `(B, H, W, C)` at all crossings of rows `y (B, h)` and columns `x (B, w)`: `(B, h, w, C)`.

    This is two matrix products with tent weights, out = W_y . image . W_x^T, and its gradient is two
    more.
    """
    rows = _tent_weights(y, image.shape[1])[:, None]  # (B, 1, h, H)
    columns = _tent_weights(x, image.shape[2])[:, None]  # (B, 1, w, W)
    planes = tf.transpose(image, [0, 3, 1, 2])  # (B, C, H, W)
    planes = tf.matmul(tf.matmul(rows, planes), columns, transpose_b=True)  # (B, C, h, w)
    return tf.transpose(planes, [0, 2, 3, 1])


def sample_points(image: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Samples `(B, H, W, C)` at any points `(B, h, w)`: `(B, h, w, C)`.

    Each is a mean of its four pixels, which are gathered: slower than `sample_axes`.
    """
    height, width, channels = map(int, image.shape[1:])
    image = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]])
    flat = tf.reshape(image, (-1, (height + 2) * (width + 2), channels))

    def neighbours(coordinates, size):
        """The pixel before, in the padded image, and how far beyond its centre the point lies."""
        position = tf.clip_by_value(_pixels(coordinates, size) + 1.0, 0.0, size + 1.0)
        before = tf.minimum(tf.floor(position), float(size))
        return tf.cast(before, tf.int32), (position - before)[..., None]

    (top, down), (left, right) = neighbours(y, height), neighbours(x, width)

    def pixel(row, column):
        index = tf.reshape((top + row) * (width + 2) + left + column, (-1, top.shape[1] * top.shape[2]))
        values = tf.gather(flat, index, batch_dims=1)
        return tf.reshape(values, (-1, *top.shape[1:], channels))

    upper = (1.0 - right) * pixel(0, 0) + right * pixel(0, 1)
    lower = (1.0 - right) * pixel(1, 0) + right * pixel(1, 1)
    return (1.0 - down) * upper + down * lower


def shrunk(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The means of `(B, H, W, C)` over the areas of larger pixels: `(B, height, width, C)`."""
    if image.shape[1:3] == (height, width):
        return image
    return _weighted(image, _area_weights(height, image.shape[1]), _area_weights(width, image.shape[2]))


def enlarged(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """`(B, h, w, C)` interpolated bilinearly, corner on corner: `(B, height, width, C)`."""
    if image.shape[1:3] == (height, width):
        return image
    tents = (
        np.maximum(0, 1 - np.abs(np.linspace(0, old - 1, new)[:, None] - np.arange(old)))
        for new, old in zip((height, width), map(int, image.shape[1:3]))
    )
    return _weighted(image, *tents)


def _area_weights(size: int, of: int) -> np.ndarray:
    """The share of each of `size` larger pixels that lies in each of the smaller ones, `(size, of)`."""
    edges = np.arange(of + 1) * size / of  # of the smaller pixels, in larger ones
    return np.diff(np.clip(edges - np.arange(size)[:, None], 0, 1), axis=1)


def _weighted(image: tf.Tensor, rows: np.ndarray, columns: np.ndarray) -> tf.Tensor:
    """`(B, H, W, C)` to rows . image . columns^T, with the same weights `(h, H)` and `(w, W)` for all.

    As products of matrices: TensorFlow 2.21 may crash where `tf.matmul` broadcasts over a batch.
    """
    across = tf.tensordot(np.float32(columns), image, [[1], [2]])  # (w, B, H, C)
    both = tf.tensordot(np.float32(rows), across, [[1], [2]])  # (h, w, B, C)
    return tf.transpose(both, [2, 0, 1, 3])
