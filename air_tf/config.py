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
            _require(
                value in kinds, f"{field} to be one of {', '.join(map(str, kinds))}", **{field: value}
            )
            continue
        parts = value if get_origin(hint) is tuple and isinstance(value, (tuple, list)) else (value,)
        if Ellipsis in kinds:
            kinds = kinds[:1] * len(parts)
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


def _from_json(cls, fields: dict):
    """The config that `dataclasses.asdict` gave, back from JSON, which knows no tuples."""
    return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})


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


# Settings of `DataConfig` that say something of these data sets alone
SETTINGS_OF = {
    "multi_mnist": ("digit_counts", "canvas_size", "train_images", "test_images"),
    "omniglot": ("omniglot", "image_size"),
    "images": ("images", "image_size", "channels", "invert", "object_size"),
}
DIGIT_SIZE = 28  # pixels, of a digit before it is shrunk
MOST_INK = 0.75  # largest part of an image that its digits' squares may fill: they are to find room


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What the images are made of."""

    dataset: Literal["multi_mnist", "omniglot", "images"] = "multi_mnist"
    """Set of images. multi_mnist: 0 to 2 digits on 50 x 50 pixels; omniglot: handwritten characters of
    many alphabets, a few strokes each; images: one's own, of --images."""

    digits: Literal["auto", "mnist", "embedded", "none"] = "auto"
    """Of multi_mnist. embedded: scikit-learn's, no download; mnist: from --mnist, else through
    tensorflow-datasets; auto: mnist where it can be had, else embedded."""

    mnist: str = dataclasses.field(default_factory=lambda: os.environ.get("AIR_MNIST", ""))
    """An mnist.npz in the Keras layout (default: the variable AIR_MNIST)."""

    cache_dir: str = os.path.join("~", ".cache", "air_tf")
    """Folder for generated images; made anew when missing or damaged."""

    digit_counts: tuple[int, ...] = MultiDigitRecipe.digit_counts
    """Of multi_mnist: how many digits an image may have, all equally likely."""

    canvas_size: int = MultiDigitRecipe.canvas_size
    """Of multi_mnist: height and width of an image, in pixels."""

    train_images: int = MultiDigitRecipe.train_images
    """Of multi_mnist: images to train on."""

    test_images: int = MultiDigitRecipe.test_images
    """Of multi_mnist: held-out images."""

    omniglot: str = ""
    """Of omniglot: a folder or a zip in its original layout (images_background/ALPHABET/...), or a
    folder of such zips (default: through tensorflow-datasets)."""

    images: str = ""
    """Of images: PNG and JPEG files, a folder or a glob in quotes ('photos/*.png', ** for subfolders).
    For evaluation only, a counts.csv (file,count) or a boxes.json (COCO) beside them is read."""

    image_size: tuple[int, int] = (50, 50)
    """Of omniglot and images: (height, width) in pixels to fit pictures into, their shape kept."""

    channels: Literal[1, 3] = 1
    """Of images. 1: grey; 3: colour."""

    invert: Literal["auto", "yes", "no"] = "auto"
    """Of images: AIR wants light objects on a dark ground. auto: invert where objects are darker."""

    object_size: float = 0.0
    """Of images: an object's usual side, in pixels of the pictures as they are on disk; sets the prior
    of z_where's scale. 0: leave it."""

    from_json = classmethod(_from_json)

    @property
    def recipe(self) -> MultiDigitRecipe:
        """Of multi_mnist."""
        return MultiDigitRecipe(**{name: getattr(self, name) for name in SETTINGS_OF["multi_mnist"]})

    def __post_init__(self):
        _check_types(self)
        own, given = self.dataset == "images", {"dataset": self.dataset, "images": self.images}
        _require(bool(self.images) == own, "--dataset images together with --images 'GLOB'", **given)
        for name, default in ((field.name, field.default) for field in dataclasses.fields(self)):
            sets = [dataset for dataset, names in SETTINGS_OF.items() if name in names]
            if sets and self.dataset not in sets:
                expected, value = f"{name} with --dataset {' or '.join(sets)} alone", getattr(self, name)
                _require(value == default, expected, dataset=self.dataset, **{name: value})
        fitting = ("auto", "mnist", "embedded") if self.dataset == "multi_mnist" else ("auto", "none")
        _require(self.digits in fitting, f"digits to be one of {', '.join(fitting)} for {self.dataset}",
                 digits=self.digits)  # fmt: skip
        _require(min(self.image_size) >= 8, "image_size of at least 8 x 8", image_size=self.image_size)
        _require(self.object_size >= 0, "object_size at least 0", object_size=self.object_size)
        counts = self.digit_counts
        _require(min(counts, default=-1) >= 0 and max(counts) > 0 and len({*counts}) == len(counts),
                 "digit_counts to be different numbers from 0 on, one of them above 0",
                 digit_counts=counts)  # fmt: skip
        _positive(self, "train_images", "test_images")
        side = DIGIT_SIZE / MultiDigitRecipe.digit_scale[0]
        smallest = math.ceil(max(2 * side, side * math.sqrt(max(counts) / MOST_INK)))
        _require(self.canvas_size >= smallest, f"canvas_size at least {smallest}, for the digits' room",
                 canvas_size=self.canvas_size, digit_counts=counts)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RhoSchedule:
    """How rho, the prior probability of one more object, changes in training."""

    start: float
    end: float
    steps: int
    """Training steps from start to end."""

    coordinate: Literal["probability", "log_probability", "odds", "log_odds"]
    """What changes linearly: of rho, or of rho / (1 - rho)."""

    hold: int = 0
    """Steps before it begins."""

    division: int = 1
    """Steps between changes."""


