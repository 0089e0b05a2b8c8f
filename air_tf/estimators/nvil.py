"""The count sampled, its gradient by the score function.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 2.2.
    [2] Mnih and Gregor 2014, Neural Variational Inference and Learning. arXiv 1402.0030, section 2.3
        and algorithm 1.
"""

from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from air_tf.estimators.base import Estimate, Estimator
from air_tf.estimators.bounds import Unrolled
from air_tf.model.networks import MLP, ImageEmbedding
from air_tf.model.noise import gumbel
from air_tf.parts import kind
from air_tf.validation import Rate, Units, settings


@settings
class NVILSettings:
    """The count is sampled, and its gradient is the score function's, with a learned baseline."""

    presence: kind("nvil") = "nvil"

    baseline_units: Units = 256
    """Width of the baseline network's layers."""

    baseline_learning_rate: Rate = 1e-3
    """Adam's learning rate of the baseline, constant (Eslami et al. 2016)."""

    baseline_clip: Annotated[float, Field(ge=1e-6, le=1e12)] = 100.0
    """Largest global norm of the baseline's gradient."""

    signal_centring: bool = True
    """Subtract a running mean from the learning signal."""

    signal_normalisation: bool = True
    """Divide the learning signal by its running standard deviation, where above 1."""

    signal_decay: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """What is kept of a running average at each step (Mnih and Gregor 2014, appendix)."""

    def make(self) -> Estimator:
        return NVIL(self)


class Baseline(keras.layers.Layer):
    """b_i(x, z_<i): what step i can expect of the bound. Gradients do not leave it.

    Args:
        units: width of its layers.

    Call arguments:
        x: images, `(B, H, W, C)`.
        latents: the samples of all latents of all objects, `(B, N, D)`.

    Returns:
        `(B, N)`, nats.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.embedding = ImageEmbedding(units)
        self.mlp = MLP(units, 1)

    def call(self, x, latents):
        num_steps, size = latents.shape[1:]
        before = np.tri(num_steps, k=-1, dtype=np.float32)[:, :, None]
        seen = tf.stop_gradient(latents)[:, None] * before  # (B, i, j, D), 0 from j = i on
        seen = tf.reshape(seen, (-1, num_steps, num_steps * size))
        embedding = tf.repeat(self.embedding(x)[0][:, None], num_steps, axis=1)
        which = tf.repeat(tf.eye(num_steps)[None], tf.shape(x)[0], axis=0)
        return tf.squeeze(self.mlp(tf.concat([embedding, which, seen], axis=-1)), axis=-1)


class NVIL(Estimator):
    """AIR's own estimator [1]: n ~ q(n), with the variance reduction of [2].

    z_where and z_what are reparameterised. Of the presences, step i's score function is weighted with
    what it still can change, less a learned baseline:

        signal_i = log p(x | z, n) + sum_{j >= i} [log p(z_pres_j) - log q(z_pres_j)
                   - z_pres_j (KL(z_where_j) + KL(z_what_j))] - b_i(x, z_<i)

    A class, where objects have one, is sampled too, and gets the signal of its step's presence: what its
    own KL adds to that does not depend on the sample.

    Steps after the first absence have no presence to decide: they are masked. Of the signal, a running
    mean is subtracted and a running standard deviation is divided out where it is above 1.

    The baseline has an optimizer of its own, Adam.

    Args:
        settings: `NVILSettings`.
    """

    def __init__(self, settings: NVILSettings, **kwargs):
        super().__init__(**kwargs)
        self.settings = settings
        self.baseline = Baseline(settings.baseline_units)
        # Keras clips before it adds up the replicas' gradients, so each has its share of the norm
        clip = settings.baseline_clip / tf.distribute.get_strategy().num_replicas_in_sync
        self.optimizer = keras.optimizers.Adam(settings.baseline_learning_rate, global_clipnorm=clip)
        average = {"shape": (), "trainable": False, "aggregation": "mean"}
        self.signal_mean = self.add_weight(name="signal_mean", initializer="zeros", **average)
        self.signal_variance = self.add_weight(name="signal_variance", initializer="zeros", **average)
        self.built = True

    def choose(self, q, noise):
        """A sample of q."""
        return tf.one_hot(tf.argmax(q.logits_parameter() + gumbel(noise), axis=-1), noise.shape[-1])

    def estimate(self, unrolled: Unrolled, train_step) -> Estimate:
        """A surrogate whose gradient is the estimator's, and the ELBO's terms at the sampled count."""
        logits = unrolled.pres_logits
        present = tf.cast(logits + unrolled.noise.presence > 0, tf.float32)
        present = tf.math.cumprod(present, axis=-1)  # z_pres, (B, N)
        decided = tf.concat([tf.ones_like(present[:, :1]), present[:, :-1]], axis=-1)

        log_px = unrolled.log_px_of(present)
        kl_latents = present * sum(unrolled.kl_objects().values())

        def log_prob(logits):  # log Bernoulli(z_pres_i) of the steps that decide
            return decided * tf.math.log_sigmoid((2 * present - 1) * logits)

        log_q, log_p = log_prob(logits), log_prob(unrolled.rho_logit)
        kl_count = log_q - log_p
        still_to_come = tf.cumsum(kl_count + kl_latents, axis=-1, reverse=True)
        baseline = self.baseline(unrolled.x, unrolled.samples())
        if not self.optimizer.built:
            self.optimizer.build(self.baseline.trainable_variables)  # or loading would skip its state
        residual = tf.stop_gradient(log_px[:, None] - still_to_come) - baseline
        error, scale = residual, 1.0
        if self.settings.signal_centring:
            error -= self.signal_mean
        if self.settings.signal_normalisation:
            scale = tf.maximum(1.0, tf.sqrt(self.signal_variance))
        signal = decided * error / scale

        terms = unrolled.terms(log_px, tf.reduce_sum(kl_count, axis=-1), present)
        # the score of log q(n) itself has mean 0: the path through it is cut
        path = terms["elbo"] + tf.reduce_sum(log_q - tf.stop_gradient(log_q), axis=-1)
        chosen = log_q + present * unrolled.log_q_classes()
        score = tf.reduce_sum(tf.stop_gradient(signal) * chosen, axis=-1)
        # not normalised: its own optimizer, Adam, takes any scale, but not one that jumps
        baseline_loss = 0.5 * tf.reduce_sum(decided * error**2, axis=-1)
        mean, variance = tf.nn.weighted_moments(residual, axes=[0, 1], frequency_weights=decided)
        return Estimate(path + score - baseline_loss, terms, tf.stack([mean, variance]))

    def update(self, gradients, estimate):
        """One step of the baseline, and the running averages see the residual's mean and variance."""
        self.optimizer.apply(gradients, self.trainable_variables)
        decay = self.settings.signal_decay
        for average, value in zip((self.signal_mean, self.signal_variance), tf.unstack(estimate.signal)):
            average.assign(decay * average + (1.0 - decay) * value)
