"""The distributions over the number of objects, as tfp distributions.

The presences z_pres_1, z_pres_2, ... are 1 until the first 0, so they are a number n in 0..N.
"""

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


def count_posterior(pres_logits: tf.Tensor) -> tfd.Categorical:
    """q(n | x) = (product over i <= n of pi_i) (1 - pi_{n+1}), without the last factor for n = N.

    Args:
        pres_logits: `(..., N)`; pi_i = sigmoid(pres_logits_i) is the probability of object i, given
            that all objects before it are present.

    Returns:
        A categorical over 0..N, batch shape `(...)`.
    """
    log_present = tf.cumsum(tf.math.log_sigmoid(pres_logits), axis=-1)
    log_stop = tf.math.log_sigmoid(-pres_logits)
    first, last = tf.zeros_like(log_stop[..., :1]), log_present[..., -1:]
    logits = tf.concat([first, log_present[..., :-1]], axis=-1) + log_stop
    return tfd.Categorical(logits=tf.concat([logits, last], axis=-1))


def count_prior(rho_logit, max_objects: int) -> tfd.Categorical:
    """The truncated geometric, p(n) = rho^n (1 - rho) for n < N and rho^N for n = N.

    Args:
        rho_logit: scalar, log(rho / (1 - rho)), which is exact for rho near 0 and near 1.
        max_objects: N.
    """
    rho_logit = tf.cast(rho_logit, tf.float32)
    count = tf.range(max_objects + 1, dtype=tf.float32)
    stop = tf.where(count < max_objects, tf.math.log_sigmoid(-rho_logit), 0.0)
    return tfd.Categorical(logits=count * tf.math.log_sigmoid(rho_logit) + stop)


def at_least(count: tfd.Categorical) -> tf.Tensor:
    """The probabilities that n >= 1, ..., n >= N: `(..., N)`."""
    return tf.cumsum(count.probs_parameter(), axis=-1, reverse=True)[..., 1:]
