"""A table on which one places solids, and what a model infers of them."""

import time
from typing import NamedTuple

import numpy as np
from PIL import Image

from air_tf.data.table_top import (
    LEAST_APART,
    Poses,
    TableTopSettings,
    as_split,
    inferred,
    least_distance,
    rendered,
)
from air_tf.evaluation.plots import as_array
from air_tf.evaluation.table_views import views
from air_tf.rendering.poses import Placed, matched
from air_tf.rendering.solids import SETS

NOTHING = -1  # the class of a place where nothing stands
FIRST = (0, -0.45, 0.3, 25), (1, 0.45, 0.35, 0), (2, 0.1, -0.45, 60)  # what the page begins with
SHARP = 150  # pixels an inch
NUMBERS = len(FIRST[0])  # of each place: the class, x, y, and the angle in degrees


class Found(NamedTuple):
    """What the page shows of a table."""

    picture: Image.Image  # the table; what was inferred, from three sides and from above
    said: str  # the count and the time it took, and how right each solid is, in Markdown


class Table:
    """Draws what one places on a table, and looks at it with a model.

    Args:
        model: an `AIR` of rendered objects.
    """

    def __init__(self, model):
        self.model, self.places = model, model.config.max_objects
        self.solids = SETS[model.config.objects.known_solids]

    def first(self) -> list[float]:
        """The numbers that the page begins with."""
        places = FIRST + ((NOTHING, 0, 0, 0),) * self.places
        return [number for place in places[: self.places] for number in place]

    def example(self, seed: int) -> np.ndarray:
        """An image of a table with some solids, `(H, W, 3)` uint8."""
        counts = tuple(n for n in TableTopSettings.solid_counts if 0 < n <= self.places)
        poses = Poses.random(TableTopSettings(solid_counts=counts), 1, np.random.default_rng(seed))
        image, _, shown = rendered(self.solids, self.model.image_shape[0], poses)
        return as_split(poses, image, shown).images[0]

    def look(self, *numbers: float) -> Found:
        """Looks at a table.

        Args:
            numbers: of each place in turn the class, or NOTHING; x and y, in halves of the table's side;
                and the angle, in degrees.
        """
        poses = self.poses(np.reshape(numbers, (self.places, NUMBERS)))
        image, _, shown = rendered(self.solids, self.model.image_shape[0], poses)
        split = as_split(poses, image, shown)
        started = time.perf_counter()
        scene = self.model.infer(split.float_images()).numpy()
        milliseconds = 1000 * (time.perf_counter() - started)
        figure = views(self.solids, scene, split)
        figure.set_dpi(SHARP)
        pairs = self.compared(inferred(scene), poses.placed())
        said = f"{scene.counts[0]} found in {milliseconds:.0f} ms{self.note(poses)}\n\n{pairs}"
        return Found(Image.fromarray(as_array(figure)).convert("RGB"), said)

    def poses(self, places: np.ndarray) -> Poses:
        """What stands in these places `(M, 4)`, as the poses of one image."""
        places = places[np.argsort(places[:, 0] == NOTHING, kind="stable")]
        count = int((places[:, 0] != NOTHING).sum())
        numbers = np.zeros((1, len(places), 5))
        numbers[0, :, :2], numbers[0, :, 2] = places[:, 1:3], np.radians(places[:, 3])
        return Poses(np.int32([count]), places[None, :, 0].clip(0).astype(np.int32), numbers)

    def note(self, poses: Poses) -> str:
        """What makes a table unlike those that the model was trained on."""
        if least_distance(poses.numbers[0, : poses.counts[0], :2]) >= LEAST_APART:
            return ""
        return "; two solids stand nearer than in any image that it was trained on"

    def compared(self, found: Placed, true: Placed) -> str:
        """Each solid that was found beside the one that is nearest to it, in Markdown."""
        rows = [
            "| Solid | recognised | distance, in % of the table's side | turn, in degrees |",
            "|-|-|-|-|",
        ]
        for kind, right, distance, turn in zip(*matched(found, true, self.solids)):
            angle = "-" if np.isnan(turn) else f"{turn:.1f}"
            yes = "yes" if right else "no"
            rows.append(f"| {self.solids[kind].name} | {yes} | {100 * distance:.1f} | {angle} |")
        return "\n".join(rows)
