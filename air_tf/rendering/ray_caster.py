"""The ray caster of `analytic` as a renderer."""

from typing import Literal

import tensorflow as tf

from air_tf.parts import kind
from air_tf.rendering import analytic
from air_tf.rendering.black_box import with_finite_differences
from air_tf.rendering.renderer import Renderer
from air_tf.validation import settings


@settings
class AnalyticSettings:
    """A ray caster in TensorFlow, compiled together with the model."""

    renderer: kind("analytic") = "analytic"

    pose_gradient: Literal["exact", "finite_differences"] = "exact"
    """How gradients with respect to poses are obtained. exact: through the renderer; finite_differences:
    from six more renderings of each solid, as a renderer needs that is a black box."""

    def check_available(self) -> None:
        """It needs nothing else."""

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
