"""The noise behind the samples, a pure function of a seed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from air_tf.config import ModelConfig


class StepNoise(NamedTuple):
    """The noise behind one step's samples; zeros give the posterior means."""

    where: tf.Tensor  # (B, 3), standard normal
    what: tf.Tensor  # (B, z_what_size), standard normal
    pres: tf.Tensor  # (B,), standard logistic; the object is there if pres_logit + pres > 0


def no_noise(config: ModelConfig, batch_size) -> list[StepNoise]:
    """Zeros, for N steps."""
    return _each_step(config, batch_size, tf.zeros, tf.zeros)


def stateless_noise(config: ModelConfig, batch_size, seed: tf.Tensor) -> list[StepNoise]:
    """The noise of N steps, a function of the seed `(2,)`."""
    parts = iter(range(3 * config.max_objects))
    part_seed = lambda: tf.random.fold_in(seed, next(parts))  # noqa: E731
    normal = lambda shape: tf.random.stateless_normal(shape, part_seed())  # noqa: E731
    return _each_step(config, batch_size, normal, lambda shape: _logistic(shape, part_seed()))


def _each_step(config: ModelConfig, batch_size, normal: Callable, logistic: Callable) -> list[StepNoise]:
    steps = range(config.max_objects)
    shapes = (batch_size, 3), (batch_size, config.z_what_size)
    gaussian = [tuple(map(normal, shapes)) for _ in steps]
    return [StepNoise(*gaussian[i], logistic((batch_size,))) for i in steps]


def _logistic(shape, seed) -> tf.Tensor:
    uniform = tf.random.stateless_uniform(shape, seed, minval=np.finfo(np.float32).tiny)
    return tf.math.log(uniform) - tf.math.log1p(-uniform)
