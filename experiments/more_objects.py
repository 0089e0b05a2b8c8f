"""More objects: how accuracy, time and memory grow with N.

    python -m experiments.more_objects
    python -m experiments.more_objects --quick

Accuracy: 0 to 2, 0 to 5 and 0 to 9 digits on canvases that grow with them, each one
`python train.py --preset ...`. Time and memory of a training step: of the last of them, N from 1 to 12,
each in a process of its own (`python -m experiments.step_cost N`), which wants a quiet machine. What is
done is not done again. Writes results/more_objects.{md,json,png}.
"""

import itertools
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from air_tf import cli
from air_tf.air import AIR
from air_tf.config import PRESETS
from air_tf.data import load_splits
from air_tf.evaluation import plots, report
from air_tf.evaluation.evaluate import infer_all
from air_tf.training.run_folder import read_json, write_json
from experiments.digits import held_out_digits
from experiments.runs import ROOT, Job, Run, SeedArguments, in_time, parse, rows_of, run_on_digits
from experiments.tables import column, markdown, run_columns, spread, write

SETTINGS = "two_digits", "five_digits", "nine_digits"  # presets
SIZES = 1, 3, 6, 9, 12  # N, of which a step's time and memory are taken
SHOWN = 4  # images in a picture


def cost(max_objects: int, arguments: SeedArguments) -> dict:
    """Time and memory of a training step with N objects."""
    small = ["--canvas-size", "24", "--batch-size", "8"] if arguments.quick else []
    command = [sys.executable, "-m", "experiments.step_cost", str(max_objects), *small]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError(f"Expected {' '.join(command[1:])} to succeed. Received: the error above.")
    return json.loads(done.stdout.splitlines()[-1])


class Line(NamedTuple):
    """A cost as a line in N, by least squares."""

    fixed: float
    an_object: float
    off: float  # the farthest that a cost lies from it


def line_through(costs: list[dict], name: str) -> Line | None:
    """The line through the costs of this name; None of fewer than three."""
    if len(costs) < 3:
        return None
    sizes, values = np.array([(c["max_objects"], c[name]) for c in costs], float).T
    an_object, fixed = np.polyfit(sizes, values, 1)
    off = np.abs(fixed + an_object * sizes - values).max()
    return Line(float(fixed), float(an_object), float(off))


def job_of(setting: str, seed: int, arguments: SeedArguments) -> Job:
    run = run_on_digits(setting, setting, seed, arguments)
    return Job(run, partial(draw, run, arguments), {"setting": setting, "seed": seed})


def draw(run: Run, arguments: SeedArguments, model: AIR, record: Path) -> dict:
    """A picture of how the fullest images of held-out digits are inferred."""
    config = cli.parse_run([*run.flags.split(), "--cache-dir", str(arguments.cache_dir)])
    split = held_out_digits(load_splits(config.data).splits)
    fullest = split[np.argsort(-split.counts, kind="stable")[:SHOWN]]
    record.mkdir(parents=True, exist_ok=True)
    figure = report.progress(model, infer_all(model, fullest), fullest, np.arange(len(fullest)))
    figure.savefig(record / "fullest.png", dpi=plots.DPI)
    return {}


