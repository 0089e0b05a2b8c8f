"""air_tf: Attend, Infer, Repeat (Eslami et al., 2016) for TensorFlow 2 and Keras 3."""

from air_tf.air import AIR
from air_tf.config import Config, ModelConfig, RunConfig, TrainingConfig
from air_tf.parts import replaced
from air_tf.scene import Scene
from air_tf.serving.served import ServedModel, load

__version__ = "0.1.0"
__all__ = [
    "AIR", "Config", "ModelConfig", "RunConfig", "Scene", "ServedModel", "TrainingConfig", "load",
    "replaced",
]  # fmt: skip
