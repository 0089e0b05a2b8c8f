"""The errors of classes and poses, by hand."""

import numpy as np
import pytest

from air_tf.rendering.poses import Placed, matched, pose_metrics
from air_tf.rendering.solids import SETS

SOLIDS = SETS["solids"]  # a cube, a ball and a can
DEGREES = np.pi / 180


def placed(counts, classes, positions, angles):
    return Placed(*map(np.array, (counts, classes, positions)), DEGREES * np.array(angles, float))


TRUE = placed([2, 1], [[0, 2], [1, 0]], [[[0.5, 0], [-0.5, 0]], [[0, 0], [9, 9]]], [[80, 350], [10, 0]])
# the first image's in the other order; in the second one more, farther away than the true one
FOUND = placed(
    [2, 2], [[2, 0], [0, 1]], [[[-0.5, 0.1], [0.5, 0]], [[0.6, 0], [0, 0.2]]], [[15, -3], [0, 70]]
)


def test_solids_are_paired_by_their_places():
    pairs = matched(FOUND, TRUE, SOLIDS)
    by_class = np.argsort(pairs.classes)  # one pair each
    assert pairs.classes[by_class].tolist() == [0, 1, 2] and pairs.right.all()
    np.testing.assert_allclose(pairs.position_errors[by_class], [0, 0.1, 0.05], atol=1e-9)
    # a cube at -3 is one at 87 degrees; a ball looks the same from everywhere; 350 is -10
    np.testing.assert_allclose(pairs.angle_errors[by_class], [7, np.nan, 25], atol=1e-9)


def test_metrics_are_medians_of_pairs():
    found = pose_metrics(FOUND, TRUE, SOLIDS)
    assert found == {
        "class_accuracy": 1.0,
        "position_error": pytest.approx(0.05),
        "angle_error_cube": pytest.approx(7),
        "angle_error_can": pytest.approx(25),
    }
    mistaken = pose_metrics(FOUND._replace(classes=FOUND.classes * 0), TRUE, SOLIDS)
    assert mistaken["class_accuracy"] == pytest.approx(1 / 3)
    assert mistaken["angle_error_can"] is None and mistaken["angle_error_cube"] == pytest.approx(7)


def test_of_nothing_there_are_no_metrics():
    nothing = FOUND._replace(counts=np.zeros(2, int))
    assert set(pose_metrics(nothing, TRUE, SOLIDS).values()) == {None}
