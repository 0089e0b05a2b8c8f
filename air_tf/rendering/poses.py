"""How well the classes and poses of solids on a table are inferred."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from air_tf.rendering.solids import Solid

SIDE = 2.0  # of the table, in halves of it


class Placed(NamedTuple):
    """Solids on tables: the first `counts` of each image's M."""

    counts: np.ndarray  # (S,)
    classes: np.ndarray  # (S, M)
    positions: np.ndarray  # (S, M, 2), in halves of the table's side
    angles: np.ndarray  # (S, M), radians


class Matched(NamedTuple):
    """Pairs of a true and an inferred solid, `(P,)` each."""

    classes: np.ndarray  # the true ones
    right: np.ndarray  # whether the inferred class is the true one
    position_errors: np.ndarray  # distances, as a share of the table's side
    angle_errors: np.ndarray  # degrees; NaN where the class is wrong or has no angle


def matched(found: Placed, true: Placed, solids: tuple[Solid, ...]) -> Matched:
    """Pairs the solids of each image such that the sum of their distances is least.

    The error of an angle is that up to the solid's symmetry: at most 45 degrees for a cube. It is NaN
    where the class is wrong, and for solids that look the same from all sides.
    """
    pairs = []
    for i, (count, true_count) in enumerate(zip(found.counts, true.counts)):
        between = found.positions[i, :count, None] - true.positions[i, None, :true_count]
        distances = np.linalg.norm(between, axis=-1)
        for j, k in zip(*linear_sum_assignment(distances)):
            kind = true.classes[i, k]
            right, error = found.classes[i, j] == kind, np.nan
            if right and solids[kind].symmetry:
                period = 360 / solids[kind].symmetry
                away = np.degrees(found.angles[i, j] - true.angles[i, k])
                error = abs((away + period / 2) % period - period / 2)
            pairs.append((kind, right, distances[j, k] / SIDE, error))
    kinds, right, position_errors, angle_errors = np.array(pairs, float).reshape(-1, 4).T
    return Matched(kinds.astype(int), right.astype(bool), position_errors, angle_errors)


def pose_metrics(found: Placed, true: Placed, solids: tuple[Solid, ...]) -> dict:
    """Metrics of the solids that `matched` pairs; None where there are none.

    Returns:
        `class_accuracy`, `position_error` (median, a share of the table's side), and `angle_error_NAME`
        (median, degrees) of each solid whose angle can be seen.
    """
    pairs = matched(found, true, solids)

    def median(values):
        return float(np.median(values)) if len(values) else None

    result = {
        "class_accuracy": float(pairs.right.mean()) if len(pairs.right) else None,
        "position_error": median(pairs.position_errors),
    }
    for kind, solid in enumerate(solids):
        if solid.symmetry:
            errors = pairs.angle_errors[pairs.classes == kind]
            result[f"angle_error_{solid.name}"] = median(errors[~np.isnan(errors)])
    return result
