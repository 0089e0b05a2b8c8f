"""p(x | canvas): how an image differs from what was drawn."""

from typing import Annotated

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from pydantic import Field

from air_tf.parts import kind, one_of
from air_tf.validation import settings

tfd = tfp.distributions
MARGIN = 1e-3  # least probability of white and of black


class Likelihood(keras.layers.Layer):
    """The distribution of an image's pixels around a canvas."""

    def log_prob(self, x: tf.Tensor, canvas: tf.Tensor) -> tf.Tensor:
        """log p(x | canvas), nats.

        Args:
            x: images, `(B, H, W, C)`.
            canvas: `(..., B, H, W, C)`.

        Returns:
            `(..., B)`.
        """
        raise NotImplementedError


@settings
class NormalSettings:
    """Normal noise on every pixel."""

    likelihood: kind("normal") = "normal"

    pixel_scale: Annotated[float, Field(ge=1e-3, le=10)] = 0.3
    """Standard deviation of p(x | z), in units of full brightness."""

    def make(self) -> Likelihood:
        return Normal(self.pixel_scale)


class Normal(Likelihood):
    """Pixels are independent, Normal(canvas, pixel_scale).

    Args:
        pixel_scale: standard deviation, in units of full brightness.
    """

    def __init__(self, pixel_scale: float, **kwargs):
        super().__init__(**kwargs)
        self.pixel_scale = pixel_scale
        self.built = True

    def log_prob(self, x, canvas):
        p_x = tfd.Independent(tfd.Normal(canvas, self.pixel_scale), reinterpreted_batch_ndims=3)
        return p_x.log_prob(x)


@settings
class BernoulliSettings:
    """Each pixel is white with the probability that the canvas says, for images in black and white."""

    likelihood: kind("bernoulli") = "bernoulli"

    def make(self) -> Likelihood:
        return Bernoulli()


class Bernoulli(Likelihood):
    """Pixels are independent, log p(x | canvas) = x log(canvas) + (1 - x) log(1 - canvas).

    The canvas is kept within [MARGIN, 1 - MARGIN]: objects that add up may be brighter than white, and
    black that is certain would make one grey pixel infinitely improbable. Of grey pixels, which are no
    events of this distribution, it is the cross entropy.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def log_prob(self, x, canvas):
        canvas = tf.clip_by_value(canvas, MARGIN, 1.0 - MARGIN)
        return tfd.Independent(tfd.Bernoulli(probs=canvas), reinterpreted_batch_ndims=3).log_prob(x)


LikelihoodSettings = one_of("likelihood", NormalSettings, BernoulliSettings)
