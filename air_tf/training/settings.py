"""How long and how a model is trained, and where its run is kept."""

from typing import Annotated, Literal

from pydantic import Field

from air_tf.validation import Count, Images, Rate, Text, require, settings

MOST_NAME = 200  # bytes of a run's name


@settings
class TrainingConfig:
    """How the model is trained."""

    steps: Count = 5000
    """Training steps in all."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Images per step, over all replicas together."""

    learning_rate: Rate = 1e-3
    """Adam's learning rate at the first step."""

    learning_rate_schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: falls to 0 over all steps."""

    init_from: Text = ""
    """A preset (its name, its folder or hf://USER/NAME) or the folder of a run to start from, instead of
    from random weights: fine-tuning. Weights of another shape or that the model lacks are left out."""

    fresh_images: bool = False
    """Draw new images for every training batch, with data sets that are generated. This is more data
    than published figures are trained on, so do not compare with them."""

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
        "two_digits", "five_digits", "nine_digits", "noisy", "grid", "sprites", "small_mnist",
        "multi_dsprites", "table_top", "few_objects", "many_objects", "photographs",
    ] = ""  # fmt: skip
    """A preset gives the defaults of all other flags (default: the data set's own preset, or what a look
    at one's own pictures proposes). few_objects, many_objects and photographs go with any data set but
    table_top. --preset NAME --help shows them."""

    runs_dir: Text = "runs"
    """Folder of all runs: the one to give to tensorboard --logdir."""

    name: Text = ""
    """The run's own folder (default: preset or data set, digits and seed, numbered when taken)."""

    resume: bool = False
    """Go on from the last checkpoint of the run with this name (default: the newest)."""

    def __post_init__(self):
        plain = self.name.isprintable() and "/" not in self.name and not self.name.startswith(".")
        require(plain and len(self.name.encode()) <= MOST_NAME,
                f"name of a folder, no slash in it and no dot before it, of {MOST_NAME} bytes at most",
                name=self.name)  # fmt: skip
