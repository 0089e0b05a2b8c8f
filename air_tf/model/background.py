"""What is behind the objects."""

from typing import NamedTuple

import keras
import tensorflow as tf

from air_tf.model.composition import Layer
from air_tf.model.latent import Latent
from air_tf.parts import kind, one_of
from air_tf.validation import settings


class Behind(NamedTuple):
    """A background: what it looks like, and the latents that it was inferred with."""

    layer: Layer
    latents: dict[str, Latent]


class Background(keras.layers.Layer):
    """The image without objects. Its latents have their sizes in `sizes`, by their names."""

    sizes: dict[str, int] = {}  # noqa: RUF012

    def infer(self, x: tf.Tensor, noise: dict[str, tf.Tensor]) -> Behind:
        """The background of images `(B, H, W, C)`, from standard normal noise for each latent."""
        raise NotImplementedError

    def draw(self, latents: dict[str, tf.Tensor], batch_size) -> Layer:
        """The backgrounds of latents `(B, D)`."""
        raise NotImplementedError


@settings
class NoBackgroundSettings:
    """Black, as in Eslami et al. 2016."""

    background: kind("none") = "none"

    def make(self, image_shape: tuple[int, int, int]) -> Background:
        return NoBackground(image_shape)


class NoBackground(Background):
    """Black, without latents.

    Args:
        image_shape: `(height, width, channels)`, in pixels.
    """

    def __init__(self, image_shape: tuple[int, int, int], **kwargs):
        super().__init__(**kwargs)
        self.image_shape = image_shape
        self.built = True

    def infer(self, x, noise):
        return Behind(Layer(tf.zeros_like(x)), {})

    def draw(self, latents, batch_size):
        return Layer(tf.zeros((batch_size, *self.image_shape)))


BackgroundSettings = one_of("background", NoBackgroundSettings)
