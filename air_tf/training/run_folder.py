"""A run's folder: its name, its lock, and whether it is the one to go on with."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import filelock

from air_tf.config import Config
from air_tf.estimators.enumerate import WARM_START_SHARE
from air_tf.parts import flat, replaced
from air_tf.paths import expand
from air_tf.training import checkpoints
from air_tf.training.run_record import CONFIG, differences, read_config

# Settings that a resumed run may change, besides where its data is: how long to train, how often to look
FREE = {
    "steps", "steps_per_call", "evaluate_every", "evaluation_images", "checkpoint_every",
    "stop_at_accuracy", "init_from",
}  # fmt: skip

LOCK = ".lock"
NEVER_BEGUN = {LOCK, f".{CONFIG}.part"}  # all that a run has that was killed before it began


@contextlib.contextmanager
def opened(config: Config, fingerprint: str) -> Iterator[Path]:
    """Holds the folder that `config.run` names: a new one, or the one to go on with.

    A folder in which no run has begun counts as new.

    Args:
        config: `Config`.
        fingerprint: of the data.

    Yields:
        The folder, which no other training can open meanwhile.

    Raises:
        ValueError: a new run's name is taken; a run to resume is not there, has another config, or is
            being trained.
    """
    if config.run.resume:
        folder = folder_to_resume(config)
        held = _lock(folder)
    else:
        folder, held = _hold_new(config)
    try:
        if config.run.resume:
            check_same_config(config, fingerprint, folder)
            checkpoints.remove_unfinished(folder)
        yield folder
    finally:
        held.release()


def _hold_new(config: Config) -> tuple[Path, filelock.BaseFileLock]:
    """A folder for a new run, and its lock."""
    name, runs_dir = config.run.name, expand(config.run.runs_dir)
    runs_dir.mkdir(parents=True, exist_ok=True)
    base = base_name(config)
    after = max((number for number, _ in _begun(runs_dir, base)), default=0)
    numbers = itertools.count(after + 1)
    for candidate in [name] if name else (f"{base}-{i}" if i > 1 else base for i in numbers):
        folder = runs_dir / candidate
        with contextlib.suppress(FileExistsError):  # a file
            folder.mkdir(exist_ok=True)
            if _is_new(folder):
                try:
                    held = _lock(folder)
                except ValueError:
                    if name:
                        raise
                    continue
                if _is_new(folder):  # also after those who held it before
                    return folder, held
                held.release()
    raise ValueError(
        f"Expected the name of a new run. Received: {runs_dir / name}, which exists. "
        "Give --resume to go on with it, or another --name."
    )


def _is_new(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= NEVER_BEGUN


def base_name(config: Config) -> str:
    """The name, not numbered yet, of a run without one."""
    parts = config.run.preset or config.data.dataset, config.data.of_digits()
    return "-".join([*(part for part in parts if part != "none"), f"seed{config.training.seed}"])


def with_warm_start(config: Config) -> Config:
    """The config with its warm start in steps: a share of all, or that of the run to go on with.

    Raises:
        ValueError: there is no run to go on with.
    """
    name = "warm_start_steps"
    if flat(config.model).get(name, 0) is not None:
        return config
    steps = round(WARM_START_SHARE * config.training.steps)
    if config.run.resume:
        recorded = flat(read_config(folder_to_resume(config)).model).get(name)
        steps = steps if recorded is None else recorded
    return replaced(config, warm_start_steps=steps)


def folder_to_resume(config: Config) -> Path:
    """The folder of the run that `config.run` names; without a name, of the newest one.

    Raises:
        ValueError: there is none, or it has no config.
    """
    runs_dir = expand(config.run.runs_dir)
    folder = runs_dir / config.run.name if config.run.name else _newest(runs_dir, base_name(config))
    if not (folder / CONFIG).is_file():
        raise ValueError(f"Expected a run to resume. Received: {folder}, which has no {CONFIG}.")
    return folder


def _newest(runs_dir: Path, base: str) -> Path:
    """The run with this name, or the last numbered one."""
    _, name = max(_begun(runs_dir, base), default=(1, base))
    return runs_dir / name


def _begun(runs_dir: Path, base: str) -> list[tuple[int, str]]:
    """The numbers and names of the runs with this name that have begun."""
    numbered = re.compile(re.escape(base) + r"(?:-([0-9]{1,9}))?")
    names = (path.parent.name for path in runs_dir.glob(f"*/{CONFIG}"))
    return [(int(match[1] or 1), name) for name in names if (match := numbered.fullmatch(name))]


def _lock(folder: Path) -> filelock.BaseFileLock:
    """The run's lock, held until it is released.

    Raises:
        ValueError: another training holds it.
    """
    try:
        held = filelock.FileLock(folder / LOCK, blocking=False)
        held.acquire()
        return held
    except filelock.Timeout:
        raise ValueError(
            f"Expected a run that no other training is using. Received: {folder}."
        ) from None


def check_in_place(folder: Path, before: os.stat_result) -> None:
    """Raises OSError if the folder is no longer the one it was `before`."""
    with contextlib.suppress(OSError):
        if os.path.samestat(folder.stat(), before):
            return
    raise OSError(
        f"Expected the run's folder to stay in its place. Received: {folder}, which was removed or "
        "renamed while training. If it was renamed, --resume --name NEW_NAME goes on with it."
    )


def check_same_config(config: Config, fingerprint: str, folder: Path) -> None:
    """Raises ValueError with the first field in which the run's config is another one."""
    record = read_config(folder)
    if record.digits_fingerprint != fingerprint:
        raise ValueError(
            f"Expected the digits or pictures that {folder} was started with. Received: others."
        )
    done = max(checkpoints.steps(folder), default=0)
    if config.training.steps < done:
        raise ValueError(
            f"Expected at least the {done} steps that {folder} has. "
            f"Received: steps={config.training.steps}."
        )
    for name, was, value in differences(record, config, FREE | config.data.places):
        raise ValueError(
            f"Expected {name}={was!r}, which {folder} was started with. Received: {name}={value!r}."
        )
