"""What an estimator of the gradient is."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.estimators.bounds import Terms, Unrolled
from air_tf.model.objects import summed_out

tfd = tfp.distributions


class Estimate(NamedTuple):
    """What an estimator makes of a batch."""

    objective: tf.Tensor  # (B,): its gradient is the one to follow upwards
    terms: Terms
    signal: Any = None  # what `Estimator.update` is to see besides


class Estimator(keras.layers.Layer):
    """How the gradient of the bound is estimated in spite of the discrete presence.

    An estimator owns its variables, their optimizer and what it does after each step. It is built by
    its first `estimate`.
    """

    samples = 1  # of the latents per image
    warm_start_steps = 0  # in which the count does not mean anything yet

    def estimate(self, unrolled: Unrolled, train_step) -> Estimate:
        """What to maximise, and the bound's terms.

        Args:
            unrolled: `Unrolled`, in which each image occurs `samples` times, one after the other.
            train_step: int scalar, training steps done so far.
        """
        raise NotImplementedError

    def choose(self, q: tfd.OneHotCategorical, noise: tf.Tensor) -> tf.Tensor:
        """The class `(B, K)` of each object that has one, by standard normal noise `(B, K)`."""
        return summed_out(q, noise)

    def update(self, gradients: list[tf.Tensor], estimate: Estimate) -> None:
        """Follows the gradients of its own `trainable_variables`, which are none here."""
        return  # a docstring alone is too short for AutoGraph
