"""Train many seeds and tabulate what they reach on held-out images.

    python -m benchmarks.count_accuracy embedded        # the default command, 10 seeds
    python -m benchmarks.count_accuracy benchmark       # multi-MNIST, 5,000 steps, 10 seeds
    python -m benchmarks.count_accuracy benchmark_long  # multi-MNIST, 15,000 steps, rho 0.01, 3 seeds

Each seed is one `python train.py`, timed from start to end. A seed that is done is not run again, and
the table in results/ is written after each. MNIST comes from AIR_MNIST or tensorflow-datasets.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

ROOT = Path(__file__).parents[1]
SETS = {
    "embedded": (range(10), ["--digits", "embedded"]),
    "benchmark": (range(10), ["--digits", "mnist"]),
    "benchmark_long": (range(3), ["--digits", "mnist", "--steps", "15000", "--rho", "0.01"]),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train many seeds and tabulate what they reach on held-out images."""

    which: tyro.conf.Positional[Literal["embedded", "benchmark", "benchmark_long"]]
    """The setting."""

    runs_dir: Path = Path("runs/benchmarks")
    """Folder of the runs."""

    results_dir: Path = ROOT / "results"
    """Folder of the table."""


def train(seed: int, flags: list[str], folder: Path) -> dict:
    """One run with an empty cache, so that making the images is part of its time."""
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted benchmark left
    with tempfile.TemporaryDirectory() as cache:
        command = [
            sys.executable,
            str(ROOT / "train.py"),
            *flags,
            "--seed",
            str(seed),
            "--cache-dir",
            cache,
        ]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--runs-dir", str(folder.parent), "--name", folder.name], check=True, cwd=ROOT
        )
        wall = time.perf_counter() - started
    metrics = json.loads((folder / "metrics.json").read_text()) | {"wall_seconds": wall}
    (folder / "wall.json").write_text(json.dumps(metrics))
    return metrics


def row(metrics: dict) -> dict:
    """The figures of a run that the table shows."""
    pairs = metrics["boxes_by_count"]["2"]
    figures = {
        "seed": metrics["seed"],
        "count accuracy": metrics["count_accuracy"],
        "0 objects": metrics["count_accuracy_by_count"]["0"],
        "1 object": metrics["count_accuracy_by_count"]["1"],
        "2 objects": metrics["count_accuracy_by_count"]["2"],
        "ELBO (nats)": metrics["elbo"],
        "box IoU, pairs": pairs["box_iou"],
        "centre error, pairs (pixels)": pairs["centre_error"],
    }
    if "test_digits" in metrics:
        figures["test digits: count accuracy"] = metrics["test_digits"]["count_accuracy"]
        figures["test digits: ELBO (nats)"] = metrics["test_digits"]["elbo"]
    return figures | {"ms a step": metrics["ms_per_step"], "start to end (s)": metrics["wall_seconds"]}


def cell(name: str, value) -> str:
    if "accuracy" in name or "object" in name:
        return f"{value:.2%}"
    return f"{value:.1f}" if isinstance(value, float) and value > 10 else f"{value:.3g}"


def table(which: str, flags: list[str], rows: list[dict]) -> str:
    """The rows as Markdown, with the least, median and greatest of each column."""
    names = list(rows[0])
    lines = [
        f"`python -m benchmarks.count_accuracy {which}`: each row is "
        f"`python train.py {' '.join(flags)}` with its seed, evaluated on 10,000 held-out images.",
        "",
        f"| {' | '.join(names)} |",
        "| " + " | ".join("---" for _ in names) + " |",
    ]
    lines += ["| " + " | ".join(cell(name, r[name]) for name in names) + " |" for r in rows]
    for label, statistic in (("least", np.min), ("median", np.median), ("greatest", np.max)):
        values = [cell(name, float(statistic([r[name] for r in rows]))) for name in names[1:]]
        lines.append("| " + " | ".join([f"**{label}**", *values]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = tyro.cli(Arguments)
    which, (seeds, flags) = arguments.which, SETS[arguments.which]
    runs_dir = arguments.runs_dir.resolve()
    rows = []
    for seed in seeds:
        folder = runs_dir / f"{which}-seed{seed}"
        done = folder / "wall.json"
        rows.append(row(json.loads(done.read_text()) if done.exists() else train(seed, flags, folder)))
        arguments.results_dir.mkdir(exist_ok=True)
        if seed == seeds[0]:
            shutil.copy(folder / "samples.png", arguments.results_dir / f"{which}.png")
        (arguments.results_dir / f"{which}.json").write_text(json.dumps(rows, indent=2) + "\n")
        (arguments.results_dir / f"{which}.md").write_text(table(which, flags, rows))
    print(table(which, flags, rows))


if __name__ == "__main__":
    main()
