"""What draws solids one by one, and gradients for renderers that have none.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 3.3.
"""

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from air_tf.model.composition import Layer
from air_tf.parts import kind
from air_tf.rendering import analytic
from air_tf.rendering.camera import Camera
from air_tf.rendering.solids import SETS
from air_tf.validation import settings

STEPS = 0.01, 0.01, 0.02  # of finite differences: in halves of the table's side, and radians


class Renderer:
    """Draws solids of one set, each as if it were alone in the image.

    Args:
        solids: the set's name.
        image_shape: `(height, width, 3)`, in pixels.
    """

    def __init__(self, solids: str, image_shape: tuple[int, int, int]):
        self.solids, self.image_shape = SETS[solids], image_shape
        self.rays = Camera().rays(image_shape[0])

    def draw(self, which: int, poses: tf.Tensor) -> Layer:
        """What solids look like.

        Args:
            which: of the set's solids, from 0.
            poses: `(B, 3)`, (x, y, angle): on the table, in halves of its side, and in radians.

        Returns:
            `Layer` of `(B, H, W, C)`: colours times opacity, opacity, and depth, whose gradients flow to
            the poses.
        """
        raise NotImplementedError


@settings
class AnalyticSettings:
    """A ray caster in TensorFlow, compiled together with the model."""

    renderer: kind("analytic") = "analytic"

    pose_gradient: Literal["exact", "finite_differences"] = "exact"
    """How gradients with respect to poses are obtained. exact: through the renderer; finite_differences:
    from six more renderings of each solid, as they would be of a renderer that is a black box."""

    def make(self, solids: str, image_shape: tuple[int, int, int]) -> Renderer:
        return Analytic(self, solids, image_shape)


class Analytic(Renderer):
    """`analytic.draw`."""

    def __init__(self, settings: AnalyticSettings, solids, image_shape):
        super().__init__(solids, image_shape)
        self.settings = settings

    def draw(self, which, poses):
        height, width, _ = self.image_shape

        def render(poses):
            position, angle = poses[:, :2], poses[:, 2]
            size = tf.ones_like(angle)
            return analytic.draw(self.solids[which], self.rays, position, angle, size, height, width)

        if self.settings.pose_gradient == "exact":
            return render(poses)
        return with_finite_differences(render, poses)


def with_finite_differences(render: Callable[[tf.Tensor], Layer], poses: tf.Tensor) -> Layer:
    """What a black box renders, with gradients by central differences, as in [1].

    One object is rendered at a time, so that a gradient takes two renderings for each number of a pose,
    however many objects there are in an image.

    Args:
        render: takes poses `(B, 3)` to a `Layer`; nothing differentiates it.
        poses: `(B, 3)`.
    """

    @tf.custom_gradient
    def rendered(poses):
        layer = render(poses)

        def gradient(*upstream):
            columns = []
            for i, step in enumerate(STEPS):
                change = step * tf.one_hot(i, len(STEPS))
                pairs = zip(render(poses + change), render(poses - change))
                columns.append(sum(
                    tf.reduce_sum(of_part * (ahead - behind), axis=[1, 2, 3]) / (2 * step)
                    for of_part, (ahead, behind) in zip(upstream, pairs)
                ))  # fmt: skip
            return tf.stack(columns, axis=-1)

        return tuple(map(tf.stop_gradient, layer)), gradient

    return Layer(*rendered(poses))
