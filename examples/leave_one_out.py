"""An estimator: the count sampled several times, each sample judged by the mean of the others.

References:
    [1] Kool, van Hoof and Welling 2019, Buy 4 REINFORCE Samples, Get a Baseline for Free! ICLR workshop.
"""

from typing import Annotated

import tensorflow as tf
from pydantic import Field

from air_tf.config import ModelConfig
from air_tf.estimators import ConcreteSettings, EnumerateSettings, NVILSettings
from air_tf.estimators.base import Estimate, Estimator
from air_tf.estimators.bounds import Unrolled, enumerated_terms
from air_tf.parts import kind, one_of
from air_tf.validation import settings


@settings
class LeaveOneOutSettings:
    """The count is sampled several times; the others' mean bound is each sample's baseline."""

    presence: kind("leave_one_out") = "leave_one_out"

    count_samples: Annotated[int, Field(ge=2, le=1000)] = 4
    """Counts that are sampled for each image."""

    def make(self) -> Estimator:
        return LeaveOneOut(self)


class LeaveOneOut(Estimator):
    """The score function of n with the baseline of [1], unbiased and without variables.

        bound_k = log p(x | z, n_k) + log p(n_k) - log q(n_k) - sum_{i <= n_k} KL_i,    n_k ~ q(n)
        gradient: mean over k of [bound_k + (bound_k - mean of the others) log q(n_k)]

    It draws its counts from `noise.seed`, so that a resumed run draws the same.
    """

    def __init__(self, settings: LeaveOneOutSettings, **kwargs):
        super().__init__(**kwargs)
        self.settings = settings
        self.built = True

    def estimate(self, unrolled: Unrolled, train_step) -> Estimate:
        samples, log_px = self.settings.count_samples, unrolled.log_px()
        log_q = tf.math.log_softmax(unrolled.q_count.logits_parameter())  # (B, N + 1)
        log_p = tf.math.log_softmax(unrolled.p_count.logits_parameter())
        kl = tf.cumsum(sum(unrolled.kl_objects().values()), axis=-1)
        paid = tf.pad(kl, [[0, 0], [1, 0]])
        counts = tf.random.stateless_categorical(log_q, samples, unrolled.noise.seed)  # (B, K)
        chosen = lambda values: tf.gather(values, counts, batch_dims=1)  # noqa: E731
        score = chosen(log_q)
        # the score of log q(n) itself has mean 0: the path through it is cut
        bounds = chosen(log_px + log_p - paid) - tf.stop_gradient(score)
        total = tf.reduce_sum(bounds, axis=-1, keepdims=True)
        signal = tf.stop_gradient(bounds - (total - bounds) / (samples - 1))
        objective = tf.reduce_mean(bounds + signal * score, axis=-1)
        return Estimate(objective, enumerated_terms(unrolled, log_px))


@settings
class LeaveOneOutConfig(ModelConfig):
    """A model that is trained by leaving one out."""

    estimator: one_of(
        "presence", EnumerateSettings, NVILSettings, ConcreteSettings, LeaveOneOutSettings
    ) = LeaveOneOutSettings()
