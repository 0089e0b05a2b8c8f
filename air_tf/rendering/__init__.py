"""Renderers of solids on a table."""

from air_tf.parts import one_of
from air_tf.rendering.mujoco_engine import MujocoSettings
from air_tf.rendering.ray_caster import AnalyticSettings

__all__ = ["AnalyticSettings", "MujocoSettings", "RendererSettings"]

RendererSettings = one_of("renderer", AnalyticSettings, MujocoSettings)
