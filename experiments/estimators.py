"""The three estimators of the presence's gradient on the benchmark, side by side.

    python -m experiments.estimators              # everything, in the order below; hours
    python -m experiments.estimators --minutes 60 # begins no run after an hour
    python -m experiments.estimators --only enumerate nvil

Each run is one `python train.py`; all are scored by the same discrete ELBO and importance-weighted bound
(100 samples, rho 0.01, pixel scale 0.3) on the benchmark's 10,000 test images. Writes
results/estimators.{jsonl,md} after each. A run that is done is not run again, one that was interrupted
goes on. MNIST comes from AIR_MNIST or tensorflow-datasets.
"""

import dataclasses
import functools
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tyro

from air_tf import cli
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.split import Split
from air_tf.evaluation.evaluate import evaluate, importance_bounds
from air_tf.training.run_record import load_model, read_history
from air_tf.training.trainer import Trainer
from experiments import runs
from experiments.estimators_table import IMPORTANCE_SAMPLES, LEVELS, RHO, write_results
from experiments.records import Records
from experiments.runs import Job, Run, records_of

BOUND_SEEDS = 1  # of a setting: the importance-weighted bound of a run takes over a minute
PRESENCES = "enumerate", "nvil", "concrete"
STEPS = "--steps 5000"
GRID = {  # tried for each estimator, 5,000 steps, seed 0
    "1e-3": "--learning-rate 1e-3",
    "3e-4": "--learning-rate 3e-4",
}
BASELINE_RATES = "1e-2", "1e-1"  # tried for nvil at its better learning rate
WIDER = "--embedding-units 512 --hidden-units 400"  # the changes that pay, below
CHANGES = {  # against enumerate-1e-3 of the grid, one at a time, seed 0
    "rate-2e-3": "--learning-rate 2e-3",
    "embedding-512": "--embedding-units 512",
    "hidden-400": "--hidden-units 400",
    "lstm-512": "--lstm-units 512",
    "marginal": "--count-bound marginal",
    "samples-3": "--importance-samples 3",
    "wider": WIDER,
    "what-prior-20": "--what-components 20",
    "fresh-images": "--fresh-images",  # more data than published figures have
    "no-warm-start": "--warm-start-steps 0",
    "rho-0.5": "--rho 0.5",
    "rate-constant": "--learning-rate-schedule constant",
}
LONG = f"--steps 30000 --warm-start-steps 1500 {WIDER}"
OFTEN = "--evaluate-every 250"  # where these steps are compared
# Flags that change what a step costs: the table gives seconds only without them.
COST = {
    "--embedding-units", "--hidden-units", "--lstm-units", "--importance-samples", "--count-bound",
    "--what-components",
}  # fmt: skip


class Setting(NamedTuple):
    """Runs that differ in their seed alone."""

    group: str
    name: str
    presence: str
    flags: str
    seeds: int = 1


def settings() -> list[Setting]:
    """In the order in which they are run."""
    until = f"--steps 100000 --stop-at-accuracy {LEVELS[-1]} {OFTEN}"
    rate = f"{STEPS} --learning-rate 1e-3 --baseline-learning-rate"
    return [
        *(Setting("grid", f"{p}-{n}", p, f"{STEPS} {f}") for n, f in GRID.items() for p in PRESENCES),
        *(Setting("grid", f"nvil-1e-3-baseline-{r}", "nvil", f"{rate} {r}") for r in BASELINE_RATES),
        Setting("enumerate", "enumerate", "enumerate", f"{STEPS} {OFTEN}", 10),
        Setting("long", "enumerate-long", "enumerate", LONG),
        Setting("long", "enumerate-long-rho-0.5", "enumerate", f"{LONG} --rho 0.5", 3),
        *(Setting("until", p, p, until, 3) for p in ("nvil", "concrete")),
        *(Setting("changes", n, "enumerate", f"{STEPS} {f}") for n, f in CHANGES.items()),
    ]


