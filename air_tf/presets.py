"""Whole configs by name."""

from air_tf.config import Config
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.proposal import FOR_FAINT
from air_tf.model.where import ScaleShiftSettings
from air_tf.parts import replaced

# DAIR with attention over places 4 pixels apart, 8 x 8 of a 50 x 50 image, each of which sees 22 x 22
# pixels
_DAIR = {
    "difference": True, "attention_units": 64,
    "embedding_filters": (16, 32), "embedding_kernels": (6, 5), "embedding_strides": (4, 1),
}  # fmt: skip


def _digits(counts: range, canvas_size: int, **changes) -> Config:
    """DAIR with a warm start, without which it finds none of many digits.

    They are as large as on multi-MNIST: their scale and its deviation grow with the canvas.
    """
    larger = canvas_size / MultiMNISTSettings.canvas_size
    mean, deviation = ScaleShiftSettings.scale_prior
    scale_prior = (round(mean * larger, 4), round(deviation * larger, 4))
    return replaced(
        Config(), digit_counts=tuple(counts), canvas_size=canvas_size, scale_prior=scale_prior,
        warm_start_steps=1500, **_DAIR, **changes,
    )  # fmt: skip


MULTI_MNIST = Config()
# Eslami et al. 2016: counts that training does not show, to which a warm start would not let it get
EXTRAPOLATION = replaced(MULTI_MNIST, max_objects=4, warm_start_steps=0, **_DAIR)
INTERPOLATION = replaced(
    MULTI_MNIST, digit_counts=(0, 1, 3), max_objects=4, warm_start_steps=0, steps=10_000,
    rho_schedule="exponential", rho_start=0.5, rho=0.01, rho_steps=2000, **_DAIR,
)  # fmt: skip
REPRESENTATION = replaced(MULTI_MNIST, warm_start_steps=0, steps=10_000, **_DAIR)
TWO_DIGITS = _digits(range(3), 50, max_objects=3, steps=3000)
FIVE_DIGITS = _digits(range(6), 80, max_objects=6, steps=3000)
# q(n) of the plain bound may grow certain of all N before they are learnt, from where no gradient leads
# back; q(n) fitted to the responsibilities of n always has one
NINE_DIGITS = _digits(range(10), 100, max_objects=10, steps=2000, count_bound="marginal")
# Strokes as objects; each covers about a third of the image. 6 x 6 places
OMNIGLOT = replaced(
    MULTI_MNIST, dataset="omniglot", max_objects=4, difference=True, warm_start_steps=0,
    scale_prior=(3.0, 0.5), steps=2500,
    embedding_filters=(16, 32), embedding_kernels=(6, 5), embedding_strides=(3, 2),
)  # fmt: skip
# The benchmark's digits, which its own model finds on other grounds too
NOISY = replaced(MULTI_MNIST, dataset="noisy", background="mean", composition="over")
GRID = replaced(
    MULTI_MNIST, dataset="grid", background="vae", background_resolution=0, composition="over"
)
# Small or coloured objects. The plain bound often grows certain of N here too
_SMALL = {**_DAIR, "count_bound": "marginal", "max_objects": 3, "steps": 3000}
SPRITES = replaced(
    MULTI_MNIST, dataset="sprites", scale_prior=(3.2, 0.3), glimpse_size=20, **(_SMALL | {"steps": 5000})
)
SMALL_MNIST = replaced(
    MULTI_MNIST, dataset="small_mnist", scale_prior=(4.0, 0.3), glimpse_size=18,
    **(_SMALL | FOR_FAINT | {"steps": 5000}),
)  # fmt: skip
MULTI_DSPRITES = replaced(
    MULTI_MNIST, dataset="multi_dsprites", scale_prior=(4.5, 0.5), glimpse_size=18, **_SMALL
)
# For any data set: they leave the images as they are
FEW_OBJECTS = replaced(MULTI_MNIST, **(_SMALL | {"max_objects": 4}))
MANY_OBJECTS = replaced(MULTI_MNIST, **(_SMALL | {"max_objects": 10, "steps": 4000}))
PHOTOGRAPHS = replaced(MANY_OBJECTS, background="vae", composition="over")
# The background is the table, as one camera sees it
TABLE_TOP = replaced(
    MULTI_MNIST, dataset="table_top", objects="rendered", composition="nearest", background="mean",
    difference=True, attention_units=128, pixel_scale=0.2, count_bound="marginal",
    batch_size=32, steps=3000,
    embedding_filters=(32, 64), embedding_kernels=(6, 5), embedding_strides=(4, 1),
)  # fmt: skip
PRESETS = {
    "multi_mnist": MULTI_MNIST, "omniglot": OMNIGLOT, "extrapolation": EXTRAPOLATION,
    "interpolation": INTERPOLATION, "representation": REPRESENTATION, "two_digits": TWO_DIGITS,
    "five_digits": FIVE_DIGITS, "nine_digits": NINE_DIGITS, "noisy": NOISY, "grid": GRID,
    "sprites": SPRITES, "small_mnist": SMALL_MNIST, "multi_dsprites": MULTI_DSPRITES,
    "table_top": TABLE_TOP, "few_objects": FEW_OBJECTS, "many_objects": MANY_OBJECTS,
    "photographs": PHOTOGRAPHS,
}  # fmt: skip
