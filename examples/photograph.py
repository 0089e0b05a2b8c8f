"""Counts the coins in a real photograph, having seen only its left half, without a label.

    pip install scikit-image
    python -m examples.photograph --out photograph

The photograph comes with scikit-image: 24 Greek coins from Pompeii on an uneven ground [1]. The command
trains on random crops of the left half, counts the whole one tile by tile, and leaves the picture with
its boxes in the folder.

References:
    [1] https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.coins
"""

import dataclasses
import json
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from scipy import ndimage

from air_tf import cli
from air_tf.commands import predict
from air_tf.evaluation.metrics import average_precision
from air_tf.extras import extra
from air_tf.json_files import write_json
from air_tf.prediction.job import PredictConfig
from air_tf.training.loop import train

CROP = 90  # pixels: about two coins
FLAGS = (
    f"--preset photographs --dataset images --crop {CROP} --crop-turns all --scale-prior 1.8 0.4 "
    "--image-size 40 40 --ground keep --invert no --background-resolution 3 --background-size 4 "
    "--max-objects 6 --glimpse-size 20 --rho 1e-6"
)
NESTED = 0.5  # of a box in a larger one: large coins are drawn twice, and none lies upon another
HALVES = "left.png", "right.png"  # of two pictures with these names, the second is held out
LIGHT, DARK, SMALLEST = 150, 30, 200  # levels of coins and of the ground; pixels of a coin


@dataclasses.dataclass(frozen=True)
class Photograph:
    """Count the coins in a photograph of which only the left half was seen in training."""

    out: Path = Path("photograph")
    """New folder for the photograph, the run and the result."""

    steps: int = 3000
    """Training steps."""

    seed: int = 0
    """Of weights, batches and noise."""

    flags: str = ""
    """Further flags of train.py, in quotes."""


def true_boxes(photograph: np.ndarray) -> np.ndarray:
    """The coins' boxes (ymin, xmin, ymax, xmax) as fractions, by a watershed on the edges: `(24, 4)`."""
    from skimage.filters import sobel
    from skimage.measure import label, regionprops
    from skimage.segmentation import watershed

    markers = np.zeros(photograph.shape, int)
    markers[photograph < DARK] = 1
    markers[photograph > LIGHT] = 2
    coins = ndimage.binary_fill_holes(watershed(sobel(photograph / 255), markers) == 2)
    regions = regionprops(label(coins))
    edges = np.array([region.bbox for region in regions if region.area > SMALLEST])
    return edges / np.tile(photograph.shape, 2)


def score(annotations: list[dict], photograph: np.ndarray) -> dict:
    """The count, and the average precision of the boxes in COCO's layout at an IoU of 0.5."""
    left, top, wide, high = np.array([a["bbox"] for a in annotations]).reshape(-1, 4).T
    edges = np.stack([top, left, top + high, left + wide], axis=-1)
    scores, truth = np.array([a["score"] for a in annotations]), true_boxes(photograph)
    boxes = edges / np.tile(photograph.shape, 2)
    precision = average_precision(
        boxes[None], scores[None], np.array([len(boxes)]), truth[None], np.array([len(truth)]),
        photograph.shape,
    )  # fmt: skip
    return {"count": len(boxes), "true_count": len(truth), "ap50": precision["ap50"]}


def main() -> int | None:
    config, started = tyro.cli(Photograph), time.monotonic()
    with extra("examples"):
        from skimage.data import coins
    photograph = coins()
    if config.out.exists():
        raise ValueError(f"Expected a new folder. Received: --out {config.out}, which is there.")
    config.out.mkdir(parents=True)
    whole, halves = config.out / "whole.png", config.out / "halves"
    Image.fromarray(photograph).save(whole)
    halves.mkdir()
    for name, half in zip(HALVES, np.split(photograph, 2, axis=1)):
        Image.fromarray(half).save(halves / name)
    places = ["--images", halves, "--runs-dir", config.out, "--name", "run"]
    places += ["--cache-dir", config.out / "cache"]
    flags = f"{FLAGS} --steps {config.steps} --seed {config.seed}".split() + shlex.split(config.flags)
    folder, _ = train(cli.parse_run([*flags, *map(str, places)]))
    result = config.out / "counted"
    whole_in_tiles = PredictConfig(
        images=(str(whole),), model=str(folder), out=str(result), tiles=CROP, tile_nested=NESTED,
        invert="no",
    )  # fmt: skip
    status = predict.main(whole_in_tiles)
    found = json.loads((result / "predictions.json").read_text())["annotations"]
    measured = {"seed": config.seed, "steps": config.steps, **score(found, photograph)}
    measured["minutes"] = round((time.monotonic() - started) / 60, 1)
    write_json(measured, config.out / "result.json")
    print(
        "{count} coins of {true_count}, box AP at an IoU of 0.5: {ap50:.2f}, {minutes} minutes.".format(
            **measured
        )
    )
    print(f"The picture with boxes: {next((result / 'pictures').iterdir())}")
    return status


if __name__ == "__main__":
    sys.exit(cli.run(main))
