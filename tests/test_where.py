import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import map_coordinates
from scipy.stats import norm

from air_tf import AIR, load, replaced
from air_tf.model.where import RotatedSettings, ScaleShiftSettings, TwoScalesSettings, tight_boxes
from air_tf.serving.export import export

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


@pytest.mark.parametrize("settings", [ScaleShiftSettings(), TwoScalesSettings(), RotatedSettings()])
def test_a_centred_window_has_its_middle_at_the_place(settings):
    where, place = settings.make(), random.uniform(-1, 1, (6, 2)).astype(np.float32)
    loc = where.loc + random.normal(size=(6, where.size)).astype(np.float32) * [
        [1] + [0] * (where.size - 1)
    ]
    loc[:, -2:] = 0.0
    windows = where.windows(where.centred(np.float32(loc), place), (21, 31, 1)).numpy()
    middles = (windows[:, :2] + windows[:, 2:]) / 2 * (21, 31) - 0.5  # pixels, y and x
    np.testing.assert_allclose(middles, pixels(place[:, ::-1], np.array([21, 31])), atol=1e-4)


def test_two_scales_are_one_where_they_are_equal():
    one, two = ScaleShiftSettings().make(), TwoScalesSettings().make()
    images = random.random((2, 8, 13, 3), np.float32)
    z_one = np.float32([[3, 0.5, -0.3], [0.1, -1.7, 1.9]])
    z_two = z_one[:, [0, 0, 1, 2]]
    np.testing.assert_allclose(two.constrain(z_two)[:, 2:], z_two[:, 2:])
    for where, z in (one, z_one), (two, z_two):
        np.testing.assert_allclose(where.constrain(z)[1, 0], 0.2)
    z_one, z_two = one.constrain(z_one), two.constrain(z_two)
    np.testing.assert_allclose(two.windows(z_two, (8, 13, 3)), one.windows(z_one, (8, 13, 3)), rtol=1e-6)
    np.testing.assert_allclose(two.attend(images, z_two, 5), one.attend(images, z_one, 5), atol=1e-6)
    np.testing.assert_allclose(
        two.prior().log_prob(z_two)[0] - one.prior().log_prob(z_one)[0],
        norm(3, 0.2).logpdf(3), rtol=1e-5,
    )  # fmt: skip


def test_two_scales_equal_scipy():
    """A window of 1/4 of the width and half of the height."""
    image, z_where = random.random((1, 9, 17, 1), np.float32), np.float32([[4, 2, 0.5, -0.3]])
    where, grid = TwoScalesSettings().make(), np.linspace(-1, 1, 5)
    glimpse = where.attend(image, z_where, 5).numpy()[0, ..., 0]
    rows, columns = pixels((grid + 0.3) / 2, 9), pixels((grid - 0.5) / 4, 17)
    np.testing.assert_allclose(glimpse, sample(image[0, ..., 0], rows, columns), atol=1e-5)
    ymin, xmin, ymax, xmax = where.windows(z_where, (9, 17, 1))[0].numpy()
    assert ymax - ymin == pytest.approx(8 / 9 / 2) and xmax - xmin == pytest.approx(16 / 17 / 4)


def rotated(shape, z_where, size):
    """The pixels, (row, column) each, that a turned window samples: worked out in pixels."""
    scale, shift_x, shift_y, angle = z_where
    height, width = np.array(shape[:2]) - 1
    middle = np.array([(1 - shift_y / scale) / 2 * height, (1 - shift_x / scale) / 2 * width])
    down, right = np.meshgrid(*[np.linspace(-1, 1, size) / scale / 2] * 2, indexing="ij")
    down, right = down * height, right * width
    cos, sin = np.cos(angle), np.sin(angle)  # clockwise, with rows downwards
    return middle[0] + sin * right + cos * down, middle[1] + cos * right - sin * down


@pytest.mark.parametrize("shape", [(9, 9, 1), (8, 13, 1)])
def test_a_turned_window_equals_scipy(shape):
    image = random.random((1, *shape)).astype(np.float32)
    z_where = np.float32([[2.5, 0.5, -0.3, 0.7]])
    glimpse = RotatedSettings().make().attend(image, z_where, 5).numpy()[0, ..., 0]
    places = rotated(shape, z_where[0], 5)
    expected = map_coordinates(image[0, ..., 0], places, order=1, mode="grid-constant")
    np.testing.assert_allclose(glimpse, expected, atol=1e-5)


