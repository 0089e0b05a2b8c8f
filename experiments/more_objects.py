"""More objects: how accuracy, time and memory grow with N.

    python -m experiments.more_objects
    python -m experiments.more_objects --quick

Accuracy: 0 to 2, 0 to 5 and 0 to 9 digits on canvases that grow with them, each one
`python train.py --preset ...`. Time and memory of a training step: of the last of them, N from 1 to 12,
each in a process of its own (`python -m experiments.step_cost N`), which wants a quiet machine. What is
done is not done again. Writes results/more_objects.{md,json,png}.
"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from air_tf import cli, plots, report
from air_tf.config import PRESETS
from air_tf.data import load_splits
from air_tf.evaluation import evaluate
from air_tf.model import AIR
from air_tf.run import read_json, write_json
from experiments.digits import held_out_digits
from experiments.runs import QUICK, ROOT, Run, SeedArguments, in_time, parse, row, scored
from experiments.tables import column, markdown, run_columns, spread

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


def growth(costs: list[dict], name: str) -> float | None:
    """The exponent of a power law between half of the largest N and all of it; 1: in proportion."""
    by_size = {c["max_objects"]: c[name] for c in costs}
    largest = max(by_size, default=0)
    half = by_size.get(largest / 2)
    return None if half is None else float(np.log2(by_size[largest] / half))


def run_of(setting: str, seed: int, arguments: SeedArguments) -> Run:
    flags = f"--preset {setting} --digits {arguments.digits} --seed {seed}"
    return Run(f"{setting}-seed{seed}", flags + f" {QUICK}" * arguments.quick)


def score(run: Run, arguments: SeedArguments, model: AIR, record: Path) -> dict:
    """The metrics of images of held-out digits, and a picture of how the fullest are inferred."""
    config = cli.parse_run([*run.flags.split(), "--cache-dir", str(arguments.cache_dir)])
    split = held_out_digits(load_splits(config.data).splits)
    scene, metrics = evaluate(model, split)
    record.mkdir(parents=True, exist_ok=True)
    fullest = np.argsort(-split.counts, kind="stable")[:SHOWN]
    report.progress(model, scene, split, fullest).savefig(record / "fullest.png", dpi=plots.DPI)
    return metrics


def numbers(metrics: dict, scores: dict) -> dict:
    return {name: scores[name] for name in ("count_accuracy", "count_accuracy_by_count", "elbo")}


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
        accuracy.plot(counts, medians, "o-", ms=4, label=setting)
    accuracy.set(title="count accuracy", xlabel="digits in the image", ylim=(0, 1.02), xticks=range(10))
    accuracy.yaxis.set_major_formatter("{x:.0%}")
    if done:
        accuracy.legend(fontsize=8)
    sizes = [c["max_objects"] for c in costs]
    for axes, name, title in (time, "ms_per_step", "ms a step"), (memory, "megabytes", "memory (MB)"):
        axes.plot(sizes, [c[name] for c in costs], "ko-", ms=4)
        axes.set(title=title, xlabel="N, with 64 images of 100 x 100", xticks=sizes, ylim=(0, None))
    for axes in (accuracy, time, memory):
        axes.grid(alpha=0.3)
    return figure


def write_results(rows: list[dict], costs: list[dict], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    time, memory = growth(costs, "ms_per_step"), growth(costs, "megabytes")
    growths = {"ms_per_step": time, "megabytes": memory}
    write_json({"runs": rows, "costs": costs, "growth": growths}, folder / "more_objects.json")
    text = ""
    if rows:
        text += (
            "`python -m experiments.more_objects`: each row is its command, with a seed each, evaluated "
            "on 10,000 images of MNIST's test digits. Least / median / greatest over seeds; minutes of "
            "training, with whatever else the machine had to do.\n\n"
        ) + markdown(lines(rows))
    if costs:
        text += (
            "\nA training step of 64 images of 100 x 100 pixels, each N in a process of its own "
            "(`python -m experiments.step_cost N`). "
        )
        if time is not None and memory is not None:
            text += (
                "From half of the largest N to all of it time grows as N to the power of "
                f"{time:.2f}, memory of {memory:.2f}."
            )
        text += "\n\n" + markdown(cost_lines(costs))
    (folder / "more_objects.md").write_text(text)
    figure_of(rows, costs).savefig(folder / "more_objects.png", dpi=plots.DPI)


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
    for seed in range(arguments.seeds):
        for setting in SETTINGS[: 1 if arguments.quick else None]:
            run = run_of(setting, seed, arguments)
            record = scored(run, records, arguments, partial(score, run, arguments))
            if record is not None:
                rows.append(row(run, record, numbers, setting=setting, seed=seed))
                write_results(rows, costs, arguments.results_dir)
    write_results(rows, costs, arguments.results_dir)
    print((arguments.results_dir / "more_objects.md").read_text())


if __name__ == "__main__":
    sys.exit(cli.run(main))
