"""A perspective camera above a table, and the rays through its pixels.

The table lies in the plane z = 0, from -1 to 1 in x and y; z points up. Lengths are in halves of its
side.
"""

import math
from typing import Any, NamedTuple

import tensorflow as tf


class Rays(NamedTuple):
    """The rays eye + t d through the pixels, d = forward + column * right + row * down.

    Row and column are pixels from the middle of the image. Since `forward` is a unit vector at a right
    angle to the others, t is the depth: how far in front of the camera a point lies.
    """

    eye: tf.Tensor  # (..., 3)
    forward: tf.Tensor  # (..., 3), of length 1
    right: tf.Tensor  # (..., 3), from a pixel to the next in its row
    down: tf.Tensor  # (..., 3), from a pixel to the next in its column

    def turned(self, position: tf.Tensor, angle: tf.Tensor, size: tf.Tensor) -> "Rays":
        """The rays as seen by a thing that stands there, turned and enlarged.

        Args:
            position: of the thing on the table, `(..., 2)`.
            angle: by which it is turned about the vertical, `(...,)`, in radians, anticlockwise from
                above.
            size: by which it is enlarged, `(...,)`.
        """
        cos, sin = tf.cos(angle), tf.sin(angle)

        def seen(vector):
            x, y, z = tf.unstack(vector, axis=-1)
            z += tf.zeros_like(cos)
            return tf.stack([cos * x + sin * y, cos * y - sin * x, z], axis=-1) / size[..., None]

        at = tf.concat([position, tf.zeros_like(position[..., :1])], axis=-1)
        return Rays(seen(self.eye - at), *map(seen, self[1:]))

    def seen(self, points: tf.Tensor) -> tf.Tensor:
        """Where points `(..., 3)` are seen: (column, row), in pixels from its middle, `(..., 2)`."""
        away = points - self.eye
        depth = tf.reduce_sum(away * self.forward, axis=-1, keepdims=True)
        steps = tf.stack([self.right, self.down], axis=-2)
        steps /= tf.reduce_sum(steps**2, axis=-1, keepdims=True)
        return tf.linalg.matvec(steps, away) / depth

    def at_height(self, pixels: tf.Tensor, height: float) -> tf.Tensor:
        """The points (x, y) at this height that are seen in pixels (column, row), `(..., 2)` each."""
        column, row = pixels[..., :1], pixels[..., 1:]
        direction = self.forward + column * self.right + row * self.down
        return self.eye[..., :2] + (height - self.eye[..., 2:]) / direction[..., 2:] * direction[..., :2]


class Camera(NamedTuple):
    """Position, target and field of view of one camera or several."""

    eye: Any = (0.0, -3.0, 2.4)  # (..., 3)
    target: tuple[float, float, float] = (0.0, 0.0, 0.1)
    field_of_view: float = 44.0  # from the image's upper to its lower edge, in degrees

    def rays(self, height: int) -> Rays:
        """The rays of an image of so many rows."""
        eye = tf.convert_to_tensor(self.eye, tf.float32)
        forward = tf.linalg.l2_normalize(tf.constant(self.target) - eye, axis=-1)
        upwards = tf.broadcast_to([0.0, 0.0, 1.0], tf.shape(forward))
        right = tf.linalg.l2_normalize(tf.linalg.cross(forward, upwards), axis=-1)
        down = tf.linalg.cross(forward, right)
        pixel = 2 * math.tan(math.radians(self.field_of_view) / 2) / height
        return Rays(eye, forward, pixel * right, pixel * down)


def corners(position: tf.Tensor, radius: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    """The eight corners of upright blocks on the table, `(..., 8, 3)`.

    Args:
        position: of their middles, `(..., 2)`.
        radius: half of their width and of their depth, `(...,)`.
        height: of each, `(...,)`.
    """
    signs = tf.constant([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 1)], tf.float32)
    sizes = tf.stack([radius, radius, height], axis=-1)[..., None, :]
    standing = tf.concat([position, tf.zeros_like(position[..., :1])], axis=-1)[..., None, :]
    return standing + signs * sizes


def directions(rays: Rays, height: int, width: int) -> list[tf.Tensor]:
    """The x, y and z of the rays' directions, `(..., H, W)` each."""
    row = (tf.range(height, dtype=tf.float32) - (height - 1) / 2)[:, None]
    column = (tf.range(width, dtype=tf.float32) - (width - 1) / 2)[None, :]
    parts = (tf.unstack(vector[..., None, None, :], axis=-1) for vector in rays[1:])
    return [forward + column * right + row * down for forward, right, down in zip(*parts)]
