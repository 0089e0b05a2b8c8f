"""Multi-MNIST under a grid of grey lines, as SuPAIR was tested on: [1] of `air_tf.data.noisy`."""

import numpy as np

from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.parts import kind
from air_tf.validation import settings

SPACING, GREY = 5, 102  # pixels from line to line; 0.4 of 255


@settings
class GridSettings(MultiMNISTSettings):
    """The digits of multi_mnist under a grid of grey lines (SuPAIR's)."""

    dataset: kind("grid") = "grid"

    def finished(self, images: np.ndarray, seed: list[int]) -> np.ndarray:
        return with_grid(images, np.random.default_rng(seed))


def with_grid(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Every fifth row and column becomes at least 0.4; the first is one of five, equally likely."""
    on_line = grid_lines(*images.shape[:3], random)
    return np.where(on_line, np.maximum(images, np.uint8(GREY)), images)


def grid_lines(num_images: int, height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Which pixels lie in every fifth row or column, `(S, H, W, 1)`, from one of five on."""
    first = (random.integers(0, SPACING, (num_images, 1)) for _ in range(2))
    rows, columns = ((np.arange(s) - f) % SPACING == 0 for s, f in zip((height, width), first))
    return rows[:, :, None, None] | columns[:, None, :, None]
