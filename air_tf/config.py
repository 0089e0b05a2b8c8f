"""Every number of air_tf, once, with its unit and its source.

Sources: Eslami et al. 2016 (arXiv 1603.08575) for the model; the recipe of multi-MNIST is that of the
implementations that published figures on it; the rest are settings that train well (results/).
"""

import dataclasses
import math
import os
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import tyro


def _require(condition: bool, expected: str, **received) -> None:
    if not condition:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ValueError(f"Expected {expected}. Received: {values}.")


def _check_types(config) -> None:
    """Each field has its annotated type; numbers are finite; a Literal is one of its values."""
    for field, hint in get_type_hints(type(config)).items():
        value, kinds = getattr(config, field), get_args(hint) or (hint,)
        if get_origin(hint) is Literal:
            _require(value in kinds, f"{field} to be one of {', '.join(kinds)}", **{field: value})
            continue
        parts = value if get_origin(hint) is tuple and isinstance(value, (tuple, list)) else (value,)
        fits = len(parts) == len(kinds) and all(map(_is_a, parts, kinds))
        _require(fits, f"{field} to be {', '.join(kind.__name__ for kind in kinds)}", **{field: value})


def _is_a(value, kind: type) -> bool:
    if kind is float:
        return _is_a(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _positive(config, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(math.isfinite(value) and value > 0, f"{name} above 0", **{name: value})


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What the images are made of."""

    dataset: Literal["multi_mnist"] = "multi_mnist"
    """Set of images. multi_mnist: 0 to 2 digits on 50 x 50 pixels."""

    digits: Literal["auto", "mnist", "embedded"] = "auto"
    """Digits to draw. embedded: scikit-learn's, no download; mnist: from --mnist, else through
    tensorflow-datasets; auto: mnist where it can be had, else embedded."""

    mnist: str = dataclasses.field(default_factory=lambda: os.environ.get("AIR_MNIST", ""))
    """An mnist.npz in the Keras layout (default: the variable AIR_MNIST)."""

    cache_dir: str = os.path.join("~", ".cache", "air_tf")
    """Folder for generated images; made anew when missing or damaged."""

    def __post_init__(self):
        _check_types(self)


@dataclasses.dataclass(frozen=True)
class MultiDigitRecipe:
    """How images of several digits are drawn; the defaults are the published multi-MNIST."""

    canvas_size: int = 50
    """Height and width of an image, in pixels."""

    max_digits: int = 2
    """Images have 0 to max_digits digits, all counts equally likely."""

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


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model (Eslami et al. 2016, section 2) and how its count is inferred."""

    image_shape: Annotated[tuple[int, int, int], tyro.conf.Suppress] = (50, 50, 1)
    """(height, width, channels) in pixels: the data set's."""

    max_objects: int = 3
    """N, the most objects in an image: the number of steps that are unrolled."""

    glimpse_size: int = 28
    """Height and width of an attended glimpse, in pixels."""

    z_what_size: int = 50
    """Numbers in an object's code."""

    embedding_units: int = 256
    """Width of the image's embedding."""

    lstm_units: int = 256
    """Width of the recurrent state."""

    hidden_units: int = 200
    """Width of the hidden layer in each head, the encoder and the decoder."""

    scale_prior: tuple[float, float] = (3.0, 0.2)
    """Mean and standard deviation of an object's scale: image side over object side."""

    shift_prior: tuple[float, float] = (0.0, 1.0)
    """Mean and standard deviation of an object's shift, before division by the scale."""

    min_scale: float = 0.2
    """Sampled scales are kept above it: attending divides by the scale."""

    pixel_scale: float = 0.3
    """Standard deviation of p(x | z), in units of full brightness."""

    decoder_bias: float = -2.0
    """Added to the decoder's logits. Bright first reconstructions make the count collapse to 0."""

    rho: float = 0.5
    """Prior over counts, a truncated geometric: p(n) = rho^n (1 - rho), p(N) = rho^N."""

    presence: Literal["enumerate"] = "enumerate"
    """Estimator of the count's gradient. enumerate: summed out exactly."""

    warm_start_steps: int = 1500
    """Training steps over which every prefix of the objects must explain the image by itself, with
    a weight that falls linearly from 1 to 0."""

    @classmethod
    def from_json(cls, fields: dict) -> "ModelConfig":
        """The config that `dataclasses.asdict` gave, back from JSON, which knows no tuples."""
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})

    def __post_init__(self):
        _check_types(self)
        shape = self.image_shape
        _require(
            len(shape) == 3 and min(shape[:2]) >= 2 and shape[2] in (1, 3),
            "image_shape (height, width, channels) of at least 2 x 2 pixels with 1 or 3 channels",
            image_shape=shape,
        )
        _positive(self, "max_objects", "z_what_size", "embedding_units", "lstm_units")
        _positive(self, "hidden_units", "min_scale", "pixel_scale")
        _require(
            2 <= self.glimpse_size <= min(shape[:2]),
            f"glimpse_size from 2 to the image's smaller side, {min(shape[:2])}",
            glimpse_size=self.glimpse_size,
        )
        for name in ("scale_prior", "shift_prior"):
            _require(getattr(self, name)[1] > 0, f"{name} (mean, standard deviation above 0)",
                     **{name: getattr(self, name)})  # fmt: skip
        _require(0 < self.rho < 1, "rho between 0 and 1", rho=self.rho)
        _require(self.warm_start_steps >= 0, "warm_start_steps at least 0",
                 warm_start_steps=self.warm_start_steps)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How the model is trained."""

    steps: int = 5000
    """Training steps in all, over which the learning rate falls to 0 along a cosine."""

    batch_size: int = 64
    """Images a step, over all replicas together."""

    learning_rate: float = 1e-3
    """Adam's learning rate at the first step."""

    gradient_clip: float = 100.0
    """Largest global norm of the gradient, in nats."""

    seed: int = 0
    """Seed of weights, batches and noise."""

    steps_per_call: int = 50
    """Steps that one call of the compiled function runs."""

    evaluate_every: int = 500
    """Steps between evaluations on held-out images."""

    evaluation_images: int = 2000
    """Held-out images of an evaluation while training; the last one is on all of them."""

    checkpoint_every: int = 500
    """Steps between checkpoints; the last three are kept."""

    def __post_init__(self):
        _check_types(self)
        _positive(self, "steps", "batch_size", "learning_rate", "gradient_clip", "steps_per_call")
        _positive(self, "evaluate_every", "evaluation_images", "checkpoint_every")
        _require(0 <= self.seed < 2**31, "seed from 0 to 2**31 - 1", seed=self.seed)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where the run is kept."""

    runs_dir: str = "runs"
    """Folder of all runs: the one to give to tensorboard --logdir."""

    name: str = ""
    """The run's own folder (default: data set, digits and seed, numbered when taken)."""

    resume: bool = False
    """Go on from the last checkpoint of the run with this name (default: the newest)."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Train AIR to count, box and encode the objects in images, without labels."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    run: RunConfig = RunConfig()
