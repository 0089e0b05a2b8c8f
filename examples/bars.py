"""A kind of object: horizontal bars of light, which have no glimpse and no z_where."""

import numpy as np
import tensorflow as tf

from air_tf.config import ModelConfig
from air_tf.model.composition import Layer
from air_tf.model.latent import Latent, normal, reparameterised, standard_normal
from air_tf.model.networks import NormalParameters
from air_tf.model.objects import GlimpseSettings, Objects
from air_tf.parts import kind, one_of
from air_tf.validation import Scale, settings


@settings
class BarSettings:
    """Horizontal bars of light across the image, whose heights alone are inferred."""

    objects: kind("bar") = "bar"

    bar_width: Scale = 0.5
    """Width of a bar, where the image reaches from -1 to 1."""

    def num_latents(self) -> int:
        return 1

    def num_weights(self, networks, image_shape, state) -> int:
        return 0

    def num_activations(self, channels) -> int:
        return 0

    def make(self, networks, image_shape, alpha) -> Objects:
        return Bars(self, networks, image_shape)


class Bars(Objects):
    """z_row ~ Normal(0, 1) is the bar's middle: -1 at the top of the image, 1 at its bottom."""

    def __init__(self, settings: BarSettings, networks, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.settings, self.image_shape = settings, image_shape
        self.sizes = {"row": 1}
        self.head = NormalParameters(networks.head(2), [0.0], [1.0])
        self.built = True

    def priors(self):
        return {"row": standard_normal(1)}

    def infer(self, x, seen, place, noise):
        q_row = normal(*self.head(seen))
        return {"row": Latent(q_row, self.priors()["row"], reparameterised(q_row, noise["row"]))}

    def draw(self, samples):
        height, width, channels = self.image_shape
        rows = np.linspace(-1, 1, height, dtype=np.float32)
        bar = tf.exp(-(((rows - samples["row"]) / self.settings.bar_width) ** 2))  # (B, H)
        return Layer(tf.tile(bar[:, :, None, None], (1, 1, width, channels)))

    def windows(self, samples):
        middle, half = (samples["row"][..., 0] + 1) / 2, self.settings.bar_width / 2
        zeros = tf.zeros_like(middle)
        return tf.stack([middle - half, zeros, middle + half, zeros + 1], axis=-1)


@settings
class BarConfig(ModelConfig):
    """A model of bars, or of glimpses with --objects glimpse."""

    objects: one_of("objects", GlimpseSettings, BarSettings) = BarSettings()
