"""What counting in one large picture costs, tile by tile: time, memory, and what is found.

    python -m benchmarks.large_picture               # 1,000 and 10,000 pixels a side
    python -m benchmarks.large_picture --sides 500   # a look

Digits of the test set lie scattered on black. `predict.py --tiles` with the model in pretrained/ counts
them and draws their boxes, in a process of its own whose greatest resident memory is measured. The model
has never seen a digit that a border cuts, so this is about cost; experiments.tiles is about accuracy.
Written to results/large_picture.json.
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
from air_tf.data.digits import Digits, load_digits
from air_tf.json_files import write_json
from air_tf.prediction.tiles import Grid

ROOT = Path(__file__).parents[1]
TILE, OVERLAP = 50, 28  # pixels: an image that the model was trained on, and a digit
PITCH = 100  # pixels from one place for a digit to the next
THERE = 0.5  # probability that a place has a digit
MEBIBYTE = 1024  # in the kibibytes of ru_maxrss on Linux


@dataclasses.dataclass(frozen=True)
class LargePictureBenchmark:
    """What counting in one large picture costs."""

    sides: tuple[int, ...] = (1_000, 10_000)
    """Sides of the square pictures, in pixels, in increasing order."""

    digits: str = "mnist"
    """mnist (AIR_MNIST or tensorflow-datasets) or embedded."""

    out: Path = ROOT / "results" / "large_picture.json"
    """File to write."""

    def __post_init__(self):
        if not self.sides or self.sides != tuple(sorted(self.sides)) or self.sides[0] < PITCH:
            raise ValueError(f"Expected increasing sides from {PITCH} on. Received: {self.sides}.")


def scattered(side: int, digits: Digits) -> tuple[np.ndarray, int]:
    """A picture `(side, side)` uint8 with digits that do not touch, and how many there are."""
    random, picture, number = np.random.default_rng(0), np.zeros((side, side), np.uint8), 0
    size = digits.test_images.shape[1]
    for top in range(0, side - PITCH + 1, PITCH):
        for left in range(0, side - PITCH + 1, PITCH):
            if random.random() < THERE:
                y, x = np.array([top, left]) + random.integers(PITCH - size, size=2)
                picture[y : y + size, x : x + size] = random.choice(digits.test_images)
                number += 1
    return picture, number


def measured(side: int, digits: Digits) -> dict:
    """One picture, counted by predict.py."""
    picture, number = scattered(side, digits)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "picture.png"), Path(folder, "out")
        Image.fromarray(picture).save(file)
        flags = ["--model", "pretrained", "--tiles", str(TILE), "--tile-overlap", str(OVERLAP)]
        command = [sys.executable, "predict.py", str(file), *flags, "--out", str(out)]
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT)
        seconds = time.perf_counter() - started
        with open(out / "predictions.csv", newline="") as table:
            [row] = csv.DictReader(table)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MEBIBYTE  # of the largest child
    return {
        "side": side,
        "tiles": len(Grid((side, side), TILE, OVERLAP)),
        "seconds": round(seconds, 1),
        "peak_mib": round(peak),
        "decoded_mib": round(picture.size * 3 / 2**20),  # in colour, as it is read
        "digits": number,
        "found": int(row["count"]),
    }


def main() -> None:
    arguments = tyro.cli(LargePictureBenchmark)
    digits, _ = load_digits(arguments.digits)
    rows = {}
    for side in arguments.sides:
        rows[f"side_{side}"] = measured(side, digits)
        write_json(rows, arguments.out)
        print(rows[f"side_{side}"], flush=True)


if __name__ == "__main__":
    sys.exit(cli.run(main))
