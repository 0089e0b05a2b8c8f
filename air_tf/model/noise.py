"""The noise behind the samples, a pure function of a seed."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp


class Noise(NamedTuple):
    """The noise behind a batch's samples; zeros give the posterior means."""

    objects: list[dict[str, tf.Tensor]]  # N times, of each latent: (B, size), standard normal
    presence: tf.Tensor  # (B, N), standard logistic; object i is there if pres_logit_i + it > 0
    background: dict[str, tf.Tensor]  # of each latent: (B, size), standard normal
    seed: tf.Tensor  # (2,), from which an estimator may draw noise of its own


class Sizes(NamedTuple):
    """What there has to be noise for: how many objects, and the sizes of the latents, by their names."""

    max_objects: int
    objects: dict[str, int]
    background: dict[str, int]


def no_noise(sizes: Sizes, batch_size) -> Noise:
    """Zeros."""
    of = lambda latents: {name: tf.zeros((batch_size, size)) for name, size in latents.items()}  # noqa: E731
    presence = tf.zeros((batch_size, sizes.max_objects))
    objects = [of(sizes.objects) for _ in range(sizes.max_objects)]
    return Noise(objects, presence, of(sizes.background), tf.zeros(2, tf.int32))


def stateless_noise(sizes: Sizes, batch_size, seed: tf.Tensor) -> Noise:
    """The noise of a batch, a function of the seed `(2,)`."""
    parts = iter(range(2**31))
    part_seed = lambda: tf.random.fold_in(seed, next(parts))  # noqa: E731

    def normal(latents):
        return {
            name: tf.random.stateless_normal((batch_size, size), part_seed())
            for name, size in latents.items()
        }

    steps = range(sizes.max_objects)
    objects = [normal(sizes.objects) for _ in steps]
    presence = tf.stack([_logistic((batch_size,), part_seed()) for _ in steps], axis=-1)
    return Noise(objects, presence, normal(sizes.background), part_seed())


def gumbel(noise: tf.Tensor) -> tf.Tensor:
    """Standard Gumbel noise out of standard normal noise."""
    below = tf.clip_by_value(tfp.distributions.Normal(0.0, 1.0).cdf(noise), 1e-6, 1 - 1e-6)
    return -tf.math.log(-tf.math.log(below))


def _logistic(shape, seed) -> tf.Tensor:
    uniform = tf.random.stateless_uniform(shape, seed, minval=np.finfo(np.float32).tiny)
    return tf.math.log(uniform) - tf.math.log1p(-uniform)
