"""Solids on a table, seen by a camera: like the 3D scenes of Eslami et al. 2016."""

import functools
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import tensorflow as tf
from pydantic import Field
from scipy.spatial.distance import pdist
from tqdm import tqdm

from air_tf.data import masks
from air_tf.data.base import Dataset, GeneratedBase
from air_tf.data.cache import BAR_AFTER, fingerprint
from air_tf.data.split import COPIES, Split
from air_tf.memory import check_memory
from air_tf.model.composition import Layer, Nearest
from air_tf.parts import kind
from air_tf.rendering import analytic
from air_tf.rendering.camera import Camera
from air_tf.rendering.poses import Placed, pose_metrics
from air_tf.rendering.solids import SETS, Solid
from air_tf.scene import Scene
from air_tf.validation import Images, ModelSide, require, settings

SEED = 16_08_575
BORDER = 0.85  # of the square in which solids stand, in halves of the table's side
LEAST_APART = 0.7  # of two solids' middles, likewise: none stand in each other
JITTER = 15.0, 8.0  # of a camera's direction: degrees around the table, and up and down, at most
UNIT = 1e-5  # of what a placement says, in halves of the table's side and in radians
AT_ONCE = 128  # scenes that are drawn together
MOST_TRIES = 300  # to find a scene whose solids all show enough of themselves
DECIDES = (  # what images look like, besides settings: kept ones with another are made anew
    SEED, BORDER, LEAST_APART, JITTER, UNIT, masks.LEAST_SHOWN, Camera(), analytic.LIGHT.tolist(),
    analytic.AMBIENT, analytic.CHECK_EDGE, analytic.TABLE, analytic.FLOOR, analytic.TABLE_SIDE,
)  # fmt: skip


@settings
class TableTopSettings(GeneratedBase):
    """0 to 3 solids on a table, seen from above at an angle, in colour."""

    drawn_with: ClassVar[str] = "rendered"

    dataset: kind("table_top") = "table_top"

    solids: Literal["solids", "table_ware"] = "solids"
    """solids: a red cube, a blue ball and a checkered can; table_ware: a plate, a mug and a bottle."""

    solid_counts: tuple[Annotated[int, Field(ge=0, le=20)], ...] = (0, 1, 2, 3)
    """How many solids a scene may have, all equally likely."""

    view: Literal["fixed", "jittered"] = "fixed"
    """fixed: the camera stays where it is; jittered: it stands elsewhere in each image."""

    canvas_size: ModelSide = 64
    """Height and width of an image, in pixels."""

    train_images: Images = 30_000
    """Images to train on."""

    test_images: Images = 2_000
    """Held-out images."""

    def __post_init__(self):
        counts = self.solid_counts
        require(max(counts, default=0) > 0 and len({*counts}) == len(counts),
                "solid_counts to be different numbers from 0 on, one of them above 0",
                solid_counts=counts)  # fmt: skip

    def check_trainable(self) -> None:
        require(self.view == "fixed", "view fixed to train with: the renderer has one camera",
                view=self.view)  # fmt: skip

    def load(self) -> Dataset:
        shape = (self.canvas_size, self.canvas_size, 3)
        sizes = {"train": self.train_images, "test": self.test_images}
        what = f"{sum(sizes.values()):,} images of {self.canvas_size} x {self.canvas_size} pixels"
        check_memory(COPIES * sum(sizes.values()) * int(np.prod(shape)), what)
        solids = SETS[self.solids]
        version = fingerprint(solids, self.solid_counts, self.view, self.canvas_size, sizes, DECIDES)

        def make():
            return {name: scenes(self, n, [SEED, i]) for i, (name, n) in enumerate(sizes.items())}

        names = ", ".join(solid.name for solid in solids)
        return Dataset(
            self.kept(version, make, shape), self, version, f"On the table: {names}.",
            {"image_shape": shape, "known_solids": self.solids},
            segments=lambda name, split: segments(whole_and_shown(split, solids)[1]),
            masks=lambda name, split: whole_and_shown(split, solids)[0],
            measure=functools.partial(measured, solids), picture=functools.partial(pictured, solids),
        )  # fmt: skip


