"""air_tf: Attend, Infer, Repeat (Eslami et al., 2016) for TensorFlow 2 and Keras 3."""

from air_tf.config import Config, DataConfig, ModelConfig, RunConfig, TrainingConfig
from air_tf.model import AIR, Scene
from air_tf.version import __version__

__all__ = [
    "AIR", "Config", "DataConfig", "ModelConfig", "RunConfig", "Scene", "TrainingConfig", "__version__"
]  # fmt: skip
