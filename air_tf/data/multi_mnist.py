"""Images of several digits: the benchmark multi-MNIST, and the same of other digits.

With MNIST's training digits and the default recipe these are the images on which published AIR
figures are measured: all pixels sum to 883,114,919.
"""

import dataclasses
import functools
import hashlib
import math
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field
from tqdm import tqdm

from air_tf.data import masks
from air_tf.data.base import Dataset
from air_tf.data.digits import DIGIT_SIZE, Digits, DigitsBase, load_digits
from air_tf.data.split import COPIES, Split
from air_tf.memory import check_memory
from air_tf.parts import kind
from air_tf.validation import Side, require, settings

# The largest part of an image that the squares of its n digits may fill, which is also at most
# MOST_CROWDED / (n - 1): images that are too bright where digits overlap are drawn anew
MOST_INK, MOST_CROWDED = 0.75, 6.0
MAX_PIXEL = 255
MOST_TRIES = 5_000  # to draw an image; two digits on 50 x 50 pixels need fewer than two on average


@dataclasses.dataclass(frozen=True)
class MultiDigitRecipe:
    """How images of several digits are drawn; the defaults are the published multi-MNIST."""

    canvas_size: int = 50
    """Height and width of an image, in pixels."""

    digit_counts: tuple[int, ...] = (0, 1, 2)
    """How many digits an image may have, all equally likely."""

    digit_scale: tuple[float, float] = (1.3, 0.1)
    """Mean and standard deviation of the factor by which a 28-pixel digit is shrunk."""

    train_images: int = 50_000
    """Images to train on."""

    test_images: int = 10_000
    """Held-out images."""

    seed: int = 681307
    """Of numpy's legacy RandomState."""

    test_digits_seed: int = 681308
    """The same, for the images of held-out digits."""


@settings
class MultiMNISTSettings(DigitsBase):
    """Several digits on black, 0 to 2 of them on 50 x 50 pixels."""

    dataset: kind("multi_mnist") = "multi_mnist"

    digit_counts: tuple[Annotated[int, Field(ge=0, le=1000)], ...] = MultiDigitRecipe.digit_counts
    """How many digits an image may have, all equally likely."""

    canvas_size: Side = MultiDigitRecipe.canvas_size
    """Height and width of an image, in pixels."""

    def __post_init__(self):
        super().__post_init__()
        counts = self.digit_counts
        require(max(counts, default=0) > 0 and len({*counts}) == len(counts),
                "digit_counts to be different numbers from 0 on, one of them above 0",
                digit_counts=counts)  # fmt: skip
        side = DIGIT_SIZE / MultiDigitRecipe.digit_scale[0]
        share = min(MOST_INK, MOST_CROWDED / max(1, max(counts) - 1))
        smallest = math.ceil(max(2 * side, side * math.sqrt(max(counts) / share)))
        require(self.canvas_size >= smallest, f"canvas_size at least {smallest}, for the digits' room",
                canvas_size=self.canvas_size, digit_counts=counts)  # fmt: skip

    @property
    def recipe(self) -> MultiDigitRecipe:
        """How the images are drawn."""
        return MultiDigitRecipe(
            canvas_size=self.canvas_size, digit_counts=self.digit_counts,
            train_images=self.train_images, test_images=self.test_images,
        )  # fmt: skip

    def load(self) -> Dataset:
        digits, description = load_digits(self.digits, self.mnist)
        recipe, fingerprint = self.recipe, digits.fingerprint()
        version = hashlib.sha256(f"{recipe} {fingerprint}".encode()).hexdigest()[:12]
        shape = (self.canvas_size, self.canvas_size, 1)
        make, names = functools.partial(multi_mnist, digits, recipe), split_names(digits)
        splits = self.kept(f"{digits.name}-{version}", make, shape, names)

        def compose_finished(num_images, seed):
            return self.finished(compose(digits, recipe, num_images, seed), seed)

        return Dataset(
            {name: dataclasses.replace(split, images=self.finished(split.images, [recipe.seed, i]))
             for i, (name, split) in enumerate(splits.items())},
            dataclasses.replace(self, digits=digits.name), fingerprint, description,
            {"image_shape": shape},
            lambda name, split: masks.segments(inks(digits, name), split), compose_finished,
            lambda name, split: masks.whole(inks(digits, name), split),
        )  # fmt: skip

    def finished(self, images: np.ndarray, seed: list[int]) -> np.ndarray:
        """What is made of the drawn images `(S, H, W, 1)` uint8: here themselves."""
        return images