@dataclasses.dataclass(frozen=True)
class Arguments(runs.Arguments):
    """The three estimators of the presence's gradient on the benchmark, side by side."""

    only: tuple[str, ...] = ()
    """Groups or settings to run (default: all)."""

    runs_dir: Path = Path("runs/estimators")
    """Folder of the runs."""


@functools.cache
def benchmark(cache_dir: Path) -> dict[str, Split]:
    return MultiMNISTSettings(digits="mnist", cache_dir=str(cache_dir)).load().splits


def job_of(setting: Setting, seed: int, arguments: runs.Arguments) -> Job:
    flags = f"--digits mnist --rho {RHO} --evaluation-images 5000 --seed {seed} "
    run = Run(f"{setting.name}-seed{seed}", f"{flags}--presence {setting.presence} {setting.flags}")
    fields = {
        "group": setting.group,
        "setting": setting.name,
        "presence": setting.presence,
        "usual_cost": not COST & set(setting.flags.split()),
        "seed": seed,
    }
    importance = setting.group not in ("grid", "changes") and seed < BOUND_SEEDS
    return Job(run, fields, functools.partial(score, importance, arguments))


def score(importance: bool, arguments: runs.Arguments, folder: Path, metrics: dict) -> dict:
    """The run on the benchmark's test images, by the bounds that all are compared by."""
    model, split = load_model(folder, rho=RHO), benchmark(arguments.cache_dir)["test"]
    scored, history = evaluate(model, split).metrics, read_history(folder)
    bounds = importance_bounds(model, split, IMPORTANCE_SAMPLES) if importance else {}
    sampled, summed = bounds.get("sampled", {}), bounds.get("summed", {})
    reached = {
        f"steps_to_{level:.0%}": next((r["step"] for r in history if r["count_accuracy"] >= level), None)
        for level in LEVELS
    }
    return {
        **reached,
        "count_accuracy": scored["count_accuracy"],
        "test_digits_count_accuracy": metrics["test_digits"]["count_accuracy"],
        "elbo": scored["elbo"],
        "iwae_sampled": sampled.get("bound"),
        "iwae_sampled_standard_error": sampled.get("standard_error"),
        "iwae_summed": summed.get("bound"),
    }


def step_times(images: np.ndarray, rounds: int = 5, steps: int = 50) -> dict[str, float]:
    """Milliseconds of a training step of each estimator, taken in turns: medians over rounds."""
    trainers = {}
    for presence in PRESENCES:
        config = cli.parse_run(["--presence", presence])
        trainers[presence] = Trainer(config, images, tf.distribute.get_strategy())
        trainers[presence].start()
        trainers[presence].run(steps)  # compiles
    times = {presence: [] for presence in trainers}
    for _ in range(rounds):
        for presence, trainer in trainers.items():
            started = time.perf_counter()
            trainer.run(steps)
            times[presence].append(1000 * (time.perf_counter() - started) / steps)
    return {presence: float(np.median(values)) for presence, values in times.items()}


def main() -> None:
    arguments = tyro.cli(Arguments)
    names = {name for setting in settings() for name in (setting.group, setting.name)}
    if unknown := set(arguments.only) - names:
        raise ValueError(f"Expected --only of {sorted(names)}. Received: {sorted(unknown)}.")
    records = Records(arguments.results_dir / "estimators.jsonl")
    # seconds of a level are its steps times this: runs that take hours do not all find a quiet machine
    if records.find("ms_per_step", "") is None:
        images = benchmark(arguments.cache_dir)["train"].images
        records.add({"name": "ms_per_step", "flags": "", "times": step_times(images)})
    jobs = [
        job_of(setting, seed, arguments)
        for setting in settings()
        if not arguments.only or {setting.group, setting.name} & set(arguments.only)
        for seed in range(setting.seeds)
    ]
    for _ in records_of(jobs, records, arguments):
        write_results(records, [setting.name for setting in settings()], arguments.results_dir)


if __name__ == "__main__":
    sys.exit(cli.run(main))
