import io
import os
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from air_tf import image_files, memory
from air_tf.image_files import (
    LONGEST,
    as_array,
    as_png,
    find_pictures,
    read_picture,
    shrunk,
)

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


@pytest.mark.parametrize("orientation", [0, 1, 3, 6, 8, 9])
def test_sizes_are_those_of_the_picture_as_it_is_looked_at(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("png", "jpeg"):
        Image.fromarray(COLOURS).save(tmp_path / f"picture.{kind}", exif=exif)
        read = read_picture(tmp_path / f"picture.{kind}")
        assert image_files.picture_size(tmp_path / f"picture.{kind}") == read.shape[:2]


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
    clear = read_picture(file_of(Image.fromarray(levels), transparency=4096), channels=1)
    np.testing.assert_array_equal(clear[..., 0], np.where(levels == 4096, 255, levels >> 8))


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


def test_no_side_is_longer_than_that_of_a_jpeg(tmp_path):
    """A picture of 1 x 60,000,000 pixels would take gigabytes to be shrunk."""
    for size in ((LONGEST + 1, 1), (1, LONGEST + 1)):
        Image.new("1", size).save(tmp_path / "long.png")
        with pytest.raises(ValueError, match=f"long.png: {size[0]} x {size[1]} pixels"):
            read_picture(tmp_path / "long.png")
    Image.new("1", (1, LONGEST)).save(tmp_path / "long.png")
    assert shrunk(read_picture(tmp_path / "long.png")).shape == (1024, 1, 3)
    assert read_picture(file_of(Image.new("L", (1, 1), 7))).tolist() == [[[7, 7, 7]]]


def test_odd_files_that_can_be_read_bring_no_warnings():
    palette = Image.fromarray(COLOURS).quantize(4)
    exif = Image.Exif()
    exif[0x0112] = 1
    broken = (
        file_of(Image.fromarray(COLOURS), "jpeg", exif=exif).read().replace(b"\x01\x12", b"\x77\x12")
    )
    moving = file_of(Image.fromarray(COLOURS), save_all=True, append_images=[Image.new("RGB", (7, 5))])
    control = moving.read()
    start = control.index(b"acTL") + 4
    no_frames = control[:start] + bytes(4) + control[start + 4 :]
    crc = zlib.crc32(no_frames[start - 4 : start + 8]).to_bytes(4, "big")
    no_frames = no_frames[: start + 8] + crc + no_frames[start + 12 :]
    files = file_of(palette, transparency=bytes([0, 9])), io.BytesIO(broken), io.BytesIO(no_frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file in files:
            assert read_picture(file).shape == (5, 7, 3)
            file.seek(0)
            assert read_picture(file, channels=1).shape == (5, 7, 1)


def test_only_regular_files_are_pictures(tmp_path):
    """A pipe has no end: who opens it waits."""
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / "circle.png").symlink_to("circle.png")
    assert find_pictures(str(tmp_path)) == [tmp_path / "a.png"]
    assert find_pictures(f"{tmp_path}/**") == [tmp_path / "a.png"]
    for name in ("pipe.png", "folder.png", "broken.png", "circle.png"):
        with pytest.raises(ValueError, match=f"{name}: no such file, or not a regular one"):
            read_picture(tmp_path / name)
    with pytest.raises(ValueError, match="which names none"):
        find_pictures(str(tmp_path / "pipe.png"))


def test_links_that_lead_in_circles_give_each_file_once(tmp_path):
    """Two of them in one folder are 2 ** 40 ways to it."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / ".hidden").mkdir()
    for name in ("z.png", "inner/b.png", "inner/.c.png", "inner/.hidden/d.png"):
        (tmp_path / name).touch()
    for name in ("one", "two", "inner/three"):
        (tmp_path / name).symlink_to(tmp_path)
    (tmp_path / "a.png").symlink_to("z.png")
    files = [tmp_path / "inner" / "b.png", tmp_path / "z.png"]
    assert find_pictures(f"{tmp_path}/**/*.png") == files
    assert find_pictures(f"{tmp_path}/**/inner/**") == [files[0], tmp_path / "inner" / "three" / "z.png"]
    assert find_pictures(str(tmp_path)) == files[1:]


def test_links_into_other_folders_are_followed(tmp_path):
    for folder in ("photos", "other[1]"):
        (tmp_path / folder).mkdir()
    (tmp_path / "other[1]" / "a.png").touch()
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "other[1]")
    assert find_pictures(f"{tmp_path}/photos/**/*.png") == [tmp_path / "photos" / "link" / "a.png"]


def test_a_refused_file_of_any_name_can_be_printed(tmp_path):
    name = os.fsdecode(b"\xff\n.png")
    (tmp_path / name).write_text("no picture")
    with pytest.raises(ValueError) as caught:
        read_picture(tmp_path / name)
    assert str(caught.value).isprintable() and r"\udcff\n.png" in str(caught.value)


def test_tiled_pictures_may_be_larger_than_others_and_than_pillow_allows(monkeypatch):
    monkeypatch.setattr(image_files, "LARGEST", 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="could be decompression bomb|7 x 5 pixels, over 20 or"):
        read_picture(file_of(Image.fromarray(COLOURS)), largest=20)
    pixels = read_picture(file_of(Image.fromarray(COLOURS)), largest=35)
    np.testing.assert_array_equal(pixels, COLOURS)
    with pytest.raises(ValueError, match="7 x 5 pixels, over 34 or over"):
        read_picture(file_of(Image.fromarray(COLOURS)), largest=34)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "I;16"])
def test_bands_are_the_parts_of_a_picture(monkeypatch, mode):
    picture = Image.fromarray(random.integers(0, 256, (13, 7, 3), np.uint8))
    if mode == "I;16":
        picture = Image.fromarray(random.integers(0, 65536, (13, 7), np.uint16))
    picture = picture.convert(mode)
    for channels in (1, 3):
        monkeypatch.setattr(image_files, "BAND", 10**6)
        whole = as_array(picture, channels)
        monkeypatch.setattr(image_files, "BAND", 20)
        np.testing.assert_array_equal(as_array(picture, channels), whole)


def test_a_picture_beyond_memory_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 35 * image_files.BYTES_A_PIXEL - 1)
    with pytest.raises(ValueError, match="Expected 7 x 5 pixels to fit into the .* GiB of memory"):
        read_picture(file_of(Image.fromarray(COLOURS)))


def test_shrunk_pictures_keep_their_shape():
    pixels = np.zeros((300, 90, 3), np.uint8)
    assert shrunk(pixels).shape == (300, 90, 3)
    assert shrunk(pixels, 100).shape == (100, 30, 3)
