"""Runs of train.py that an experiment starts, goes on with, and scores.

What its tables and figures need of a run is kept as a record (`records`). A run that has one is not run
again.
"""

import contextlib
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
import tyro

from air_tf import cli
from air_tf.json_files import read_json
from air_tf.training.loop import Stopped
from air_tf.training.loop import train as train_run
from air_tf.training.run_record import read_config
from air_tf.training.trainer import Diverged
from experiments.records import Records, made_by

ROOT = Path(__file__).parents[1]
QUICK_MODEL = (  # flags of a model and a training that take seconds
    "--max-objects 2 --steps 4 --batch-size 8 --steps-per-call 2 "
    "--glimpse-size 12 --embedding-units 8 --lstm-units 8 --hidden-units 8 --z-what-size 4"
)
QUICK = QUICK_MODEL + " --train-images 40 --test-images 40"  # of digits
STARTED = time.monotonic()


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What all experiments are asked."""

    minutes: float = float("inf")
    """Begin no run after this many minutes; the next call goes on."""

    runs_dir: Path = Path("runs/experiments")
    """Folder of the runs."""

    results_dir: Path = ROOT / "results"
    """Folder of records, tables and pictures."""

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


class Job(NamedTuple):
    """A run, the fields that say which it is, and what is measured of it.

    `score(folder, metrics)` gets the folder and what its `metrics.json` says, and returns the numbers
    that the experiment's table and figure need. `trained_in()` makes a context to train in, for what has
    no flag.
    """

    run: Run
    fields: dict
    score: Callable[[Path, dict], dict]
    trained_in: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext


def train(run: Run, arguments: Arguments) -> Path:
    """The run's folder. The run is begun, or goes on from where it was interrupted.

    Raises:
        ValueError: bad flags, or a run of this name was begun with other settings, steps or data.
        Diverged: the loss is no longer finite.
    """
    folder = arguments.runs_dir.resolve() / run.name
    where = ["--cache-dir", arguments.cache_dir, "--runs-dir", folder.parent, "--name", folder.name]
    resume = ["--resume"] * (folder / "config.json").exists()
    config = cli.parse_run([*run.flags.split(), *run.place, *map(str, where), *resume])
    # A user may go on with a run for more steps; here that would not be the run that the flags describe.
    if resume and (steps := read_config(folder).training.steps) != config.training.steps:
        raise ValueError(
            f"Expected {folder} with steps={config.training.steps}. Received: steps={steps}; "
            "move the run away to train it anew."
        )
    try:
        train_run(config)
    except Stopped as stopped:
        sys.exit(f"{stopped.args[0]} The same command goes on.")
    finally:
        keras.backend.clear_session()
    return folder


def measure(job: Job, arguments: Arguments) -> dict:
    """The job's record: its run is trained and scored. That a run diverged is a result too."""
    run, folder = job.run, arguments.runs_dir.resolve() / job.run.name
    record = {"name": run.name, **job.fields, "flags": run.flags}
    try:
        with job.trained_in():
            train(run, arguments)
    except Diverged as error:
        print(f"{run.name}: {error}", file=sys.stderr)
        return record | {"failure": str(error)} | made_by(folder)
    metrics = read_json(folder / "metrics.json")
    return {
        **record,
        **job.score(folder, metrics),
        "steps": metrics["steps"],
        "ms_per_step": metrics["ms_per_step"],
        "minutes": metrics["seconds"] / 60,
        **made_by(folder),
    }


def records_of(jobs: list[Job], records: Records, arguments: Arguments) -> Iterator[list[dict]]:
    """Yields the records of all jobs that have one, and again with each new one, in the jobs' order.

    Raises:
        ValueError: the record of a run was made with other flags or from other data.
    """
    known = [records.find(job.run.name, job.run.flags, job.run.fingerprint) for job in jobs]
    if any(known):
        yield [record for record in known if record]
    for i, job in enumerate(jobs):
        if known[i] is None and in_time(arguments):
            known[i] = records.add(measure(job, arguments))
            yield [record for record in known if record]


def carry_out(
    name: str,
    jobs: list[Job],
    records: Records,
    arguments: Arguments,
    write_results: Callable[[list[dict], Path], None],
) -> None:
    """Measures the jobs that have no record yet, writes the results after each, and prints NAME.md."""
    for rows in records_of(jobs, records, arguments):
        write_results(rows, arguments.results_dir)
    table = arguments.results_dir / f"{name}.md"
    print(table.read_text() if table.exists() else "No run is done yet.")
