"""The experiment on table-top scenes in its quick mode, and optimisation of a pose that it knows."""

import numpy as np
import pytest
import tensorflow as tf

from air_tf.data.split import Split
from air_tf.data.table_top import UNIT, Poses
from air_tf.rendering import AnalyticSettings, analytic
from air_tf.rendering.poses import pose_metrics
from experiments.table_top import BASELINES
from experiments.table_top_baselines import optimised
from tests.conftest import run_eagerly
from tests.test_experiments import quickly


@pytest.mark.slow
def test_table_top(tmp_path, cache_dir):
    run, labelled, same, optimisation = quickly("table_top", tmp_path, cache_dir)
    assert run["task"] == "one" and run["steps"] == 2 and run["seconds_per_image"] > 0
    assert [row["baseline"] for row in (labelled, same, optimisation)] == [*BASELINES]
    for row in run, labelled, same, optimisation:
        assert row["flags"] == run["flags"] and 0 <= row["class_accuracy"] <= 1
    assert optimisation["seconds_per_image"] > 0


@pytest.mark.slow
def test_optimisation_finds_the_pose_that_was_drawn():
    """A cube and a ball, from ten starts each."""
    side, renderer = 24, AnalyticSettings().make("solids", (24, 24, 3))
    renderer.solids = renderer.solids[:2]  # a third takes long to compile
    poses = np.array([[0.3, -0.2, 0.4], [-0.4, 0.1, 2.0]])
    table = analytic.table(renderer.rays, side, side)
    images, classes = [], [0, 1]
    for kind, pose in zip(classes, poses):
        layer = renderer.draw(kind, tf.constant(pose[None], tf.float32))
        images.append((layer.colour + (1 - layer.alpha) * table)[0])
    placements = np.concatenate([poses, np.zeros((2, 2))], axis=1)[:, None] / UNIT
    split = Split(
        np.round(255 * np.array(images)).astype(np.uint8), np.ones(2, np.int32),
        np.array(classes, np.int32)[:, None], np.zeros((2, 1, 4), np.float32),
        np.round(placements).astype(np.int32),
    )  # fmt: skip
    found = optimised(renderer, table, split, np.array([1e-4, 1e-4]), seed=0)
    assert found.reached.all() and (found.seconds > 0).all()
    metrics = pose_metrics(found.placed, Poses.of(split).placed(), renderer.solids)
    assert metrics["class_accuracy"] == 1 and metrics["position_error"] < 0.02
    with run_eagerly():
        hopeless = optimised(renderer, table, split[:1], np.array([0.0]), seed=0, chunk=1, chunks=1)
    assert not hopeless.reached.any()