class Poses(NamedTuple):
    """What stands where on the tables of some scenes, and where their cameras stand."""

    counts: np.ndarray  # (S,)
    classes: np.ndarray  # (S, M)
    numbers: np.ndarray  # (S, M, 5): x, y, angle; the camera's turn about the table, and up, in radians

    @classmethod
    def random(cls, how: TableTopSettings, number: int, random: np.random.Generator) -> "Poses":
        """Poses of which none stand in each other."""
        most = max(how.solid_counts)
        counts = random.choice(how.solid_counts, number)
        classes = random.integers(len(SETS[how.solids]), size=(number, most))
        numbers = np.zeros((number, most, 5))
        jitter = np.radians(JITTER) * (how.view == "jittered")
        numbers[..., 2] = random.uniform(0, 2 * np.pi, (number, most))
        numbers[..., 3:] = random.uniform(-jitter, jitter, (number, 1, 2))
        for i, count in enumerate(counts):
            numbers[i, :count, :2] = apart(count, random)
        return cls(counts.astype(np.int32), classes.astype(np.int32), numbers)

    @classmethod
    def of(cls, split: Split) -> "Poses":
        """Those that a split's placements tell."""
        return cls(split.counts, split.labels, split.placements * UNIT)

    def placed(self) -> Placed:
        """They without their cameras."""
        return Placed(self.counts, self.classes, self.numbers[..., :2], self.numbers[..., 2])


def apart(count: int, random: np.random.Generator) -> np.ndarray:
    """Places on the table, `(count, 2)`, of which no two are too near.

    Raises:
        ValueError: none were found in MOST_TRIES tries.
    """
    for _ in range(MOST_TRIES):
        places = random.uniform(-BORDER, BORDER, (count, 2))
        if least_distance(places) > LEAST_APART:
            return places
    raise ValueError(
        f"Expected solids that find room on the table within {MOST_TRIES} tries. "
        f"Received: {count} of them."
    )


def least_distance(places: np.ndarray) -> float:
    """Between two of several places `(count, 2)`; infinite where there are not two."""
    return pdist(places).min(initial=np.inf)


def camera(turn: tf.Tensor, up: tf.Tensor) -> Camera:
    """A camera that stands elsewhere, as far away from what it looks at; angles `(B,)` in radians."""
    usual = Camera()
    x, y, z = np.subtract(usual.eye, usual.target)
    distance, elevation = float(np.sqrt(x * x + y * y + z * z)), float(np.arctan2(z, -y)) + up
    level = distance * tf.cos(elevation)
    away = tf.stack([level * tf.sin(turn), -level * tf.cos(turn), distance * tf.sin(elevation)], axis=-1)
    return usual._replace(eye=away + usual.target)


def draw(solids: tuple[Solid, ...], side: int, classes, numbers) -> tuple[tf.Tensor, list[Layer]]:
    """The empty tables `(B, H, W, 3)`, and what each of the solids draws by itself."""
    rays = camera(numbers[:, 0, 3], numbers[:, 0, 4]).rays(side)
    layers = []
    for i in range(classes.shape[1]):
        pose = numbers[:, i, :2], numbers[:, i, 2], tf.ones_like(numbers[:, i, 2])
        looks = [analytic.draw(solid, rays, *pose, side, side) for solid in solids]
        chosen = tf.one_hot(classes[:, i], len(solids))[..., None, None, None]
        layers.append(Layer(*(
            sum(chosen[:, k] * values[k] for k in range(len(solids))) for values in zip(*looks)
        )))  # fmt: skip
    return analytic.table(rays, side, side), layers


@functools.cache
def renderer(solids: tuple[Solid, ...], side: int):
    """What draws scenes, compiled once."""

    @tf.function(jit_compile=True)
    def render(counts, classes, numbers):
        table, layers = draw(solids, side, classes, numbers)
        there = tf.sequence_mask(counts, len(layers), tf.float32)
        image = Nearest().compose(Layer(table), layers, there)
        whole = tf.stack([layer.alpha[..., 0] for layer in layers], axis=1) * there[..., None, None]
        return image, whole > 0.5, Nearest().masks(layers, there)

    return render


