"""Counting further than one was taught: AIR and DAIR on counts that training does not show.

    python -m experiments.generalisation              # 3 seeds of 3 models on 2 tasks
    python -m experiments.generalisation --quick

extrapolation: trained on images of 0, 1 and 2 digits, evaluated on 3. interpolation: trained on 0, 1
and 3, evaluated on 2 (Eslami et al. 2016). Of AIR, DAIR, and DAIR whose z_where attention proposes; all
three with convolutions under the embedding. Images to evaluate on are of MNIST's test digits.
Each run is one `python train.py`; one that is done is not run again, one that was interrupted
goes on. Writes results/generalisation.{jsonl,md} and results/extrapolation.png, a picture of how a model
infers a count that it never saw.
"""

import itertools
import sys
from functools import partial
from pathlib import Path

import numpy as np

from air_tf import cli
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.split import Split
from air_tf.evaluation import report
from air_tf.evaluation.evaluate import infer_all
from air_tf.training.run_record import load_model
from experiments.digits import apart, held_out_digits
from experiments.records import Records
from experiments.runs import Job, SeedArguments, carry_out, parse, run_on_digits
from experiments.tables import column, markdown, run_columns, save, spread, write

TASKS = {"extrapolation": 3, "interpolation": 2}  # the count that training does not show
MODELS = {  # flags; the presets are DAIR with attention
    "AIR": " --no-difference --warm-start-steps 1500 --attention-units 0",
    "DAIR": " --attention-units 0",
    "DAIR with attention": "",
}
PAPER = {  # count accuracies, read off its plots
    ("extrapolation", "AIR"): 0.0, ("extrapolation", "DAIR"): 0.8,
    ("interpolation", "AIR"): 0.6, ("interpolation", "DAIR"): 0.95,
}  # fmt: skip
UNSEEN_IMAGES = 5000
PICTURED = "extrapolation", "DAIR with attention", 0  # task, model and seed
SHOWN = 6  # images in the picture


def unseen_images(count: int, arguments: SeedArguments) -> Split:
    """Images with `count` digits each, of held-out digits."""
    images = 40 if arguments.quick else UNSEEN_IMAGES
    config = MultiMNISTSettings(
        digits=arguments.digits, digit_counts=(count,), train_images=1, test_images=images,
        cache_dir=str(arguments.cache_dir),
    )  # fmt: skip
    return held_out_digits(config.load().splits)


def score(
    count: int, picture: Path | None, arguments: SeedArguments, folder: Path, metrics: dict
) -> dict:
    """Counts of images of `count` digits, which it never saw, and of counts that it saw; a picture."""
    unseen, model = unseen_images(count, arguments), load_model(folder)
    scene, seen = infer_all(model, unseen), metrics.get("test_digits", metrics)
    if picture:
        save(report.progress(model, scene, unseen, np.arange(min(SHOWN, len(unseen)))), picture)
    right, lie_apart = scene.counts == unseen.counts, apart(unseen.boxes)
    counted = np.bincount(scene.counts, minlength=model.config.max_objects + 1)
    return {
        "unseen_count_accuracy": float(np.mean(right)),
        "unseen_count_accuracy_apart": float(np.mean(right[lie_apart])) if lie_apart.any() else None,
        "share_apart": float(np.mean(lie_apart)),
        "unseen_counted_as": {str(count): int(images) for count, images in enumerate(counted)},
        "seen_count_accuracy": seen["count_accuracy"],
        "seen_count_accuracy_by_count": seen["count_accuracy_by_count"],
    }


def job_of(task: str, model: str, seed: int, arguments: SeedArguments) -> Job:
    name = f"{task}-{model.lower().replace(' ', '-')}"
    run = run_on_digits(name, task, seed, arguments, MODELS[model])
    picture = arguments.results_dir / "extrapolation.png" if (task, model, seed) == PICTURED else None
    fields = {"task": task, "model": model, "seed": seed}
    return Job(run, fields, partial(score, TASKS[task], picture, arguments))


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds of each task and model."""
    result = []
    for task, model in dict.fromkeys((r["task"], r["model"]) for r in rows):
        of_both = [r for r in rows if (r["task"], r["model"]) == (task, model)]
        result.append({
            "task": f"{task}: {TASKS[task]} digits, never seen",
            "model": model,
            "count accuracy": spread(column(of_both, "unseen_count_accuracy"), ".1%"),
            "digits apart": spread(column(of_both, "unseen_count_accuracy_apart"), ".1%"),
            "paper (plot)": f"about {PAPER[task, model]:.0%}" if (task, model) in PAPER else "-",
            "of counts seen": spread(column(of_both, "seen_count_accuracy"), ".1%"),
            **run_columns(of_both),
        })  # fmt: skip
    return result


def write_results(rows: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.generalisation`: each row is one command, run once per seed; count "
        f"accuracy on {UNSEEN_IMAGES:,} images of MNIST's test digits with a count that no training "
        "image has, on those of them where no two digits' boxes overlap (apart, as in the paper), and "
        "on 10,000 images of these digits with the counts of training. Least / median / greatest over "
        "seeds; minutes of training, with whatever else the machine had to do.\n\n"
    )
    write("generalisation", folder, text + markdown(lines(rows)))


def main() -> None:
    arguments = parse(SeedArguments)
    records = Records(arguments.results_dir / "generalisation.jsonl")
    tasks = [*TASKS][: 1 if arguments.quick else None]
    settings = itertools.product(range(arguments.seeds), tasks, MODELS)
    jobs = [job_of(task, model, seed, arguments) for seed, task, model in settings]
    carry_out("generalisation", jobs, records, arguments, write_results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
