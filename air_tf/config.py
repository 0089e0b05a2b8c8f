"""Every number of air_tf, once, with its unit and its source.

Sources: Eslami et al. 2016 (arXiv 1603.08575) for the model; the recipe of multi-MNIST is that of the
implementations that published figures on it; the rest are settings that train well (results/).
"""

import dataclasses
import json
import math
import os
from typing import Annotated, Literal

import tyro
from pydantic import AfterValidator, Field

from air_tf.validation import parse_json, settings


def _is_text(value: str) -> str:
    """Refuses names of files that are no UTF-8, which neither JSON nor TensorFlow can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"Expected text in UTF-8. Received: {value!r}.") from None
    return value


# Bounds keep what a user may ask for within what float32 and a machine can hold; air_tf.memory
# compares the sizes that follow from them together with the memory that there is.
Text = Annotated[str, AfterValidator(_is_text)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
CountOrNone = Annotated[int, Field(ge=0, le=1_000_000_000)]
Images = Annotated[int, Field(ge=1, le=100_000_000)]
Units = Annotated[int, Field(ge=1, le=65_536)]
Side = Annotated[int, Field(ge=2, le=4096)]  # pixels
ModelSide = Annotated[int, Field(ge=8, le=4096)]  # pixels
Kernel = Annotated[int, Field(ge=1, le=256)]  # pixels
Probability = Annotated[float, Field(ge=1e-30, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=1e-12, le=10)]
Scale = Annotated[float, Field(ge=1e-3, le=1000)]
Shift = Annotated[float, Field(ge=-1000, le=1000)]


def _require(condition: bool, expected: str, **received) -> None:
    if not condition:
        values = ", ".join(f"{name}={value!r}" for name, value in received.items())
        raise ValueError(f"Expected {expected}. Received: {values}.")


def _from_json(cls, fields: dict):
    """The config that `dataclasses.asdict` gave, back from JSON, which knows no tuples.

    Raises:
        ValueError: the fields are not those of the config.
    """
    return parse_json(json.dumps(fields), cls, "settings", cls.__name__)


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
MOST_NAME = 200  # bytes of a run's name
DIGIT_SIZE = 28  # pixels, of a digit before it is shrunk
# The largest part of an image that the squares of its n digits may fill, which is also at most
# MOST_CROWDED / (n - 1): images that are too bright where digits overlap are drawn anew
MOST_INK, MOST_CROWDED = 0.75, 6.0


@settings
class DataConfig:
    """What the images are made of."""

    dataset: Literal["multi_mnist", "omniglot", "images"] = "multi_mnist"
    """Set of images. multi_mnist: 0 to 2 digits on 50 x 50 pixels; omniglot: handwritten characters of
    many alphabets, a few strokes each; images: one's own, of --images."""

    digits: Literal["auto", "mnist", "embedded", "none"] = "auto"
    """Of multi_mnist. embedded: scikit-learn's, no download; mnist: from --mnist, else through
    tensorflow-datasets; auto: mnist where it can be had, else embedded."""

    mnist: Text = ""
    """An mnist.npz in the Keras layout (default: the variable AIR_MNIST, if it is set)."""

    cache_dir: Text = os.path.join("~", ".cache", "air_tf")
    """Folder for generated images; made anew when missing or damaged."""

    digit_counts: tuple[Annotated[int, Field(ge=0, le=1000)], ...] = MultiDigitRecipe.digit_counts
    """Of multi_mnist: how many digits an image may have, all equally likely."""

    canvas_size: Side = MultiDigitRecipe.canvas_size
    """Of multi_mnist: height and width of an image, in pixels."""

    train_images: Images = MultiDigitRecipe.train_images
    """Of multi_mnist: images to train on."""

    test_images: Images = MultiDigitRecipe.test_images
    """Of multi_mnist: held-out images."""

    omniglot: Text = ""
    """Of omniglot: a folder or a zip in its original layout (images_background/ALPHABET/...), or a
    folder of such zips (default: through tensorflow-datasets)."""

    images: Text = ""
    """Of images: PNG and JPEG files, a folder or a glob in quotes ('photos/*.png', ** for subfolders).
    For evaluation only, a counts.csv (file,count) or a boxes.json (COCO) beside them is read."""

    image_size: tuple[ModelSide, ModelSide] = (50, 50)
    """Of omniglot and images: (height, width) in pixels to fit pictures into, their shape kept."""

    channels: Literal[1, 3] = 1
    """Of images. 1: grey; 3: colour."""

    invert: Literal["auto", "yes", "no"] = "auto"
    """Of images: AIR wants light objects on a dark ground. auto: invert where objects are darker."""

    object_size: Annotated[float, Field(ge=0)] = 0.0
    """Of images: an object's usual side, in pixels of the pictures as they are on disk; sets the prior
    of z_where's scale. 0: leave it."""

    from_json = classmethod(_from_json)

    @property
    def recipe(self) -> MultiDigitRecipe:
        """Of multi_mnist."""
        return MultiDigitRecipe(**{name: getattr(self, name) for name in SETTINGS_OF["multi_mnist"]})

    def __post_init__(self):
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
        reads_mnist = self.dataset == "multi_mnist" and self.digits != "embedded"
        _require(not self.mnist or reads_mnist, "mnist with digits of MNIST alone", mnist=self.mnist,
                 dataset=self.dataset, digits=self.digits)  # fmt: skip
        counts = self.digit_counts
        _require(max(counts, default=0) > 0 and len({*counts}) == len(counts),
                 "digit_counts to be different numbers from 0 on, one of them above 0",
                 digit_counts=counts)  # fmt: skip
        side = DIGIT_SIZE / MultiDigitRecipe.digit_scale[0]
        share = min(MOST_INK, MOST_CROWDED / max(1, max(counts) - 1))
        smallest = math.ceil(max(2 * side, side * math.sqrt(max(counts) / share)))
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


