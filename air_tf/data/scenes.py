"""Digits or shapes of any size, turned and stretched, on grounds of any kind."""

import dataclasses
import functools
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from air_tf.data import masks, things
from air_tf.data.base import Dataset
from air_tf.data.cache import contents, fingerprint
from air_tf.data.digits import DigitsBase, load_digits
from air_tf.data.grounds import grounds
from air_tf.data.scene_drawing import draw_scenes
from air_tf.data.split import COPIES
from air_tf.image_files import find_pictures
from air_tf.memory import check_memory
from air_tf.parts import kind
from air_tf.paths import shown
from air_tf.validation import ModelSide, Text, require, settings

SEED = 681307

Level = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[float, Field(ge=2, le=4096)]
Degrees = Annotated[float, Field(ge=-180, le=180)]
Factor = Annotated[float, Field(ge=0.1, le=10)]
Length = Annotated[int, Field(ge=0, le=4096)]


@settings
class ScenesSettings(DigitsBase):
    """Digits or shapes of any size, turned and stretched, on a ground of any kind."""

    places: ClassVar[set[str]] = DigitsBase.places | {"photographs"}

    dataset: kind("scenes") = "scenes"

    things: Literal["digits", "shapes"] = "digits"
    """What the objects are: digits, or squares, triangles and discs."""

    canvas_size: ModelSide = 64
    """Height and width of an image, in pixels."""

    channels: Literal[1, 3] = 1
    """1: grey; 3: colour."""

    object_counts: tuple[Annotated[int, Field(ge=0, le=1000)], ...] = (0, 1, 2)
    """How many objects an image may have."""

    count_weights: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] = ()
    """How often each of object_counts occurs, relative to the others (default: all equally)."""

    side_range: tuple[Pixels, Pixels] = (14.0, 22.0)
    """Shortest and longest side of an object, in pixels: its longer one, upright and not stretched."""

    stretch_range: tuple[Factor, Factor] = (1.0, 1.0)
    """Least and greatest factor by which height and width are stretched, each by its own."""

    rotation_range: tuple[Degrees, Degrees] = (0.0, 0.0)
    """Least and greatest angle by which an object is turned, in degrees, clockwise."""

    margin: Length = 0
    """Pixels from an object's box to the border, at least."""

    overlap: Literal["box", "ink", "any"] = "any"
    """box: no two objects' boxes overlap; ink: no two objects have a pixel in common; any: they may."""

    gap: Length = 0
    """Pixels between two objects' boxes, or their ink, at least."""

    paste: Literal["add", "over"] = "over"
    """add: objects are added to the ground and to each other, cut at white; over: each hides what is
    under it."""

    object_range: tuple[Level, Level] = (0.7, 1.0)
    """Darkest and lightest grey of an object, from 0 to 1; in colour, of one of seven hues."""

    ground: Literal["flat", "gradient", "noise", "grid", "photographs"] = "flat"
    """flat: one grey or colour; gradient: from one to another; noise: every pixel by itself; grid: every
    fifth row and column light; photographs: patches of the pictures in --photographs."""

    ground_range: tuple[Level, Level] = (0.0, 0.4)
    """Darkest and lightest grey of the ground, from 0 to 1, and of each channel in colour; the greys of
    photographs are brought into it."""

    photographs: Text = ""
    """PNG and JPEG files, a folder or a glob in quotes. Some are held out to test; of a single one, its
    last fifth."""

    def __post_init__(self):
        super().__post_init__()
        counts, weights = self.object_counts, self.count_weights
        require(max(counts, default=0) > 0 and len({*counts}) == len(counts),
                "object_counts to be different numbers from 0 on, one of them above 0",
                object_counts=counts)  # fmt: skip
        require(not weights or (len(weights) == len(counts) and sum(weights) > 0),
                f"count_weights of {len(counts)} numbers, one of them above 0",
                count_weights=weights, object_counts=counts)  # fmt: skip
        for name in "side_range", "stretch_range", "rotation_range", "object_range", "ground_range":
            low, high = getattr(self, name)
            require(low <= high, f"{name} from the lower to the higher", **{name: (low, high)})
        require(not self.gap or self.overlap != "any", "gap with overlap box or ink",
                gap=self.gap, overlap=self.overlap)  # fmt: skip
        require(self.longest_side + 2 * self.margin <= self.canvas_size,
                f"objects of up to {self.longest_side:g} pixels to fit between the margins",
                canvas_size=self.canvas_size, margin=self.margin)  # fmt: skip
        require(bool(self.photographs) == (self.ground == "photographs"),
                "photographs together with ground photographs",
                photographs=shown(self.photographs), ground=self.ground)  # fmt: skip
        require(self.things == "digits" or (self.digits == "auto" and not self.mnist),
                "digits and mnist with things digits", things=self.things, digits=self.digits,
                mnist=self.mnist)  # fmt: skip

    @property
    def longest_side(self) -> float:
        """Of an object that is stretched but not turned, in pixels."""
        return self.side_range[1] * self.stretch_range[1]

    def of_digits(self) -> str:
        return self.digits if self.things == "digits" else "none"

    def load(self) -> Dataset:
        banks, made_of, line, chosen = self._banks()
        paths = find_pictures(self.photographs) if self.photographs else []
        files = contents(paths)
        shape = (self.canvas_size, self.canvas_size, self.channels)
        sizes = {"train": self.train_images, "test": self.test_images}
        what = f"{sum(sizes.values()):,} images of {self.canvas_size} x {self.canvas_size} pixels"
        check_memory(COPIES * sum(sizes.values()) * int(np.prod(shape)), what)
        recipe = {k: v for k, v in dataclasses.asdict(chosen).items() if k not in self.places}

        @functools.cache
        def ground_of(name):
            return grounds(self.ground, shape, self.ground_range, paths)[name]

        def drawn(name, num_images, seed):
            random = np.random.default_rng(seed)
            return draw_scenes(banks[name], ground_of(name), chosen, num_images, random)

        def make():
            return {name: drawn(name, size, [SEED, i]) for i, (name, size) in enumerate(sizes.items())}

        inks = {name: things.inks(bank) for name, bank in banks.items()}
        hide = self.paste == "over"
        return Dataset(
            self.kept(fingerprint(recipe, made_of, files), make, shape), chosen,
            fingerprint(made_of, files), f"{line} Ground: {self.ground}.", {"image_shape": shape},
            lambda name, split: masks.segments(inks[name], split, hide),
            lambda num_images, seed: drawn("train", num_images, seed).images,
            lambda name, split: masks.whole(inks[name], split),
        )  # fmt: skip

    def _banks(self):
        """The things of each split, what tells them from others, a line, and the settings, decided."""
        if self.things == "shapes":
            shapes = things.shapes()
            return {"train": shapes, "test": shapes}, "shapes", "Squares, triangles and discs.", self
        digits, line = load_digits(self.digits, self.mnist)
        banks = {
            "train": things.Things(digits.train_images, digits.train_labels),
            "test": things.Things(digits.test_images, digits.test_labels),
        }
        return banks, digits.fingerprint(), line, dataclasses.replace(self, digits=digits.name)
