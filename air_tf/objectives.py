"""From the unrolled steps to the ELBO and what training maximises.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, equations 2 and 3.
"""

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.cell import Step
from air_tf.config import ModelConfig
from air_tf.distributions import at_least, count_posterior, count_prior

tfd = tfp.distributions


class Terms(NamedTuple):
    """The evidence lower bound and its parts, per image, in nats: `(B,)` each."""

    elbo: tf.Tensor  # log_px - kl_count - kl_where - kl_what
    log_px: tf.Tensor  # expected log p(x | z, n)
    kl_count: tf.Tensor
    kl_where: tf.Tensor
    kl_what: tf.Tensor


def canvases(placed: list[tf.Tensor]) -> tf.Tensor:
    """The images with the first 0, 1, ..., N objects: `(N + 1, B, H, W, C)`."""
    sums = [tf.zeros_like(placed[0])]
    for image in placed:
        sums.append(sums[-1] + image)
    return tf.stack(sums)


def log_likelihoods(x: tf.Tensor, placed: list[tf.Tensor], pixel_scale: float) -> tf.Tensor:
    """log p(x | z, n) = log Normal(x; canvas_n, pixel_scale) for n in 0..N: `(B, N + 1)`."""
    p_x = tfd.Independent(tfd.Normal(canvases(placed), pixel_scale), reinterpreted_batch_ndims=3)
    return tf.transpose(p_x.log_prob(x))


class Enumerate:
    """The ELBO of [1] with the presence summed out: exact in the count, no score function.

    z_i depends on the presences before it only through 'all of them are 1', so the expectation
    over the count is a sum of N + 1 terms that share one pass through the networks:

        ELBO = sum_n q(n) log p(x | canvas_n) - KL(q(n) || p(n))
               - sum_i q(n >= i) [KL(z_where_i) + KL(z_what_i)]

    The exact gradient too has bad optima: a count once thought improbable gets no gradient, so
    its objects never learn. During the warm start, with weight m falling linearly from 1 to 0, the
    bound is mixed with the mean over n of

        log p(x | canvas_n) + log p(n) - sum_{i <= n} [KL(z_where_i) + KL(z_what_i)]

    so that every prefix of the objects must explain the image by itself.
    """

    def __init__(self, config: ModelConfig):
        self.config = config

    def __call__(self, x, steps: list[Step], p_where, p_what, train_step) -> tuple[tf.Tensor, Terms]:
        """What to maximise, and the ELBO.

        Args:
            x: images, `(B, H, W, C)`.
            steps: the N unrolled steps.
            p_where: prior of z_where_i.
            p_what: prior of z_what_i.
            train_step: int scalar, training steps done so far.

        Returns:
            The objective per image, `(B,)` in nats, and `Terms`.
        """
        log_px = log_likelihoods(x, [step.placed for step in steps], self.config.pixel_scale)
        kl_where = tf.stack([tfd.kl_divergence(step.q_where, p_where) for step in steps], axis=-1)
        kl_what = tf.stack([tfd.kl_divergence(step.q_what, p_what) for step in steps], axis=-1)

        q_count = count_posterior(tf.stack([step.pres_logit for step in steps], axis=-1))
        p_count = count_prior(self.config.rho, self.config.max_objects)
        present = at_least(q_count)  # (B, N)

        expected_log_px = tf.reduce_sum(q_count.probs_parameter() * log_px, axis=-1)
        kl_count = tfd.kl_divergence(q_count, p_count)
        expected_kl_where = tf.reduce_sum(present * kl_where, axis=-1)
        expected_kl_what = tf.reduce_sum(present * kl_what, axis=-1)
        elbo = expected_log_px - kl_count - expected_kl_where - expected_kl_what
        terms = Terms(elbo, expected_log_px, kl_count, expected_kl_where, expected_kl_what)

        # (B, N + 1): sum over i <= n
        kl_prefix = tf.pad(tf.cumsum(kl_where + kl_what, axis=-1), [[0, 0], [1, 0]])
        prefix_bounds = log_px + tf.math.log_softmax(p_count.logits_parameter()) - kl_prefix
        weight = self.warm_start_weight(train_step)
        objective = (1.0 - weight) * elbo + weight * tf.reduce_mean(prefix_bounds, axis=-1)
        return objective, terms

    def warm_start_weight(self, train_step) -> tf.Tensor:
        """m: 1 at step 0, 0 from `warm_start_steps` on."""
        left = self.config.warm_start_steps - train_step
        return tf.cast(tf.maximum(left, 0), tf.float32) / max(self.config.warm_start_steps, 1)


OBJECTIVES = {"enumerate": Enumerate}
