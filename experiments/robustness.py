"""Objects and images of other kinds: how well they are counted, boxed, separated and drawn.

    python -m experiments.robustness
    python -m experiments.robustness --cells noisy grid
    python -m experiments.robustness --quick

The sets on which others published figures, then scenes: small and large digits and shapes x
grounds x added or hiding each other, one `python train.py ...` each, and the same with other seeds. The
model sees more detail where objects are small. All are evaluated on held-out images, of held-out digits
and photographs. Runs that have a record are not repeated.
Writes results/robustness.{jsonl,md,png}, and a picture of each cell in results/robustness/.
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from air_tf import cli, drawing
from air_tf.data.base import Dataset
from air_tf.data.masks import inseparable, overlapping
from air_tf.data.split import Split
from air_tf.evaluation.evaluate import evaluate_fully
from air_tf.parts import flat
from air_tf.training.run_record import load_model
from experiments.records import Records
from experiments.runs import QUICK, Job, Run, SeedArguments, carry_out, parse
from experiments.tables import column, known, markdown, run_columns, spread, write

SCENES = "--preset few_objects --dataset scenes --max-objects 3"
SEEDS = {"multi_dsprites": 5, "small_mnist": 5}  # at least, of the cells where others fail in some
QUICK_CELLS = "multi_dsprites", "shapes-small-photographs-over"
SHOWN = 4  # images in a cell's picture, those with objects first
PART = 500  # images whose masks are drawn at a time
WINDOW_SIDE = 1.1  # sides of an object that a glimpse's window has
LEAST_DEVIATION = 1 / 15  # of the scale's prior, as a part of its mean
DETAIL = " --attention-gain 3 --pixel-scale 0.2"  # without which small objects are often not found
SIZES = {"small": (9, 14, DETAIL), "large": (14, 22, "")}  # sides on 64 x 64, and flags of the model
# A code that need not say how an object is turned draws it whole; else a second one repairs the first
TURNED_MODEL = " --where rotated --hidden-units 500 --rho 0.0001"
# With the other cells' settings, windows that draw what the background leaves of a photograph pay
COLOURED_ON_PHOTOGRAPHS = (
    " --attention-gain 3 --pixel-scale 0.5 --rho 0.0001 --background-resolution 12 --background-size 32"
)
# A centre is -shift / scale: with this, small digits at the borders are found, but so are grid lines
AT_BORDERS = " --shift-prior 0 1.7"
AT_BORDERS_TOO = "digits-small-gradient-over", "digits-small-noise-over"
OBJECTS = tuple(itertools.product(("digits", "shapes"), SIZES))
GROUNDS = {  # flags of the data, flags of the model
    "black": ("--ground flat --ground-range 0 0", ""),
    "gradient": ("--ground gradient", " --background vae"),
    "noise": ("--ground noise", " --background mean"),
    "grid": ("--ground grid", " --background vae --background-resolution 0"),
    "photographs": ("--ground photographs", " --background vae"),
}


class Cell(NamedTuple):
    """One kind of images, and the model for it."""

    objects: str
    size: str  # of the objects, in pixels
    ground: str
    composition: str
    flags: str
    name: str
    published: str = "-"  # count accuracy in the literature


@dataclasses.dataclass(frozen=True)
class RobustnessArguments(SeedArguments):
    """What this experiment is asked."""

    cells: tuple[str, ...] = ()
    """Begin runs of these cells alone (default: of all)."""


def scale_prior(canvas_size: int, shortest: float, longest: float) -> str:
    """The flag for objects of these sides, in pixels."""
    mean = canvas_size / (WINDOW_SIDE * (shortest + longest) / 2)
    deviation = max(LEAST_DEVIATION, (longest - shortest) / (longest + shortest) / 2) * mean
    return f" --scale-prior {mean:.2f} {deviation:.2f}"


def published_cells() -> list[Cell]:
    """The sets that others published on, each with the preset of its name."""
    return [
        Cell("digits", "20", "noise", "over", "--preset noisy", "noisy", "93.7% (SuPAIR), 0.5% (AIR)"),
        Cell("digits", "20", "grid", "over", "--preset grid", "grid", "96.4% (SuPAIR), 0.5% (AIR)"),
        Cell("shapes", "12 to 16", "black", "add", "--preset sprites", "sprites", "99.0% (SuPAIR)"),
        Cell("digits", "up to 18", "black", "add", "--preset small_mnist", "small_mnist"),
        Cell("shapes", "9 to 18", "black", "add", "--preset multi_dsprites", "multi_dsprites",
             "1 run in 4 succeeds (addtt)"),
    ]  # fmt: skip


def scene_cells() -> list[Cell]:
    """The grid of scenes, a row of turned objects, and one of many."""
    cells = []
    kinds = itertools.product(OBJECTS, GROUNDS, ("add", "over"))
    for (things, size), ground, composition in kinds:
        shortest, longest, of_size = SIZES[size]
        data, model = GROUNDS[ground]
        channels = 3 if things == "shapes" else 1
        name = f"{things}-{size}-{ground}-{composition}"
        if (things, ground) == ("shapes", "photographs"):
            of_size = COLOURED_ON_PHOTOGRAPHS
        elif name in AT_BORDERS_TOO:
            of_size += AT_BORDERS
        flags = (
            f"{SCENES} --things {things} --channels {channels} "
            f"--side-range {shortest} {longest} {data} "
            f"--paste {composition} --composition {composition}{model}"
            f"{scale_prior(64, shortest, longest)}{of_size}"
        )
        cells.append(Cell(things, f"{shortest} to {longest}", ground, composition, flags, name))
    black = "--ground flat --ground-range 0 0 --paste add"
    turned = (
        f"{SCENES} {black} --side-range 14 26 --rotation-range -45 45{scale_prior(64, 14, 26)} "
        f"--overlap ink{TURNED_MODEL}"  # as far apart as those of multi-MNIST
    )
    cells.append(Cell("turned digits", "14 to 26", "black", "add", turned, "turned-ink"))
    counts = " ".join(map(str, range(21)))
    many = (
        f"--preset many_objects --dataset scenes {black} --canvas-size 128 --object-counts {counts} "
        "--side-range 9 18 --overlap box --max-objects 21 --steps 3000 --train-images 20000 "
        "--test-images 2000 --glimpse-size 18 --embedding-kernels 8 3 --embedding-strides 6 1"
        # centres are -shift / scale, and lie anywhere; with (0, 1) those at the borders are left out
        f"{scale_prior(128, 9, 18)} --attention-gain 3 --shift-prior 0 4.4"
    )
    cells.append(Cell("0 to 20 digits", "9 to 18 on 128", "black", "add", many, "many"))
    return cells


def cells_by_name() -> dict[str, Cell]:
    """All of them."""
    return {cell.name: cell for cell in published_cells() + scene_cells()}


def run_of(name: str, cell: Cell, seed: int, arguments: SeedArguments) -> Run:
    """The cell's run."""
    of_digits = "digits" in cell.objects
    flags = f"{cell.flags}{f' --digits {arguments.digits}' * of_digits} --seed {seed}"
    flags += f" {QUICK}" * arguments.quick
    place = ("--photographs", str(photographs())) if cell.ground == "photographs" else ()
    return Run(f"{name}-{cell.name}-seed{seed}", flags, place)