def multi_mnist(digits: Digits, recipe: MultiDigitRecipe) -> dict[str, Split]:
    """The splits made of `digits`, the same on every machine.

    Returns:
        `train` and `test`. Of MNIST both are made of its training digits, as published figures
        are, and `test_digits` holds images of its test digits; of other digits `test` does.
    """
    num_train, num_test = recipe.train_images, recipe.test_images
    train_digits = digits.train_images, digits.train_labels
    test_digits = digits.test_images, digits.test_labels
    method = resampling(digits)
    if digits.name == "mnist":
        benchmark = draw_images(*train_digits, num_train + num_test, recipe, recipe.seed, method)
        held_out = draw_images(*test_digits, num_test, recipe, recipe.test_digits_seed, method)
        train, test = benchmark[:num_train], benchmark[num_train:]
        return {"train": train, "test": test, "test_digits": held_out}
    return {
        "train": draw_images(*train_digits, num_train, recipe, recipe.seed, method),
        "test": draw_images(*test_digits, num_test, recipe, recipe.test_digits_seed, method),
    }


def split_names(digits: Digits) -> tuple[str, ...]:
    """The names of the splits that `multi_mnist` gives."""
    return ("train", "test", "test_digits") if digits.name == "mnist" else ("train", "test")


def resampling(digits: Digits) -> Image.Resampling:
    """How digits are resized: nearest neighbours in the benchmark, as published, else bilinearly."""
    return Image.Resampling.NEAREST if digits.name == "mnist" else Image.Resampling.BILINEAR


def compose(digits: Digits, recipe: MultiDigitRecipe, num_images: int, seed: list[int]) -> np.ndarray:
    """Images of the training digits by the recipe, `(num_images, H, W, 1)` uint8, other ones a seed."""
    of_train, method = (digits.train_images, digits.train_labels), resampling(digits)
    return draw_images(*of_train, num_images, recipe, seed, method, show_progress=False).images


def inks(digits: Digits, name: str) -> masks.Ink:
    """Draws digits of a split alone, from their placements.

    Args:
        digits: those that the split was made of.
        name: of the split.
    """
    of_train = name == "train" or (name == "test" and digits.name == "mnist")
    images = digits.train_images if of_train else digits.test_images
    method = resampling(digits)

    def draw(placement):
        index, side, top, left = placement
        return np.asarray(Image.fromarray(images[index]).resize((side, side), method)), top, left

    return draw


def draw_images(
    digit_images: np.ndarray,
    digit_labels: np.ndarray,
    num_images: int,
    recipe: MultiDigitRecipe,
    seed: int | list[int],
    resampling: Image.Resampling,
    show_progress: bool = True,
) -> Split:
    """Draws images one after the other from one stream of random numbers.

    Args:
        digit_images: `(n, 28, 28)` uint8.
        digit_labels: `(n,)`.
        num_images: to draw.
        recipe: sizes and counts.
        seed: of numpy's legacy `RandomState`, whose stream never changes.
        resampling: how digits are resized.
        show_progress: on the terminal.

    Raises:
        ValueError: an image has not been drawn in MOST_TRIES, since its digits fill too much of it, or
            all images do not fit into memory.
    """
    random = np.random.RandomState(seed)
    pil_digits = {}  # each digit as a Pillow image, made when first drawn
    size, most = recipe.canvas_size, max(recipe.digit_counts)

    check_memory(COPIES * num_images * size**2, f"{num_images:,} images of {size} x {size} pixels")
    images = np.zeros((num_images, size, size, 1), np.uint8)
    counts = np.zeros(num_images, np.int32)
    labels = np.zeros((num_images, most), np.int32)
    boxes = np.zeros((num_images, most, 4), np.float32)
    placements = np.zeros((num_images, most, 4), np.int32)

    def draw_digits(count):
        """One attempt: the sum of `count` digits, and of each its placement and pixel edges."""
        canvas, placed, edges = np.zeros((size, size), np.uint16), [], []
        for _ in range(count):
            index = random.randint(len(digit_images))
            side = int(DIGIT_SIZE / (recipe.digit_scale[1] * random.randn() + recipe.digit_scale[0]))
            if index not in pil_digits:
                pil_digits[index] = Image.fromarray(digit_images[index])
            digit = np.asarray(pil_digits[index].resize((side, side), resampling))
            top, left = random.randint(0, size - side), random.randint(0, size - side)
            canvas[top : top + side, left : left + side] += digit
            placed.append((index, side, top, left))
            edges.append(masks.ink_edges(digit) + np.array([top, left, top, left]))
        return canvas, placed, edges

    bar = {"desc": "Drawing images", "unit": " images", "leave": False, "disable": not show_progress}
    for i in tqdm(range(num_images), **bar):
        count = recipe.digit_counts[random.randint(len(recipe.digit_counts))]
        for _ in range(MOST_TRIES):
            canvas, placed, edges = draw_digits(count)
            if canvas.max() <= MAX_PIXEL:  # digits that overlap too brightly are drawn anew
                break
        else:
            raise ValueError(
                f"Expected a canvas on which {count} digits find room within {MOST_TRIES:,} tries. "
                f"Received: canvas_size={size}, on which {i:,} of {num_images:,} images were made. "
                "Enlarge the canvas, or draw fewer digits."
            )
        images[i, ..., 0], counts[i] = canvas, count
        if count:
            placements[i, :count], boxes[i, :count] = placed, np.array(edges) / size
            labels[i, :count] = digit_labels[placements[i, :count, 0]]
    return Split(images, counts, labels, boxes, placements)
