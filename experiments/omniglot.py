"""Strokes as objects: AIR on Omniglot's characters, of alphabets it has never seen.

    python -m experiments.omniglot                            # through tensorflow-datasets
    python -m experiments.omniglot --omniglot FOLDER_OR_ZIP   # from the original files
    python -m experiments.omniglot --quick                    # on drawings made up for it

Trains with 1, 2, ... strokes at most, each one `python train.py --preset omniglot`, and looks at the
alphabets held out: ELBO and pixel error against the strokes allowed, and how the characters are drawn
part by part (Eslami et al. 2016). Runs that have a record are not repeated. Writes
results/omniglot.{jsonl,md,png} and results/omniglot_parts.png.
"""

import dataclasses
import sys
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from air_tf import cli
from air_tf.data.split import Split
from air_tf.evaluation import report
from air_tf.evaluation.evaluate import infer_all
from air_tf.presets import OMNIGLOT
from air_tf.training.run_record import load_model
from experiments.records import Records
from experiments.runs import QUICK_MODEL, Job, Run, SeedArguments, carry_out, parse
from experiments.tables import column, markdown, run_columns, save, spread, write

MOST_STROKES = 6
PICTURED = 4  # strokes allowed, with seed 0
SHOWN = 8  # drawings in the picture


@dataclasses.dataclass(frozen=True)
class Arguments(SeedArguments):
    """AIR on Omniglot: parts of characters, against the number of parts allowed."""

    digits: tyro.conf.Suppress[str] = "none"

    omniglot: str = ""
    """Folder or zip in the original layout (default: through tensorflow-datasets)."""


def made_up(folder: Path) -> Path:
    """A few drawings of lines in Omniglot's layout."""
    random = np.random.default_rng(0)
    for alphabet in ("First", "Second"):
        place = folder / "images_background" / alphabet / "character01"
        place.mkdir(parents=True)
        for i in range(20):
            picture = Image.new("1", (105, 105), 1)
            for _ in range(2):
                ImageDraw.Draw(picture).line([*random.uniform(10, 95, 4)], fill=0, width=3)
            picture.save(place / f"{i:04}_01.png")
    return folder


def score(split: Split, picture: Path | None, folder: Path, metrics: dict) -> dict:
    """Bound and error on the held-out alphabets, and a picture of how their drawings are built up."""
    if picture:
        model = load_model(folder)
        chosen = np.linspace(0, len(split) - 1, SHOWN).astype(int)
        save(report.progress(model, infer_all(model, split), split, chosen), picture)
    kept = ("elbo", "log_px", "kl_count", "kl_where", "kl_what", "pixel_mse", "mean_count")
    return {name: metrics[name] for name in kept}


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds of each number of strokes."""
    result = []
    for strokes in dict.fromkeys(r["strokes"] for r in rows):
        of_it = [r for r in rows if r["strokes"] == strokes]
        result.append({
            "strokes allowed": str(strokes),
            "ELBO (nats)": spread(column(of_it, "elbo"), ".1f"),
            "pixel MSE": spread(column(of_it, "pixel_mse"), ".4f"),
            "strokes used": spread(column(of_it, "mean_count"), ".2f"),
            **run_columns(of_it),
        })  # fmt: skip
    return result


def figure_of(rows: list[dict]) -> Figure:
    """ELBO and pixel error against the strokes allowed, a point a seed."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    done = [r for r in rows if "failure" not in r]
    strokes = sorted({r["strokes"] for r in done})
    named = {"elbo": "ELBO (nats)", "pixel_mse": "pixel MSE"}
    for axes, (name, title) in zip(figure.subplots(1, 2), named.items()):
        axes.plot([r["strokes"] for r in done], [r[name] for r in done], "k.", ms=5)
        medians = [np.median([r[name] for r in done if r["strokes"] == n]) for n in strokes]
        axes.plot(strokes, medians, "tab:blue")
        axes.set(title=title, xticks=strokes)
        axes.grid(alpha=0.3)
    figure.supxlabel("strokes allowed; on alphabets held out. Line: median, dots: seeds", fontsize=9)
    return figure


def write_results(what: str, rows: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.omniglot`: each row is one command, run once per seed with this "
        f"command's `--omniglot`, evaluated on the alphabets held out. {what} Pixel scale "
        f"{OMNIGLOT.model.likelihood.pixel_scale}. Least / median / greatest over the seeds, or "
        "both of two; minutes of training, with whatever else the machine had to do.\n\n"
    )
    write("omniglot", folder, text + markdown(lines(rows)), figure_of(rows))


def main() -> None:
    arguments = parse(Arguments)
    records = Records(arguments.results_dir / "omniglot.jsonl")
    omniglot = arguments.omniglot
    if arguments.quick and not omniglot:
        omniglot = str(made_up(arguments.runs_dir / "drawings"))
    data = dataclasses.replace(OMNIGLOT.data, omniglot=omniglot, cache_dir=str(arguments.cache_dir))
    dataset = data.load()
    sizes = {name: f"{len(split):,}" for name, split in dataset.splits.items()}
    what = f"{sizes['train']} drawings to train on, {sizes['test']} of other alphabets."
    place = ("--omniglot", omniglot) if omniglot else ()
    quick, most = f"{QUICK_MODEL} " * arguments.quick, 2 if arguments.quick else MOST_STROKES
    jobs = []
    for seed in range(arguments.seeds):
        for strokes in range(1, most + 1):
            flags = f"--preset omniglot {quick}--max-objects {strokes} --seed {seed}"
            run = Run(f"omniglot-{strokes}-seed{seed}", flags, place, dataset.fingerprint)
            pictured = (strokes, seed) == (min(PICTURED, most), 0)
            picture = arguments.results_dir / "omniglot_parts.png" if pictured else None
            scored = partial(score, dataset.splits["test"], picture)
            jobs.append(Job(run, {"strokes": strokes, "seed": seed}, scored))
    carry_out("omniglot", jobs, records, arguments, partial(write_results, what))


if __name__ == "__main__":
    sys.exit(cli.run(main))