def job_of(cell: Cell, seed: int, arguments: SeedArguments) -> Job:
    run = run_of("robustness", cell, seed, arguments)
    picture = arguments.results_dir / "robustness" / f"{cell.name}.png" if seed == 0 else None
    fields = {**cell._asdict(), "seed": seed}
    fields.pop("flags")
    return Job(run, fields | {"cell": fields.pop("name")}, partial(score, run, picture, arguments))


def photographs() -> Path:
    """The two photographs that come with scikit-learn."""
    from sklearn import datasets  # slow to import

    return Path(datasets.__file__).parent / "images"


def score(run: Run, picture: Path | None, arguments: SeedArguments, folder: Path, metrics: dict) -> dict:
    """What is found in held-out images, and a picture of some of them."""
    model = load_model(folder)
    where = ["--cache-dir", str(arguments.cache_dir)]
    dataset = cli.parse_run([*run.flags.split(), *run.place, *where]).data.load()
    name = "test_digits" if "test_digits" in dataset.splits else "test"
    split = dataset.splits[name]
    scene, found = evaluate_fully(model, split, partial(dataset.segments, name))
    if picture:
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw(split, scene.tight_boxes, scene.counts).save(picture)
    right, (hopeless, overlap) = scene.counts == split.counts, hard_images(dataset, name)
    return {
        "count_accuracy": found["count_accuracy"],
        "count_accuracy_separable": float(right[~hopeless].mean()),
        "inseparable": float(hopeless.mean()),
        "count_accuracy_apart": float(right[~overlap].mean()),
        "overlapping": float(overlap.mean()),
        "count_error": found["count_error"],
        "tight_ap50": found["tight_ap50"],
        "foreground_ari": found["foreground_ari"],
        "pixel_mse": found["pixel_mse"],
        "elbo": found["elbo"],
    }


