"""The count summed out exactly.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, equations 2 and 3.
    [2] Burda et al. 2016, Importance Weighted Autoencoders. arXiv 1509.00519, equation 8.
"""

import tensorflow as tf

from air_tf.config import ModelConfig
from air_tf.estimators.bounds import (
    Estimate,
    Priors,
    enumerated_terms,
    kl_divergences,
    log_likelihoods,
    log_mean_exp,
    log_prefix_weights,
    prefix_sums,
    pres_logits,
)
from air_tf.model.count import count_posterior
from air_tf.model.inference import Step
from air_tf.model.noise import StepNoise


class Enumerate:
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
        config: `ModelConfig`.
    """

    def __init__(self, config: ModelConfig):
        self.config = config

    def estimate(
        self, x, steps: list[Step], noise: list[StepNoise], priors: Priors, train_step
    ) -> Estimate:
        """What to maximise, and the ELBO.

        Args:
            x: images, `(B, H, W, C)`, each K times in a row.
            steps: the N unrolled steps.
            noise: behind them; not used.
            priors: `Priors`.
            train_step: int scalar, training steps done so far.
        """
        log_px = log_likelihoods(x, steps, self.config.pixel_scale)
        kl_where, kl_what = kl_divergences(steps, priors)
        terms = enumerated_terms(steps, log_px, kl_where, kl_what, priors)
        if self.config.importance_samples == 1 and self.config.count_bound == "elbo":
            log_p_count = tf.math.log_softmax(priors.count.logits_parameter())
            bound, prefixes = terms.elbo, log_px + log_p_count - prefix_sums(kl_where + kl_what)
        else:
            prefixes = log_prefix_weights(steps, log_px, priors)
            bound, prefixes = self.importance_bound(prefixes, pres_logits(steps))

        weight = self.warm_start_weight(train_step)
        objective = (1.0 - weight) * bound + weight * tf.reduce_mean(prefixes, axis=-1)
        return Estimate(objective, terms)

    def importance_bound(self, log_weights, pres_logits) -> tuple[tf.Tensor, tf.Tensor]:
        """The bound of K samples, `(B / K,)`, and that of every prefix alone, `(B / K, N + 1)`.

        Args:
            log_weights: `log_prefix_weights`, `(B, N + 1)`.
            pres_logits: `(B, N)`.
        """
        by_sample = (-1, self.config.importance_samples, log_weights.shape[-1])
        log_weights = tf.reshape(log_weights, by_sample)  # (B / K, K, N + 1)
        q_count = count_posterior(pres_logits)
        log_q = tf.reshape(tf.math.log_softmax(q_count.logits_parameter()), by_sample)
        if self.config.count_bound == "elbo":
            of_sample = tf.reduce_sum(tf.exp(log_q) * (log_weights - log_q), axis=-1)
            return log_mean_exp(of_sample, axis=1), log_mean_exp(log_weights, axis=1)
        bound = log_mean_exp(tf.reduce_logsumexp(log_weights, axis=-1), axis=1)
        total = tf.reduce_logsumexp(log_weights, axis=(1, 2), keepdims=True)
        responsibilities = tf.stop_gradient(tf.exp(log_weights - total))
        fit = tf.reduce_sum(responsibilities * log_q, axis=(1, 2))
        # adds the gradient of the fit to the bound, and nothing to its value
        return bound + fit - tf.stop_gradient(fit), log_mean_exp(log_weights, axis=1)

    def warm_start_weight(self, train_step) -> tf.Tensor:
        """m: 1 at step 0, 0 from `warm_start_steps` on."""
        left = self.config.warm_start_steps - train_step
        return tf.cast(tf.maximum(left, 0), tf.float32) / max(self.config.warm_start_steps, 1)
