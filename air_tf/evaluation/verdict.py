"""What a trained model makes of its pictures, in plain words, without labels, and what to try next."""

from typing import NamedTuple

import numpy as np

from air_tf.data.split import Split
from air_tf.evaluation import metrics
from air_tf.evaluation.evaluate import at_once, infer_all
from air_tf.scene import Scene
from air_tf.serving.predictor import Predictor

LOOKED_AT = 500  # images
FEWEST = 20  # images, below which the same count for all says nothing
VISIBLE = 0.1  # of full light, or opacity, below which nothing is seen
MEASURE = 0.9  # quantile of the objects' brightness, and of their area, that the rest is measured by
HALF = 0.5  # of the brightness of those, above which a pixel is an object's
SMALL = 0.3  # of the area of those, below which an object draws next to nothing
UNEXPLAINED = 0.3  # of the variation, above which much is missing from the reconstructions
SWALLOWED = (
    0.9  # of what the whole scene explains, above which the background alone does the objects' work
)
DISAGREE = 0.1  # of the images, above which empty drawings are counted
RIGHT = 0.9  # of the counts, above which they have not collapsed: all images may have as many objects


class Findings(NamedTuple):
    """What is seen on held-out images, as shares from 0 to 1."""

    max_objects: int
    counts: np.ndarray  # (S,), by q(n)
    drawn: np.ndarray  # (S,), counted objects that draw something
    unexplained: float  # of the variation between pictures, by the reconstructions
    behind: float | None  # the same, by the backgrounds alone; None without a background
    right: float | None = None  # counts that are right, where labels are known
    drawn_right: float | None = None  # the same, of `drawn`


def verdict(model: Predictor, split: Split) -> list[str]:
    """Sentences on what a model makes of the first images of a split that it was not trained on."""
    return sentences(find(model, split))


def find(model: Predictor, split: Split) -> Findings:
    """Looks at what a model makes of the first images of a split."""
    part = split[:LOOKED_AT]
    images, scene = part.float_images(), infer_all(model, part)
    labelled = part.labelled()
    counts, drawn = scene.counts, visible(model, scene)
    right = [
        metrics.count_accuracy(each[labelled], part.counts[labelled]) if labelled.any() else None
        for each in (counts, drawn)
    ]
    behind = unexplained(images, scene.backgrounds) if scene.backgrounds.any() else None
    left = unexplained(images, scene.reconstructions)
    return Findings(scene.boxes.shape[1], counts, drawn, left, behind, *right)


def unexplained(images: np.ndarray, reconstructions: np.ndarray) -> float:
    """The share of what differs between images that reconstructions leave: 1 for the mean image.

    Both `(S, H, W, C)` in [0, 1]. 0 if the images are all the same.
    """
    total = np.square(images - images.mean(axis=0)).sum(dtype=np.float64)
    left = np.square(images - reconstructions).sum(dtype=np.float64)
    return float(left / total) if total > 0 else 0.0


def visible(model: Predictor, scene: Scene) -> np.ndarray:
    """How many of the counted objects of each image draw something, `(S,)`.

    Those that are faint, or of which others hide nearly all, do not.
    """
    size = at_once(model)
    parts = (scene.part(slice(start, start + size)) for start in range(0, len(scene.counts), size))
    masks = np.concatenate([model.layers_of(each).masks for each in parts])
    brightest = masks.max(axis=(-2, -1))
    seen = brightest > VISIBLE
    if not seen.any():
        return np.zeros(len(masks), np.int64)
    areas = (masks > HALF * np.quantile(brightest[seen], MEASURE)).sum(axis=(-2, -1))
    return (areas > SMALL * np.quantile(areas[areas > 0], MEASURE)).sum(axis=-1)


def sentences(found: Findings) -> list[str]:
    """What is right and what is wrong, and for each wrong thing what to try."""
    said = [_explained(found), collapse(found.counts, found.max_objects, found.right)]
    said += [_in_background(found), _empty(found)]
    said = [each for each in said if each]
    if len(said) == 1 and found.unexplained <= UNEXPLAINED:
        counts = ", ".join(map(str, np.unique(found.counts)))
        said.append(f"Nothing looks wrong: the counts are {counts}, and every object is drawn.")
    return said


def _explained(found: Findings) -> str:
    line = f"The reconstructions leave {found.unexplained:.0%} of the pictures' variation unexplained."
    if found.unexplained <= UNEXPLAINED:
        return line
    return (
        f"{line} That is much: try more --steps, the right --object-size, colour (--channels 3), or, if "
        "the ground is not plain, --background vae --composition over."
    )


def collapse(counts: np.ndarray, max_objects: int, right: float | None) -> str | None:
    """How the counts have collapsed and what to try; None if they have not, or images are too few.

    Args:
        counts: `(S,)`.
        max_objects: N.
        right: the share of them that is right, by which the same count for all may be no collapse; None
            where it is not known.
    """
    if len(counts) < FEWEST or (right or 0) > RIGHT:
        return None
    how = metrics.collapsed(counts, max_objects)
    if how is None:
        return None
    count = int(np.bincount(counts).argmax())
    if count == 0:
        remedy = (
            "Objects are not found, or not worth their cost: try the right --object-size, "
            "--attention-gain 3 --pixel-scale 0.2 if that is not chosen yet, a longer warm start "
            "(--warm-start-steps), a greater --rho, and for dark objects --invert yes."
        )
    elif count == max_objects:
        remedy = (
            "Try a smaller --rho, --count-bound marginal if that is not chosen yet, and, if objects "
            "draw the ground, --background vae. If pictures do hold so many, raise --max-objects."
        )
    else:
        remedy = (
            "Try a longer warm start (--warm-start-steps), another --seed, or --count-bound marginal if "
            "that is not chosen yet."
        )
    return f"Collapse: {how}. {remedy}"


def _in_background(found: Findings) -> str | None:
    """Whether the background draws the objects."""
    if found.behind is None or 1 - found.behind < SWALLOWED * (1 - found.unexplained):
        return None
    return (
        f"The background draws nearly all there is: without any object {found.behind:.0%} are left "
        "unexplained. Try a smaller --background-size and --background-resolution, or --background mean."
    )


def _empty(found: Findings) -> str | None:
    """Whether objects are counted that draw nothing."""
    differ = float(np.mean(found.counts != found.drawn))
    if differ <= DISAGREE:
        return None
    right = ""
    if found.right is not None and found.drawn_right is not None:
        right = f" Against the labels {found.right:.0%} and {found.drawn_right:.0%} are right."
    return (
        f"In {differ:.0%} of the pictures objects are counted that draw next to nothing or lie beneath "
        f"others: of {found.counts.mean():.1f} on average {found.drawn.mean():.1f} draw something."
        f"{right} Try more --steps, a smaller --rho or, if not chosen yet, --count-bound marginal."
    )
