"""The three estimators of the presence's gradient on the benchmark, side by side.

    python -m experiments.estimators              # everything, in the order below; hours
    python -m experiments.estimators --minutes 60 # begins no run after an hour
    python -m experiments.estimators --only enumerate nvil

Each run is one `python train.py`; all are scored by the same discrete ELBO and importance-weighted bound
(100 samples, rho 0.01, pixel scale 0.3) on the benchmark's 10,000 test images. results/estimators.md is
written after each. A run that is done is not run again: what is known of it, but its weights, is kept in
results/estimators/. One that was interrupted goes on. MNIST comes from AIR_MNIST or tensorflow-datasets.
"""

import dataclasses
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tyro

from air_tf import cli
from air_tf.config import Config, DataConfig, ModelConfig
from air_tf.data import load_splits
from air_tf.evaluation.evaluate import evaluate, importance_bounds
from air_tf.training.run_folder import load_model, read_history, read_json, write_json
from air_tf.training.trainer import Trainer
from experiments import runs
from experiments.estimators_table import IMPORTANCE_SAMPLES, LEVELS, RHO, write_results
from experiments.runs import FAILURE, Run, check_settings, in_time, is_done, keep, train

BOUND_SEEDS = 1  # of a setting: the importance-weighted bound of a run takes over a minute
ANNEALED = "--rho-schedule exponential_odds --rho-start 0.9999 --rho-steps 3000"
STEPS = "--steps 5000"
GRID = {  # tried for each estimator, 5,000 steps, seed 0
    "1e-3": "--learning-rate 1e-3",
    "3e-4": "--learning-rate 3e-4",
    "1e-3-annealed": f"--learning-rate 1e-3 {ANNEALED}",
    "3e-4-annealed": f"--learning-rate 3e-4 {ANNEALED}",
}
WIDER = "--embedding-units 512 --hidden-units 400"  # the changes that pay, below
ANNEALED_LONG = "--rho-schedule exponential_odds --rho-start 0.5 --rho-steps 20000"
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
OFTEN = "--evaluate-every 250"  # where these steps are compared
# Fields that change what a step costs: seconds are told where they have their defaults.
COST = (
    "embedding_units", "hidden_units", "lstm_units", "importance_samples", "count_bound",
    "what_components",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed alone."""

    group: str
    name: str
    flags: str
    seeds: range


def settings() -> list[Setting]:
    """In the order in which they are run."""
    until = f"--steps 100000 --stop-at-accuracy {LEVELS[-1]} {OFTEN}"
    grid = [
        Setting("grid", f"{presence}-{name}", f"--presence {presence} {STEPS} {flags}", range(1))
        for name, flags in GRID.items()
        for presence in ("enumerate", "nvil", "concrete")
    ]
    grid += [
        Setting(
            "grid", f"nvil-1e-3-baseline-{rate}",
            f"--presence nvil {STEPS} --learning-rate 1e-3 --baseline-learning-rate {rate}", range(1),
        )
        for rate in ("1e-2", "1e-1")
    ]  # fmt: skip
    return [
        *grid,
        Setting("enumerate", "enumerate", f"{STEPS} {OFTEN}", range(10)),
        Setting("long", "enumerate-long", f"--steps 30000 {WIDER}", range(1)),
        Setting("long", "enumerate-long-annealed", f"--steps 30000 {WIDER} {ANNEALED_LONG}", range(1)),
        Setting("long", "enumerate-long-rho-0.5", f"--steps 30000 {WIDER} --rho 0.5", range(3)),
        *(Setting("until", p, f"--presence {p} {until}", range(3)) for p in ("nvil", "concrete")),
        *(Setting("changes", n, f"{STEPS} {f}", range(1)) for n, f in CHANGES.items()),
    ]


@dataclasses.dataclass(frozen=True)
class Arguments(runs.Arguments):
    """The three estimators of the presence's gradient on the benchmark, side by side."""

    only: tuple[str, ...] = ()
    """Groups or settings to run (default: all)."""

    runs_dir: Path = Path("runs/estimators")
    """Folder of the runs."""


def run_of(setting: Setting, seed: int) -> Run:
    flags = f"--digits mnist --rho {RHO} --evaluation-images 5000 --seed {seed} {setting.flags}"
    return Run(f"{setting.name}-seed{seed}", flags)


def score(folder: Path, split, importance: bool) -> dict:
    """The run's model on the benchmark's test images, by the bounds that all are compared by."""
    path = folder / "score.json"
    weights = (folder / "checkpoints").exists()
    if not path.exists() or (importance and weights and "importance_bounds" not in read_json(path)):
        model = load_model(folder, rho=RHO)
        metrics = evaluate(model, split).metrics
        if importance:
            metrics["importance_bounds"] = importance_bounds(model, split, IMPORTANCE_SAMPLES)
        write_json(metrics, path)
    return read_json(path)


def row(setting: Setting, seed: int, folder: Path, split) -> dict:
    """What the table says of a run."""
    history, config = read_history(folder), check_settings(run_of(setting, seed), folder)
    model = config["model"]
    costs = [model.get(name, getattr(ModelConfig, name)) for name in COST]
    result = {
        "group": setting.group,
        "setting": setting.name,
        "presence": model["presence"],
        "usual_cost": costs == [getattr(ModelConfig, name) for name in COST],
        "flags": setting.flags,
        "seed": seed,
        "git_commit": config["git_commit"],
    }
    if (folder / FAILURE).exists():
        return result | {"failure": (folder / FAILURE).read_text().strip()}
    if not is_done(folder):
        steps = history[-1]["step"] if history else 0
        return result | {"failure": f"unfinished at step {steps:,}"}
    importance = setting.group not in ("grid", "changes") and seed < BOUND_SEEDS
    scored, metrics = score(folder, split, importance), read_json(folder / "metrics.json")
    reached = {
        f"steps_to_{level:.0%}": next((r["step"] for r in history if r["count_accuracy"] >= level), None)
        for level in LEVELS
    }
    bounds = scored.get("importance_bounds", {"sampled": {}, "summed": {}})
    return {
        **result,
        "steps": metrics["steps"],
        **reached,
        "count_accuracy": scored["count_accuracy"],
        "test_digits_count_accuracy": metrics["test_digits"]["count_accuracy"],
        "elbo": scored["elbo"],
        "iwae_sampled": bounds["sampled"].get("bound"),
        "iwae_sampled_standard_error": bounds["sampled"].get("standard_error"),
        "iwae_summed": bounds["summed"].get("bound"),
        "ms_per_step": metrics["ms_per_step"],
    }


def step_times(images: np.ndarray, rounds: int = 5, steps: int = 50) -> dict[str, float]:
    """Milliseconds of a training step of each estimator, taken in turns: medians over rounds."""
    trainers = {}
    for presence in ("enumerate", "nvil", "concrete"):
        config = Config(model=ModelConfig(presence=presence))
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
    dataset = load_splits(DataConfig(digits="mnist", cache_dir=str(arguments.cache_dir)))
    arguments.runs_dir.mkdir(parents=True, exist_ok=True)
    # seconds of a level are its steps times this: runs that take hours do not all find a quiet machine
    records = arguments.results_dir / "estimators"
    records.mkdir(parents=True, exist_ok=True)
    times_file = records / "ms_per_step.json"
    if not times_file.exists():
        write_json(step_times(dataset.splits["train"].images), times_file)
    names = {name for setting in settings() for name in (setting.group, setting.name)}
    if unknown := set(arguments.only) - names:
        raise ValueError(f"Expected --only of {sorted(names)}. Received: {sorted(unknown)}.")
    rows = []
    for setting in settings():
        wanted = not arguments.only or {setting.group, setting.name} & set(arguments.only)
        for seed in setting.seeds:
            run = run_of(setting, seed)
            folder, record = arguments.runs_dir.resolve() / run.name, records / run.name
            if is_done(record):
                folder = record
            elif wanted and in_time(arguments):
                train(run, arguments)
            if (folder / "config.json").exists():
                rows.append(row(setting, seed, folder, dataset.splits["test"]))
                write_results(rows, read_json(times_file), arguments.results_dir)
            if is_done(folder) and folder != record:
                keep(folder, record)


if __name__ == "__main__":
    sys.exit(cli.run(main))
