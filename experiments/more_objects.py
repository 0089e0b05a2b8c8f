"""More objects: how accuracy, time and memory grow with N.

    python -m experiments.more_objects
    python -m experiments.more_objects --quick

Accuracy: 0 to 2, 0 to 5 and 0 to 9 digits on canvases that grow with them, each one
`python train.py --preset ...`. Time and memory of a training step: of the last of them, N from 1 to 12,
each in a process of its own (`python -m experiments.step_cost N`), which wants a quiet machine. What is
done is not done again. Writes results/more_objects.{jsonl,md,png}, and pictures of images with the most
digits, results/five_digits.png and results/nine_digits.png.
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
from air_tf.evaluation import report
from air_tf.evaluation.evaluate import infer_all
from air_tf.presets import PRESETS
from air_tf.training.run_record import load_model
from experiments.digits import held_out_digits
from experiments.records import Records
from experiments.runs import ROOT, Job, Run, SeedArguments, in_time, parse, records_of, run_on_digits
from experiments.tables import column, markdown, run_columns, save, spread, write

SETTINGS = "two_digits", "five_digits", "nine_digits"  # presets
SIZES = 1, 3, 6, 9, 12  # N, of which a step's time and memory are taken
SHOWN = 4  # images in a picture


def cost(flags: str) -> dict:
    """Time and memory of a training step, by `python -m experiments.step_cost`."""
    command = [sys.executable, "-m", "experiments.step_cost", *flags.split()]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError(f"Expected {' '.join(command[1:])} to succeed. Received: the error above.")
    return json.loads(done.stdout.splitlines()[-1])


def costs_of(sizes: tuple[int, ...], records: Records, arguments: SeedArguments) -> list[dict]:
    """The records of a step's cost for each N; those that are missing are made while there is time."""
    costs, small = [], " --canvas-size 24 --batch-size 8" * arguments.quick
    for size in sizes:
        name, flags = f"cost-{size}", f"{size}{small}"
        record = records.find(name, flags)
        if record is None and in_time(arguments):
            record = records.add({"name": name, "flags": flags, **cost(flags)})
        if record is not None:
            costs.append(record)
    return costs


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


def job_of(setting: str, seed: int, pictured: bool, arguments: SeedArguments) -> Job:
    run = run_on_digits(setting, setting, seed, arguments)
    picture = arguments.results_dir / f"{setting}.png" if pictured else None
    return Job(run, {"setting": setting, "seed": seed}, partial(score, run, picture, arguments))


def score(run: Run, picture: Path | None, arguments: SeedArguments, folder: Path, metrics: dict) -> dict:
    """Accuracy and bound on images of held-out digits, and a picture of the fullest."""
    if picture:
        draw(run, picture, arguments, folder)
    held_out = metrics.get("test_digits", metrics)
    return {name: held_out[name] for name in ("count_accuracy", "count_accuracy_by_count", "elbo")}


def draw(run: Run, picture: Path, arguments: SeedArguments, folder: Path) -> None:
    """A picture of how the fullest images of held-out digits are inferred."""
    model = load_model(folder)
    config = cli.parse_run([*run.flags.split(), "--cache-dir", str(arguments.cache_dir)])
    split = held_out_digits(config.data.load().splits)
    fullest = split[np.argsort(-split.counts, kind="stable")[:SHOWN]]
    save(report.progress(model, infer_all(model, fullest), fullest, np.arange(len(fullest))), picture)


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
            "ms per step": f"{c['ms_per_step']:.1f}",
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
    for axes, name, title in (time, "ms_per_step", "ms per step"), (memory, "megabytes", "memory (MB)"):
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
            "`python -m experiments.more_objects`: each row is one command, run once per seed, "
            "evaluated on 10,000 images of MNIST's test digits. Least / median / greatest over the "
            "seeds, or both of two; minutes of training, with whatever else the machine had to do.\n\n"
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
    write("more_objects", folder, text, figure_of(rows, costs))


def main() -> None:
    arguments, rows = parse(SeedArguments), []
    records = Records(arguments.results_dir / "more_objects.jsonl")
    settings, sizes = (SETTINGS[:1], SIZES[:1]) if arguments.quick else (SETTINGS, SIZES)
    costs = costs_of(sizes, records, arguments)
    jobs = [
        job_of(setting, seed, seed == 0 and setting in settings[-2:], arguments)
        for seed, setting in itertools.product(range(arguments.seeds), settings)
    ]
    for rows in records_of(jobs, records, arguments):
        write_results(rows, costs, arguments.results_dir)
    write_results(rows, costs, arguments.results_dir)
    print((arguments.results_dir / "more_objects.md").read_text())


if __name__ == "__main__":
    sys.exit(cli.run(main))
