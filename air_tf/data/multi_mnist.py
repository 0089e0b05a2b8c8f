"""Images of several digits: the benchmark multi-MNIST, and the same of other digits.

With MNIST's training digits and the default recipe these are the images on which published AIR
figures are measured: all pixels sum to 883,114,919.
"""

import numpy as np
from PIL import Image
from tqdm import tqdm

from air_tf.config import MultiDigitRecipe
from air_tf.data.digits import DIGIT_SIZE, Digits
from air_tf.data.split import Split

MAX_PIXEL = 255


def multi_mnist(digits: Digits, recipe: MultiDigitRecipe) -> dict[str, Split]:
    """The splits made of `digits`, the same on every machine.

    Returns:
        `train` and `test`. Of MNIST both are made of its training digits, as published figures
        are, and `test_digits` holds images of its test digits; of other digits `test` does.
    """
    num_train, num_test = recipe.train_images, recipe.test_images
    train_digits = digits.train_images, digits.train_labels
    test_digits = digits.test_images, digits.test_labels
    if digits.name == "mnist":
        nearest = Image.Resampling.NEAREST
        benchmark = draw_images(*train_digits, num_train + num_test, recipe, recipe.seed, nearest)
        held_out = draw_images(*test_digits, num_test, recipe, recipe.test_digits_seed, nearest)
        train, test = benchmark[:num_train], benchmark[num_train:]
        return {"train": train, "test": test, "test_digits": held_out}
    smooth = Image.Resampling.BILINEAR
    return {
        "train": draw_images(*train_digits, num_train, recipe, recipe.seed, smooth),
        "test": draw_images(*test_digits, num_test, recipe, recipe.test_digits_seed, smooth),
    }


def draw_images(
    digit_images: np.ndarray,
    digit_labels: np.ndarray,
    num_images: int,
    recipe: MultiDigitRecipe,
    seed: int,
    resampling: Image.Resampling,
) -> Split:
    """Draws images one after the other from one stream of random numbers.

    Args:
        digit_images: `(n, 28, 28)` uint8.
        digit_labels: `(n,)`.
        num_images: to draw.
        recipe: sizes and counts.
        seed: of numpy's legacy `RandomState`, whose stream never changes.
        resampling: how digits are resized.
    """
    random = np.random.RandomState(seed)
    pil_digits = {}  # each digit as a Pillow image, made when first drawn
    size, most = recipe.canvas_size, recipe.max_digits

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

    for i in tqdm(range(num_images), desc="Drawing images", unit=" images", leave=False):
        count = random.randint(most + 1)
        canvas, placed, edges = draw_digits(count)
        while canvas.max() > MAX_PIXEL:  # digits that overlap too brightly are drawn anew
            canvas, placed, edges = draw_digits(count)
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
