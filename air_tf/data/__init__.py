"""Data sets: each registers its settings here, which load it."""

from air_tf.data.grid import GridSettings
from air_tf.data.multi_dsprites import MultiDspritesSettings
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.noisy import NoisySettings
from air_tf.data.omniglot import OmniglotSettings
from air_tf.data.own_images import OwnImagesSettings
from air_tf.data.scenes import ScenesSettings
from air_tf.data.small_mnist import SmallMNISTSettings
from air_tf.data.sprites import SpritesSettings
from air_tf.data.table_top import TableTopSettings
from air_tf.parts import one_of

DatasetSettings = one_of(
    "dataset",
    MultiMNISTSettings,
    OmniglotSettings,
    OwnImagesSettings,
    NoisySettings,
    GridSettings,
    SpritesSettings,
    SmallMNISTSettings,
    MultiDspritesSettings,
    ScenesSettings,
    TableTopSettings,
)
