"""A run's folder: its config, its lock and its checkpoints.

runs/NAME/{config.json, history.jsonl, metrics.json, samples.png, checkpoints/, events...}
"""

import contextlib
import dataclasses
import itertools
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import keras
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.config import Config, ModelConfig
from air_tf.model import AIR

CHECKPOINTS_KEPT = 3
# Fields that a resumed run may change: where things are, how long to train, how often to look.
PLACES = {"mnist", "cache_dir", "images", "omniglot"}
FREE_FIELDS = PLACES | {
    "steps", "steps_per_call", "evaluate_every", "evaluation_images", "checkpoint_every",
    "stop_at_accuracy",
}  # fmt: skip


def open_folder(config: Config, fingerprint: str) -> Path:
    """The folder that `config.run` names: a new one, or the one to go on with.

    Args:
        config: `Config`.
        fingerprint: of the digits.

    Raises:
        ValueError: a new run's name is taken, a run to resume is not there, or has another config.
    """
    run, runs_dir = config.run, Path(config.run.runs_dir).expanduser()
    parts = run.preset or config.data.dataset, config.data.digits, f"seed{config.training.seed}"
    base = "-".join(part for part in parts if part != "none")
    if run.resume:
        folder = runs_dir / run.name if run.name else _newest(runs_dir, base)
        if not (folder / "config.json").is_file():
            raise ValueError(f"Expected a run to resume. Received: {folder}, which has no config.json.")
        check_same_config(config, fingerprint, folder)
        return folder
    runs_dir.mkdir(parents=True, exist_ok=True)
    names = [run.name] if run.name else (f"{base}-{i}" if i > 1 else base for i in itertools.count(1))
    for name in names:
        with contextlib.suppress(FileExistsError):
            (runs_dir / name).mkdir()
            return runs_dir / name
    raise ValueError(
        f"Expected the name of a new run. Received: {runs_dir / run.name}, which exists. "
        "Give --resume to go on with it, or another --name."
    )


def _newest(runs_dir: Path, base: str) -> Path:
    """The run with this name, or the last numbered one."""
    numbered = re.compile(re.escape(base) + r"(?:-(\d+))?")
    names = (path.parent.name for path in runs_dir.glob("*/config.json"))
    matches = [match for name in names if (match := numbered.fullmatch(name))]
    return runs_dir / max(matches, key=lambda m: int(m[1] or 1), default=[base])[0]


@contextlib.contextmanager
def lock(folder: Path):
    """Holds the run.

    Raises:
        ValueError: another training holds it.
    """
    held = filelock.FileLock(folder / ".lock", blocking=False)
    try:
        held.acquire()
    except filelock.Timeout as error:
        raise ValueError(
            f"Expected a run that no other training is using. Received: {folder}."
        ) from error
    try:
        yield
    finally:
        held.release()


def check_same_config(config: Config, fingerprint: str, folder: Path) -> None:
    """Raises ValueError with the first field in which the run's config is another one."""
    saved = read_config(folder)
    if saved["digits_fingerprint"] != fingerprint:
        raise ValueError(
            f"Expected the digits or pictures with which {folder} was started. Received: others."
        )
    done = max(checkpoint_steps(folder), default=0)
    if config.training.steps < done:
        raise ValueError(
            f"Expected at least the {done} steps that {folder} has. "
            f"Received: steps={config.training.steps}."
        )
    for name, was, value in differences(saved, config, FREE_FIELDS):
        raise ValueError(
            f"Expected {name}={was!r}, with which {folder} was started. Received: {name}={value!r}."
        )


