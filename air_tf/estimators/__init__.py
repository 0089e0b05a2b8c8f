"""The estimators of the gradient: each makes an `Estimate` of the unrolled steps."""

from air_tf.estimators.concrete import ConcreteSettings
from air_tf.estimators.enumerate import EnumerateSettings
from air_tf.estimators.nvil import NVILSettings
from air_tf.parts import one_of

EstimatorSettings = one_of("presence", EnumerateSettings, NVILSettings, ConcreteSettings)
