"""What counting in one large picture costs, tile by tile: time, memory, and what is found.

    python -m experiments.tiles --seeds 1         # trains the model, in half an hour
    python -m benchmarks.large_picture            # pictures of 1,000 and 10,000 pixels a side
    python -m benchmarks.large_picture --sides 500   # a look

The picture is made of the held-out images of `experiments.tiles`, side by side, and counted as that
experiment counts each of them. `predict.py` counts it and draws its boxes in a process of its own, whose
greatest resident memory is measured. Written to results/large_picture.json.
"""

import csv
import dataclasses
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from air_tf import cli
from air_tf.data.split import Split
from air_tf.json_files import write_json
from air_tf.prediction.tiles import Grid
from experiments.runs import ROOT, SeedArguments
from experiments.tiles import NESTED, OVERLAP, SIDE, splits_of

MEBIBYTE = 1024  # in the kibibytes of ru_maxrss on Linux


@dataclasses.dataclass(frozen=True)
class LargePictureBenchmark(SeedArguments):
    """What counting in one large picture costs."""

    sides: tuple[int, ...] = (1_000, 10_000)
    """Sides of the square pictures, in pixels, in increasing order."""

    def __post_init__(self):
        super().__post_init__()
        if not self.sides or self.sides != tuple(sorted(self.sides)) or self.sides[0] < 2 * SIDE:
            raise ValueError(f"Expected increasing sides from {2 * SIDE} on. Received: {self.sides}.")


def laid_out(side: int, split: Split) -> tuple[np.ndarray, int]:
    """As many images as fit into `(side, side)` uint8, again from the first one, and their objects."""
    size = split.image_shape[0]
    across = side // size
    chosen = np.arange(across**2) % len(split)
    picture = np.zeros((side, side), np.uint8)
    images = split.images[chosen, ..., 0].reshape(across, across, size, size)
    picture[: across * size, : across * size] = images.swapaxes(1, 2).reshape(2 * (across * size,))
    return picture, int(split.counts[chosen].sum())


def measured(side: int, split: Split, run: Path) -> dict:
    """One picture, counted by predict.py with the model of a run."""
    picture, number = laid_out(side, split)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "picture.png"), Path(folder, "out")
        Image.fromarray(picture).save(file)
        flags = f"--tiles {SIDE} --tile-overlap {OVERLAP} --tile-nested {NESTED} --invert no"
        command = [sys.executable, "predict.py", file, "--model", run, "--out", out, *flags.split()]
        started = time.perf_counter()
        subprocess.run([*map(str, command)], check=True, cwd=ROOT)
        seconds = time.perf_counter() - started
        with open(out / "predictions.csv", newline="") as table:
            [row] = csv.DictReader(table)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MEBIBYTE  # of the largest child
    return {
        "side": side,
        "tiles": len(Grid((side, side), SIDE, OVERLAP)),
        "seconds": round(seconds, 1),
        "peak_mib": round(peak),
        "decoded_mib": round(picture.size * 3 / 2**20),  # in colour, as it is read
        "objects": number,
        "found": int(row["count"]),
    }


def main() -> None:
    arguments = tyro.cli(LargePictureBenchmark)
    run = arguments.runs_dir.resolve() / "tiles-seed0"
    if not run.is_dir():
        raise ValueError(f"Expected the run of experiments.tiles in {run}. Received: none there.")
    split, rows = splits_of(arguments)["test"], {}
    for side in arguments.sides:
        rows[f"side_{side}"] = measured(side, split, run)
        write_json(rows, arguments.results_dir / "large_picture.json")
        print(rows[f"side_{side}"], flush=True)


if __name__ == "__main__":
    sys.exit(cli.run(main))
