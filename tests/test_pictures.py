import io

import numpy as np
import pytest
from PIL import Image

from air_tf.pictures import as_png, find_pictures, inverted, read_picture, shrunk, takes_light_grounds

random = np.random.default_rng(0)
COLOURS = random.integers(0, 256, (5, 7, 3), np.uint8)


def file_of(picture, kind="png", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    file.seek(0)
    return file


def test_a_png_is_read_as_it_was_written():
    np.testing.assert_array_equal(read_picture(file_of(Image.fromarray(COLOURS))), COLOURS)
    np.testing.assert_array_equal(read_picture(io.BytesIO(as_png(COLOURS))), COLOURS)


def test_grey_is_the_luminance_of_colour():
    grey = read_picture(file_of(Image.fromarray(COLOURS)), channels=1)
    assert grey.shape == (5, 7, 1)
    np.testing.assert_allclose(grey[..., 0], COLOURS @ [0.299, 0.587, 0.114], atol=1)  # ITU-R 601


@pytest.mark.parametrize("orientation, turn", [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_followed(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = read_picture(file_of(Image.fromarray(COLOURS), exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(COLOURS, turn))


def test_what_is_transparent_is_white():
    alpha = np.zeros((5, 7, 1), np.uint8)
    alpha[:2] = 255
    pixels = read_picture(file_of(Image.fromarray(np.concatenate([COLOURS, alpha], -1))))
    np.testing.assert_array_equal(pixels[:2], COLOURS[:2])
    np.testing.assert_array_equal(pixels[2:], 255)


def test_sixteen_bits_keep_the_higher_eight():
    levels = np.arange(0, 65536, 4096, np.uint16).reshape(4, 4)
    pixels = read_picture(file_of(Image.fromarray(levels)), channels=1)
    np.testing.assert_array_equal(pixels[..., 0], levels >> 8)


def test_palettes_and_cmyk_become_colours():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    palette = Image.fromarray(red).quantize(4)
    np.testing.assert_array_equal(read_picture(file_of(palette)), red)
    cmyk = read_picture(file_of(Image.fromarray(red).convert("CMYK"), "jpeg"))
    np.testing.assert_allclose(cmyk.astype(int), red, atol=6)


def test_what_is_no_picture_is_refused(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    whole = as_png(random.integers(0, 256, (90, 90, 3), np.uint8))
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "gif.png").write_bytes(file_of(Image.fromarray(COLOURS), "gif").read())
    for name in ("text.png", "cut.png", "gif.png", "none.png"):
        with pytest.raises(ValueError, match=f"Expected a PNG or JPEG picture. Received: .*{name}"):
            read_picture(tmp_path / name)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    huge = tmp_path / "huge.png"
    Image.new("1", (20_000, 20_000)).save(huge)
    with pytest.raises(ValueError, match="huge.png"):
        read_picture(huge)
    large = tmp_path / "large.png"
    Image.new("1", (9_000, 9_000)).save(large)
    with pytest.raises(ValueError, match="9000 x 9000 pixels"):
        read_picture(large)


def test_files_are_found_by_glob_folder_or_name(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("b.PNG", "a.jpg", "c.jpeg", "d.txt", "inner/e.png"):
        (tmp_path / name).touch()
    flat = [tmp_path / name for name in ("a.jpg", "b.PNG", "c.jpeg")]
    assert find_pictures(str(tmp_path)) == flat
    assert find_pictures(f"{tmp_path}/*") == flat
    assert find_pictures(f"{tmp_path}/**/*.png") == [tmp_path / "inner" / "e.png"]
    assert find_pictures(str(tmp_path / "d.txt")) == [tmp_path / "d.txt"]
    with pytest.raises(ValueError, match="which names none"):
        find_pictures(f"{tmp_path}/*.gif")


def test_a_picture_for_a_model_is_not_larger_than_need_be():
    assert shrunk(np.zeros((600, 3000, 3), np.uint8)).shape == (205, 1024, 3)
    np.testing.assert_array_equal(shrunk(COLOURS), COLOURS)


def test_greys_are_turned_round_where_the_border_is_light():
    light = np.full((9, 9, 3), 240, np.uint8)
    light[3:6, 3:6] = 10
    np.testing.assert_array_equal(inverted(light), 255 - light)
    np.testing.assert_array_equal(inverted(255 - light), 255 - light)


def test_a_model_tells_whether_it_takes_light_grounds(small_config):
    import dataclasses

    import air_tf

    assert not takes_light_grounds(air_tf.AIR(small_config))
    dark = dataclasses.replace(small_config, dark_objects=True)
    assert takes_light_grounds(air_tf.AIR(dark))