def test_a_window_that_is_not_turned_is_that_of_one_scale():
    one, turned = ScaleShiftSettings().make(), RotatedSettings().make()
    images, glimpses = random.random((2, 8, 13, 3)), random.random((2, 5, 5, 3))
    z_one = np.float32([[3, 0.5, -0.3], [0.1, -1.7, 1.9]])
    z_turned = turned.constrain(np.concatenate([z_one, np.zeros((2, 1), np.float32)], axis=1))
    z_one, images, glimpses = one.constrain(z_one), np.float32(images), np.float32(glimpses)
    np.testing.assert_allclose(
        turned.attend(images, z_turned, 5), one.attend(images, z_one, 5), atol=1e-5
    )
    placed = turned.place(glimpses, z_turned, (8, 13, 3))
    np.testing.assert_allclose(placed, one.place(glimpses, z_one, (8, 13, 3)), atol=1e-5)
    np.testing.assert_allclose(
        turned.windows(z_turned, (8, 13, 3)), one.windows(z_one, (8, 13, 3)), atol=1e-5
    )


def test_placing_turned_and_attending_gives_the_glimpse_back_turned_or_not():
    """A quarter turn puts pixels on pixels, so nothing is lost."""
    turned, glimpse = RotatedSettings().make(), random.random((1, 7, 7, 1)).astype(np.float32)
    z_where = np.float32([[4.0, 1.0, -2.0, np.pi / 2]])
    image = turned.place(glimpse, z_where, (25, 25, 1))
    np.testing.assert_allclose(turned.attend(image, z_where, 7), glimpse, atol=1e-5)
    z_where[:, 3] = 0.0  # seen upright, it lies a quarter clockwise
    upright = turned.attend(image, z_where, 7).numpy()[0, ..., 0]
    np.testing.assert_allclose(upright, np.rot90(glimpse[0, ..., 0], -1), atol=1e-5)


def test_the_box_of_a_turned_window_is_its_hull():
    shape, z_where = (21, 31, 1), np.float32([[3.0, 0.4, -0.2, 0.6]])
    rows, columns = rotated(shape, z_where[0], 2)  # the corners
    expected = np.array([rows.min(), columns.min(), rows.max(), columns.max()]) + 0.5
    windows = RotatedSettings().make().windows(z_where, shape)[0]
    np.testing.assert_allclose(windows, expected / np.tile(shape[:2], 2), atol=1e-5)


def test_the_corners_of_a_turned_window_are_the_glimpses():
    shape, z_where = (21, 31, 1), np.float32([[3.0, 0.4, -0.2, 0.6]])
    places = np.stack(rotated(shape, z_where[0], 2), axis=-1)  # (2, 2, 2), (y, x) of pixels' centres
    expected = [places[0, 0], places[0, 1], places[1, 1], places[1, 0]]  # clockwise
    corners = RotatedSettings().make().corners(z_where, shape)[0]
    np.testing.assert_allclose(corners * shape[:2] - 0.5, expected, atol=1e-4)


@pytest.mark.parametrize("settings", [ScaleShiftSettings(), TwoScalesSettings()])
def test_the_corners_of_an_upright_window_are_its_boxs(settings):
    where, random = settings.make(), np.random.default_rng(0)
    z_where = where.constrain(np.float32(random.normal(2, 1, (5, len(where.loc)))))
    windows = where.windows(z_where, (21, 31, 1)).numpy()
    for (ymin, xmin, ymax, xmax), corners in zip(windows, where.corners(z_where, (21, 31, 1)).numpy()):
        np.testing.assert_array_equal(corners, [(ymin, xmin), (ymin, xmax), (ymax, xmax), (ymax, xmin)])


@pytest.mark.slow
def test_a_model_with_two_scales_is_served_and_saved(small_config, small_images, tmp_path):
    model = AIR(replaced(small_config, where="two_scales", attention_units=4, embedding_filters=(2,),
                         embedding_kernels=(3,), embedding_strides=(2,)))  # fmt: skip
    scene = model.infer(small_images)
    served = load(export(model, tmp_path))
    assert served.endpoints == model.endpoints and served.endpoints.latents["where"] == 4
    latents = {"z_what": scene.z_what, "z_where": scene.z_where}
    np.testing.assert_allclose(served.decode(scene.counts, **latents), scene.reconstructions, atol=1e-5)
    flat = np.array(scene.z_where)
    flat[0, 0, 1] = 0.0
    with pytest.raises(ValueError, match="Expected objects with scales above 0"):
        served.decode(np.full(5, 2), z_what=scene.z_what, z_where=flat)


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
