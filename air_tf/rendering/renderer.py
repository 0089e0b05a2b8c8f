"""What draws solids one by one."""

import tensorflow as tf

from air_tf.model.composition import Layer
from air_tf.rendering.camera import Camera
from air_tf.rendering.solids import SETS


class Renderer:
    """Draws solids of one set, each as if it were alone in the image.

    Args:
        solids: the set's name.
        image_shape: `(height, width, 3)`, in pixels.
    """

    compiled = True  # whether it can be compiled by XLA and exported

    def __init__(self, solids: str, image_shape: tuple[int, int, int]):
        self.solids, self.image_shape = SETS[solids], image_shape
        self.rays = Camera().rays(image_shape[0])

    def draw(self, which: int, poses: tf.Tensor) -> Layer:
        """What solids look like.

        Args:
            which: index of the solid in its set, from 0.
            poses: `(B, 3)`, (x, y, angle): on the table, in units of half its side, and in radians.

        Returns:
            `Layer` of `(B, H, W, C)`: colours times opacity, opacity, and depth, whose gradients flow to
            the poses.
        """
        raise NotImplementedError
