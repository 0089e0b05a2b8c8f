import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from air_tf.model.sampling import enlarged, grid, sample_axes, sample_points, shrunk

random = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(9, 9, 1), (8, 13, 3)])
def test_points_equal_scipy_and_crossings_of_rows_and_columns(shape):
    images = random.random((4, *shape)).astype(np.float32)
    y, x = random.uniform(-1.5, 1.5, (2, 4, 6)).astype(np.float32)
    axes = sample_axes(images, y, x).numpy()
    points = sample_points(
        images, np.repeat(y[:, :, None], 6, axis=2), np.repeat(x[:, None], 6, axis=1)
    ).numpy()
    np.testing.assert_allclose(points, axes, atol=1e-5)
    for image, rows, columns, sampled in zip(images, y, x, axes):
        places = (rows + 1) / 2 * (shape[0] - 1), (columns + 1) / 2 * (shape[1] - 1)
        crossings = np.meshgrid(*places, indexing="ij")
        for channel in range(shape[2]):
            expected = map_coordinates(
                image[..., channel], crossings, order=1, mode="grid-constant", cval=0.0
            )
            np.testing.assert_allclose(sampled[..., channel], expected, atol=1e-5)


def test_points_far_outside_are_empty():
    image = np.ones((1, 5, 5, 1), np.float32)
    far = np.full((1, 2, 2), 1e6, np.float32)
    assert not sample_points(image, far, -far).numpy().any()


def test_shrunk_images_are_means_of_blocks_and_keep_the_sum():
    images = random.random((2, 12, 8, 3)).astype(np.float32)
    expected = images.reshape(2, 4, 3, 4, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(shrunk(images, 4, 4), expected, rtol=1e-5)
    uneven = shrunk(images, 5, 3).numpy()  # 12 / 5 rows and 8 / 3 columns of pixels each
    np.testing.assert_allclose(uneven.mean(axis=(1, 2)), images.mean(axis=(1, 2)), rtol=1e-5)


def test_enlarged_images_equal_sampled_ones():
    images = random.random((2, 3, 4, 2)).astype(np.float32)
    y, x = np.tile(grid(10), (2, 1)), np.tile(grid(13), (2, 1))
    np.testing.assert_allclose(enlarged(images, 10, 13), sample_axes(images, y, x), atol=1e-6)
    np.testing.assert_array_equal(enlarged(images, 3, 4), images)
