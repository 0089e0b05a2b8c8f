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


class Camera(NamedTuple):
    """Where a camera, or several, stands, what it looks at, and how much of it it sees."""

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


def directions(rays: Rays, height: int, width: int) -> list[tf.Tensor]:
    """The x, y and z of the rays' directions, `(..., H, W)` each."""
    row = (tf.range(height, dtype=tf.float32) - (height - 1) / 2)[:, None]
    column = (tf.range(width, dtype=tf.float32) - (width - 1) / 2)[None, :]
    parts = (tf.unstack(vector[..., None, None, :], axis=-1) for vector in rays[1:])
    return [forward + column * right + row * down for forward, right, down in zip(*parts)]
