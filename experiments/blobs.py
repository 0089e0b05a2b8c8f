"""Somebody's own pictures, with no flag but their folder: coloured blobs on a light, grainy ground.

    python -m experiments.blobs
    python -m experiments.blobs --quick

Draws two folders of pictures with `examples.blobs`, trains on the first with what the look at it
proposes, and counts the second as `air predict` does. Runs that have a record are not repeated.

Writes results/blobs.{jsonl,md}.
"""

import csv
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np

from air_tf import cli
from air_tf.commands import predict
from air_tf.prediction.job import PredictConfig
from examples.blobs import Blobs, draw_folder
from experiments.records import Records
from experiments.runs import QUICK_MODEL, Job, Run, SeedArguments, carry_out, parse
from experiments.tables import column, markdown, run_columns, spread, write

SEEDS = {"train": 0, "test": 1}  # of the pictures
PICTURES, QUICK_PICTURES = 1000, 40


def folders(arguments: SeedArguments) -> dict[str, Path]:
    """Both folders of pictures, drawn where they are missing."""
    images = QUICK_PICTURES if arguments.quick else PICTURES
    found = {}
    for name, seed in SEEDS.items():
        found[name] = arguments.runs_dir.resolve() / f"blobs-{name}-{images}"
        if not (found[name] / "counts.csv").exists():
            shutil.rmtree(found[name], ignore_errors=True)  # what was left half done
            draw_folder(Blobs(out=found[name], images=images, seed=seed))
    return found


def job_of(seed: int, pictures: dict[str, Path], arguments: SeedArguments) -> Job:
    flags = f"--dataset images --seed {seed}{f' {QUICK_MODEL}' * arguments.quick}"
    run = Run(f"blobs-seed{seed}", flags, ("--images", str(pictures["train"])))
    return Job(run, {"seed": seed}, partial(score, pictures["test"]))


def score(pictures: Path, folder: Path, metrics: dict) -> dict:
    """How pictures that training never saw are counted, and how sure the model is."""
    out = folder.with_name(f"{folder.name}-counted")
    predict.main(PredictConfig(images=(str(pictures),), model=str(folder), out=str(out)))
    found = {row["file"]: row for row in read_table(out / "predictions.csv")}
    truth = {row["file"]: int(row["count"]) for row in read_table(pictures / "counts.csv")}
    counts = {Path(file).name: int(row["count"]) for file, row in found.items()}
    wrong = np.array([counts[file] - count for file, count in truth.items()])
    return {
        "count_accuracy": float((wrong == 0).mean()),
        "count_error": float(abs(wrong).mean()),
        "probability": float(np.mean([float(row["probability"]) for row in found.values()])),
        "held_out_accuracy": metrics["count_accuracy"],
    }


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds."""
    return [{
        "count accuracy": spread(column(rows, "count_accuracy"), ".1%"),
        "mean probability of the count": spread(column(rows, "probability"), ".2f"),
        "error of the count": spread(column(rows, "count_error"), ".2f"),
        "count accuracy on the tenth held out": spread(column(rows, "held_out_accuracy"), ".1%"),
        **run_columns(rows),
    }]  # fmt: skip


def write_results(rows: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.blobs`: its command with `--images FOLDER`, once per seed, on 1,000 "
        "pictures of `examples.blobs`, of which a tenth is held out. Evaluated on 1,000 others "
        "(`python -m examples.blobs --seed 1`). Least / median / greatest over the seeds, or both of "
        "two; minutes with whatever else the machine had to do.\n\n"
    )
    write("blobs", folder, text + markdown(lines(rows)))


def main() -> None:
    arguments = parse(SeedArguments)
    records, pictures = Records(arguments.results_dir / "blobs.jsonl"), folders(arguments)
    jobs = [job_of(seed, pictures, arguments) for seed in range(arguments.seeds)]
    carry_out("blobs", jobs, records, arguments, write_results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
