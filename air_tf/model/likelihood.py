"""p(x | canvas): how an image differs from what was drawn."""

from typing import Annotated, Literal

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from pydantic import Field

from air_tf.parts import kind, one_of
from air_tf.validation import settings

tfd = tfp.distributions
LEAST_SCALE = 0.05  # of the first pixel scale, below which a learned one does not fall
MARGIN = 1e-3  # least probability of white and of black
BLACK, WHITE = 25, 230  # of 255, between which a pixel is grey
MOST_GREY = 0.1  # of the pixels that are grey or of the rarer of black and white


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

    def check(self, images: np.ndarray) -> None:
        """Raises ValueError if images `(S, H, W, C)` uint8 cannot come from the distribution."""


@settings
class NormalSettings:
    """Normal noise on every pixel."""

    likelihood: kind("normal") = "normal"

    pixel_scale: Annotated[float, Field(ge=1e-3, le=10)] = 0.3
    """Standard deviation of p(x | z), in units of full brightness."""

    pixel_scales: Literal["fixed", "learned", "per_channel"] = "fixed"
    """fixed: the standard deviation stays --pixel-scale. learned: it is trained with the model, from
    --pixel-scale on. per_channel: the same, with one for each channel. ELBOs of different standard
    deviations cannot be compared."""

    def make(self, channels: int) -> Likelihood:
        return Normal(self, channels)


class Normal(Likelihood):
    """Pixels are independent, Normal(canvas, pixel_scale).

    A learned scale is kept above LEAST_SCALE times the first one: otherwise the density of a data set
    that is drawn perfectly would grow without limit.

    Args:
        settings: `NormalSettings`.
        channels: of the images.
    """

    def __init__(self, settings: NormalSettings, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.settings, self.log_ratio = settings, None
        if settings.pixel_scales != "fixed":
            shape = (channels,) if settings.pixel_scales == "per_channel" else ()
            self.log_ratio = self.add_weight(
                shape=shape, initializer="zeros", name="log_ratio", constraint=_above_least
            )
        self.built = True

    @property
    def pixel_scale(self):
        """The standard deviation, in units of full brightness: a number, or one for each channel."""
        if self.log_ratio is None:
            return self.settings.pixel_scale
        return self.settings.pixel_scale * tf.exp(self.log_ratio)

    def log_prob(self, x, canvas):
        p_x = tfd.Independent(tfd.Normal(canvas, self.pixel_scale), reinterpreted_batch_ndims=3)
        return p_x.log_prob(x)


def _above_least(log_ratio: tf.Tensor) -> tf.Tensor:
    """The optimizer's constraint. Within the likelihood, a scale at the limit would have no gradient."""
    return tf.maximum(log_ratio, np.log(LEAST_SCALE))


@settings
class BernoulliSettings:
    """Each pixel is white with the probability that the canvas says; for images in black and white."""

    likelihood: kind("bernoulli") = "bernoulli"

    def make(self, channels: int) -> Likelihood:
        return Bernoulli()


class Bernoulli(Likelihood):
    """Pixels are independent, log p(x | canvas) = x log(canvas) + (1 - x) log(1 - canvas).

    The canvas is mapped to [MARGIN, 1 - MARGIN], since black that is certain would make one grey pixel
    infinitely improbable, and cut there, since objects that add up may be brighter than white. Grey
    pixels are no events of this distribution: they would be taken for probabilities. A few are let pass,
    since JPEG leaves them at edges.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def check(self, images):
        black = sum(np.count_nonzero(image <= BLACK) for image in images)
        white = sum(np.count_nonzero(image >= WHITE) for image in images)
        grey = images.size - black - white
        if grey > MOST_GREY * (grey + min(black, white)):
            raise ValueError(
                "Expected images in black and white for --likelihood bernoulli. Received: "
                f"{grey / images.size:.1%} grey pixels and {white / images.size:.1%} white ones; use "
                "--likelihood normal."
            )

    def log_prob(self, x, canvas):
        canvas = tf.minimum(MARGIN + (1.0 - 2.0 * MARGIN) * canvas, 1.0 - MARGIN)
        return tfd.Independent(tfd.Bernoulli(probs=canvas), reinterpreted_batch_ndims=3).log_prob(x)


LikelihoodSettings = one_of("likelihood", NormalSettings, BernoulliSettings)
