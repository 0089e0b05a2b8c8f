"""A model as a preset: its config and its weights in a folder, in KerasHub's layout.

config.json        the model's class and config, as Keras serialises them
metadata.json      which Keras wrote it, when, and how many weights there are
model.weights.h5   the weights

Reading one runs no code of it: the config is checked against a schema, and weights are numbers.
"""

import datetime
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import h5py
import keras
import numpy as np
import pydantic

from air_tf.config import ModelConfig
from air_tf.extras import extra
from air_tf.paths import expand, shown
from air_tf.validation import read_json

if TYPE_CHECKING:
    from air_tf.air import AIR

CONFIG, METADATA, WEIGHTS = FILES = "config.json", "metadata.json", "model.weights.h5"
HUGGING_FACE = "hf://"
BUILT_IN = {"multi_mnist": Path(__file__).parent / "pretrained"}  # those that come with the package


class AIRRecord(pydantic.BaseModel):
    """The `config` in `config.json`."""

    config: ModelConfig
    seed: int = 0


class PresetRecord(pydantic.BaseModel):
    """What `config.json` says; it has more, for Keras."""

    class_name: Literal["AIR"]
    config: AIRRecord


def is_preset(folder: Path) -> bool:
    """Whether the folder has a preset's files."""
    return all((folder / name).is_file() for name in FILES)


def find(preset: str | Path) -> Path:
    """The folder of a preset: of one that comes with the package, of a folder's, or of hf://USER/NAME.

    Raises:
        ValueError: there is none, or it cannot be downloaded.
    """
    name = str(preset)
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name.startswith(HUGGING_FACE):
        return _downloaded(name)
    folder = expand(preset)
    if not folder.is_dir():
        raise ValueError(
            f"Expected the name of a preset ({', '.join(BUILT_IN)}), the folder of one, or "
            f"{HUGGING_FACE}USER/NAME. Received: {shown(preset)}, which is none of these."
        )
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise ValueError(
            f"Expected a preset with {', '.join(FILES)}. Received: {shown(folder)}, which lacks "
            f"{', '.join(missing)}."
        )
    return folder


def _downloaded(name: str) -> Path:
    with extra("hub"):
        import huggingface_hub
    try:
        repository = name.removeprefix(HUGGING_FACE)
        return find(huggingface_hub.snapshot_download(repository, allow_patterns=list(FILES)))
    except Exception as error:  # of many kinds: no network, no such repository, no right to read it
        raise ValueError(
            f"Expected a preset at {HUGGING_FACE}USER/NAME. Received: {name}: {shown(error)}"
        ) from error


def save(model: "AIR", folder: str | Path) -> None:
    """Writes the model as a preset; an earlier preset in the folder is replaced.

    Raises:
        ValueError: the folder is a file, or holds a config.json of something else, a run say.
        OSError: it cannot be written; an earlier preset stays as it was.
    """
    folder = expand(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Expected a folder for a preset. Received: {shown(folder)}, which is a file.")
    if (folder / CONFIG).exists():
        read_json(folder / CONFIG, PresetRecord, "the config of an earlier preset, to be replaced,")
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "keras_version": keras.version(),
        "parameter_count": sum(int(np.prod(weight.shape)) for weight in model.weights),
        "date_saved": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d@%H:%M:%S"),
    }
    config = dict(keras.saving.serialize_keras_object(model))
    config |= {"build_config": None, "compile_config": None}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".preset-") as unfinished:
        written = Path(unfinished)
        (written / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        (written / METADATA).write_text(json.dumps(metadata, indent=2) + "\n")
        model.save_weights(written / WEIGHTS)
        for name in FILES:
            os.replace(written / name, folder / name)


def read(preset: str | Path) -> tuple[ModelConfig, int, Path]:
    """The config, the seed and the file of the weights of a preset.

    Raises:
        ValueError: as `find`, or its config is none of an AIR.
    """
    folder = find(preset)
    record = read_json(folder / CONFIG, PresetRecord, "the config of a preset")
    return record.config.config, record.config.seed, folder / WEIGHTS


def load_weights(model: "AIR", file: Path) -> None:
    """Gives the model the weights in a file.

    Raises:
        ValueError: they are damaged, or those of another model.
    """
    try:
        model.load_weights(file)
    except Exception as error:  # h5py and Keras raise many kinds
        raise ValueError(
            f"Expected the weights of the preset's model in {shown(file)}. "
            f"Received: {shown(str(error).strip().partition(chr(10))[0])}"
        ) from error


def copy_weights(source: "AIR", target: "AIR") -> tuple[int, list[str]]:
    """Gives the target those weights of the source that it has too, by their place and their shape.

    Returns:
        How many they are, and the places of the target's other weights, which stay as they were.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.weights.h5") for name in ("source", "target")]
        for model, file in zip((source, target), files):
            model.save_weights(file)
        with h5py.File(files[0]) as theirs, h5py.File(files[1], "r+") as ours:
            given, wanted = _datasets(theirs), _datasets(ours)
            same = [p for p, data in wanted.items() if p in given and given[p].shape == data.shape]
            for place in same:
                wanted[place][...] = given[place][...]
            others = [place for place in wanted if place not in same]
        target.load_weights(files[1])
    return len(same), others


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset) and "optimizer" not in name.split("/"):
            found[name] = item

    file.visititems(note)
    return found