def numbers(metrics: dict, scores: dict) -> dict:
    held_out = metrics.get("test_digits", metrics)
    return {name: held_out[name] for name in ("count_accuracy", "count_accuracy_by_count", "elbo")}


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds of each setting."""
    result = []
    for setting in dict.fromkeys(r["setting"] for r in rows):
        of_it, preset = [r for r in rows if r["setting"] == setting], PRESETS[setting]
        most, size = max(preset.data.digit_counts), preset.data.canvas_size
        fullest = [by_count.get(str(most)) for by_count in column(of_it, "count_accuracy_by_count")]
        result.append({
            "digits": f"0 to {most}",
            "canvas": f"{size} x {size}",
            "N": str(preset.model.max_objects),
            "count accuracy": spread(column(of_it, "count_accuracy"), ".1%"),
            "of the fullest images": spread(fullest, ".1%"),
            "ELBO (nats)": spread(column(of_it, "elbo"), ".0f"),
            **run_columns(of_it),
        })  # fmt: skip
    return result


def cost_lines(costs: list[dict]) -> list[dict[str, str]]:
    return [
        {
            "N": str(c["max_objects"]),
            "ms a step": f"{c['ms_per_step']:.1f}",
            "memory (MB)": f"{c['megabytes']:.0f}",
        }
        for c in costs
    ]


def figure_of(rows: list[dict], costs: list[dict]) -> Figure:
    """Accuracy by the true count in each setting; a step's time and memory against N."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    accuracy, time, memory = figure.subplots(1, 3)
    done = [r for r in rows if "failure" not in r]
    for setting in dict.fromkeys(r["setting"] for r in done):
        of_it = [r["count_accuracy_by_count"] for r in done if r["setting"] == setting]
        counts = list(map(int, of_it[0]))
        medians = [np.median([by_count[str(n)] for by_count in of_it]) for n in counts]
        accuracy.plot(counts, medians, "o-", ms=4, label=setting, zorder=-max(counts))
    accuracy.set(title="count accuracy", xlabel="digits in the image", ylim=(0, 1.02), xticks=range(10))
    accuracy.yaxis.set_major_formatter("{x:.0%}")
    if done:
        accuracy.legend(fontsize=8)
    sizes = [c["max_objects"] for c in costs]
    for axes, name, title in (time, "ms_per_step", "ms a step"), (memory, "megabytes", "memory (MB)"):
        axes.plot(sizes, [c[name] for c in costs], "ko", ms=4)
        if line := line_through(costs, name):
            axes.plot(sizes, line.fixed + line.an_object * np.array(sizes), "0.5", lw=1)
        axes.set(title=title, xlabel="N, with 64 images of 100 x 100", xticks=sizes, ylim=(0, None))
    for axes in (accuracy, time, memory):
        axes.grid(alpha=0.3)
    return figure


def write_results(rows: list[dict], costs: list[dict], folder: Path) -> None:
    time, memory = line_through(costs, "ms_per_step"), line_through(costs, "megabytes")
    text = ""
    if rows:
        text += (
            "`python -m experiments.more_objects`: each row is its command, with a seed each, evaluated "
            "on 10,000 images of MNIST's test digits. Least / median / greatest over seeds, of two "
            "both; minutes of training, with whatever else the machine had to do.\n\n"
        ) + markdown(lines(rows))
    if costs:
        text += (
            "\nA training step of 64 images of 100 x 100 pixels, each N in a process of its own "
            "(`python -m experiments.step_cost N`). "
        )
        if time and memory:
            text += (
                f"Time is {time.fixed:.0f} ms and {time.an_object:.0f} ms an object, within "
                f"{time.off:.0f} ms of this line; memory {memory.fixed:.0f} MB and "
                f"{memory.an_object:.0f} MB an object, within {memory.off:.0f} MB."
            )
        text += "\n\n" + markdown(cost_lines(costs))
    write("more_objects", folder, {"runs": rows, "costs": costs}, text, figure_of(rows, costs))


def main() -> None:
    arguments, rows, costs = parse(SeedArguments), [], []
    records = arguments.results_dir / "more_objects"
    records.mkdir(parents=True, exist_ok=True)
    for size in SIZES[:1] if arguments.quick else SIZES:
        path = records / f"cost-{size}.json"
        if not path.exists() and in_time(arguments):
            write_json(cost(size, arguments), path)
        if path.exists():
            costs.append(read_json(path))
    settings = itertools.product(range(arguments.seeds), SETTINGS[: 1 if arguments.quick else None])
    jobs = [job_of(setting, seed, arguments) for seed, setting in settings]
    for rows in rows_of(jobs, records, arguments, numbers):
        write_results(rows, costs, arguments.results_dir)
    write_results(rows, costs, arguments.results_dir)
    print((arguments.results_dir / "more_objects.md").read_text())


if __name__ == "__main__":
    sys.exit(cli.run(main))
