"""Solids on a table: how well they are counted, told apart and placed, through a renderer.

    python -m experiments.table_top
    python -m experiments.table_top --tasks one
    python -m experiments.table_top --quick

Each run is one `python train.py --dataset table_top ...`: one solid or 0 to 3, their classes summed out,
sampled or relaxed, gradients of poses exact or by finite differences. Beside them, for one solid, what
Eslami et al. 2016 compare with (section 3.3): the same network trained with labels, and optimisation of
the pose image by image (`experiments.table_top_baselines`). Runs that have a record are not repeated.

Writes results/table_top.{jsonl,md} and results/table_top_views.png.
"""

import dataclasses
import itertools
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from air_tf import cli
from air_tf.air import AIR
from air_tf.config import Config
from air_tf.data.base import Dataset
from air_tf.data.split import Split
from air_tf.data.table_top import Poses
from air_tf.evaluation.evaluate import evaluate_fully, infer_all
from air_tf.evaluation.metrics import pixel_mse
from air_tf.parts import replaced
from air_tf.rendering.poses import pose_metrics
from air_tf.training.run_record import load_model, read_config
from experiments.records import Records
from experiments.runs import Job, Run, SeedArguments, in_time, parse, records_of
from experiments.table_top_baselines import CHUNK, CHUNKS, LABELLED, STARTS, optimised, supervised
from experiments.tables import column, known, markdown, run_columns, save, spread, write

QUICK = (
    " --canvas-size 24 --train-images 20 --test-images 8 --batch-size 8 --steps 2 --steps-per-call 2 "
    "--embedding-filters 4 4 --embedding-units 8 --lstm-units 8 --hidden-units 8 --attention-units 8"
)
KEYS = "task", "solids", "classes", "gradient"  # what tells a line of the table from the others
OPTIMISED, TIMED = 50, 512  # held-out images that are optimised; that inference is timed with
TASKS = {"one": "--solid-counts 1 --max-objects 1 --steps 2000", "several": ""}
WAYS = {  # of the classes and the count
    "summed out": "",
    "score function": " --presence nvil",
    "relaxed": " --presence concrete",
}
FINITE = " --pose-gradient finite_differences"


@dataclasses.dataclass(frozen=True)
class TableTopArguments(SeedArguments):
    """What this experiment is asked."""

    tasks: tuple[str, ...] = (*TASKS,)
    """Begin only runs of these tasks: one (a single solid in each image), several (0 to 3)."""

    def __post_init__(self):
        super().__post_init__()
        if unknown := [task for task in self.tasks if task not in TASKS]:
            raise ValueError(f"Expected tasks among {', '.join(TASKS)}. Received: {unknown[0]}.")


class Setting(NamedTuple):
    """A line of the table."""

    task: str
    solids: str
    classes: str
    gradient: str
    flags: str


def settings() -> list[Setting]:
    """The ways to learn, then the other set of solids."""
    result = []
    for task, flags in TASKS.items():
        result += [Setting(task, "solids", way, "exact", flags + of_way) for way, of_way in WAYS.items()]
        result += [
            Setting(task, "solids", "summed out", "finite differences", flags + FINITE),
            Setting(task, "table_ware", "summed out", "exact", f"{flags} --solids table_ware"),
        ]
    return result


def job_of(setting: Setting, seed: int, arguments: TableTopArguments) -> Job:
    parts = [setting.task, setting.solids, setting.classes, setting.gradient]
    name = "-".join(["table-top", *parts, f"seed{seed}"]).replace(" ", "-")
    flags = f"--dataset table_top {setting.flags} --seed {seed}{QUICK * arguments.quick}"
    fields = {**setting._asdict(), "seed": seed}
    fields.pop("flags")
    picture = None
    if seed == 0 and parts == ["several", "solids", "summed out", "exact"]:
        picture = arguments.results_dir / "table_top_views.png"
    return Job(Run(name, " ".join(flags.split())), fields, partial(score, arguments, picture))


