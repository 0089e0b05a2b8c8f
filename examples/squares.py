"""A data set: light squares on black, drawn from a seed, with their counts and boxes."""

from typing import Annotated

import numpy as np
from pydantic import Field

from air_tf.config import Config
from air_tf.data import MultiMNISTSettings, OmniglotSettings, OwnImagesSettings
from air_tf.data.base import Dataset, DatasetBase
from air_tf.data.split import Split
from air_tf.parts import kind, one_of
from air_tf.validation import Images, ModelSide, settings


@settings
class SquaresSettings(DatasetBase):
    """Light squares on black."""

    dataset: kind("squares") = "squares"

    most_squares: Annotated[int, Field(ge=1, le=10)] = 2
    """The most squares in an image; all numbers from 0 on are equally likely."""

    squares_size: ModelSide = 20
    """Height and width of an image, in pixels."""

    squares_images: Images = 1000
    """Images to train on; a quarter as many are held out."""

    def load(self) -> Dataset:
        shape = (self.squares_size, self.squares_size, 1)
        version = f"{self.most_squares}-{self.squares_size}-{self.squares_images}"
        splits = self.kept(version, self.draw, shape)
        line = f"Squares: {len(splits['train']):,} images, and {len(splits['test']):,} held out."
        return Dataset(splits, self, version, line, {"image_shape": shape})

    def draw(self) -> dict[str, Split]:
        """The splits `train` and `test`, from two seeds."""
        sizes = {"train": self.squares_images, "test": -(-self.squares_images // 4)}
        return {name: self._split(size, seed) for seed, (name, size) in enumerate(sizes.items())}

    def _split(self, num_images: int, seed: int) -> Split:
        random, size = np.random.default_rng(seed), self.squares_size
        counts = random.integers(0, self.most_squares + 1, num_images).astype(np.int32)
        images = np.zeros((num_images, size, size, 1), np.uint8)
        boxes = np.zeros((num_images, self.most_squares, 4))
        for image, of_image, count in zip(images, boxes, counts):
            for box in of_image[:count]:
                side = random.integers(size // 5, size // 3 + 1)
                top, left = random.integers(0, size - side + 1, 2)
                image[top : top + side, left : left + side] = 255
                box[:] = np.array([top, left, top + side, left + side]) / size
        return Split.of(images, counts, boxes)


@settings
class SquaresConfig(Config):
    """Train AIR on squares."""

    data: one_of("dataset", MultiMNISTSettings, OmniglotSettings, OwnImagesSettings, SquaresSettings) = (
        SquaresSettings()
    )
