"""Objects that are decoded from a glimpse.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 2.1.
"""

from typing import Annotated

import tensorflow as tf
import tensorflow_probability as tfp
from pydantic import Field

from air_tf.model.composition import Layer
from air_tf.model.latent import Latent, normal, reparameterised, standard_normal
from air_tf.model.networks import MixtureParameters, Networks, NormalParameters
from air_tf.model.objects.base import Objects
from air_tf.model.where import ScaleShiftSettings, WhereSettings
from air_tf.parts import kind
from air_tf.validation import Side, Units, settings

tfd = tfp.distributions


@settings
class GlimpseSettings:
    """A glimpse that is decoded from a code and placed in the image, as in Eslami et al. 2016."""

    objects: kind("glimpse") = "glimpse"

    where: WhereSettings = ScaleShiftSettings()

    glimpse_size: Side = 28
    """Height and width of an attended glimpse, in pixels."""

    z_what_size: Units = 50
    """Numbers in an object's code."""

    what_components: Units = 1
    """Components of p(z_what). 1: the standard normal; more: a learned mixture of normals."""

    decoder_bias: Annotated[float, Field(ge=-50, le=50)] = -2.0
    """Added to the decoder's logits; with --composition over, to those of how opaque the object is.
    Bright first reconstructions make the count collapse to 0."""

    def num_latents(self) -> int:
        """Numbers in all latents of an object."""
        return self.where.make().size + self.z_what_size

    def num_weights(self, networks: Networks, image_shape, state: int) -> int:
        """About how many weights there are, for a recurrent state of so many numbers."""
        of_prior = self.what_components * 2 * self.z_what_size
        glimpse = self.num_activations(image_shape[2])
        return of_prior + networks.num_weights(glimpse, self.z_what_size, state)

    def num_activations(self, channels: int) -> int:
        """At least how many numbers are kept for an object, besides images."""
        return self.glimpse_size**2 * channels

    def check_available(self) -> None:
        """They need nothing else."""

    def make(self, networks: Networks, image_shape: tuple[int, int, int], alpha: bool) -> Objects:
        return Glimpses(self, networks, image_shape, alpha)


class Glimpses(Objects):
    """z_where says where the object is, z_what what it looks like [1].

        q(z_where_i | x, z_<i)  from the recurrence, relative to the prior
        glimpse_i = attend(x, z_where_i)
        q(z_what_i | glimpse_i)
        layer_i = place(sigmoid(decoder(z_what_i) + bias), z_where_i)

    Where objects hide each other, the decoder draws a colour and how opaque it is, in each pixel.
    The glimpse is always taken from the image itself: from DAIR's difference image it counts worse.

    Args:
        settings: `GlimpseSettings`.
        networks: the head, the encoder and the decoder.
        image_shape: `(height, width, channels)`, in pixels.
        alpha: whether the decoder draws how opaque the object is, too.
    """

    def __init__(
        self, settings: GlimpseSettings, networks: Networks, image_shape, alpha: bool, **kwargs
    ):
        super().__init__(**kwargs)
        self.settings, self.image_shape, self.alpha = settings, image_shape, alpha
        self.where = settings.where.make()
        size, what_size = settings.glimpse_size, settings.z_what_size
        self.sizes = {"where": self.where.size, "what": what_size}
        self.where_head = NormalParameters(
            networks.head(2 * self.where.size), self.where.loc, self.where.stddev
        )
        self.what_encoder = NormalParameters(
            networks.encoder(2 * what_size), [0.0] * what_size, [1.0] * what_size
        )
        self.decoder = networks.decoder((size, size, image_shape[2] + alpha))
        self.what_prior = None
        if settings.what_components > 1:
            self.what_prior = MixtureParameters(settings.what_components, what_size)
        self.built = True

    def priors(self):
        """[1] has the standard normal for z_what, which is the default here."""
        if self.what_prior is None:
            return {"where": self.where.prior(), "what": standard_normal(self.sizes["what"])}
        logits, loc, scale = self.what_prior.parameters()
        mixture = tfd.MixtureSameFamily(tfd.Categorical(logits=logits), normal(loc, scale))
        return {"where": self.where.prior(), "what": mixture}

    def infer(self, x, seen, place, noise):
        priors = self.priors()
        loc, stddev = self.where_head(seen)
        q_where = normal(loc if place is None else self.where.centred(loc, place), stddev)
        drawn = reparameterised(q_where, noise["where"])
        z_where = self.where.constrain(drawn)

        glimpse = self.where.attend(x, z_where, self.settings.glimpse_size)
        q_what = normal(*self.what_encoder(glimpse))
        z_what = reparameterised(q_what, noise["what"])
        return {
            "where": Latent(q_where, priors["where"], z_where, drawn),
            "what": Latent(q_what, priors["what"], z_what),
        }

    def draw(self, samples):
        logits = self.decoder(samples["what"])
        if not self.alpha:
            glimpse = tf.sigmoid(logits + self.settings.decoder_bias)
            return Layer(self.where.place(glimpse, samples["where"], self.image_shape))
        # how opaque it is begins near 0; its colour may be any, dark ones too
        alpha = tf.sigmoid(logits[..., -1:] + self.settings.decoder_bias)
        glimpse = tf.concat([alpha * tf.sigmoid(logits[..., :-1]), alpha], axis=-1)
        placed = self.where.place(glimpse, samples["where"], self.image_shape)
        return Layer(placed[..., :-1], placed[..., -1:])

    def windows(self, samples):
        return self.where.windows(samples["where"], self.image_shape)

    def corners(self, samples):
        return self.where.corners(samples["where"], self.image_shape)

    def constrain(self, samples):
        return samples | {"where": self.where.constrain(samples["where"])}

    def drawable(self, samples):
        return self.where.drawable(samples["where"])
