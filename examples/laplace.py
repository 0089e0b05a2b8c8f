"""A likelihood: noise with heavier tails than the normal's, so that a few odd pixels cost less."""

import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.config import ModelConfig
from air_tf.model.likelihood import BernoulliSettings, Likelihood, NormalSettings
from air_tf.parts import kind, one_of
from air_tf.validation import Scale, settings

tfd = tfp.distributions


@settings
class LaplaceSettings:
    """Laplace noise on every pixel."""

    likelihood: kind("laplace") = "laplace"

    pixel_width: Scale = 0.2
    """Scale of p(x | z), in units of full brightness: the mean absolute error."""

    def make(self, channels: int) -> Likelihood:
        return Laplace(self.pixel_width)


class Laplace(Likelihood):
    """Pixels are independent, Laplace(canvas, pixel_width)."""

    def __init__(self, pixel_width: float, **kwargs):
        super().__init__(**kwargs)
        self.pixel_width = pixel_width
        self.built = True

    def log_prob(self, x, canvas):
        return tf.reduce_sum(tfd.Laplace(canvas, self.pixel_width).log_prob(x), axis=(-3, -2, -1))


@settings
class LaplaceConfig(ModelConfig):
    """A model with Laplace noise."""

    likelihood: one_of("likelihood", NormalSettings, BernoulliSettings, LaplaceSettings) = (
        LaplaceSettings()
    )
