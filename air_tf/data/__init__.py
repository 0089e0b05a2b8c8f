"""Data sets: each registers its settings here, which load it."""

from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.omniglot import OmniglotSettings
from air_tf.data.own_images import OwnImagesSettings
from air_tf.parts import one_of

DatasetSettings = one_of("dataset", MultiMNISTSettings, OmniglotSettings, OwnImagesSettings)
