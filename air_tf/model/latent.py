"""A latent variable of one object or of the background: its posterior, its prior and a sample."""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


class Latent(NamedTuple):
    """A latent variable, `(B, D)`."""

    q: tfd.Distribution  # q(z | x), batch shape (B,)
    p: tfd.Distribution  # p(z), the same for every image
    sample: tf.Tensor  # (B, D), within the bounds of what can be drawn
    drawn: tf.Tensor | None = None  # (B, D), the sample of q itself where it may lie outside of them

    def kl(self) -> tf.Tensor:
        """KL(q || p), nats, `(B,)`: in closed form where there is one, else by the sample."""
        if isinstance(self.p, tfd.MixtureSameFamily):
            return -self.log_ratio()
        return tfd.kl_divergence(self.q, self.p)

    def log_ratio(self) -> tf.Tensor:
        """log p(z) - log q(z | x) at the sample of q, `(B,)`.

        It is that before clipping: at the clipped value q may be tiny, and the weight would grow without
        limit. For a class it is 0, since weights sum over the classes.
        """
        if isinstance(self.q, tfd.OneHotCategorical):
            return tf.zeros(tf.shape(self.sample)[:-1])
        sample = self.sample if self.drawn is None else self.drawn
        return self.p.log_prob(sample) - self.q.log_prob(sample)


def normal(loc, scale) -> tfd.Distribution:
    """A diagonal normal over the last axis."""
    return tfd.Independent(tfd.Normal(loc, scale), reinterpreted_batch_ndims=1)


def standard_normal(size: int) -> tfd.Distribution:
    """Normal(0, 1) in `size` dimensions."""
    zeros = tf.zeros(size)
    return normal(zeros, tf.ones_like(zeros))


def reparameterised(q: tfd.Distribution, noise: tf.Tensor) -> tf.Tensor:
    """The sample of a diagonal normal that standard normal `noise` stands for."""
    return q.mean() + q.stddev() * noise
