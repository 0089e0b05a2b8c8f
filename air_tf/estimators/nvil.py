"""The count sampled, its gradient by the score function.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 2.2.
    [2] Mnih and Gregor 2014, Neural Variational Inference and Learning. arXiv 1402.0030, section 2.3
        and algorithm 1.
"""

import keras
import numpy as np
import tensorflow as tf

from air_tf.config import ModelConfig
from air_tf.estimators.bounds import (
    Estimate,
    Priors,
    Terms,
    kl_divergences,
    log_likelihood,
    pres_logits,
)
from air_tf.model.inference import Step
from air_tf.model.networks import MLP, ImageEmbedding
from air_tf.model.noise import StepNoise


class Baseline(keras.layers.Layer):
    """b_i(x, z_<i): what step i can expect of the bound. Gradients do not leave it.

    Args:
        config: `ModelConfig`.

    Call arguments:
        x: images, `(B, H, W, C)`.
        latents: z_where and z_what of all objects, `(B, N, D)`.

    Returns:
        `(B, N)`, nats.
    """

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.embedding = ImageEmbedding(config.baseline_units)
        self.mlp = MLP(config.baseline_units, 1)

    def call(self, x, latents):
        num_steps, size = latents.shape[1:]
        before = np.tri(num_steps, k=-1, dtype=np.float32)[:, :, None]
        seen = tf.stop_gradient(latents)[:, None] * before  # (B, i, j, D), 0 from j = i on
        seen = tf.reshape(seen, (-1, num_steps, num_steps * size))
        embedding = tf.repeat(self.embedding(x)[0][:, None], num_steps, axis=1)
        which = tf.repeat(tf.eye(num_steps)[None], tf.shape(x)[0], axis=0)
        return tf.squeeze(self.mlp(tf.concat([embedding, which, seen], axis=-1)), axis=-1)


class NVIL(keras.layers.Layer):
    """AIR's own estimator [1]: n ~ q(n), with the variance reduction of [2].

    z_where and z_what are reparameterised. Of the presences, step i's score function is weighted with
    what it still can change, less a learned baseline:

        signal_i = log p(x | z, n) + sum_{j >= i} [log p(z_pres_j) - log q(z_pres_j)
                   - z_pres_j (KL(z_where_j) + KL(z_what_j))] - b_i(x, z_<i)

    Steps after the first absence have no presence to decide: they are masked. Of the signal, a running
    mean is subtracted and a running standard deviation is divided out where it is above 1.

    Args:
        config: `ModelConfig`.
    """

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.baseline = Baseline(config)
        average = {"shape": (), "trainable": False, "aggregation": "mean"}
        self.signal_mean = self.add_weight(name="signal_mean", initializer="zeros", **average)
        self.signal_variance = self.add_weight(name="signal_variance", initializer="zeros", **average)
        self.built = True

    def estimate(
        self, x, steps: list[Step], noise: list[StepNoise], priors: Priors, train_step
    ) -> Estimate:
        """A surrogate whose gradient is the estimator's, and the ELBO's terms at the sampled count.

        Args:
            x: images, `(B, H, W, C)`.
            steps: the N unrolled steps.
            noise: whose `pres` decides the presences.
            priors: `Priors`.
            train_step: int scalar; not used.
        """
        logits = pres_logits(steps)  # (B, N)
        pres_noise = tf.stack([step_noise.pres for step_noise in noise], axis=-1)
        present = tf.math.cumprod(tf.cast(logits + pres_noise > 0, tf.float32), axis=-1)  # z_pres
        decided = tf.concat([tf.ones_like(present[:, :1]), present[:, :-1]], axis=-1)

        placed = tf.stack([step.placed for step in steps], axis=1)  # (B, N, H, W, C)
        canvas = tf.reduce_sum(present[..., None, None, None] * placed, axis=1)
        log_px = log_likelihood(x, canvas, self.config.pixel_scale)
        kl_where, kl_what = (present * kl for kl in kl_divergences(steps, priors))

        def log_prob(logits):  # log Bernoulli(z_pres_i) of the steps that decide
            return decided * tf.math.log_sigmoid((2 * present - 1) * logits)

        log_q, log_p = log_prob(logits), log_prob(priors.rho_logit)
        kl_count = log_q - log_p
        still_to_come = tf.cumsum(kl_count + kl_where + kl_what, axis=-1, reverse=True)
        latents = tf.stack([tf.concat([step.z_where, step.z_what], axis=-1) for step in steps], axis=1)
        residual = tf.stop_gradient(log_px[:, None] - still_to_come) - self.baseline(x, latents)
        error, scale = residual, 1.0
        if self.config.signal_centring:
            error -= self.signal_mean
        if self.config.signal_normalisation:
            scale = tf.maximum(1.0, tf.sqrt(self.signal_variance))
        signal = decided * error / scale

        terms = Terms.of(log_px, *(tf.reduce_sum(kl, axis=-1) for kl in (kl_count, kl_where, kl_what)))
        # the score of log q(n) itself has mean 0: the path through it is cut
        path = terms.elbo + tf.reduce_sum(log_q - tf.stop_gradient(log_q), axis=-1)
        score = tf.reduce_sum(tf.stop_gradient(signal) * log_q, axis=-1)
        # not normalised: its own optimizer, Adam, takes any scale, but not one that jumps
        baseline_loss = 0.5 * tf.reduce_sum(decided * error**2, axis=-1)
        mean, variance = tf.nn.weighted_moments(residual, axes=[0, 1], frequency_weights=decided)
        return Estimate(path + score - baseline_loss, terms, tf.stack([mean, variance]))

    def observe(self, signal: tf.Tensor) -> None:
        """Lets the running averages see a batch's mean and variance of the residual, `(2,)`."""
        for average, value in zip((self.signal_mean, self.signal_variance), tf.unstack(signal)):
            decay = self.config.signal_decay
            average.assign(decay * average + (1.0 - decay) * value)
