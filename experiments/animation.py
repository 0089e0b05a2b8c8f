"""An animation of how a trained model infers images, step by step: python -m experiments.animation

Shows the first of the benchmark's held-out images with 0, 1 and 2 digits, in the order of the test set,
so none is picked by hand. Writes docs/inference.gif. MNIST comes from AIR_MNIST or tensorflow-datasets,
else the digits are scikit-learn's.
"""

import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

import air_tf
from air_tf import cli, drawing
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.evaluation.evaluate import canvases
from air_tf.evaluation.glimpses import glimpses_and_recons

ROOT = Path(__file__).parents[1]
SHOWN = {0: 1, 1: 2, 2: 3}  # images by the number of digits they have
LABELS = "What it sees,\nand where it looks", "Glimpse, and\nits decoding", "What it has\ndrawn so far"
LABEL_WIDTH, SIDE, GAP, LINE = 128, 126, 10, 26  # pixels
SHORT, LONG = 900, 2600  # milliseconds that a frame is shown
COLOURS = 64


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draw how a trained model infers images, step by step."""

    model: Path = ROOT / "pretrained"
    """A run or a SavedModel of images with 0 to 2 digits."""

    digits: str = "auto"
    """Digits of the images, as in train.py."""

    cache_dir: Path = Path("~/.cache/air_tf")
    """Folder for generated images."""

    out: Path = ROOT / "docs" / "inference.gif"
    """The file to write."""


def first_of_each_count(counts: np.ndarray) -> np.ndarray:
    """Indices of the first images with each number of digits in `SHOWN`."""
    return np.concatenate([np.flatnonzero(counts == n)[:shown] for n, shown in SHOWN.items()])


class Column:
    """One image's inference, drawn from top to bottom.

    Args:
        image: `(H, W, C)`.
        windows: `(count, 4)`, of the objects found.
        glimpses: `(count, h, w, C)`, what each step looked at.
        decoded: `(count, h, w, C)`, what it was decoded as.
        canvases: `(N + 1, H, W, C)`, what had been drawn after each step.
        scores: `(N,)`, q(n >= i).
    """

    def __init__(self, image, windows, glimpses, decoded, canvases, scores):
        self.image, self.windows, self.canvases, self.scores = image, windows, canvases, scores
        self.glimpses, self.decoded = glimpses, decoded

    @property
    def count(self) -> int:
        return len(self.windows)

    def draw(self, looked: int, drawn: int) -> tuple[list[Image.Image], str, tuple[int, int, int]]:
        """The three pictures, and a line of text with its colour.

        Args:
            looked: steps that have chosen where to look.
            drawn: steps that have also decoded what they saw, `looked` or one less.
        """
        at, step = min(looked, self.count), min(looked, self.count) - 1
        seen = drawing.enlarge(self.image, SIDE, SIDE)
        pair = Image.new("RGB", (SIDE, SIDE // 2), drawing.BACKGROUND)
        if looked and at == looked:
            half = SIDE // 2 - 4
            pair.paste(drawing.enlarge(self.glimpses[step], half, half), (0, 2))
            if drawn == looked:
                pair.paste(drawing.enlarge(self.decoded[step], half, half), (SIDE // 2 + 4, 2))
        canvas = drawing.enlarge(self.canvases[min(drawn, self.count)], SIDE, SIDE)
        pictures = [drawing.draw_boxes(seen, self.windows[:at]), pair, canvas]
        if looked == 0:
            return pictures, "", drawing.TEXT
        if looked > self.count:
            return pictures, f"{self.count} found", drawing.TEXT
        return pictures, f"object {looked}: {self.scores[step]:.0%}", drawing.colour_of_step(step)


def columns_of(model, images: np.ndarray) -> list[Column]:
    """What the model does with each image."""
    scene = model.infer(images).numpy()
    glimpses, decoded = glimpses_and_recons(images, model.layers_of(scene))
    drawn = canvases(model, scene)
    return [
        Column(images[i], scene.boxes[i, :n], glimpses[i, :n], decoded[i, :n], drawn[i], scene.scores[i])
        for i, n in enumerate(scene.counts)
    ]


def frame(columns: list[Column], looked: int, drawn: int) -> Image.Image:
    """All columns after the same steps, with labels at the left."""
    tops = GAP, SIDE + 2 * GAP, SIDE + SIDE // 2 + 3 * GAP
    size = LABEL_WIDTH + len(columns) * (SIDE + GAP), tops[-1] + SIDE + LINE
    picture = Image.new("RGB", size, drawing.BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for label, top in zip(LABELS, tops):
        draw.multiline_text((GAP, top + 4), label, fill=drawing.TEXT, font=font, spacing=5)
    for i, column in enumerate(columns):
        left = LABEL_WIDTH + i * (SIDE + GAP)
        pictures, text, colour = column.draw(looked, drawn)
        for part, top in zip(pictures, tops):
            picture.paste(part, (left, top))
        draw.text((left, size[1] - LINE + 5), text, fill=colour, font=font)
    return picture


def animation(columns: list[Column]) -> tuple[list[Image.Image], list[int]]:
    """The frames, and the milliseconds that each is shown."""
    steps = max(column.count for column in columns)
    stages = [(0, 0), *((i, i - done) for i in range(1, steps + 1) for done in (1, 0))]
    stages.append((steps + 1, steps))
    frames = [frame(columns, *stage) for stage in stages]
    return frames, [SHORT] * (len(frames) - 1) + [LONG]


def main() -> None:
    arguments = tyro.cli(Arguments)
    settings = MultiMNISTSettings(digits=arguments.digits, cache_dir=str(arguments.cache_dir))
    dataset = settings.load()
    print(dataset.description, flush=True)
    split = dataset.splits["test"]
    shown = first_of_each_count(split.counts)
    model = air_tf.load(str(arguments.model))
    frames, durations = animation(columns_of(model, split.float_images()[shown]))
    # one palette for all frames, from the last, which has every colour
    palette = frames[-1].quantize(COLOURS, dither=Image.Dither.NONE)
    flat = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    flat[0].save(
        arguments.out, save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=True
    )
    print(f"In {arguments.out}: {len(frames)} frames, {arguments.out.stat().st_size:,} bytes.")


if __name__ == "__main__":
    sys.exit(cli.run(main))
