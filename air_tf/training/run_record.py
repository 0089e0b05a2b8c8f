"""What a run writes down: its config and its evaluations; and its model.

runs/NAME/{config.json, history.jsonl, metrics.json, samples.png, checkpoints/, events...}
"""

import contextlib
import dataclasses
import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import keras
import pydantic
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf import validation
from air_tf.air import AIR
from air_tf.config import Config, ModelConfig, TrainingConfig
from air_tf.data import DatasetSettings
from air_tf.json_files import json_text, write_json
from air_tf.parts import flat, replaced
from air_tf.paths import expand
from air_tf.training import checkpoints

CONFIG = "config.json"


@pydantic.dataclasses.dataclass(frozen=True)
class RunRecord:
    """What `config.json` holds of a run's settings and data; it has more, for people to read."""

    data: DatasetSettings
    model: ModelConfig
    training: TrainingConfig
    digits_fingerprint: str


class Evaluated(pydantic.BaseModel, extra="allow", strict=True, allow_inf_nan=False):
    """A line of `history.jsonl`; it has more metrics."""

    step: Annotated[int, pydantic.Field(ge=0)]
    seconds: float = 0.0
    count_accuracy: float | None = None
    count_accuracy_by_count: dict[Annotated[str, pydantic.Field(pattern=r"^[0-9]{1,4}$")], float] = {}


def differences(record: RunRecord, config: Config, free: set[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yields the settings that are others in a run's record: name, recorded value, the config's.

    Args:
        record: `RunRecord`.
        config: `Config`.
        free: names of settings that may differ.
    """
    for part in "data", "model", "training":
        saved, wanted = flat(getattr(record, part)), flat(getattr(config, part))
        for name in saved | wanted:
            was, value = saved.get(name), wanted.get(name)
            if name not in free and was != value:
                yield name, was, value


def write_config(config: Config, fingerprint: str, folder: Path) -> str:
    """Writes `config.json`, with digits, seed, versions and git commit, and returns its text."""
    versions = {module.__name__: module.__version__ for module in (tf, keras, tfp)}
    record = {
        **dataclasses.asdict(config),
        "seed": config.training.seed,
        "digits": config.data.of_digits(),
        "digits_fingerprint": fingerprint,
        "versions": {"python": platform.python_version(), **versions},
        "git_commit": _git_commit(),
    }
    write_json(record, folder / CONFIG)
    return json.dumps(record, indent=2)


def _git_commit() -> str | None:
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def read_config(folder: Path) -> RunRecord:
    """What `write_config` wrote.

    Raises:
        ValueError: the file is not there, is damaged, or is no run's config.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"Expected the folder of a run, with a {CONFIG}. Received: {folder}.")
    return validation.read_json(path, RunRecord, "the config of a run")


def read_history(folder: Path) -> list[dict]:
    """The evaluations while training, oldest first: `step`, `seconds` and the metrics of each.

    What a resumed run evaluated again counts once. Lines that are damaged are left out.
    """
    path = folder / "history.jsonl"
    by_step = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):
            record = validation.parse_json(line, Evaluated, "an evaluation", str(path))
            by_step[record.step] = record.model_dump()
    return [by_step[step] for step in sorted(by_step)]


def append_history(record: dict, folder: Path) -> None:
    """Adds an evaluation to `history.jsonl`."""
    path = folder / "history.jsonl"
    cut_short = path.exists() and not path.read_bytes().endswith(b"\n")
    with open(path, "a") as file:
        file.write("\n" * cut_short + json_text(record) + "\n")


def load_model(folder: str | Path, rho: float | None = None) -> AIR:
    """The model of a run, from its last checkpoint.

    Args:
        folder: the run's.
        rho: prior over counts; None: the run's own.

    Raises:
        ValueError: the folder is no run, or the run has no checkpoint.
    """
    folder = expand(folder)
    config = read_config(folder).model
    if rho is not None:
        config = replaced(config, rho=rho, rho_schedule="fixed")
    model = AIR(config)
    if checkpoints.restore(tf.train.Checkpoint(model=model), folder, partial=True) is None:
        raise ValueError(f"Expected a run with a checkpoint. Received: {folder}, which has none.")
    return model
