"""A model on a split: the arrays it infers and the numbers they come to.

References:
    [1] Burda et al. 2016, Importance Weighted Autoencoders. arXiv 1509.00519, equation 8.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from air_tf.air import AIR
from air_tf.data.base import Dataset
from air_tf.data.split import Split
from air_tf.evaluation import metrics
from air_tf.parts import flat
from air_tf.scene import Scene
from air_tf.serving.predictor import Predictor

Measure = Callable[[Scene, Split], dict]
BATCH_SIZE = 500  # images at a time, or fewer if they are large or hold many objects
CANVASES = 2**26  # numbers of their canvases, at most
CHUNK = 20, 50  # images and samples at a time of an importance-weighted bound
BOUND_REPLICA = -2  # stands for a replica in the seeds of noise: none of training's nor of the ELBO's


class Evaluation(NamedTuple):
    """The scenes of a split, arrays of `(S, ...)`, and its metrics by name (nats, fractions, pixels)."""

    scene: Scene
    metrics: dict


def check_images_fit(model: Predictor, dataset: Dataset, split: Split) -> None:
    """Raises ValueError unless the images have the model's size, and show the solids that it draws.

    A SavedModel says whether it draws solids, but not which.
    """
    size, other = ("{} x {} pixels with {} channels".format(*m.image_shape) for m in (model, split))
    if size != other:
        raise ValueError(f"Expected images of the model's size, {size}. Received: {other}.")
    shown = dataset.model_settings.get("known_solids")
    if isinstance(model, AIR):
        drawn = flat(model.config).get("known_solids")
    else:
        drawn = (shown or "solids on a table") if "classes" in model.endpoints.readings else None
    if drawn != shown:
        raise ValueError(
            f"Expected images of what the model draws, {drawn or 'glimpses'}. "
            f"Received: {shown or 'no solids on a table'}."
        )


def infer_all(model: Predictor, split: Split) -> Scene:
    """The split's scenes, at the posterior means, as arrays."""
    return Scene.joined([model.infer(part.float_images()) for part in _parts(split, at_once(model))])


