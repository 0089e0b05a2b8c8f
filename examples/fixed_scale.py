"""A z_where: two shifts alone, for objects that are all of one size."""

import numpy as np
import tensorflow as tf

from air_tf.config import ModelConfig
from air_tf.model.objects import GlimpseSettings
from air_tf.model.where import Axes, ScaleShiftSettings, TwoScalesSettings, Where
from air_tf.parts import kind, one_of
from air_tf.validation import Scale, Shift, settings


@settings
class FixedScaleSettings:
    """All objects are of one size: z_where = (shift_x, shift_y)."""

    where: kind("fixed_scale") = "fixed_scale"

    fixed_scale: Scale = 3.0
    """Image side over object side."""

    shift_prior: tuple[Shift, Scale] = (0.0, 1.0)
    """Mean and standard deviation of an object's shift, before division by the scale."""

    def make(self) -> Where:
        return FixedScale(self.fixed_scale, *zip(self.shift_prior, self.shift_prior))


class FixedScale(Where):
    """z_where = (shift_x, shift_y), with one scale for all."""

    def __init__(self, scale: float, loc, stddev, **kwargs):
        super().__init__(loc, stddev, least=(-np.inf, -np.inf), **kwargs)
        self.scale = scale

    def axes(self, z_where):
        shift_x, shift_y = tf.unstack(z_where, axis=-1)
        scale = self.scale * tf.ones_like(shift_x)
        return Axes(scale, scale, shift_x, shift_y)

    def centred(self, loc, place):
        return loc - self.scale * place


@settings
class FixedScaleGlimpses(GlimpseSettings):
    """Glimpses of one size."""

    where: one_of("where", ScaleShiftSettings, TwoScalesSettings, FixedScaleSettings) = (
        FixedScaleSettings()
    )


@settings
class FixedScaleConfig(ModelConfig):
    """A model of objects of one size."""

    objects: FixedScaleGlimpses = FixedScaleGlimpses()
