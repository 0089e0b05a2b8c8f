import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates

from air_tf.model.where import ScaleShiftSettings, tight_boxes

random = np.random.default_rng(0)
where = ScaleShiftSettings().make()


def sample(image, rows, columns):
    """Bilinear sampling of (H, W), 0 outside, by SciPy."""
    grid = np.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(image, grid, order=1, mode="grid-constant", cval=0.0)


def pixels(coordinates, size):
    return (coordinates + 1) / 2 * (size - 1)


@pytest.mark.parametrize("shape", [(9, 9, 1), (8, 13, 3)])
def test_attend_equals_scipy(shape):
    images = random.random((4, *shape), np.float32)
    z_where = np.float32([[3, 0.5, -0.3], [1, 0, 0], [0.7, 0.2, 0.1], [2, -1.7, 1.9]])
    glimpses = where.attend(images, z_where, 5).numpy()
    for image, (scale, shift_x, shift_y), glimpse in zip(images, z_where, glimpses):
        grid = np.linspace(-1, 1, 5)
        rows = pixels((grid - shift_y) / scale, shape[0])
        columns = pixels((grid - shift_x) / scale, shape[1])
        for channel in range(shape[2]):
            expected = sample(image[..., channel], rows, columns)
            np.testing.assert_allclose(glimpse[..., channel], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 9, 1), (8, 13, 3)])
def test_place_equals_scipy(shape):
    glimpses = random.random((3, 5, 5, shape[2]), np.float32)
    z_where = np.float32([[3, 0.5, -0.3], [1, 0, 0], [2, -1.7, 1.9]])
    placed = where.place(glimpses, z_where, shape).numpy()
    for glimpse, (scale, shift_x, shift_y), image in zip(glimpses, z_where, placed):
        rows = pixels(scale * np.linspace(-1, 1, shape[0]) + shift_y, 5)
        columns = pixels(scale * np.linspace(-1, 1, shape[1]) + shift_x, 5)
        for channel in range(shape[2]):
            expected = sample(glimpse[..., channel], rows, columns)
            np.testing.assert_allclose(image[..., channel], expected, atol=1e-5)


def test_attend_after_place_gives_the_glimpse_back():
    glimpse = random.random((1, 7, 7, 1), np.float32)
    z_where = np.float32([[4.0, 1.0, -2.0]])  # the image's pixels fall on the glimpse's
    image = where.place(glimpse, z_where, (25, 25, 1))
    np.testing.assert_allclose(where.attend(image, z_where, 7), glimpse, atol=1e-6)


def test_a_bright_pixel_lands_in_its_box():
    image = np.zeros((1, 30, 20, 1), np.float32)
    image[0, 6, 13] = 1
    z_where = np.float32([[5.0, 0.0, 0.0]])
    z_where[0, 1] = -5 * (13 / 19 * 2 - 1)  # centres the window on column 13
    z_where[0, 2] = -5 * (6 / 29 * 2 - 1)  # and on row 6
    glimpse = where.attend(image, z_where, 9)[0, ..., 0].numpy()
    assert np.unravel_index(glimpse.argmax(), glimpse.shape) == (4, 4)
    ymin, xmin, ymax, xmax = where.windows(z_where, (30, 20, 1))[0].numpy()
    np.testing.assert_allclose([(ymin + ymax) / 2 * 30, (xmin + xmax) / 2 * 20], [6.5, 13.5], rtol=1e-5)


def test_windows_of_the_whole_image_and_more():
    half_pixel = 0.5 / 11
    box = where.windows(tf.constant([[1.0, 0.0, 0.0]]), (11, 11, 1)).numpy()[0]
    np.testing.assert_allclose(box, [half_pixel, half_pixel, 1 - half_pixel, 1 - half_pixel], atol=1e-6)
    twice = where.windows(tf.constant([[0.5, 0.0, 0.0]]), (11, 11, 1))[0]
    np.testing.assert_allclose(twice, [-4.5 / 11, -4.5 / 11, 15.5 / 11, 15.5 / 11], atol=1e-6)


def test_gradients_equal_finite_differences():
    image = tf.constant(random.random((1, 8, 8, 1)), tf.float64)
    z_where = tf.constant([[1.7, 0.213, -0.37]], tf.float64)
    weights = random.random((1, 4, 4, 1))

    def total(z):
        return tf.reduce_sum(where.attend(image, z, 4) * weights)

    theory, numeric = tf.test.compute_gradient(total, [z_where], delta=1e-6)
    np.testing.assert_allclose(theory[0], numeric[0], atol=1e-5)


def test_tight_boxes_hold_the_ink():
    """Against NumPy's own search, on images with a few bright pixels."""
    placed = random.random((40, 9, 7, 1), np.float32) ** 8
    placed[3] = 0.0
    found = tight_boxes(tf.constant(placed[..., 0]), 0.3).numpy()
    for image, box in zip(placed[..., 0], found):
        rows, columns = np.nonzero(image >= 0.3 * image.max()) if image.max() else ([], [])
        expected = [rows.min() / 9, columns.min() / 7, (rows.max() + 1) / 9, (columns.max() + 1) / 7] \
            if len(rows) else [0] * 4  # fmt: skip
        np.testing.assert_allclose(box, expected, atol=1e-6)
