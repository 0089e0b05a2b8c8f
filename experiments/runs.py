"""Runs of train.py that an experiment starts, goes on with, scores and keeps.

A run that is done is not run again: what the tables need of it, which is neither its weights nor
anything of this machine, is kept as a record under results/.
"""

import dataclasses
import gc
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
import tyro

from air_tf import cli
from air_tf.air import AIR
from air_tf.training.loop import Stopped
from air_tf.training.loop import train as train_run
from air_tf.training.run_folder import PLACES, differences, load_model, read_json, write_json
from air_tf.training.trainer import Diverged

ROOT = Path(__file__).parents[1]
FAILURE = "failure.txt"
KEPT_OF_CONFIG = "model", "training", "versions", "git_commit", "digits_fingerprint"
KEPT = "history.jsonl", "score.json", FAILURE, "metrics.json"
QUICK_MODEL = (  # flags of a model and a training that take seconds
    "--max-objects 2 --steps 4 --batch-size 8 --steps-per-call 2 "
    "--glimpse-size 12 --embedding-units 8 --lstm-units 8 --hidden-units 8 --z-what-size 4"
)
QUICK = QUICK_MODEL + " --train-images 40 --test-images 40"  # of digits
STARTED = time.monotonic()
Score = Callable[[AIR, Path], dict]  # of a model and its record's folder


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What all experiments are asked."""

    minutes: float = float("inf")
    """Begin no run after this many minutes; the next call goes on."""

    runs_dir: Path = Path("runs/experiments")
    """Folder of the runs."""

    results_dir: Path = ROOT / "results"
    """Folder of tables, figures and records."""

    cache_dir: Path = Path("~/.cache/air_tf")
    """Folder for generated images."""


@dataclasses.dataclass(frozen=True)
class SeedArguments(Arguments):
    """What experiments of several seeds are asked."""

    seeds: int = 3
    """Runs of each setting, of seeds 0, 1, ..."""

    digits: str = "mnist"
    """Digits of the images: mnist (AIR_MNIST or tensorflow-datasets) or embedded."""

    quick: bool = False
    """Only see that it works, in under 30 seconds: small models, a few steps, few images, scikit-learn's
    digits. It begins anew each time, and leaves what it writes in RUNS_DIR/quick."""

    def __post_init__(self):
        if self.seeds < 1:
            raise ValueError(f"Expected at least 1 seed. Received: seeds={self.seeds}.")


def parse(kind):
    """The experiment's arguments; those of a quick call keep away from runs and results."""
    arguments = tyro.cli(kind)
    if not arguments.quick:
        return arguments
    tf.config.run_functions_eagerly(True)  # compiling takes longer than a few steps
    folder = arguments.runs_dir / "quick"
    shutil.rmtree(folder, ignore_errors=True)
    return dataclasses.replace(
        arguments, seeds=1, digits="embedded", runs_dir=folder, results_dir=folder / "results"
    )


class Run(NamedTuple):
    """One call of train.py."""

    name: str
    flags: str  # without those that say where
    place: tuple[str, ...] = ()  # flags that say where the data is
    fingerprint: str | None = None  # of the data, where the flags do not say which


def run_on_digits(name: str, preset: str, seed: int, arguments: SeedArguments, flags: str = "") -> Run:
    """A preset's run on images of the digits that the arguments name, with more flags."""
    all_flags = f"--preset {preset} --digits {arguments.digits} --seed {seed}{flags}"
    return Run(f"{name}-seed{seed}", all_flags + f" {QUICK}" * arguments.quick)


def in_time(arguments: Arguments) -> bool:
    """Whether another run may begin."""
    return time.monotonic() - STARTED < 60 * arguments.minutes


def is_done(folder: Path) -> bool:
    return (folder / "metrics.json").exists() or (folder / FAILURE).exists()


def train(run: Run, arguments: Arguments) -> Path:
    """The run's folder, trained from where it was interrupted; a failed one leaves `failure.txt`.

    Raises:
        ValueError: bad flags, or a run of this name has other settings, its steps among them.
    """
    folder = arguments.runs_dir.resolve() / run.name
    if not is_done(folder):
        where = ["--cache-dir", arguments.cache_dir, "--runs-dir", folder.parent, "--name", folder.name]
        resume = ["--resume"] * (folder / "config.json").exists()
        if resume:
            check_settings(run, folder)
        try:
            train_run(cli.parse_run([*run.flags.split(), *run.place, *map(str, where), *resume]))
        except Diverged as error:
            print(f"{folder.name}: {error}", file=sys.stderr)
            (folder / FAILURE).write_text(f"{error}\n")
        except Stopped as stopped:
            sys.exit(f"{stopped.args[0]} The same command goes on.")
        keras.backend.clear_session()
        gc.collect()
    return folder


