"""Many small objects, learnt on crops and counted tile by tile.

    python -m experiments.tiles
    python -m experiments.tiles --quick

The images of the cell `many` of `experiments.robustness`, 0 to 20 digits on 128 x 128 pixels, as
pictures: a model of few objects is trained on crops of those to train on, and the others, of held-out
digits, are counted as `air predict --tiles` does. Runs that have a record are not repeated.

Writes results/tiles.{jsonl,md}.
"""

import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from air_tf import cli
from air_tf.commands import predict
from air_tf.data.split import Split
from air_tf.evaluation.metrics import average_precision
from air_tf.json_files import read_json
from air_tf.prediction.job import PredictConfig
from experiments.records import Records
from experiments.robustness import DETAIL, cells_by_name, run_of, scale_prior
from experiments.runs import QUICK_MODEL, Job, Run, SeedArguments, carry_out, parse
from experiments.tables import column, markdown, run_columns, spread, write

CELL = "many"
TRAINED_ON = 2000  # pictures
SIDE, OVERLAP = 64, 24  # of crops and tiles, in pixels
NESTED = 0.5  # of a box in a larger one: some digits are drawn twice, and none lies upon another
FLAGS = (
    f"--preset many_objects --dataset images --crop {SIDE} --image-size {SIDE} {SIDE} --ground keep "
    f"--invert no --max-objects 10 --glimpse-size 18{scale_prior(SIDE, 9, 18)}{DETAIL}"
)


def splits_of(arguments: SeedArguments) -> dict[str, Split]:
    """The cell's images to train on, and those of held-out digits."""
    run = run_of(CELL, cells_by_name()[CELL], 0, arguments)
    settings = cli.parse_run([*run.flags.split(), "--cache-dir", str(arguments.cache_dir)]).data
    splits = settings.load().splits
    return {"train": splits["train"][:TRAINED_ON], "test": splits["test"]}


def folders(splits: dict[str, Split], arguments: SeedArguments) -> dict[str, Path]:
    """A folder of pictures of each split, written where it is missing."""
    found = {}
    for name, split in splits.items():
        found[name] = arguments.runs_dir.resolve() / f"tiles-{name}-{len(split)}"
        if not found[name].exists():
            unfinished = found[name].with_suffix(".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            for i, image in enumerate(split.images):
                Image.fromarray(image[..., 0]).save(unfinished / f"{i:05}.png")
            unfinished.rename(found[name])
    return found


def job_of(seed: int, split: Split, places: dict[str, Path], arguments: SeedArguments) -> Job:
    quick = f" {QUICK_MODEL} --train-images 40 --test-images 40" * arguments.quick
    run = Run(f"tiles-seed{seed}", f"{FLAGS} --seed {seed}{quick}", ("--images", str(places["train"])))
    return Job(run, {"seed": seed}, partial(score, split, places["test"]))


def score(split: Split, pictures: Path, folder: Path, metrics: dict) -> dict:
    """How the pictures are counted and boxed."""
    config = PredictConfig(
        images=(str(pictures),), model=str(folder), out=str(folder.with_name(f"{folder.name}-counted")),
        tiles=SIDE, tile_overlap=OVERLAP, tile_nested=NESTED, invert="no", pictures=False,
    )  # fmt: skip
    predict.main(config)
    found = read_json(Path(config.out) / "predictions.json")
    number = {image["id"]: int(Path(image["file_name"]).stem) for image in found["images"]}
    boxes = [[] for _ in range(len(split))]
    for each in found["annotations"]:
        boxes[number[each["image_id"]]].append((each["score"], *each["bbox"]))
    return measured(split, boxes)


def measured(split: Split, boxes: list[list[tuple]]) -> dict:
    """The accuracy and the mean absolute error of the counts, and the boxes' precision.

    Args:
        split: the images.
        boxes: of each image, (score, x, y, width, height) of each object, in pixels.
    """
    counts = np.array([*map(len, boxes)])
    edges = np.zeros((len(boxes), counts.max(initial=1), 4))
    scores = np.zeros(edges.shape[:2])
    for i, of_image in enumerate(boxes):
        for j, (score, x, y, width, height) in enumerate(of_image):
            edges[i, j], scores[i, j] = (y, x, y + height, x + width), score
    height, width = split.image_shape[:2]
    edges /= (height, width, height, width)
    precision = average_precision(
        edges, scores, counts, split.boxes, split.counts, (height, width)
    )  # fmt: skip
    return {
        "count_accuracy": float((counts == split.counts).mean()),
        "count_error": float(abs(counts - split.counts).mean()),
        "ap50": precision["ap50"],
    }


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds."""
    return [{
        "count accuracy": spread(column(rows, "count_accuracy"), ".1%"),
        "error of the count": spread(column(rows, "count_error"), ".2f"),
        "box AP at 0.5": spread(column(rows, "ap50"), ".2f"),
        **run_columns(rows),
    }]  # fmt: skip


def write_results(rows: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.tiles`: its command with `--images FOLDER`, once per seed, trained "
        f"on crops of {TRAINED_ON:,} pictures with 0 to 20 digits of 9 to 18 pixels on 128 x 128. "
        "Evaluated on pictures of held-out digits, by `air predict FOLDER --model RUN "
        f"--tiles {SIDE} --tile-overlap {OVERLAP} --tile-nested {NESTED} --invert no`. "
        "Least / median / greatest over the seeds, or both of two.\n\n"
    )
    write("tiles", folder, text + markdown(lines(rows)))


def main() -> None:
    arguments = parse(SeedArguments)
    records, splits = Records(arguments.results_dir / "tiles.jsonl"), splits_of(arguments)
    places = folders(splits, arguments)
    jobs = [job_of(seed, splits["test"], places, arguments) for seed in range(arguments.seeds)]
    carry_out("tiles", jobs, records, arguments, write_results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
