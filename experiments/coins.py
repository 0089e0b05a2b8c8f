"""Draws pictures to try one's own images with: coins on a table, seen from above.

    python -m experiments.coins --out coins

Discs of random dark grey, of which none touches another, on a plain light ground; counts.csv and
boxes.json (COCO) beside them, which training never reads.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw
from tqdm import tqdm

from air_tf import cli
from air_tf.data.labels import write_labels

FINER = 4  # discs are drawn this much larger and shrunk, for soft edges


@dataclasses.dataclass(frozen=True)
class Coins:
    """Draw pictures of coins on a table."""

    out: Path = Path("coins")
    """New folder for the pictures."""

    images: int = 4000
    """Pictures to draw."""

    size: int = 120
    """Side of a picture, in pixels."""

    diameters: tuple[float, float] = (24.0, 36.0)
    """Least and greatest diameter of a coin, in pixels."""

    most: int = 3
    """Coins in a picture: 0 to this, all counts equally likely."""

    seed: int = 0
    """Of the pictures."""


def draw_coins(config: Coins, random: np.random.Generator) -> tuple[Image.Image, list[tuple]]:
    """A picture, and the box (x, y, width, height) of each coin in pixels."""
    ground = int(random.integers(180, 250))
    picture = Image.new("L", (config.size * FINER,) * 2, ground)
    draw, boxes = ImageDraw.Draw(picture), []
    for _ in range(random.integers(config.most + 1)):
        while True:
            diameter = random.uniform(*config.diameters)
            x, y = random.uniform(0, config.size - diameter, 2)
            others = ((a + d / 2, b + d / 2, d) for a, b, d, _ in boxes)
            if all(
                np.hypot(x + diameter / 2 - a, y + diameter / 2 - b) > (diameter + d) / 2 + 1
                for a, b, d in others
            ):
                break
        edges = [FINER * edge for edge in (x, y, x + diameter, y + diameter)]
        draw.ellipse(edges, fill=int(random.integers(20, 110)))
        boxes.append((x, y, diameter, diameter))
    return picture.resize((config.size,) * 2, Image.Resampling.BOX), boxes


def main() -> None:
    config = tyro.cli(Coins)
    least, greatest = config.diameters
    fits = 0 < least <= greatest and config.most * (2 * greatest) ** 2 <= config.size**2 * 1.2
    if config.images < 1 or config.most < 0 or not fits:
        raise ValueError(f"Expected pictures with room for their coins. Received: {config}.")
    config.out.mkdir(parents=True)
    random = np.random.default_rng(config.seed)
    boxes_of = {}
    for i in tqdm(range(config.images), unit=" pictures", dynamic_ncols=True):
        picture, boxes_of[f"{i:05}.png"] = draw_coins(config, random)
        picture.save(config.out / f"{i:05}.png")
    write_labels(config.out, boxes_of, (config.size, config.size), "coin")
    print(f"In {config.out}: {config.images:,} pictures, counts.csv, boxes.json.")


if __name__ == "__main__":
    sys.exit(cli.run(main))
