"""The count summed out exactly.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, equations 2 and 3.
    [2] Burda et al. 2016, Importance Weighted Autoencoders. arXiv 1509.00519, equation 8.
"""

from typing import Annotated, Literal

import tensorflow as tf
import tensorflow_probability as tfp
from pydantic import Field

from air_tf.estimators.base import Estimate, Estimator
from air_tf.estimators.bounds import (
    Unrolled,
    enumerated_terms,
    log_prefix_weights,
    prefix_sums,
)
from air_tf.parts import kind
from air_tf.validation import CountOrNone, settings

WARM_START_SHARE = 0.3  # of the training steps
WARM_START_STEPS = 1500  # where it is not known how many there will be


@settings
class EnumerateSettings:
    """The count is summed out exactly."""

    presence: kind("enumerate") = "enumerate"

    warm_start_steps: CountOrNone | None = None
    """Training steps over which every prefix of the objects must explain the image by itself, with a
    weight that falls linearly from 1 to 0. Default: three tenths of the steps."""

    count_bound: Literal["elbo", "marginal"] = "elbo"
    """elbo: expectation over q(n); marginal: the tighter log of the sum over n, with q(n) fitted to its
    responsibilities."""

    importance_samples: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Samples K of the importance-weighted bound that is maximised (Burda et al. 2016)."""

    def make(self) -> Estimator:
        return Enumerate(self)


class Enumerate(Estimator):
    """The ELBO of [1] with the presence summed out: exact in the count, no score function.

    z_i depends on the presences before it only through 'all of them are 1', so the expectation
    over the count is a sum of N + 1 terms that share one pass through the networks
    (`enumerated_terms`).

    The exact gradient too has bad optima: a count once thought improbable gets no gradient, so
    its objects never learn. During the warm start, with weight m falling linearly from 1 to 0, the
    bound is mixed with the mean over n of

        log p(x | canvas_n) + log p(n) - sum_{i <= n} [KL(z_where_i) + KL(z_what_i)]

    so that every prefix of the objects must explain the image by itself.

    With K > 1 samples the bound is that of [2], of weights w_k in which the count is summed out:

        elbo      log w = sum_n q(n) [log w(n) - log q(n)]
        marginal  log w = log sum_n w(n), where q(n) does not occur; it is fitted to w(n) / w

    with w(n) = p(n) p(x | z, n) product over i <= n of p(z_i) / q(z_i).

    Args:
        settings: `EnumerateSettings`.
    """

    def __init__(self, settings: EnumerateSettings, **kwargs):
        super().__init__(**kwargs)
        self.settings = settings
        self.samples = settings.importance_samples
        steps = settings.warm_start_steps
        self.warm_start_steps = WARM_START_STEPS if steps is None else steps
        self.built = True

    def estimate(self, unrolled: Unrolled, train_step) -> Estimate:
        """What to maximise, and the ELBO."""
        log_px = unrolled.log_px()
        terms = enumerated_terms(unrolled, log_px)
        if self.samples == 1 and self.settings.count_bound == "elbo":
            log_p_count = tf.math.log_softmax(unrolled.p_count.logits_parameter())
            paid = prefix_sums(sum(unrolled.kl_objects().values()))
            bound, prefixes = terms["elbo"], log_px + log_p_count - paid
            for kl in unrolled.kl_behind().values():
                prefixes -= kl[:, None]
        else:
            prefixes = log_prefix_weights(unrolled, unrolled.log_px_summed())
            bound, prefixes = self.importance_bound(prefixes, unrolled.q_count)

        weight = self.warm_start_weight(train_step)
        objective = (1.0 - weight) * bound + weight * tf.reduce_mean(prefixes, axis=-1)
        return Estimate(objective, terms)

    def importance_bound(self, log_weights, q_count) -> tuple[tf.Tensor, tf.Tensor]:
        """The bound of K samples, `(B / K,)`, and that of every prefix alone, `(B / K, N + 1)`.

        Args:
            log_weights: `log_prefix_weights`, `(B, N + 1)`.
            q_count: q(n).
        """
        by_sample = (-1, self.samples, log_weights.shape[-1])
        log_weights = tf.reshape(log_weights, by_sample)  # (B / K, K, N + 1)
        log_q = tf.reshape(tf.math.log_softmax(q_count.logits_parameter()), by_sample)
        if self.settings.count_bound == "elbo":
            of_sample = tf.reduce_sum(tf.exp(log_q) * (log_weights - log_q), axis=-1)
            return tfp.math.reduce_logmeanexp(of_sample, axis=1), tfp.math.reduce_logmeanexp(
                log_weights, axis=1
            )
        bound = tfp.math.reduce_logmeanexp(tf.reduce_logsumexp(log_weights, axis=-1), axis=1)
        total = tf.reduce_logsumexp(log_weights, axis=(1, 2), keepdims=True)
        responsibilities = tf.stop_gradient(tf.exp(log_weights - total))
        fit = tf.reduce_sum(responsibilities * log_q, axis=(1, 2))
        # adds the gradient of the fit to the bound, and nothing to its value
        return bound + fit - tf.stop_gradient(fit), tfp.math.reduce_logmeanexp(log_weights, axis=1)

    def warm_start_weight(self, train_step) -> tf.Tensor:
        """m: 1 at step 0, 0 from `warm_start_steps` on."""
        left = self.warm_start_steps - train_step
        return tf.cast(tf.maximum(left, 0), tf.float32) / max(self.warm_start_steps, 1)
