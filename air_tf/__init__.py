"""air_tf: Attend, Infer, Repeat (Eslami et al., 2016) for TensorFlow 2 and Keras 3."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
_MODULES = {  # where each name is defined
    "AIR": "air", "Config": "config", "ModelConfig": "config",
    "RunConfig": "config", "Scene": "scene", "ServedModel": "serving.served",
    "TrainingConfig": "config", "load": "serving.served",
    "replaced": "parts",
}  # fmt: skip


def __getattr__(name: str):
    """A public name, imported when it is first used: `air --help` does not wait for TensorFlow."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"air_tf.{_MODULES[name]}"), name)