def check_settings(run: Run, folder: Path) -> dict:
    """The run's config.

    Raises:
        ValueError: it has other settings, or data, than those now under its name.
    """
    saved, wanted = read_json(folder / "config.json"), cli.parse_run(run.flags.split())
    unset = PLACES | {"image_shape", "dark_objects", "subtract_ground"}  # the data set's
    if wanted.model.presence != "nvil":
        unset |= {"baseline_learning_rate"}
    if wanted.data.digits == "auto":
        unset |= {"digits"}
    differing = list(differences(saved, wanted, unset))
    if run.fingerprint not in (None, saved.get("digits_fingerprint")):
        differing.append(("data", "others", "those given"))
    for name, was, value in differing:
        raise ValueError(
            f"Expected {folder} with {name}={value!r}. Received: {name}={was!r}; "
            "move the run away to train it anew."
        )
    return saved


def keep(folder: Path, record: Path) -> None:
    """Copies what the tables need of a run."""
    record.mkdir(parents=True, exist_ok=True)
    config = read_json(folder / "config.json")
    kept = {name: config.get(name) for name in KEPT_OF_CONFIG}
    kept["data"] = {n: value for n, value in config.get("data", {}).items() if n not in PLACES}
    write_json(kept, record / "config.json")
    for name in KEPT:
        if (folder / name).exists():
            shutil.copy(folder / name, record)


def scored(run: Run, records: Path, arguments: Arguments, score: Score) -> Path | None:
    """The run's record, with `metrics.json` and `score.json`: of a run that was done or is trained now.

    Args:
        run: to look at.
        records: folder of the experiment's records.
        arguments: `Arguments`.
        score: what is measured of the model beside `metrics.json`; it may leave pictures in the
            record's folder.

    Returns:
        The record's folder; None where there was no time for the run.
    """
    record = records / run.name
    if not is_done(record):
        if not in_time(arguments):
            return None
        folder = train(run, arguments)
        check_settings(run, folder)
        record.mkdir(parents=True, exist_ok=True)
        if not (folder / FAILURE).exists():
            write_json(score(load_model(folder), record), folder / "score.json")
        keep(folder, record)
    check_settings(run, record)
    return record


class Job(NamedTuple):
    """A run, and what its row of the table is made of."""

    run: Run
    score: Score
    fields: dict[str, Any]  # that say which run it is


def rows_of(
    jobs: Sequence[Job], records: Path, arguments: Arguments, numbers: Callable[[dict, dict], dict]
) -> Iterator[list[dict]]:
    """Yields the table's rows: those of all runs that were measured, then again with each new one."""
    done = [job for job in jobs if is_done(records / job.run.name)]
    rows = {}
    for job in [*done, *(job for job in jobs if job not in done)]:
        record = scored(job.run, records, arguments, job.score)
        if record is not None:
            rows[job.run] = row(job.run, record, numbers, **job.fields)
            if len(rows) >= len(done):
                yield [rows[j.run] for j in jobs if j.run in rows]


def row(run: Run, record: Path, numbers: Callable[[dict, dict], dict], **fields) -> dict:
    """What a table's rows are made of: the fields, the run's numbers, or why it failed.

    Args:
        run: the run.
        record: its record.
        numbers: picks those of the experiment from `metrics.json` and `score.json`.
        fields: that say which run it is.
    """
    result = {**fields, "flags": run.flags}
    if (record / FAILURE).exists():
        return result | {"failure": (record / FAILURE).read_text().strip()}
    metrics, scores = read_json(record / "metrics.json"), read_json(record / "score.json")
    return {
        **result,
        **numbers(metrics, scores),
        "steps": metrics["steps"],
        "ms_per_step": metrics["ms_per_step"],
        "minutes": metrics["seconds"] / 60,
        "git_commit": read_json(record / "config.json")["git_commit"],
    }
