"""A model on a split: the arrays it infers and the numbers they come to."""

from typing import NamedTuple

import numpy as np

from air_tf import metrics
from air_tf.data.split import Split
from air_tf.model import AIR
from air_tf.objectives import Terms

BATCH_SIZE = 500  # images at a time: about 100 MB of canvases


class Evaluation(NamedTuple):
    """The inferred counts of a split, `(S,)`, and its metrics by name (nats, fractions, pixels)."""

    counts: np.ndarray
    metrics: dict


def evaluate(model: AIR, split: Split) -> Evaluation:
    """Counts and boxes at the posterior means; the ELBO from one sample, the same every time."""
    counts, boxes, terms = [], [], []
    for start in range(0, len(split), BATCH_SIZE):
        images = split[start : start + BATCH_SIZE].float_images()
        scene = model.infer(images)
        counts.append(scene.counts)
        boxes.append(scene.boxes)
        terms.append(model.elbo(images, seed=start))
    counts, boxes = np.concatenate(counts), np.concatenate(boxes)
    terms = Terms(*(np.concatenate(values) for values in zip(*terms)))

    results = {
        "count_accuracy": metrics.count_accuracy(counts, split.counts),
        "count_accuracy_by_count": metrics.count_accuracy_by_count(counts, split.counts),
        **{name: float(values.mean(dtype=np.float64)) for name, values in terms._asdict().items()},
        "boxes_by_count": {
            str(count): metrics.box_metrics(
                boxes, counts, split.boxes, split.counts, split.image_shape[:2], count
            )
            for count in range(1, split.boxes.shape[1] + 1)
        },
    }
    return Evaluation(counts, results)