def score(arguments: TableTopArguments, picture: Path | None, folder: Path, metrics: dict) -> dict:
    """What a run finds in held-out images, how well, and how long it takes with each."""
    config, model = read_config(folder), load_model(folder)
    dataset = config.data.load()
    split = dataset.splits["test"]
    scene, found = evaluate_fully(model, split, partial(dataset.segments, "test"))
    if picture:
        save(dataset.picture(scene, split)["views"][1], picture)
    return measures(found | dataset.measure(scene, split)) | {"seconds_per_image": pace(model, split)}


MEASURES = "count_accuracy", "class_accuracy", "position_error", "foreground_ari", "pixel_mse", "elbo"


def measures(found: dict) -> dict:
    """Those of all that was measured that the table has."""
    angles = {name: value for name, value in found.items() if name.startswith("angle_error")}
    return {name: found[name] for name in MEASURES} | angles


def pace(model: AIR, split: Split) -> float:
    """Seconds per image to infer a scene, in batches."""
    images = split[:TIMED].float_images()
    model.infer(images)
    started = time.perf_counter()
    model.infer(images)
    return (time.perf_counter() - started) / len(images)


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table of runs: least, median and greatest over the seeds."""
    result = []
    for key in dict.fromkeys(tuple(r[k] for k in KEYS) for r in rows):
        of_it = [r for r in rows if tuple(r[k] for k in KEYS) == key]
        result.append({
            **dict(zip(KEYS, key)),
            "count right": spread(column(of_it, "count_accuracy"), ".2%"),
            "class right": spread(column(of_it, "class_accuracy"), ".2%"),
            "position error": spread(column(of_it, "position_error"), ".2%"),
            "angle error": angles_of(of_it) or "-",
            "foreground ARI": spread(column(of_it, "foreground_ari"), ".2f"),
            "pixel MSE": spread(column(of_it, "pixel_mse"), ".5f"),
            "ms per image": milliseconds(of_it),
            **run_columns(of_it),
        })  # fmt: skip
    return result


def angles_of(rows: list[dict]) -> str:
    """The errors of the angles of each solid that has one."""
    names = dict.fromkeys(name for r in rows for name in r if name.startswith("angle_error"))
    return ", ".join(
        f"{name.removeprefix('angle_error_')} {spread(column(rows, name), '.1f')}" for name in names
    )


def milliseconds(rows: list[dict]) -> str:
    """How long an image takes."""
    return spread([1000 * seconds for seconds in column(rows, "seconds_per_image")], ".2f")


def with_labels(job: Job, arguments: TableTopArguments) -> dict:
    """The record of the same network, trained with labels on images like those of a run."""
    config, dataset = data_of(job, arguments)
    started = time.perf_counter()
    model = supervised(config, dataset)
    minutes, split = (time.perf_counter() - started) / 60, dataset.splits["test"]
    scene, found = evaluate_fully(model, split, None)
    found |= dataset.measure(scene, split)
    return measures(found) | {"minutes": minutes, "seconds_per_image": pace(model, split)}


def of_the_same(job: Job, arguments: TableTopArguments) -> dict:
    """The record of inference, of the images that are optimised."""
    model, dataset, split = optimised_images(job, arguments)
    return dataset.measure(infer_all(model, split), split) | {"seconds_per_image": pace(model, split)}


def by_optimisation(job: Job, arguments: TableTopArguments) -> dict:
    """The record of optimisation on the run's table, until images are drawn as well as the run does."""
    model, _, split = optimised_images(job, arguments)
    images, renderer = split.float_images(), model.objects.renderer
    targets = pixel_mse(images, np.asarray(model.infer(images).reconstructions))
    few = {"chunk": 2, "chunks": 1} if arguments.quick else {}
    table = model.background.draw({}, 1).colour
    found = optimised(renderer, table, split, targets, job.fields["seed"], **few)
    return {
        **pose_metrics(found.placed, Poses.of(split).placed(), renderer.solids),
        "reached": float(found.reached.mean()),
        "seconds_per_image": float(found.seconds.mean()),
    }


def optimised_images(job: Job, arguments: TableTopArguments) -> tuple[AIR, Dataset, Split]:
    """A run's model and data set, and the held-out images that are optimised."""
    _, dataset = data_of(job, arguments)
    split = dataset.splits["test"][: 1 if arguments.quick else OPTIMISED]
    return load_model(arguments.runs_dir.resolve() / job.run.name), dataset, split