RHO_PRESETS = {
    # Communicated by the paper's first author: 1 to 1e-5 over 100,000 steps. A prior of exactly 1
    # gives an infinite KL; the nearest double below it stands for it.
    "paper": RhoSchedule(1 - 1e-15, 1e-5, 100_000, "probability"),
    # Kosiorek's Sonnet implementation
    "sonnet": RhoSchedule(1 - 1e-15, 1e-7, 100_000, "log_probability", hold=1000, division=10_000),
    # the TF1 implementation with a Concrete presence: odds 1e4 to 1e-9, times 0.1 every 3,000 steps
    "concrete": RhoSchedule(1e4 / (1e4 + 1), 1e-9 / (1e-9 + 1), 39_000, "log_odds"),
}
RHO_COORDINATES = {
    "linear": "probability", "exponential": "log_probability", "linear_odds": "odds",
    "exponential_odds": "log_odds",
}  # fmt: skip


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

    embedding_filters: tuple[int, ...] = ()
    """Channels of each convolution under the embedding (default: none, it sees the pixels)."""

    embedding_kernels: tuple[int, ...] = ()
    """Height and width of each convolution's kernels, in pixels."""

    embedding_strides: tuple[int, ...] = ()
    """Pixels from one place of each convolution's kernels to the next."""

    attention_units: int = 0
    """Width of an attention over the convolutions' places, which then proposes where an object is
    (default: 0, the recurrent state alone does)."""

    mean_shifts: int = 3
    """Of the attention: how many times it is drawn together around its mean place."""

    lstm_units: int = 256
    """Width of the recurrent state."""

    hidden_units: int = 200
    """Width of the hidden layer in each head, the encoder and the decoder."""

    difference: bool = False
    """DAIR: at each step the recurrence sees the image less what has been drawn so far."""

    scale_prior: tuple[float, float] = (3.0, 0.2)
    """Mean and standard deviation of an object's scale: image side over object side."""

    shift_prior: tuple[float, float] = (0.0, 1.0)
    """Mean and standard deviation of an object's shift, before division by the scale."""

    what_components: int = 1
    """Components of p(z_what). 1: the standard normal; more: a learned mixture of normals."""

    min_scale: float = 0.2
    """Sampled scales are kept above it: attending divides by the scale."""

    pixel_scale: float = 0.3
    """Standard deviation of p(x | z), in units of full brightness."""

    ink_threshold: float = 0.25
    """A tight box holds the pixels of the placed object above this share of its brightest one."""

    dark_objects: Annotated[bool, tyro.conf.Suppress] = False
    """Whether picture files have dark objects on a light ground, so are inverted: the data set's."""

    subtract_ground: Annotated[bool, tyro.conf.Suppress] = False
    """Whether the border's median colour is taken off picture files: the data set's."""

    decoder_bias: float = -2.0
    """Added to the decoder's logits. Bright first reconstructions make the count collapse to 0."""

    rho: float = 0.5
    """Prior over counts, a truncated geometric: p(n) = rho^n (1 - rho), p(N) = rho^N."""

    rho_schedule: Literal[
        "fixed", "linear", "exponential", "linear_odds", "exponential_odds", "learned",
        "paper", "sonnet", "concrete",
    ] = "fixed"  # fmt: skip
    """How rho changes in training. fixed: not at all. linear, exponential (in probability) and
    linear_odds, exponential_odds (in rho / (1 - rho)): from --rho-start to --rho over --rho-steps.
    learned: trained after --rho-hold steps, from --rho on. paper, sonnet and concrete are
    schedules of published implementations (RHO_PRESETS); --rho is then used outside of training."""

    rho_start: float = 0.99
    """rho at the first step of linear, exponential, linear_odds and exponential_odds."""

    rho_steps: int = 3000
    """Training steps over which rho goes from --rho-start to --rho."""

    rho_hold: int = 0
    """Training steps before rho begins to change."""

    presence: Literal["enumerate", "nvil", "concrete"] = "enumerate"
    """Estimator of the count's gradient. enumerate: summed out exactly; nvil: score function with a
    learned baseline, as in the paper; concrete: relaxed presence."""

    warm_start_steps: int = 1500
    """Of enumerate: training steps over which every prefix of the objects must explain the image by
    itself, with a weight that falls linearly from 1 to 0."""

    count_bound: Literal["elbo", "marginal"] = "elbo"
    """Of enumerate. elbo: expectation over q(n); marginal: the tighter log of the sum over n, with
    q(n) fitted to its responsibilities."""

    importance_samples: int = 1
    """Of enumerate: samples K of the importance-weighted bound that is maximised (Burda et al. 2016)."""

    baseline_units: int = 256
    """Of nvil: width of the baseline network's layers."""

    signal_centring: bool = True
    """Of nvil: subtract a running mean from the learning signal."""

    signal_normalisation: bool = True
    """Of nvil: divide the learning signal by its running standard deviation, where above 1."""

    signal_decay: float = 0.8
    """Of nvil: what is kept of a running average at each step (Mnih and Gregor 2014, appendix)."""

    temperature: float = 1.0
    """Of concrete: of the relaxed presence."""

    stop_sum: float = 0.99
    """Of concrete: an object is drawn while the sum of (1 - z_pres) up to it is below this."""

    from_json = classmethod(_from_json)

    def __post_init__(self):
        _check_types(self)
        shape = self.image_shape
        _require(
            len(shape) == 3 and min(shape[:2]) >= 2 and shape[2] in (1, 3),
            "image_shape (height, width, channels) of at least 2 x 2 pixels with 1 or 3 channels",
            image_shape=shape,
        )
        _positive(self, "max_objects", "z_what_size", "embedding_units", "lstm_units", "what_components")
        _positive(self, "hidden_units", "min_scale", "pixel_scale")
        convolutions = self.embedding_filters, self.embedding_kernels, self.embedding_strides
        _require(len({*map(len, convolutions)}) == 1 and min(sum(convolutions, (1,))) > 0,
                 "as many embedding_filters, embedding_kernels and embedding_strides, all above 0",
                 embedding_filters=self.embedding_filters, embedding_kernels=self.embedding_kernels,
                 embedding_strides=self.embedding_strides)  # fmt: skip
        attention = self.attention_units > 0 and len(self.embedding_filters) > 0
        _require(self.attention_units == 0 or attention,
                 "attention_units 0, or above 0 together with embedding_filters",
                 attention_units=self.attention_units, filters=self.embedding_filters)  # fmt: skip
        _require(self.mean_shifts >= 0, "mean_shifts at least 0", mean_shifts=self.mean_shifts)
        _require(0 < self.ink_threshold < 1, "ink_threshold between 0 and 1",
                 ink_threshold=self.ink_threshold)  # fmt: skip
        _require(self.glimpse_size >= 2, "glimpse_size at least 2", glimpse_size=self.glimpse_size)
        for name in ("scale_prior", "shift_prior"):
            _require(getattr(self, name)[1] > 0, f"{name} (mean, standard deviation above 0)",
                     **{name: getattr(self, name)})  # fmt: skip
        for name in ("rho", "rho_start", "stop_sum"):
            _require(
                0 < getattr(self, name) < 1, f"{name} between 0 and 1", **{name: getattr(self, name)}
            )
        for name in ("warm_start_steps", "rho_hold"):
            _require(getattr(self, name) >= 0, f"{name} at least 0", **{name: getattr(self, name)})
        _positive(self, "rho_steps", "importance_samples", "baseline_units", "temperature")
        _require(
            0 <= self.signal_decay < 1, "signal_decay from 0 to below 1", signal_decay=self.signal_decay
        )
        if self.presence != "enumerate":
            _require(
                self.importance_samples == 1 and self.count_bound == "elbo",
                "importance_samples=1 and count_bound='elbo' for every presence but enumerate",
                presence=self.presence, importance_samples=self.importance_samples,
                count_bound=self.count_bound,
            )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How the model is trained."""

    steps: int = 5000
    """Training steps in all."""

    batch_size: int = 64
    """Images a step, over all replicas together."""

    learning_rate: float = 1e-3
    """Adam's learning rate at the first step."""

    learning_rate_schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: falls to 0 over all steps."""

    baseline_learning_rate: float = 1e-3
    """Adam's learning rate of nvil's baseline, constant (Eslami et al. 2016)."""

    fresh_images: bool = False
    """Compose every training batch anew from the training digits, instead of the data set's images. It
    is more data than published figures are trained on: not to be set beside them."""

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

    stop_at_accuracy: float = 0.0
    """Stop at the first evaluation with this count accuracy, for comparing how long runs take: it
    uses the labels. 0: never."""

    checkpoint_every: int = 500
    """Steps between checkpoints; the last three are kept."""

    def __post_init__(self):
        _check_types(self)
        _positive(self, "steps", "batch_size", "learning_rate", "gradient_clip", "steps_per_call")
        _positive(self, "evaluate_every", "evaluation_images", "checkpoint_every")
        _positive(self, "baseline_learning_rate")
        _require(0 <= self.stop_at_accuracy <= 1, "stop_at_accuracy from 0 to 1",
                 stop_at_accuracy=self.stop_at_accuracy)  # fmt: skip
        _require(0 <= self.seed < 2**31, "seed from 0 to 2**31 - 1", seed=self.seed)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where the run is kept."""

    preset: Literal[
        "", "multi_mnist", "omniglot", "extrapolation", "interpolation", "representation",
        "two_digits", "five_digits", "nine_digits",
    ] = ""  # fmt: skip
    """Where the defaults of all other flags come from (default: the data set's); --preset NAME --help
    shows them."""

    runs_dir: str = "runs"
    """Folder of all runs: the one to give to tensorboard --logdir."""

    name: str = ""
    """The run's own folder (default: preset or data set, digits and seed, numbered when taken)."""

    resume: bool = False
    """Go on from the last checkpoint of the run with this name (default: the newest)."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Train AIR to count, box and encode the objects in images, without labels."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    run: RunConfig = RunConfig()


# DAIR with attention over places 4 pixels apart, 8 x 8 of a 50 x 50 image, each of which sees 22 x 22
# pixels
_DAIR = {
    "difference": True, "attention_units": 64,
    "embedding_filters": (16, 32), "embedding_kernels": (6, 5), "embedding_strides": (4, 1),
}  # fmt: skip


def _digits(counts: range, canvas_size: int, max_objects: int, steps: int, **model) -> Config:
    """DAIR with a warm start, without which it finds none of many digits.

    They are as large as on multi-MNIST: their scale and its deviation grow with the canvas.
    """
    larger = canvas_size / MultiDigitRecipe.canvas_size
    mean, deviation = ModelConfig.scale_prior
    scale_prior = (round(mean * larger, 4), round(deviation * larger, 4))
    return Config(
        DataConfig(digit_counts=tuple(counts), canvas_size=canvas_size),
        ModelConfig(max_objects=max_objects, scale_prior=scale_prior, **_DAIR, **model),
        TrainingConfig(steps=steps),
    )


MULTI_MNIST = Config()
# Eslami et al. 2016: counts that training does not show, to which a warm start would not let it get
EXTRAPOLATION = Config(
    DataConfig(digit_counts=(0, 1, 2)),
    ModelConfig(max_objects=4, warm_start_steps=0, **_DAIR),
    TrainingConfig(steps=5000),
)
INTERPOLATION = Config(
    DataConfig(digit_counts=(0, 1, 3)),
    ModelConfig(
        max_objects=4, warm_start_steps=0, rho_schedule="exponential", rho_start=0.5, rho=0.01,
        rho_steps=2000, **_DAIR,
    ),
    TrainingConfig(steps=10_000),
)  # fmt: skip
REPRESENTATION = Config(
    model=ModelConfig(warm_start_steps=0, **_DAIR), training=TrainingConfig(steps=10_000)
)
TWO_DIGITS = _digits(range(3), 50, max_objects=3, steps=3000)
FIVE_DIGITS = _digits(range(6), 80, max_objects=6, steps=3000)
# q(n) of the plain bound may grow certain of all N before they are learnt, from where no gradient leads
# back; q(n) fitted to the responsibilities of n always has one
NINE_DIGITS = _digits(range(10), 100, max_objects=10, steps=2000, count_bound="marginal")
# Strokes as objects; each covers about a third of the image. 6 x 6 places
OMNIGLOT = Config(
    DataConfig(dataset="omniglot"),
    ModelConfig(
        max_objects=4, difference=True, warm_start_steps=0, scale_prior=(3.0, 0.5),
        embedding_filters=(16, 32), embedding_kernels=(6, 5), embedding_strides=(3, 2),
    ),
    TrainingConfig(steps=2500),
)  # fmt: skip
PRESETS = {
    "multi_mnist": MULTI_MNIST, "omniglot": OMNIGLOT, "extrapolation": EXTRAPOLATION,
    "interpolation": INTERPOLATION, "representation": REPRESENTATION, "two_digits": TWO_DIGITS,
    "five_digits": FIVE_DIGITS, "nine_digits": NINE_DIGITS,
}  # fmt: skip
