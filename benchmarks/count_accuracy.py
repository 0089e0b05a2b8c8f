"""Train many seeds and tabulate what they reach on held-out images.

    python -m benchmarks.count_accuracy embedded        # the default command, 10 seeds
    python -m benchmarks.count_accuracy benchmark       # multi-MNIST, 5,000 steps, 10 seeds
    python -m benchmarks.count_accuracy benchmark_long  # multi-MNIST, 15,000 steps, rho 0.01, 3 seeds

Each seed is one `python train.py`, timed from start to end. Its record in results/WHICH.jsonl and the
table in results/WHICH.md are written after each; a seed that has a record is not run again (another
`--results-dir` measures anew). MNIST comes from AIR_MNIST or tensorflow-datasets.
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

from air_tf import cli
from experiments.records import Records, made_by
from experiments.tables import markdown

ROOT = Path(__file__).parents[1]
SETS = {
    "embedded": (10, "--digits embedded"),
    "benchmark": (10, "--digits mnist"),
    "benchmark_long": (3, "--digits mnist --steps 15000 --rho 0.01 --warm-start-steps 1500"),
}
PICTURED = "benchmark", 0  # setting and seed of the picture of samples
SHARE, NUMBER = ".2%", ".3g"
COLUMNS = {
    "count accuracy": SHARE,
    "0 objects": SHARE,
    "1 object": SHARE,
    "2 objects": SHARE,
    "ELBO (nats)": ".1f",
    "box IoU, pairs": NUMBER,
    "centre error, pairs (pixels)": NUMBER,
    "test digits: count accuracy": SHARE,
    "test digits: ELBO (nats)": ".1f",
    "ms per step": ".1f",
    "start to end (s)": ".1f",
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train many seeds and tabulate what they reach on held-out images."""

    which: tyro.conf.Positional[Literal["embedded", "benchmark", "benchmark_long"]]
    """The setting."""

    runs_dir: Path = Path("runs/benchmarks")
    """Folder of the runs."""

    results_dir: Path = ROOT / "results"
    """Folder of the records and the table."""


def train(flags: str, folder: Path) -> tuple[dict, float]:
    """One run with an empty cache, so that making the images is part of its time.

    Returns:
        Its metrics, and the seconds that it took.
    """
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted benchmark left
    with tempfile.TemporaryDirectory() as cache:
        where = ["--cache-dir", cache, "--runs-dir", str(folder.parent), "--name", folder.name]
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *flags.split(), *where], check=True, cwd=ROOT
        )
        seconds = time.perf_counter() - started
    return json.loads((folder / "metrics.json").read_text()), seconds


def figures(metrics: dict, seconds: float) -> dict:
    """What the table shows of a run."""
    pairs, by_count = metrics["boxes_by_count"]["2"], metrics["count_accuracy_by_count"]
    result = {
        "seed": metrics["seed"],
        "count accuracy": metrics["count_accuracy"],
        "0 objects": by_count["0"],
        "1 object": by_count["1"],
        "2 objects": by_count["2"],
        "ELBO (nats)": metrics["elbo"],
        "box IoU, pairs": pairs["box_iou"],
        "centre error, pairs (pixels)": pairs["centre_error"],
    }
    if "test_digits" in metrics:
        result["test digits: count accuracy"] = metrics["test_digits"]["count_accuracy"]
        result["test digits: ELBO (nats)"] = metrics["test_digits"]["elbo"]
    return result | {"ms per step": metrics["ms_per_step"], "start to end (s)": seconds}


def table(which: str, flags: str, rows: list[dict]) -> str:
    """A row for each seed; then the least, median and greatest of each column."""
    forms = {name: form for name, form in COLUMNS.items() if name in rows[0]}
    lines = [
        {"seed": str(r["seed"])} | {name: format(r[name], form) for name, form in forms.items()}
        for r in rows
    ]
    for label, statistic in {"least": np.min, "median": np.median, "greatest": np.max}.items():
        values = {name: statistic([r[name] for r in rows]) for name in forms}
        lines.append(
            {"seed": f"**{label}**"} | {name: format(values[name], form) for name, form in forms.items()}
        )
    return (
        f"`python -m benchmarks.count_accuracy {which}`: each row is `python train.py {flags}` with its "
        "seed, evaluated on 10,000 held-out images.\n\n"
    ) + markdown(lines)


def main() -> None:
    arguments = tyro.cli(Arguments)
    which, (seeds, flags) = arguments.which, SETS[arguments.which]
    records, rows = Records(arguments.results_dir / f"{which}.jsonl"), []
    for seed in range(seeds):
        name, seed_flags = f"{which}-seed{seed}", f"{flags} --seed {seed}"
        record = records.find(name, seed_flags)
        if record is None:
            folder = arguments.runs_dir.resolve() / name
            measured = figures(*train(seed_flags, folder))
            record = {"name": name, "flags": seed_flags, **measured, **made_by(folder)}
            records.add(record)
            if (which, seed) == PICTURED:
                shutil.copy(folder / "samples.png", arguments.results_dir / f"{which}.png")
        rows.append(record)
        (arguments.results_dir / f"{which}.md").write_text(table(which, flags, rows))
    print(table(which, flags, rows))


if __name__ == "__main__":
    sys.exit(cli.run(main))
