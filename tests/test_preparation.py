import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from air_tf.image_files import as_png, read_picture
from air_tf.preparation import Preparation, border_median, in_original, prepare, prepare_encoded
from air_tf.scene import Scene

random = np.random.default_rng(0)
SHAPE, PLAIN = (12, 10, 1), Preparation()


@pytest.mark.parametrize("shape", [(1, 1), (4, 5), (6, 3), (1, 90)])
def test_the_ground_is_the_median_of_the_edge_pixels(shape):
    image = random.random((*shape, 3), np.float32)
    edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    expected = np.sort(edges, axis=0)[len(edges) // 2]
    np.testing.assert_array_equal(border_median(tf.constant(image)), expected)


def test_an_image_of_the_models_size_stays_as_it_is():
    image = random.integers(0, 256, (12, 10, 1), np.uint8)
    prepared, edges = prepare(image, SHAPE, PLAIN)
    np.testing.assert_allclose(prepared, image / 255, atol=1e-6)
    np.testing.assert_array_equal(edges, [0, 0, 1, 1])


def test_a_wide_picture_gets_bars_above_and_below():
    prepared, edges = prepare(np.full((6, 20, 1), 255, np.uint8), SHAPE, PLAIN)
    expected = np.zeros((12, 10, 1))
    expected[4:7] = 1  # 6 x 20 shrunk by 1/2
    np.testing.assert_allclose(prepared, expected, atol=1e-6)
    np.testing.assert_allclose(edges, [4 / 12, 0, 3 / 12, 1])


def test_dark_objects_come_out_light_and_the_ground_black():
    how = Preparation(dark_objects=True, subtract_ground=True)
    picture = np.full((12, 10, 1), 200, np.uint8)
    picture[4:6, 3:7] = 50
    expected = np.zeros((12, 10, 1))
    expected[4:6, 3:7] = (150 / 255) / (200 / 255)  # by hand: (x - ground) / (1 - ground)
    np.testing.assert_allclose(prepare(picture, SHAPE, how)[0], expected, atol=1e-5)


def test_each_colour_has_its_own_ground():
    how = Preparation(subtract_ground=True)
    picture = np.tile(np.uint8([0, 100, 255]), (12, 10, 1))
    picture[5, 5] = 255
    prepared, _ = prepare(picture, (12, 10, 3), how)
    expected = np.zeros((12, 10, 3))
    expected[5, 5] = 1, 155 / 255, 0  # one scale for all, so that the colours stay
    np.testing.assert_allclose(prepared, expected, atol=1e-5)


def test_encoded_files_are_prepared_alike():
    pictures = [random.integers(0, 256, size, np.uint8) for size in [(30, 7, 3), (12, 10, 3)]]
    images, edges = prepare_encoded(tf.constant([as_png(p) for p in pictures]), SHAPE, PLAIN)
    for picture, image, edge in zip(pictures, images, edges):
        grey = tf.image.rgb_to_grayscale(picture).numpy()
        expected, expected_edge = prepare(grey, SHAPE, PLAIN)
        np.testing.assert_allclose(image, expected, atol=3 / 255)  # roundings of grey differ
        np.testing.assert_array_equal(edge, expected_edge)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cmyk_jpeg_is_seen_as_pillow_sees_it(channels):
    shape = (12, 10, channels)
    pixels = np.zeros((48, 40, 4), np.uint8)  # whole blocks of a JPEG have one colour
    pixels[:24, :, 0], pixels[24:, :, 2], pixels[:, 16:, 3] = 200, 255, 90  # cyan, yellow, some black
    file = io.BytesIO()
    Image.fromarray(pixels, "CMYK").save(file, "jpeg", quality=100)
    image, _ = prepare_encoded(tf.constant([file.getvalue()]), shape, PLAIN)
    expected, _ = prepare(read_picture(file, channels), shape, PLAIN)
    np.testing.assert_allclose(image[0], expected, atol=3 / 255)
    assert np.ptp(expected) > 0.2


def with_size(png: bytes, width: int, height: int) -> bytes:
    """A PNG file that says that it has another size, with the right checksum."""
    header = png[12:16] + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


@pytest.mark.parametrize(
    "width, height",
    [(0, 4), (4, 0), (8_000, 8_001), (2**31, 4), (2**31, 2**31), (2**32 - 1, 2**32 - 1)],
)
def test_impossible_sizes_are_refused_before_they_are_decoded(width, height):
    png = as_png(np.zeros((4, 5, 3), np.uint8))
    file = with_size(png, width, height)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 1 and at most 64,000,000 pixels"):
        prepare_encoded(tf.constant([file]), SHAPE, PLAIN)


def test_boxes_go_back_to_the_original():
    """A picture that fills the image's middle half in height: a box of it is twice as high there."""
    boxes = np.float32([[[0.25, 0.1, 0.5, 0.3], [0.0, 0.0, 1.0, 1.0], [0.3, 0.3, 0.4, 0.4]]])
    scene = Scene(np.int32([2]), None, boxes, boxes, None, None, None, {})
    moved = in_original(scene, tf.constant([[0.25, 0.0, 0.5, 1.0]]))
    expected = [[[0.0, 0.1, 0.5, 0.3], [0.0, 0.0, 1.0, 1.0], [0.0] * 4]]
    np.testing.assert_allclose(moved.boxes, expected, atol=1e-6)
    np.testing.assert_allclose(moved.tight_boxes, expected, atol=1e-6)
