"""A trained model by its folder: the run's own, or a SavedModel."""

from pathlib import Path

import tensorflow as tf

from air_tf import preset_folder
from air_tf.air import AIR
from air_tf.paths import expand, first_line
from air_tf.serving import versions
from air_tf.serving.endpoints import Endpoints
from air_tf.serving.predictor import Predictor
from air_tf.training.run_record import load_model

EXPORTS = Path("exports", "air")
PRETRAINED = Path(__file__).parents[1] / "pretrained"


def default_model() -> Path:
    """The newest export in exports/air, else the model that comes with the package.

    Raises:
        ValueError: there is neither.
    """
    for folder in EXPORTS, PRETRAINED:
        if folder.is_dir() and versions.versions(folder):
            return folder
    raise ValueError(f"Expected a model in {EXPORTS} or {PRETRAINED}. Received: none; name one.")


def load(folder: str | Path) -> "AIR | ServedModel":
    """A trained model, by the folder of its SavedModel, of its preset or of its run.

    All have `infer(images)`, which gives a `Scene`, `infer_encoded(image_bytes)`, `decode` and
    `image_shape`.

    >>> import numpy as np
    >>> model = load(PRETRAINED)
    >>> image = np.zeros((1, 50, 50, 1), np.float32)
    >>> image[0, 10:30, 24:27] = 1.0
    >>> print(model.infer(image))
    image  objects  probability  tight boxes (ymin xmin ymax xmax, % of the image)
        0        1       100.0%  22 48 60 54

    Raises:
        ValueError: the folder is none of these.
    """
    path = expand(folder)
    if preset_folder.is_preset(path) and not versions.versions(path):
        return AIR.from_preset(path)
    if (path / "config.json").is_file() and not preset_folder.is_preset(path):
        return load_model(path)
    return ServedModel(path)


class ServedModel(Predictor):
    """A SavedModel that `export` wrote, for inference where the run is not at hand.

    Args:
        folder: a version's folder, or that of all versions: then the newest.

    Raises:
        ValueError: the folder holds no SavedModel, a damaged one, or one without the endpoints.
    """

    def __init__(self, folder: str | Path):
        self.folder = folder = versions.newest_version(expand(folder))
        try:
            self._loaded = tf.saved_model.load(str(folder))  # keeps the variables alive
            signatures = dict(self._loaded.signatures)
        except Exception as error:  # of many kinds, on damaged files
            raise ValueError(
                f"Expected a SavedModel in {folder}. Received: {first_line(error)}"
            ) from error
        inputs = {name: s.structured_input_signature[1] for name, s in signatures.items()}
        outputs = {name: s.structured_outputs for name, s in signatures.items()}
        self.endpoints = Endpoints.of(inputs, outputs, folder)
        self._signatures = signatures

    def _predict(self, endpoint, inputs):
        return self._signatures[endpoint](**inputs)
