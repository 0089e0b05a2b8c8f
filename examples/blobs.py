"""Draws pictures to try one's own images with: soft coloured blobs, as under a microscope.

    python -m examples.blobs --out blobs

0 to 5 blobs of a few colours, some of which touch, on a light ground with grain and shading, as JPEG
files; counts.csv and boxes.json (COCO) beside them, which training never reads.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from air_tf import cli
from air_tf.data.labels import write_labels

COLOURS = np.array([(120, 60, 140), (60, 90, 170), (170, 70, 90), (60, 130, 110)], float)  # RGB
EDGE = 1.0  # pixels over which a blob fades into its ground
MOST_TRIES = 1000  # to find room for a blob


@dataclasses.dataclass(frozen=True)
class Blobs:
    """Draw pictures of coloured blobs on a light, grainy ground."""

    out: Path = Path("blobs")
    """New folder for the pictures."""

    images: int = 1000
    """Pictures to draw."""

    size: int = 160
    """Side of a picture, in pixels."""

    radii: tuple[float, float] = (11.0, 16.0)
    """Least and greatest radius of a blob, in pixels."""

    most: int = 5
    """Blobs in a picture: 0 to this, all counts equally likely."""

    touching: float = 0.25
    """Share of the blobs that touch one drawn before, where there is one."""

    seed: int = 0
    """Of the pictures."""


def draw_blobs(config: Blobs, random: np.random.Generator) -> tuple[Image.Image, list[tuple]]:
    """A picture, and the box (x, y, width, height) of each blob in pixels."""
    picture, boxes = draw_ground(config.size, random), []
    for x, y, radius in places(config, random):
        half_axes, angle = radius * np.array([1.0, random.uniform(0.85, 1.0)]), random.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        column, row = np.meshgrid(*(np.arange(config.size) + 0.5 for _ in range(2)))
        along = np.stack([column - x, row - y], axis=-1) @ turn.T
        distance = np.asarray(np.linalg.norm(along / half_axes, axis=-1) - 1) * half_axes.min()
        alpha = 1 / (1 + np.exp(np.clip(4 * distance / EDGE, -50, 50)))[..., None]
        colour = random.choice(COLOURS) + random.normal(0, 8, 3)
        picture += alpha * (colour + 25 * np.clip(-distance / radius, 0, 1)[..., None] - picture)
        width, height = np.linalg.norm(half_axes[:, None] * turn, axis=0)
        boxes.append((x - width, y - height, 2 * width, 2 * height))
    grain = random.normal(0, 3, picture.shape)
    return Image.fromarray(np.uint8(np.clip(picture + grain, 0, 255))), boxes


def draw_ground(size: int, random: np.random.Generator) -> np.ndarray:
    """A light ground with coarse grain and a slope of light: `(size, size, 3)`, 0 to 255."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    slope = random.uniform(-16, 16, 2)
    grain = gaussian_filter(random.normal(0, 1, (size, size)), 2)
    shade = slope[0] * x + slope[1] * y + 5 * grain / grain.std()
    return random.uniform(208, 228) + random.uniform(-6, 6, 3) + shade[..., None]


def places(config: Blobs, random: np.random.Generator) -> list[tuple[float, float, float]]:
    """(x, y, radius) of each blob in pixels: apart from each other, or just touching one."""
    found = []
    for _ in range(random.integers(config.most + 1)):
        touch = bool(found) and random.random() < config.touching
        for _ in range(MOST_TRIES):
            radius = random.uniform(*config.radii)
            x, y = random.uniform(radius, config.size - radius, 2)
            if touch:
                other_x, other_y, other = found[random.integers(len(found))]
                distance, angle = 0.98 * (radius + other), random.uniform(0, 2 * np.pi)
                x, y = other_x + distance * np.cos(angle), other_y + distance * np.sin(angle)
            inside = radius <= min(x, y) and max(x, y) <= config.size - radius
            gaps = [np.hypot(x - a, y - b) / (radius + r) for a, b, r in found]
            if inside and sum(gap < 1.1 for gap in gaps) == touch and min(gaps, default=1) >= 0.97:
                found.append((x, y, radius))
                break
    return found


def draw_folder(config: Blobs) -> None:
    """Draws the pictures and their labels into a new folder."""
    config.out.mkdir(parents=True)
    random = np.random.default_rng(config.seed)
    boxes_of = {}
    for i in tqdm(range(config.images), unit=" pictures", dynamic_ncols=True):
        picture, boxes_of[f"{i:05}.jpg"] = draw_blobs(config, random)
        picture.save(config.out / f"{i:05}.jpg", quality=85)
    write_labels(config.out, boxes_of, (config.size, config.size), "blob")


def main() -> None:
    config = tyro.cli(Blobs)
    least, greatest = config.radii
    fits = 0 < least <= greatest and config.most * (4 * greatest) ** 2 <= config.size**2 * 1.2
    if config.images < 1 or config.most < 0 or not fits or not 0 <= config.touching <= 1:
        raise ValueError(f"Expected pictures with room for their blobs. Received: {config}.")
    draw_folder(config)
    print(f"In {config.out}: {config.images:,} pictures, counts.csv, boxes.json.")


if __name__ == "__main__":
    sys.exit(cli.run(main))
