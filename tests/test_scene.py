import numpy as np
import pytest
import tensorflow as tf

from air_tf.drawing import STEP_COLOURS, ZOOM
from air_tf.scene import Scene


def scene_of(counts):
    n, size = len(counts), (20, 20, 1)
    boxes = np.tile(np.float32([[0.1, 0.2, 0.5, 0.6], [0.6, 0.6, 0.9, 0.9]]), (n, 1, 1))
    probs = np.tile(np.float32([0.25, 0.5, 0.25]), (n, 1))
    black = np.zeros((n, *size), np.float32)
    return Scene(
        np.int32(counts), probs, boxes, boxes, probs[:, 1:], black, black,
        {"what": np.zeros((n, 2, 4), np.float32), "where": np.ones((n, 2, 3), np.float32)},
    )  # fmt: skip


def test_a_scene_prints_as_a_table():
    lines = str(scene_of([1, 2, 0])).splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["0", "1", "50.0%", "10", "20", "50", "60"]
    assert lines[2].split() == ["1", "2", "25.0%", "10", "20", "50", "60,", "60", "60", "90", "90"]
    assert lines[3].split() == ["2", "0", "25.0%"]
    assert str(scene_of([1] * 25)).splitlines()[-1] == "and 15 more"


def test_a_scene_of_tensors_prints_and_a_symbolic_one_does_too():
    tensors = tf.nest.map_structure(tf.constant, scene_of([1]))
    assert str(tensors) == str(scene_of([1]))

    @tf.function
    def traced(counts):
        assert "Tensor" in str(tensors._replace(counts=counts))
        return counts

    traced(tf.constant([1]))


def test_a_scene_draws_its_boxes():
    picture = np.asarray(scene_of([1, 0]).draw(np.zeros((2, 20, 20, 1))))
    side = 20 * ZOOM
    assert picture.shape[0] == side
    red = (picture == STEP_COLOURS[0]).all(axis=-1)
    rows, columns = np.nonzero(red)
    assert (rows.min(), rows.max()) == (0.1 * side, 0.5 * side - 1)
    assert (columns.min(), columns.max()) == (0.2 * side, 0.6 * side - 1)
    assert not (picture == STEP_COLOURS[1]).all(axis=-1).any()  # past the count
    assert scene_of([1]).draw().size == (side, side)  # on the reconstructions


def test_other_images_are_refused():
    with pytest.raises(ValueError, match="Expected 2 images. Received: 3"):
        scene_of([1, 0]).draw(np.zeros((3, 20, 20, 1)))
