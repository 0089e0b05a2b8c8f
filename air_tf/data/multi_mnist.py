"""Images of several digits: the benchmark multi-MNIST, and the same of other digits.

With MNIST's training digits and the default recipe these are the images on which published AIR
figures are measured: all pixels sum to 883,114,919.
"""

import numpy as np
from PIL import Image
from tqdm import tqdm

from air_tf.config import DIGIT_SIZE, MultiDigitRecipe
from air_tf.data.digits import Digits
from air_tf.data.split import COPIES, Split
from air_tf.memory import check_memory

MAX_PIXEL = 255
MOST_TRIES = 5_000  # to draw an image; two digits on 50 x 50 pixels need fewer than two on average


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


def segments(digits: Digits, name: str, split: Split) -> np.ndarray:
    """Which object each pixel belongs to: the brightest there.

    Args:
        digits: those that the split was made of.
        name: of the split.
        split: images.

    Returns:
        `(S, H, W)` uint8: 0 for the background, i for object i (from 1).
    """
    of_train = name == "train" or (name == "test" and digits.name == "mnist")
    images = digits.train_images if of_train else digits.test_images
    result, method = np.zeros(split.images.shape[:3], np.uint8), resampling(digits)
    for segment, count, placements in zip(result, split.counts, split.placements):
        brightest = np.zeros(segment.shape, np.uint8)
        for i, (index, side, top, left) in enumerate(placements[:count], start=1):
            digit = np.asarray(Image.fromarray(images[index]).resize((side, side), method))
            window = np.s_[top : top + side, left : left + side]
            brighter = digit > brightest[window]
            segment[window][brighter] = i
            brightest[window] = np.maximum(digit, brightest[window])
    return result


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
            edges.append(ink_edges(digit) + np.array([top, left, top, left]))
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


def ink_edges(image: np.ndarray) -> np.ndarray:
    """Edges of the pixels above 0, (ymin, xmin, ymax, xmax) in pixels; all 0 without any."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if not len(rows):
        return np.zeros(4, np.int64)
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