def data_of(job: Job, arguments: TableTopArguments) -> tuple[Config, Dataset]:
    """A run's config and images."""
    config = cli.parse_run([*job.run.flags.split(), "--cache-dir", str(arguments.cache_dir)])
    dataset = config.data.load()
    model = replaced(config.model, **dataset.model_settings)
    return dataclasses.replace(config, model=model), dataset


BASELINES = {
    "with labels": with_labels,
    "inference, of the optimised images": of_the_same,
    "optimisation": by_optimisation,
}


def baselines_of(jobs: list[Job], records: Records, arguments: TableTopArguments) -> list[dict]:
    """The records of the baselines beside these runs; missing ones are made while there is time."""
    rows = []
    for (name, measure), job in itertools.product(BASELINES.items(), jobs):
        own = f"{job.run.name}-{name.replace(',', '').replace(' ', '-')}"
        record = records.find(own, job.run.flags)
        run = records.find(job.run.name, job.run.flags)
        if record is None and run and "failure" not in run and in_time(arguments):
            fields = {"name": own, "flags": job.run.flags, "baseline": name, "seed": job.fields["seed"]}
            record = records.add(fields | measure(job, arguments))
        if record is not None:
            rows.append(record)
    return rows


def baseline_lines(rows: list[dict], runs: list[dict]) -> list[dict[str, str]]:
    """The table of baselines, after the runs of the same scenes."""
    result = []
    for name in ("inference", *BASELINES):
        of_it = runs if name == "inference" else [r for r in rows if r["baseline"] == name]
        if of_it:
            result.append({
                "by": name,
                "class right": spread(column(of_it, "class_accuracy"), ".2%"),
                "position error": spread(column(of_it, "position_error"), ".2%"),
                "angle error": angles_of(of_it),
                "drawn as well as by inference": spread(known(of_it, "reached"), ".0%"),
                "ms per image": milliseconds(of_it),
                "seeds": str(len(of_it)),
            })  # fmt: skip
    return result


def write_results(rows: list[dict], baselines: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.table_top`: each row is one command, run once per seed and "
        "evaluated on held-out scenes; settings that have not been run are left out. Least / median / "
        "greatest over the seeds, or both of two. Inferred solids are paired with true ones so that the "
        "distances are least, and classes and angles are those of the pairs; position errors are "
        "medians, as shares of the table's side, angle errors medians in degrees, up to a solid's "
        "symmetry.\n\n"
    )
    text += markdown(lines(rows))
    runs = [r for r in rows if is_compared(r)]
    if baselines:
        text += (
            f"\nOne solid: the same network trained with {LABELLED:,} labels, and Adam from {STARTS} "
            f"random poses of each class, image by image on {OPTIMISED} held-out images, until an image "
            "is drawn as well as inference draws it, on the same learned table, or for "
            f"{CHUNK * CHUNKS} steps.\n\n"
        ) + markdown(baseline_lines(baselines, runs))
    write("table_top", folder, text)


def is_compared(fields: dict) -> bool:
    """Whether a run is one that baselines are compared with."""
    return tuple(fields[key] for key in KEYS) == ("one", "solids", "summed out", "exact")


def main() -> None:
    arguments = parse(TableTopArguments)
    records = Records(arguments.results_dir / "table_top.jsonl")
    jobs = []
    for seed, setting in itertools.product(range(arguments.seeds), settings()):
        job = job_of(setting, seed, arguments)
        asked = setting.task in arguments.tasks and (not arguments.quick or is_compared(job.fields))
        if asked or job.run.name in records.by_name:
            jobs.append(job)
    rows, baselines = [], [record for record in records if "baseline" in record]
    for rows in records_of(jobs, records, arguments):
        write_results(rows, baselines, arguments.results_dir)
    compared = [job for job in jobs if is_compared(job.fields)]
    if baselines := baselines_of(compared, records, arguments):
        write_results(rows, baselines, arguments.results_dir)
    table = arguments.results_dir / "table_top.md"
    print(table.read_text() if table.exists() else "No run is done yet.")


if __name__ == "__main__":
    sys.exit(cli.run(main))