@settings
class ModelConfig:
    """The model (Eslami et al. 2016, section 2) and how its count is inferred."""

    image_shape: Annotated[tuple[Side, Side, Literal[1, 3]], tyro.conf.Suppress] = (50, 50, 1)
    """(height, width, channels) in pixels: the data set's."""

    max_objects: Annotated[int, Field(ge=1, le=1000)] = 3
    """N, the most objects in an image: the number of steps that are unrolled."""

    glimpse_size: Side = 28
    """Height and width of an attended glimpse, in pixels."""

    z_what_size: Units = 50
    """Numbers in an object's code."""

    embedding_units: Units = 256
    """Width of the image's embedding."""

    embedding_filters: tuple[Units, ...] = ()
    """Channels of each convolution under the embedding (default: none, it sees the pixels)."""

    embedding_kernels: tuple[Kernel, ...] = ()
    """Height and width of each convolution's kernels, in pixels."""

    embedding_strides: tuple[Kernel, ...] = ()
    """Pixels from one place of each convolution's kernels to the next."""

    attention_units: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Width of an attention over the convolutions' places, which then proposes where an object is
    (default: 0, the recurrent state alone does)."""

    mean_shifts: Annotated[int, Field(ge=0, le=1000)] = 3
    """Of the attention: how many times it is drawn together around its mean place."""

    lstm_units: Units = 256
    """Width of the recurrent state."""

    hidden_units: Units = 200
    """Width of the hidden layer in each head, the encoder and the decoder."""

    difference: bool = False
    """DAIR: at each step the recurrence sees the image less what has been drawn so far."""

    scale_prior: tuple[Scale, Scale] = (3.0, 0.2)
    """Mean and standard deviation of an object's scale: image side over object side."""

    shift_prior: tuple[Shift, Scale] = (0.0, 1.0)
    """Mean and standard deviation of an object's shift, before division by the scale."""

    what_components: Units = 1
    """Components of p(z_what). 1: the standard normal; more: a learned mixture of normals."""

    min_scale: Scale = 0.2
    """Sampled scales are kept above it: attending divides by the scale."""

    pixel_scale: Annotated[float, Field(ge=1e-3, le=10)] = 0.3
    """Standard deviation of p(x | z), in units of full brightness."""

    ink_threshold: Share = 0.25
    """A tight box holds the pixels of the placed object above this share of its brightest one."""

    dark_objects: Annotated[bool, tyro.conf.Suppress] = False
    """Whether picture files have dark objects on a light ground, so are inverted: the data set's."""

    subtract_ground: Annotated[bool, tyro.conf.Suppress] = False
    """Whether the border's median colour is taken off picture files: the data set's."""

    decoder_bias: Annotated[float, Field(ge=-50, le=50)] = -2.0
    """Added to the decoder's logits. Bright first reconstructions make the count collapse to 0."""

    rho: Probability = 0.5
    """Prior over counts, a truncated geometric: p(n) = rho^n (1 - rho), p(N) = rho^N."""

    rho_schedule: Literal[
        "fixed", "linear", "exponential", "linear_odds", "exponential_odds", "learned",
        "paper", "sonnet", "concrete",
    ] = "fixed"  # fmt: skip
    """How rho changes in training. fixed: not at all. linear, exponential (in probability) and
    linear_odds, exponential_odds (in rho / (1 - rho)): from --rho-start to --rho over --rho-steps.
    learned: trained after --rho-hold steps, from --rho on. paper, sonnet and concrete are
    schedules of published implementations (RHO_PRESETS); --rho is then used outside of training."""

    rho_start: Probability = 0.99
    """rho at the first step of linear, exponential, linear_odds and exponential_odds."""

    rho_steps: Count = 3000
    """Training steps over which rho goes from --rho-start to --rho."""

    rho_hold: CountOrNone = 0
    """Training steps before rho begins to change."""

    presence: Literal["enumerate", "nvil", "concrete"] = "enumerate"
    """Estimator of the count's gradient. enumerate: summed out exactly; nvil: score function with a
    learned baseline, as in the paper; concrete: relaxed presence."""

    warm_start_steps: CountOrNone = 1500
    """Of enumerate: training steps over which every prefix of the objects must explain the image by
    itself, with a weight that falls linearly from 1 to 0."""

    count_bound: Literal["elbo", "marginal"] = "elbo"
    """Of enumerate. elbo: expectation over q(n); marginal: the tighter log of the sum over n, with
    q(n) fitted to its responsibilities."""

    importance_samples: Annotated[int, Field(ge=1, le=100_000)] = 1
    """Of enumerate: samples K of the importance-weighted bound that is maximised (Burda et al. 2016)."""

    baseline_units: Units = 256
    """Of nvil: width of the baseline network's layers."""

    signal_centring: bool = True
    """Of nvil: subtract a running mean from the learning signal."""

    signal_normalisation: bool = True
    """Of nvil: divide the learning signal by its running standard deviation, where above 1."""

    signal_decay: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Of nvil: what is kept of a running average at each step (Mnih and Gregor 2014, appendix)."""

    temperature: Annotated[float, Field(ge=1e-6, le=1000)] = 1.0
    """Of concrete: of the relaxed presence."""

    stop_sum: Share = 0.99
    """Of concrete: an object is drawn while the sum of (1 - z_pres) up to it is below this."""

    from_json = classmethod(_from_json)

    def __post_init__(self):
        convolutions = self.embedding_filters, self.embedding_kernels, self.embedding_strides
        _require(len({*map(len, convolutions)}) == 1,
                 "as many embedding_filters as embedding_kernels and embedding_strides",
                 embedding_filters=self.embedding_filters, embedding_kernels=self.embedding_kernels,
                 embedding_strides=self.embedding_strides)  # fmt: skip
        _require(self.attention_units == 0 or len(self.embedding_filters) > 0,
                 "attention_units 0, or above 0 together with embedding_filters",
                 attention_units=self.attention_units, filters=self.embedding_filters)  # fmt: skip
        _require(self.min_scale <= self.scale_prior[0], "min_scale at most the mean of scale_prior",
                 min_scale=self.min_scale, scale_prior=self.scale_prior)  # fmt: skip
        if self.presence != "enumerate":
            _require(
                self.importance_samples == 1 and self.count_bound == "elbo",
                "importance_samples=1 and count_bound='elbo' for every presence but enumerate",
                presence=self.presence, importance_samples=self.importance_samples,
                count_bound=self.count_bound,
            )  # fmt: skip


@settings
class TrainingConfig:
    """How the model is trained."""

    from_json = classmethod(_from_json)

    steps: Count = 5000
    """Training steps in all."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Images a step, over all replicas together."""

    learning_rate: Rate = 1e-3
    """Adam's learning rate at the first step."""

    learning_rate_schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: falls to 0 over all steps."""

    baseline_learning_rate: Rate = 1e-3
    """Adam's learning rate of nvil's baseline, constant (Eslami et al. 2016)."""

    fresh_images: bool = False
    """Compose every training batch anew from the training digits, instead of the data set's images. It
    is more data than published figures are trained on: not to be set beside them."""

    gradient_clip: Annotated[float, Field(ge=1e-6, le=1e12)] = 100.0
    """Largest global norm of the gradient, in nats."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of weights, batches and noise."""

    steps_per_call: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Steps that one call of the compiled function runs."""

    evaluate_every: Count = 500
    """Steps between evaluations on held-out images."""

    evaluation_images: Images = 2000
    """Held-out images of an evaluation while training; the last one is on all of them."""

    stop_at_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Stop at the first evaluation with this count accuracy, for comparing how long runs take: it
    uses the labels. 0: never."""

    checkpoint_every: Count = 500
    """Steps between checkpoints; the last three are kept."""


@settings
class RunConfig:
    """Where the run is kept."""

    preset: Literal[
        "", "multi_mnist", "omniglot", "extrapolation", "interpolation", "representation",
        "two_digits", "five_digits", "nine_digits",
    ] = ""  # fmt: skip
    """Where the defaults of all other flags come from (default: the data set's); --preset NAME --help
    shows them."""

    runs_dir: Text = "runs"
    """Folder of all runs: the one to give to tensorboard --logdir."""

    name: Text = ""
    """The run's own folder (default: preset or data set, digits and seed, numbered when taken)."""

    resume: bool = False
    """Go on from the last checkpoint of the run with this name (default: the newest)."""

    def __post_init__(self):
        plain = self.name.isprintable() and "/" not in self.name and not self.name.startswith(".")
        _require(plain and len(self.name.encode()) <= MOST_NAME,
                 f"name of a folder, no slash in it and no dot before it, of {MOST_NAME} bytes at most",
                 name=self.name)  # fmt: skip


@settings
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