def differences(saved: dict, config: Config, free: set[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yields the fields that are others in a saved config: name, saved value, the config's.

    Args:
        saved: what `read_config` returns; a field that it lacks had its default, a part that it
            lacks is not compared.
        config: `Config`.
        free: names of fields that may differ.
    """
    defaults = as_json(dataclasses.asdict(Config()))
    for part, values in as_json(dataclasses.asdict(config)).items():
        for name, value in values.items() if part in saved and part != "run" else ():
            was = saved[part].get(name, defaults[part][name])
            if name not in free and was != value:
                yield name, was, value


def write_config(config: Config, fingerprint: str, folder: Path) -> str:
    """Writes `config.json`, with digits, seed, versions and git commit, and returns its text."""
    versions = {module.__name__: module.__version__ for module in (tf, keras, tfp)}
    record = {
        **dataclasses.asdict(config),
        "seed": config.training.seed,
        "digits": config.data.digits,
        "digits_fingerprint": fingerprint,
        "versions": {"python": platform.python_version(), **versions},
        "git_commit": _git_commit(),
    }
    write_json(record, folder / "config.json")
    return json.dumps(record, indent=2)


def _git_commit() -> str | None:
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def as_json(values):
    """The values as they come back from JSON: tuples are lists."""
    return json.loads(json.dumps(values))


def read_json(path: Path):
    with open(path) as file:
        return json.load(file)


def read_config(folder: Path) -> dict:
    """What `write_config` wrote.

    Raises:
        ValueError: the file is not there, is damaged, or is no run's config.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"Expected the folder of a run, with a config.json. Received: {folder}.")
    try:
        record = read_json(path)
        ModelConfig.from_json(record["model"])
        _ = record["data"], record["training"], record["digits_fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"Expected the config of a run in {path}. Received: {reason}") from error
    return record


def write_json(values, path: Path) -> None:
    """Writes through a temporary file, so that what stands at `path` is always whole."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(values, indent=2) + "\n")
    os.replace(temporary, path)


def read_history(folder: Path) -> list[dict]:
    """The evaluations while training, oldest first: `step`, `seconds` and the metrics of each.

    What a resumed run evaluated again counts once.
    """
    path = folder / "history.jsonl"
    by_step = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):  # a line that a crash cut short
            record = json.loads(line)
            by_step[record["step"]] = record
    return [by_step[step] for step in sorted(by_step)]


def append_history(record: dict, folder: Path) -> None:
    """Adds an evaluation to `history.jsonl`."""
    path = folder / "history.jsonl"
    cut_short = path.exists() and not path.read_bytes().endswith(b"\n")
    with open(path, "a") as file:
        file.write("\n" * cut_short + json.dumps(record) + "\n")


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of the run's checkpoints on disk, in order."""
    found = (folder / "checkpoints").glob("step-*.index")
    return sorted(int(path.stem.removeprefix("step-")) for path in found)


def checkpoint_paths(folder: Path) -> list[str]:
    """The run's checkpoints on disk, oldest first."""
    return [str(folder / "checkpoints" / f"step-{step}") for step in checkpoint_steps(folder)]


def restore(checkpoint: tf.train.Checkpoint, folder: Path, partial: bool = False) -> str | None:
    """Restores the newest checkpoint that can be read; says so when it is not the newest of all.

    Args:
        checkpoint: of objects whose variables all exist.
        folder: the run's.
        partial: whether the checkpoint may hold more than is asked for.

    Returns:
        The path of the checkpoint, or None when there is none.

    Raises:
        ValueError: there are checkpoints, but of another config or none that can be read.
    """
    paths = checkpoint_paths(folder)
    for path in reversed(paths):
        try:
            status = checkpoint.read(path).expect_partial()  # no warnings when it does not match
            status.assert_existing_objects_matched() if partial else status.assert_consumed()
            return path
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0]
            # weights of another shape, in TensorFlow's words, or other weights
            if "incompatible tensor" in reason or isinstance(error, AssertionError):
                raise ValueError(
                    f"Expected a checkpoint of the config in {folder / 'config.json'}. "
                    f"Received: {path} of another config: {reason}"
                ) from error
            print(f"Checkpoint {path} is damaged ({reason}): trying the one before.", file=sys.stderr)
    if paths:
        raise ValueError(f"Expected a readable checkpoint in {folder}. Received: {len(paths)} damaged.")
    return None


def load_model(folder: str | Path, rho: float | None = None) -> AIR:
    """The model of a run, from its last checkpoint.

    Args:
        folder: the run's.
        rho: prior over counts; None: the run's own.

    Raises:
        ValueError: the folder is no run, or the run has no checkpoint.
    """
    folder = Path(folder).expanduser()
    config = ModelConfig.from_json(read_config(folder)["model"])
    if rho is not None:
        config = dataclasses.replace(config, rho=rho, rho_schedule="fixed")
    model = AIR(config)
    if restore(tf.train.Checkpoint(model=model), folder, partial=True) is None:
        raise ValueError(f"Expected a run with a checkpoint. Received: {folder}, which has none.")
    return model