def hard_images(dataset: Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The images of a split in which nobody could tell all objects apart, and those where any overlap.

    Returns:
        `(S,)` bool each.
    """
    split, hide = dataset.splits[name], flat(dataset.settings).get("paste") == "over"
    starts = range(0, len(split), PART)
    parts = (dataset.masks(name, split[start : start + PART]) for start in starts)
    found = [(inseparable(masks, hide), overlapping(masks)) for masks in parts]
    hopeless, overlap = (np.concatenate(of_parts) for of_parts in zip(*found))
    return hopeless, overlap


def draw(split: Split, boxes: np.ndarray, counts: np.ndarray) -> Image.Image:
    """The first images with objects, with the boxes that were found in them."""
    shown = split.examples(SHOWN)
    images = split[shown].float_images()
    pictures = [drawing.with_boxes(x, boxes[i, : counts[i]]) for x, i in zip(images, shown)]
    return drawing.side_by_side(pictures, len(pictures))


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds of each cell."""
    result = []
    for cell in dict.fromkeys(r["cell"] for r in rows):
        of_it = [r for r in rows if r["cell"] == cell]
        first = of_it[0]
        result.append({
            "images": f"{cell} ![{cell}](robustness/{cell}.png)",
            "objects": first["objects"],
            "side (pixels)": first["size"],
            "ground": first["ground"],
            "composition": first["composition"],
            "count accuracy": spread(column(of_it, "count_accuracy"), ".1%"),
            "published": first["published"],
            "without inseparable images": spread(column(of_it, "count_accuracy_separable"), ".1%"),
            "inseparable": spread(column(of_it, "inseparable")[:1], ".2%"),
            "without overlapping objects": spread(known(of_it, "count_accuracy_apart"), ".1%"),
            "overlapping": spread(known(of_it, "overlapping")[:1], ".1%"),
            "error of the count": spread(column(of_it, "count_error"), ".2f"),
            "box AP at 0.5": spread(column(of_it, "tight_ap50"), ".2f"),
            "foreground ARI": spread(column(of_it, "foreground_ari"), ".2f"),
            "pixel MSE": spread(column(of_it, "pixel_mse"), ".4f"),
            **run_columns(of_it),
        })  # fmt: skip
    return result


def figure_of(rows: list[dict]) -> Figure:
    """The count accuracy of every run, a line for each cell."""
    cells = [*dict.fromkeys(r["cell"] for r in rows)][::-1]
    figure = Figure(figsize=(7, 1 + 0.22 * len(cells)), layout="constrained")
    axes = figure.subplots()
    done = [r for r in rows if "failure" not in r]
    axes.plot([r["count_accuracy"] for r in done], [cells.index(r["cell"]) for r in done], "o", ms=4)
    axes.set(xlim=(0, 1.02), xlabel="count accuracy", yticks=range(len(cells)), yticklabels=cells)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.grid(alpha=0.3)
    return figure


def write_results(rows: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.robustness`: each row is one command, run once per seed, evaluated on "
        "held-out images, of held-out digits where there are digits. Least / median / greatest over the "
        "seeds, or both of two. An image is inseparable if one of its objects shows less than a fifth "
        "of its pixels; objects overlap if two have a pixel in common (both are told from the masks; "
        '"-": not measured). Scenes of small objects have `--attention-gain 3 --pixel-scale 0.2`, '
        "shapes on photographs and some digits other flags too, as the commands show. "
        "Photographs (`--photographs FOLDER`) are the two that come with scikit-learn, "
        "one of them held out. Published figures are count accuracies, read off figures or texts.\n\n"
    )
    write("robustness", folder, text + markdown(lines(rows)), figure_of(rows))


def asked_for(asked: tuple[str, ...], names: Iterable[str]) -> Iterable[str]:
    """The cells that are asked for, or all.

    Raises:
        ValueError: there is no cell of a name that is asked for.
    """
    if unknown := [name for name in asked if name not in names]:
        raise ValueError(f"Expected cells among {', '.join(sorted(names))}. Received: {unknown[0]}.")
    return asked or names


def jobs_of(records: Records, arguments: RobustnessArguments) -> list[Job]:
    """The runs that are asked for, seed by seed, and those that are done already."""
    cells = cells_by_name()
    asked = QUICK_CELLS if arguments.quick else asked_for(arguments.cells, cells)
    more = {} if arguments.quick else SEEDS
    jobs = []
    for seed, cell in itertools.product(range(max([arguments.seeds, *more.values()])), cells.values()):
        if seed < max(arguments.seeds, more.get(cell.name, 0)):
            job = job_of(cell, seed, arguments)
            if cell.name in asked or job.run.name in records.by_name:
                jobs.append(job)
    return jobs


def main() -> None:
    arguments = parse(RobustnessArguments)
    records = Records(arguments.results_dir / "robustness.jsonl")
    carry_out("robustness", jobs_of(records, arguments), records, arguments, write_results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
