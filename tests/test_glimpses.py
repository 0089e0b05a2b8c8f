import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from air_tf.evaluation.glimpses import SIDE, crops, glimpses_and_recons
from air_tf.model.where import CORNERS, RotatedSettings, ScaleShiftSettings
from air_tf.scene import Layers

random = np.random.default_rng(0)
SHAPE = 21, 31, 3


def test_an_upright_crop_equals_scipy_and_is_black_outside():
    images, box = random.random((1, *SHAPE)), np.array([[0.3, -0.2, 0.7, 0.4]])
    (cut,) = crops(images, box[:, CORNERS], 5)
    rows = np.linspace(0.3 * 21 - 0.5, 0.7 * 21 - 0.5, 5)
    columns = np.linspace(-0.2 * 31 - 0.5, 0.4 * 31 - 0.5, 5)
    places = np.meshgrid(rows, columns, indexing="ij")
    for channel in range(3):
        expected = map_coordinates(images[0, ..., channel], places, order=1, mode="grid-constant")
        np.testing.assert_allclose(cut[..., channel], expected, atol=1e-5)
    assert not cut[:, 0].any()


def test_an_empty_window_is_black():
    images = np.ones((2, *SHAPE), np.float32)
    corners = np.array([[0.2, 0.2, 0.8, 0.8], [0, 0, 0, 0]])[:, CORNERS]
    cut = crops(images, corners)
    assert cut[0].all() and not cut[1].any()


@pytest.mark.parametrize(
    ("settings", "z_where"),
    [(ScaleShiftSettings(), [3.0, 0.4, -0.2]), (RotatedSettings(), [3.0, 0.4, -0.2, 0.6])],
)
def test_a_glimpse_is_what_the_model_attends_to(settings, z_where):
    where, images = settings.make(), random.random((1, *SHAPE)).astype(np.float32)
    z_where = np.float32([z_where])
    attended = where.attend(images, z_where, SIDE)
    drawn = where.place(attended, z_where, SHAPE)
    layers = Layers(drawn[:, None], np.ones((1, 1, *SHAPE[:2])), where.corners(z_where, SHAPE)[:, None])
    glimpses, recons = glimpses_and_recons(images, layers)
    np.testing.assert_allclose(glimpses[:, 0], attended, atol=1e-4)
    np.testing.assert_allclose(recons[:, 0], where.attend(drawn, z_where, SIDE), atol=1e-4)
