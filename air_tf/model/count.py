"""The number of objects n: its posterior q(n), and its prior p(n), which may be annealed or learned.

The presences z_pres_1, z_pres_2, ... are 1 until the first 0, so they are a number n in 0..N.
"""

import dataclasses
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.validation import Count, CountOrNone, Probability, settings

tfd = tfp.distributions


@dataclasses.dataclass(frozen=True)
class RhoSchedule:
    """How rho, the prior probability of one more object, changes in training."""

    start: float
    end: float
    steps: int
    """Training steps from start to end."""

    coordinate: Literal["probability", "log_probability", "log_odds"]
    """What changes linearly: rho, its logarithm, or the logarithm of rho / (1 - rho)."""

    hold: int = 0
    """Steps before it begins."""

    division: int = 1
    """Steps between changes."""


RHO_PRESETS = {
    # Communicated by the paper's first author: 1 to 1e-5 over 100,000 steps. A prior of exactly 1
    # gives an infinite KL; a double just below it stands for it.
    "paper": RhoSchedule(1 - 1e-15, 1e-5, 100_000, "probability"),
    # Kosiorek's Sonnet implementation
    "sonnet": RhoSchedule(1 - 1e-15, 1e-7, 100_000, "log_probability", hold=1000, division=10_000),
    # the TF1 implementation with a Concrete presence: odds 1e4 to 1e-9, times 0.1 every 3,000 steps
    "concrete": RhoSchedule(1e4 / (1e4 + 1), 1e-9 / (1e-9 + 1), 39_000, "log_odds"),
}


@settings
class CountSettings:
    """The prior over counts, a truncated geometric: p(n) = rho^n (1 - rho), p(N) = rho^N."""

    rho: Probability = 0.5
    """The prior probability of one more object."""

    rho_schedule: Literal["fixed", "exponential", "learned", "paper", "sonnet", "concrete"] = "fixed"
    """How rho changes in training. fixed: not at all. exponential: from --rho-start to --rho over
    --rho-steps. learned: trained after --rho-hold steps, from --rho on. paper, sonnet and concrete are
    schedules of published implementations (RHO_PRESETS); --rho is then used outside of training."""

    rho_start: Probability = 0.99
    """rho at the first step of exponential."""

    rho_steps: Count = 3000
    """Training steps over which rho goes from --rho-start to --rho."""

    rho_hold: CountOrNone = 0
    """Training steps before rho begins to change, with the schedules exponential and learned."""

    def schedule(self) -> "RhoLogit | None":
        """The schedule that is named; None for a fixed or a learned prior."""
        if self.rho_schedule == "exponential":
            return RhoLogit(
                RhoSchedule(self.rho_start, self.rho, self.rho_steps, "log_probability", self.rho_hold)
            )
        return RhoLogit(RHO_PRESETS[self.rho_schedule]) if self.rho_schedule in RHO_PRESETS else None

    def make(self, max_objects: int) -> "CountPrior":
        return CountPrior(self, max_objects)


def logit(rho: float) -> float:
    """log(rho / (1 - rho))."""
    return float(np.log(rho) - np.log1p(-rho))


class RhoLogit:
    """The logit of rho at a training step, along a `RhoSchedule`.

    The logit keeps what a float32 probability cannot: 1 - 1e-15 is not 1.
    """

    def __init__(self, schedule: RhoSchedule):
        self.schedule = schedule
        to_coordinate = {
            "probability": lambda rho: rho,
            "log_probability": np.log,
            "log_odds": logit,
        }[schedule.coordinate]
        self.start, self.end = to_coordinate(schedule.start), to_coordinate(schedule.end)

    def __call__(self, step):
        schedule = self.schedule
        done = tf.maximum(tf.cast(step, tf.int64) - schedule.hold, 0) // schedule.division
        share = tf.minimum(tf.cast(done * schedule.division, tf.float32) / schedule.steps, 1.0)
        if schedule.coordinate == "probability":
            # each summed by itself: neither rho nor 1 - rho loses its digits near 0
            rho = (1 - share) * self.start + share * self.end
            return tf.math.log(rho) - tf.math.log(
                (1 - share) * (1 - self.start) + share * (1 - self.end)
            )
        value = (1 - share) * self.start + share * self.end
        if schedule.coordinate == "log_probability":
            return value - tf.math.log(-tf.math.expm1(value))
        return value


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


class CountPrior(keras.layers.Layer):
    """p(n), whose rho may depend on the training step or be learned.

    Args:
        settings: `CountSettings`.
        max_objects: N.
    """

    def __init__(self, settings: CountSettings, max_objects: int, **kwargs):
        super().__init__(**kwargs)
        self.settings, self.max_objects = settings, max_objects
        self.schedule = settings.schedule()
        self.rho_logit = logit(settings.rho)
        if settings.rho_schedule == "learned":
            initial = keras.initializers.Constant(self.rho_logit)
            self.rho_logit = self.add_weight(shape=(), initializer=initial, name="rho_logit")
        self.built = True

    def rho(self, train_step: int | None = None) -> float:
        """rho after `train_step` training steps; None: outside of training."""
        if train_step is None and self.settings.rho_schedule != "learned":
            return self.settings.rho  # to all its digits
        return float(tf.sigmoid(self.logit_at(train_step)))

    def logit_at(self, train_step=None) -> tf.Tensor:
        """The logit of rho after `train_step` steps; None: outside of training, without a schedule."""
        if self.schedule is not None and train_step is not None:
            return self.schedule(train_step)
        rho_logit = tf.convert_to_tensor(self.rho_logit, tf.float32)
        if train_step is None:
            return rho_logit
        learning = tf.cast(train_step >= self.settings.rho_hold, tf.float32)
        return learning * rho_logit + (1.0 - learning) * tf.stop_gradient(rho_logit)

    def at(self, train_step=None) -> tfd.Categorical:
        """p(n), a categorical over 0..N, after `train_step` steps."""
        return count_prior(self.logit_at(train_step), self.max_objects)
