"""Single changes to the runs of `experiments.robustness`: what helps where counts fall short.

    python -m experiments.changes
    python -m experiments.changes --cells noisy
    python -m experiments.changes --quick

Each run is a cell's, with a few flags more, evaluated in the same way. The cell's own run with the same
seed, if robustness.jsonl has it, stands above them. Runs that have a record are not repeated.

Writes results/changes.{jsonl,md}.
"""

import dataclasses
import itertools
import sys
from functools import partial
from pathlib import Path

from air_tf import cli
from experiments.records import Records
from experiments.robustness import (
    GROUNDS,
    RobustnessArguments,
    asked_for,
    cells_by_name,
    run_of,
    score,
)
from experiments.runs import Job, carry_out, parse
from experiments.tables import column, known, markdown, run_columns, spread, write

QUICK_CELL = "small_mnist"
SMALL_CELLS = [
    *(f"digits-small-{ground}-{how}" for ground in GROUNDS for how in ("add", "over")),
    "shapes-small-black-add",
]
PLAIN = "--attention-gain 0 --pixel-scale 0.3"  # as where objects are not small
USUAL = "--rho 0.5 --background-resolution 6 --background-size 8"  # defaults
CENTRED = "--shift-prior 0 1"  # the default
FINER = "--background-resolution 12 --background-size 32"
CHANGES = {  # the flags that are added to those of a cell
    **dict.fromkeys(SMALL_CELLS, (PLAIN,)),
    "digits-small-gradient-over": (f"{PLAIN} {CENTRED}", f"--pixel-scale 0.3 {CENTRED}", CENTRED),
    "digits-small-noise-over": (f"{PLAIN} {CENTRED}", f"--pixel-scale 0.3 {CENTRED}", CENTRED),
    "digits-small-grid-over": (PLAIN, "--shift-prior 0 2.34"),
    "digits-small-photographs-over": (
        PLAIN,
        f"--shift-prior 0 2.34 {FINER}",
    ),
    "grid": ("--steps 8000", "--pixel-scale 0.2", "--hidden-units 500 --rho 0.0001"),
    "digits-large-black-add": ("--attention-gain 3 --pixel-scale 0.2",),
    "shapes-small-photographs-add": (f"--pixel-scale 0.2 {USUAL}",),
    "shapes-small-photographs-over": (
        f"--pixel-scale 0.2 {USUAL}",
        f"{PLAIN} {USUAL}",
        f"--attention-gain 0 --pixel-scale 0.6 {USUAL}",
        f"{PLAIN} --rho 0.5",
        f"{PLAIN} --rho 0.5 --background-resolution 16 --background-size 64",
        "--attention-gain 0 --pixel-scale 0.4",
    ),
    "digits-large-gradient-over": (
        "--attention-gain 3",
        "--pixel-scale 0.2",
        "--attention-gain 3 --pixel-scale 0.2",
        "--hidden-units 500 --rho 0.0001",
        "--warm-start-steps 3000",
    ),
    "multi_dsprites": ("--attention-gain 3", "--attention-gain 3 --pixel-scale 0.2"),
    "small_mnist": (
        "--steps 3000",
        "--steps 3000 --pixel-scale 0.3",
        "--steps 3000 --attention-gain 0",
        f"--steps 3000 {PLAIN}",
        f"--steps 3000 {PLAIN} --hidden-units 500 --rho 0.0001",
        PLAIN,
    ),
    "noisy": (
        "--pixel-scales learned",
        "--count-bound marginal",
        "--hidden-units 500 --rho 0.0001",
    ),
    "digits-large-photographs-over": (
        "--attention-gain 3",
        "--pixel-scale 0.2",
        FINER,
        "--steps 5000",
    ),
    "sprites": ("--steps 3000",),
    "many": ("--attention-gain 0 --shift-prior 0 1",),
    "turned-ink": (
        "--attention-gain 3",
        "--pixel-scale 0.2",
        "--steps 5000",
        "--where scale_shift --hidden-units 200 --rho 0.5",
        "--where scale_shift --hidden-units 200",
        "--where scale_shift",
        "--hidden-units 200 --rho 0.5",
        "--embedding-units 512 --hidden-units 800",
    ),
}


@dataclasses.dataclass(frozen=True)
class ChangesArguments(RobustnessArguments):
    """What this experiment is asked."""

    seeds: int = 1
    """Runs of each change, of seeds 0, 1, ..."""


def job_of(cell: str, change: str, seed: int, arguments: ChangesArguments) -> Job:
    changed = cells_by_name()[cell]
    changed = changed._replace(flags=f"{changed.flags} {change}")
    run = run_of("-".join(["changes", *change.replace("--", "").split()]), changed, seed, arguments)
    fields = {"cell": cell, "change": change, "seed": seed}
    return Job(run, fields, partial(score, run, None, arguments))


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds of each change of each cell."""
    result = []
    for cell, change in dict.fromkeys((r["cell"], r["change"]) for r in rows):
        of_it = [r for r in rows if (r["cell"], r["change"]) == (cell, change)]
        result.append({
            "images": cell,
            "added": f"`{change}`" if change else "nothing",
            "count accuracy": spread(column(of_it, "count_accuracy"), ".1%"),
            "without overlapping objects": spread(known(of_it, "count_accuracy_apart"), ".1%"),
            "box AP at 0.5": spread(column(of_it, "tight_ap50"), ".2f"),
            "foreground ARI": spread(column(of_it, "foreground_ari"), ".2f"),
            "pixel MSE": spread(column(of_it, "pixel_mse"), ".4f"),
            **run_columns(of_it),
        })  # fmt: skip
    return result


def with_unchanged(rows: list[dict], unchanged: Records) -> list[dict]:
    """The records, cell by cell, after those of the cell's own runs with the same seeds."""
    result = []
    for cell in dict.fromkeys(r["cell"] for r in rows):
        of_it = [r for r in rows if r["cell"] == cell]
        seeds = {r["seed"] for r in of_it}
        own = [r for r in unchanged if r["cell"] == cell and r["seed"] in seeds]
        result += [{**r, "change": ""} for r in own] + of_it
    return result


def write_results(rows: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.changes`: each row is one command, run once per seed, evaluated on "
        "held-out images, of held-out digits where there are digits. Least / median / greatest over the "
        "seeds, or both of two. Where a flag occurs twice, the last one counts. Some runs "
        "were made before their cell had other flags of its own: their commands are written so that "
        "they give the same model.\n\n"
    )
    all_rows = with_unchanged(rows, Records(folder / "robustness.jsonl"))
    write("changes", folder, text + markdown(lines(all_rows)))


def main() -> None:
    arguments = parse(ChangesArguments)
    records = Records(arguments.results_dir / "changes.jsonl")
    asked = (QUICK_CELL,) if arguments.quick else asked_for(arguments.cells, CHANGES)
    changes = [(cell, change) for cell in CHANGES for change in CHANGES[cell]]
    jobs = []
    for seed, (cell, change) in itertools.product(range(arguments.seeds), changes):
        job = job_of(cell, change, seed, arguments)
        if cell in asked or job.run.name in records.by_name:
            jobs.append(job)
    carry_out("changes", jobs[:1] if arguments.quick else jobs, records, arguments, write_results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