def at_once(model: Predictor) -> int:
    """How many images to infer, or scenes to draw, at a time."""
    of_image = (1 + model.endpoints.max_objects) * math.prod(model.image_shape)
    return int(np.clip(CANVASES // of_image, 1, BATCH_SIZE))


def pixel_errors(scene: Scene, split: Split) -> np.ndarray:
    """Mean squared error of each reconstruction's pixels, `(S,)`."""
    parts = zip(_parts(split), _parts(scene.reconstructions))
    return np.concatenate([metrics.pixel_mse(part.float_images(), recons) for part, recons in parts])


def _progress_bar(description: str, images: int, show: bool) -> tqdm:
    return tqdm(total=images, desc=description, unit=" images", disable=not show, dynamic_ncols=True)


def _parts(values, size: int = BATCH_SIZE):
    """A split, or an array, in parts of this size."""
    return (values[start : start + size] for start in range(0, len(values), size))


def evaluate(model: AIR, split: Split, measure: Measure | None = None) -> Evaluation:
    """What is measured while training; the ELBO is always of the same sample of the latents.

    Args:
        model: `AIR`.
        split: images.
        measure: further metrics of the scenes, of the data set's own (`Dataset.measure`).
    """
    scene = infer_all(model, split)
    results = {"pixel_mse": float(pixel_errors(scene, split).mean(dtype=np.float64))}
    own = {} if measure is None else measure(scene, split)
    return Evaluation(scene, count_metrics(scene, split) | results | elbo_metrics(model, split) | own)


def count_metrics(scene: Scene, split: Split) -> dict:
    """Metrics of counts and boxes, on the images that have them; None where no image has any."""
    found = np.bincount(scene.counts, minlength=scene.boxes.shape[1] + 1) / len(scene.counts)
    result = {
        "mean_count": float(scene.counts.mean()),
        "count_histogram": {str(count): float(share) for count, share in enumerate(found)},
        "count_accuracy": None,
        "count_accuracy_by_count": {},
    }
    labelled, boxed = split.labelled(), split.boxed()
    if labelled.any():
        counts, true_counts = scene.counts[labelled], split.counts[labelled]
        result["count_accuracy"] = metrics.count_accuracy(counts, true_counts)
        result["count_accuracy_by_count"] = metrics.count_accuracy_by_count(counts, true_counts)
    truth = split.boxes[boxed], split.counts[boxed], split.image_shape[:2]
    for name in ("boxes", "tight_boxes"):
        boxes, counts = getattr(scene, name)[boxed], scene.counts[boxed]
        result[f"{name}_by_count"] = {
            str(count): metrics.box_metrics(boxes, counts, *truth, count)
            for count in range(1, split.boxes.shape[1] + 1)
        }
    return result


def elbo_metrics(model: AIR, split: Split) -> dict[str, float]:
    """The ELBO with the count summed out, and its parts: means over the images, nats."""
    size = max(1, at_once(model) // (1 + model.config.images_of_classes()))
    starts = range(0, len(split), size)
    terms = [
        model.elbo(part.float_images(), seed=start) for start, part in zip(starts, _parts(split, size))
    ]
    return {
        name: float(np.concatenate([part[name] for part in terms]).mean(dtype=np.float64))
        for name in terms[0]
    }


def canvases(model: Predictor, scene: Scene) -> np.ndarray:
    """The scenes' reconstructions with the first 0..N objects: `(S, N + 1, H, W, C)`."""
    latents = {f"z_{name}": values for name, values in scene.latents.items()}
    counts = range(scene.boxes.shape[1] + 1)
    drawn = [model.decode(np.full(len(scene.counts), count, np.int32), **latents) for count in counts]
    return np.stack(drawn, axis=1)


def evaluate_fully(
    model: Predictor,
    split: Split,
    segments: Callable[[Split], np.ndarray] | None,
    show_progress: bool = True,
) -> Evaluation:
    """Every metric but the importance-weighted bound; of a SavedModel, all that need no ELBO.

    Args:
        model: `AIR` or `serving.ServedModel`.
        split: images.
        segments: gives the true segments of a part of the split, `(S, H, W)`; None: there are none.
        show_progress: on the terminal.
    """
    scenes, aris = [], []
    with _progress_bar("Evaluating", len(split), show_progress) as bar:
        for part in _parts(split, at_once(model)):
            scene = model.infer(part.float_images()).numpy()
            if segments is not None:
                found = metrics.segments_of(np.asarray(model.layers_of(scene).masks))
                aris.extend(metrics.foreground_ari(found, segments(part)))
            scenes.append(scene)
            bar.update(len(part))
    scene = Scene.joined(scenes)
    results = {
        **count_metrics(scene, split),
        **labelled_metrics(scene, split),
        "pixel_mse": float(pixel_errors(scene, split).mean(dtype=np.float64)),
        "foreground_ari": float(np.mean(aris)) if aris else None,
    }
    if isinstance(model, AIR):
        results |= elbo_metrics(model, split)
    return Evaluation(scene, results)


def labelled_metrics(scene: Scene, split: Split) -> dict:
    """Metrics of the images that have counts and boxes, which take longer to compute."""
    labelled, boxed = split.labelled(), split.boxed()
    result = {}
    if labelled.any():
        counts, true_counts = scene.counts[labelled], split.counts[labelled]
        result["count_error"] = metrics.count_error(counts, true_counts)
        result["confusion_matrix"] = metrics.confusion_matrix(counts, true_counts).tolist()
    if boxed.any() and split.boxes.shape[1]:
        truth = split.boxes[boxed], split.counts[boxed], split.image_shape[:2]
        for prefix, boxes in ("", scene.boxes), ("tight_", scene.tight_boxes):
            found = boxes[boxed], scene.scores[boxed], scene.counts[boxed]
            precisions = metrics.average_precision(*found, *truth)
            result |= {prefix + name: value for name, value in precisions.items()}
    return result


def importance_bounds(
    model: AIR, split: Split, num_samples: int, seed: int = 0, show_progress: bool = True
) -> dict:
    """The importance-weighted bound [1] on log p(x), nats, in chunks of samples.

    Args:
        model: `AIR`.
        split: images.
        num_samples: K, the samples per image.
        seed: of the samples.
        show_progress: on the terminal.

    Returns:
        `summed`, with the count summed out inside each sample, which is tighter, and `sampled`, with
        the count sampled from q(n), as in published figures: each a dictionary of `bound` (mean over
        images) and `standard_error` (of this mean).

    Raises:
        ValueError: `num_samples` is below 1.
    """
    if num_samples < 1:
        raise ValueError(f"Expected at least 1 importance sample. Received: {num_samples}.")

    def chunk_of(images, step, samples):
        noise = model.sample_noise(images.shape[0] * samples, step, BOUND_REPLICA)
        sums = (tf.reduce_logsumexp(w, axis=1) for w in model.log_weights(images, noise, samples))
        return tf.stack(list(sums))

    @functools.cache
    def compiled(size, samples):
        """`chunk_of`, as a concrete function: TensorFlow warns of those that are traced often."""
        specs = tf.TensorSpec((size, *split.image_shape)), tf.TensorSpec((), tf.int32)
        chunk = functools.partial(chunk_of, samples=samples)
        return tf.function(
            chunk, input_signature=specs, jit_compile=model.objects.compiled
        ).get_concrete_function()

    at_once, of_each = CHUNK
    of_each = max(1, of_each // (1 + model.config.images_of_classes()))
    starts = range(0, num_samples, of_each)
    step, bounds = seed * len(split) * len(starts), []
    description = f"Importance-weighted bound, {num_samples:,} samples"
    with _progress_bar(description, len(split), show_progress) as bar:
        for first in range(0, len(split), at_once):
            images = tf.constant(split[first : first + at_once].float_images())
            sums = []
            for start in starts:
                samples = min(of_each, num_samples - start)
                sums.append(compiled(len(images), samples)(images, tf.constant(step)))
                step += 1
            bounds.append(tf.reduce_logsumexp(tf.stack(sums), axis=0) - np.log(num_samples))
            bar.update(len(images))
    summed, sampled = np.concatenate(bounds, axis=1, dtype=np.float64)  # (S,) each
    return {"summed": _mean_and_error(summed), "sampled": _mean_and_error(sampled)}


def _mean_and_error(values: np.ndarray) -> dict[str, float | None]:
    """The mean, and its standard error where there are values enough."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {"bound": float(values.mean()), "standard_error": error}