def rendered(
    solids: tuple[Solid, ...], side: int, poses: Poses
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `(S, H, W, 3)` in [0, 1]; masks of whole solids, and how much they show, `(S, M, H, W)`."""
    render, parts = renderer(solids, side), []
    at_once = min(AT_ONCE, len(poses.counts))
    for start in range(0, len(poses.counts), at_once):
        part = [values[start : start + at_once] for values in poses]
        length = len(part[0])
        padded = [np.resize(values, (at_once, *values.shape[1:])) for values in part]
        found = render(*padded[:2], tf.constant(padded[2], tf.float32))
        parts.append([values.numpy()[:length] for values in found])
    images, whole, shown = (np.concatenate(values) for values in zip(*parts))
    return images, whole, shown


def scenes(how: TableTopSettings, num_images: int, seed) -> Split:
    """Draws scenes in each of which every solid shows at least a fifth of its pixels.

    Args:
        how: what stands on the table, and how it is seen.
        num_images: to draw.
        seed: of the scenes.

    Raises:
        ValueError: there is no room for so many solids, or they hide each other time and again.
    """
    random, solids, done, tries = np.random.default_rng(seed), SETS[how.solids], [], 0
    bar = tqdm(total=num_images, desc="Drawing tables", unit=" images", leave=False, delay=BAR_AFTER)
    while sum(map(len, done)) < num_images:
        poses = Poses.random(how, AT_ONCE, random)
        poses = poses._replace(numbers=np.round(poses.numbers / UNIT) * UNIT)
        image, whole, shown = rendered(solids, how.canvas_size, poses)
        owned = shown > 0.5
        pixels, left = whole.sum(axis=(2, 3)), (whole & owned).sum(axis=(2, 3))
        there = np.arange(pixels.shape[1]) < poses.counts[:, None]
        kept = (~there | ((left >= masks.LEAST_SHOWN * pixels) & (pixels > 0))).all(axis=1)
        done.append(as_split(poses, image, shown)[kept])
        tries += 1
        if tries == MOST_TRIES and not any(map(len, done)):
            raise ValueError(
                f"Expected solids of which each shows a fifth of its pixels. Received: solid_counts="
                f"{how.solid_counts}, which hide each other in all of {MOST_TRIES * AT_ONCE:,} scenes."
            )
        bar.update(len(done[-1]))
    bar.close()
    fields = (np.concatenate([getattr(part, name) for part in done]) for name in Split.__annotations__)
    return Split(*fields)[:num_images]


def as_split(poses: Poses, images: np.ndarray, shown: np.ndarray) -> Split:
    """Images of tables as a `Split`.

    Args:
        poses: of what stands there.
        images: `(S, H, W, 3)` in [0, 1].
        shown: how much of each pixel each solid shows, `(S, M, H, W)`.
    """
    there = np.arange(shown.shape[1]) < poses.counts[:, None]
    edges = np.array([[masks.ink_edges(mask) for mask in of_image] for of_image in shown > 0.5])
    return Split(
        np.round(np.clip(images, 0, 1) * 255).astype(np.uint8), poses.counts, poses.classes * there,
        (edges / images.shape[1]).astype(np.float32),
        np.round(poses.numbers / UNIT * there[..., None]).astype(np.int32),
    )  # fmt: skip


def whole_and_shown(split: Split, solids: tuple[Solid, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the solids with what is hidden of them, bool, and how much they show: `(S, M, H, W)`."""
    _, whole, shown = rendered(solids, split.image_shape[0], Poses.of(split))
    return whole, shown


def measured(solids: tuple[Solid, ...], scene: Scene, split: Split) -> dict:
    """`pose_metrics` of the scenes that were inferred; none of a model without solids."""
    if "classes" not in scene.readings:
        return {}
    return pose_metrics(inferred(scene), Poses.of(split).placed(), solids)


def inferred(scene: Scene) -> Placed:
    """What scenes of solids say of them."""
    read = scene.readings
    return Placed(scene.counts, read["classes"], read["positions"], read["angles"])


def pictured(solids: tuple[Solid, ...], scene: Scene, split: Split) -> dict:
    """The scenes that were inferred, drawn anew from several sides; none of a model without solids."""
    if "classes" not in scene.readings:
        return {}
    from air_tf.evaluation.table_views import views  # matplotlib takes its time

    caption = "What was inferred, rendered again from three sides, and from above (true poses in grey)."
    return {"views": (caption, views(solids, scene, split))}


def segments(shown: np.ndarray) -> np.ndarray:
    """Which solid each pixel belongs to, from 1, or to the table, 0: `(S, H, W)`."""
    table = 1 - shown.sum(axis=1, keepdims=True)
    return np.concatenate([table, shown], axis=1).argmax(axis=1)
