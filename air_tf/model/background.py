"""What is behind the objects."""

from typing import Annotated, NamedTuple

import keras
import numpy as np
import scipy.special
import tensorflow as tf
from pydantic import Field

from air_tf.model.composition import Layer
from air_tf.model.latent import Latent, normal, reparameterised, standard_normal
from air_tf.model.networks import MLP, NormalParameters
from air_tf.model.sampling import enlarged, shrunk
from air_tf.parts import kind, one_of
from air_tf.validation import Units, settings

LOGITS = 10.0  # factor on a learned image's logits, without which Adam takes thousands of steps to white
LEAST = 0.01  # from black and from white, of the image that a background begins with


class Behind(NamedTuple):
    """A background: what it looks like, and the latents that it was inferred with."""

    layer: Layer
    latents: dict[str, Latent]


class Background(keras.layers.Layer):
    """The image without objects. Its latents have their sizes in `sizes`, by their names.

    A latent is called z_NAME outside of here.
    """

    sizes: dict[str, int] = {}  # noqa: RUF012

    def infer(self, x: tf.Tensor, noise: dict[str, tf.Tensor]) -> Behind:
        """The background of images `(B, H, W, C)`, from standard normal noise for each latent."""
        raise NotImplementedError

    def draw(self, latents: dict[str, tf.Tensor], batch_size) -> Layer:
        """The backgrounds of latents `(B, D)`."""
        raise NotImplementedError

    def adapt(self, images: np.ndarray) -> None:
        """Begins with what images `(S, H, W, C)` in [0, 1] have in common, before any training.

        If the background began grey, the first objects would learn to correct it, and be useless once it
        is right.
        """

    def priors(self) -> dict:
        """The prior of each latent."""
        return {name: standard_normal(size) for name, size in self.sizes.items()}


def median_logits(images: np.ndarray) -> np.ndarray:
    """The logits at which a learned image `(H, W, C)` is the median of images `(S, H, W, C)`."""
    median = np.clip(np.median(images, axis=0), LEAST, 1 - LEAST)
    return scipy.special.logit(median) / LOGITS


@settings
class NoBackgroundSettings:
    """Black, as in Eslami et al. 2016."""

    background: kind("none") = "none"

    def num_weights(self, image_shape: tuple[int, int, int]) -> int:
        """About how many weights there are."""
        return 0

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


@settings
class MeanBackgroundSettings:
    """One learned image behind the objects of all pictures, as of a camera that does not move."""

    background: kind("mean") = "mean"

    def num_weights(self, image_shape: tuple[int, int, int]) -> int:
        """About how many weights there are."""
        height, width, channels = image_shape
        return height * width * channels

    def make(self, image_shape: tuple[int, int, int]) -> Background:
        return MeanBackground(image_shape)


class MeanBackground(Background):
    """The image sigmoid(LOGITS * logits), learned and without latents.

    It begins grey, or as the median of the images that it is adapted to.

    Args:
        image_shape: `(height, width, channels)`, in pixels.
    """

    def __init__(self, image_shape: tuple[int, int, int], **kwargs):
        super().__init__(**kwargs)
        self.logits = self.add_weight(shape=image_shape, initializer="zeros", name="logits")
        self.built = True

    def adapt(self, images):
        self.logits.assign(median_logits(images))

    def infer(self, x, noise):
        return Behind(self.draw({}, tf.shape(x)[0]), {})

    def draw(self, latents, batch_size):
        image = tf.sigmoid(LOGITS * self.logits)[None]
        return Layer(tf.repeat(image, batch_size, axis=0))


@settings
class VAEBackgroundSettings:
    """A background inferred from each picture through a small code, at a low resolution."""

    background: kind("vae") = "vae"

    background_size: Units = 8
    """Numbers in the code of a background."""

    background_units: Units = 64
    """Width of the hidden layers that infer and draw it."""

    background_resolution: Annotated[int, Field(ge=0, le=4096)] = 6
    """Height and width, in pixels, at which a background is seen and drawn; it is then enlarged
    bilinearly. Objects larger than one of these pixels may be swallowed. 0: the image's own size, for
    patterns as fine as its pixels; then only the small code keeps objects out of the background."""

    def resolution(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(height, width, channels) at which it is drawn."""
        height, width, channels = image_shape
        most = self.background_resolution or max(image_shape)
        return min(most, height), min(most, width), channels

    def num_weights(self, image_shape: tuple[int, int, int]) -> int:
        """About how many weights there are."""
        height, width, channels = self.resolution(image_shape)
        return self.background_units * (2 * height * width * channels + 3 * self.background_size)

    def make(self, image_shape: tuple[int, int, int]) -> Background:
        return VAEBackground(self, image_shape)


class VAEBackground(Background):
    """A variational autoencoder of the whole image, whose KL is paid once per image.

        q(z_background | x) = Normal(encoder((shrunk x - centre) / spread))
        image = enlarged sigmoid(LOGITS * logits + decoder(z_background)),  with learned logits

    Args:
        settings: `VAEBackgroundSettings`.
        image_shape: `(height, width, channels)`, in pixels.
    """

    def __init__(self, settings: VAEBackgroundSettings, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.image_shape, size = image_shape, settings.background_size
        self.resolution = settings.resolution(image_shape)
        self.sizes = {"background": size}
        # not keras.layers.Normalization, which a tf.train.Checkpoint does not restore
        self.centre = self.add_weight(initializer="zeros", trainable=False, name="centre")
        self.spread = self.add_weight(initializer="ones", trainable=False, name="spread")
        encoder = [keras.layers.Flatten(), MLP(settings.background_units, 2 * size)]
        self.encoder = NormalParameters(keras.Sequential(encoder), [0.0] * size, [1.0] * size)
        height, width, channels = self.resolution
        self.decoder = MLP(settings.background_units, height * width * channels)
        self.logits = self.add_weight(shape=self.resolution, initializer="zeros", name="logits")
        self.built = True

    def adapt(self, images):
        height, width, _ = self.resolution
        seen = shrunk(tf.constant(images), height, width).numpy()
        self.centre.assign(seen.mean())
        self.spread.assign(max(float(seen.std()), LEAST))
        self.logits.assign(median_logits(seen))

    def infer(self, x, noise):
        height, width, _ = self.resolution
        seen = (shrunk(x, height, width) - self.centre) / self.spread
        q = normal(*self.encoder(seen))
        latent = Latent(q, self.priors()["background"], reparameterised(q, noise["background"]))
        return Behind(self.draw({"background": latent.sample}, tf.shape(x)[0]), {"background": latent})

    def draw(self, latents, batch_size):
        drawn = tf.reshape(self.decoder(latents["background"]), (-1, *self.resolution))
        height, width, _ = self.image_shape
        return Layer(enlarged(tf.sigmoid(LOGITS * self.logits + drawn), height, width))


BackgroundSettings = one_of(
    "background", NoBackgroundSettings, MeanBackgroundSettings, VAEBackgroundSettings
)
