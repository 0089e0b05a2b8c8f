"""Crops of large pictures, whose boxes are those of the ink that is in them."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from air_tf import replaced
from air_tf.data import crops
from air_tf.data.crops import Crop, Crops, Region, mirrored, random_crops, turned_left
from air_tf.data.own_images import OwnImagesSettings
from air_tf.data.proposal import look
from air_tf.data.split import UNKNOWN
from air_tf.preparation import Preparation

SIDE = 6  # pixels of an object


def draw(folder, sizes, with_boxes=True):
    """Dark pictures with a light square in the middle of every 20 x 20 pixels."""
    folder.mkdir()
    images, annotations = [], []
    for i, (height, width) in enumerate(sizes):
        picture = np.zeros((height, width), np.uint8)
        images.append({"id": i, "file_name": f"{i}.png"})
        for top in range(7, height - SIDE, 20):
            for left in range(7, width - SIDE, 20):
                picture[top : top + SIDE, left : left + SIDE] = 255
                annotations.append({"id": len(annotations), "image_id": i, "category_id": 1,
                                    "bbox": [left, top, SIDE, SIDE]})  # fmt: skip
        Image.fromarray(picture).save(folder / f"{i}.png")
    if with_boxes:
        (folder / "boxes.json").write_text(json.dumps({"images": images, "annotations": annotations}))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "photos"


@pytest.fixture
def settings(tmp_path, folder):
    return OwnImagesSettings(
        images=str(folder), crop=30, image_size=(30, 30), ground="keep", train_images=60, test_images=20,
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip


@pytest.mark.parametrize("turns", ["none", "mirrored", "all"])
def test_boxes_hold_the_ink_of_the_objects_that_count(folder, settings, turns):
    draw(folder, [(80, 90), (60, 100), (70, 70)])
    splits = replaced(settings, crop_turns=turns).load().splits
    assert [len(split) for split in splits.values()] == [60, 20]
    for split in splits.values():
        assert split.boxed().all() and split.counts.min() >= 1
        for image, boxes, count in zip(split.images, split.boxes, split.counts):
            ink = image[..., 0] > 127
            for top, left, bottom, right in np.round(boxes[:count] * 30).astype(int):
                assert ink[top:bottom, left:right].all() and (bottom - top) * (right - left) >= 9
                ink[top:bottom, left:right] = False
            # what is left belongs to objects whose centre is outside: less than half of it is here
            rows, columns = np.nonzero(ink)
            assert (np.minimum(np.minimum(rows, columns), 29 - np.maximum(rows, columns)) < 3).all()


def test_the_models_images_may_have_another_shape(folder, settings):
    draw(folder, [(80, 90)])
    split = replaced(settings, image_size=(60, 100)).load().splits["train"]
    for image, boxes in zip(split.images, split.boxes):
        assert not image[:, :20].any() and not image[:, 80:].any()  # the crop is 60 x 60 of 60 x 100
        [top, left, bottom, right] = np.round(boxes[0] * [60, 100, 60, 100]).astype(int)
        assert image[top + 2 : bottom - 2, left + 2 : right - 2].min() > 200


def test_every_place_of_a_region_is_as_likely_and_none_beyond_it_is_taken():
    picture = np.arange(20 * 30, dtype=np.int32).reshape(20, 30, 1)
    region = Region("train", 4, 10, 12, 18, number=4000)
    drawn = random_crops(picture, None, region, 6, "none", np.random.default_rng(0))
    corners = np.array([divmod(crop.pixels[0, 0, 0], 30) for crop in drawn])
    places, numbers = np.unique(corners, axis=0, return_counts=True)
    expected = [(top, left) for top in range(4, 7) for left in range(10, 13)]
    np.testing.assert_array_equal(places, expected)
    assert np.sum((numbers - 4000 / 9) ** 2 / (4000 / 9)) < 30  # chi-square of 8 degrees, p < 0.0003


def test_turns_are_those_of_numpy_and_all_eight_occur():
    pixels = np.arange(9).reshape(3, 3, 1)
    box = np.array([[0.0, 1 / 3, 1 / 3, 2 / 3]])  # of the pixel 1
    for turn, expected in (mirrored, np.fliplr(pixels)), (turned_left, np.rot90(pixels)):
        crop = turn(Crop(pixels, box))
        np.testing.assert_array_equal(crop.pixels, expected)
        row, column = np.argwhere(expected[..., 0] == 1)[0]
        np.testing.assert_allclose(crop.boxes, [[row / 3, column / 3, (row + 1) / 3, (column + 1) / 3]])
    for turns, number in ("none", 1), ("mirrored", 2), ("all", 8):
        region, random = Region("train", 0, 0, 3, 3, number=200), np.random.default_rng(0)
        seen = {crop.pixels.tobytes() for crop in random_crops(pixels, None, region, 3, turns, random)}
        assert len(seen) == number


@pytest.mark.parametrize("size", [(40, 200), (200, 40)])
def test_of_a_single_picture_one_end_is_held_out(folder, settings, size):
    folder.mkdir()
    picture = np.add.outer(np.arange(size[0]), np.arange(size[1])).astype(np.uint8)  # 0 to 238
    Image.fromarray(picture).save(folder / "one.png")
    splits = settings.load().splits
    assert splits["train"].images.max() < 170 + 39 and splits["test"].images.min() >= 170
    assert (splits["train"].counts == UNKNOWN).all()


def test_of_several_pictures_whole_ones_are_held_out(folder, settings):
    folder.mkdir()
    for i in range(8):
        Image.fromarray(np.full((40, 40), 10 * i, np.uint8)).save(folder / f"{i}.png")
    splits = replaced(settings, invert="no").load().splits
    trained, held_out = (set(np.unique(split.images)) for split in splits.values())
    assert trained | held_out == {10 * i for i in range(8)} and not trained & held_out


def test_the_smallest_picture_is_named_when_a_crop_is_larger(folder, settings):
    draw(folder, [(80, 90), (25, 70), (40, 40)])
    with pytest.raises(ValueError, match=r"crop=30 and .*1\.png of 70 x 25 pixels"):
        settings.load()


def test_what_cannot_be_is_refused(folder, settings):
    draw(folder, [(50, 50)])
    with pytest.raises(ValueError, match=r"at least two crops.*crop=30 and .*0\.png of 50 x 50"):
        settings.load()
    with pytest.raises(ValueError, match="crop of at least an object's side. Received: crop=30"):
        replaced(settings, object_size=31.0)


def test_a_broken_picture_is_left_out(folder, settings, capsys):
    draw(folder, [(80, 90), (80, 80), (90, 90)])
    (folder / "bad.png").write_text("no picture")
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])  # its header is good
    splits = settings.load().splits
    assert splits["train"].boxed().all()
    assert [len(splits[name]) for name in ("train", "test")] == [60, 20]  # the others have its share
    printed = capsys.readouterr().err
    assert [len(re.findall(rf"{name}\.png.*left out", printed)) for name in ("bad", "cut")] == [1, 1]


def test_a_picture_with_a_count_that_its_boxes_lack_has_crops_without_one(folder, settings):
    draw(folder, [(80, 90)])
    (folder / "counts.csv").write_text("file,count\n0.png,3\n")
    assert (settings.load().splits["train"].counts == UNKNOWN).all()


def test_the_object_size_is_measured_in_the_crop(folder, settings):
    draw(folder, [(80, 90)])
    dataset = replaced(settings, object_size=6.0, image_size=(60, 60)).load()
    assert dataset.model_settings["scale_prior"][0] == pytest.approx(30 / 6.6, abs=1e-3)


def test_crops_are_the_same_every_time(folder, settings, tmp_path):
    draw(folder, [(80, 90), (80, 80)])
    first = settings.load()
    again = replaced(settings, cache_dir=str(tmp_path / "other")).load()
    for name, split in first.splits.items():
        np.testing.assert_array_equal(split.images, again.splits[name].images)
    other = replaced(settings, crop=31).load()
    assert (other.splits["train"].images != first.splits["train"].images).any()
    assert first.fingerprint == other.fingerprint


def test_shares_add_up():
    random = np.random.default_rng(0)
    for total in (0, 1, 7, 100):
        of = random.random(9) < 0.5
        of[0] = True
        shares = crops._shares(total, of)
        assert shares.sum() == total and not shares[~of].any() and np.ptp(shares[of]) <= 1


def test_exif_decides_which_side_is_the_longer(folder, settings):
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 80), np.uint8)).save(folder / "a.jpg", exif=exif)
    assert crops.sizes_of([folder / "a.jpg"], 30) == {folder / "a.jpg": (80, 40)}
    splits = crops.draw_crops([folder / "a.jpg"], Crops(30, "none", 5, 5), (30, 30, 1), Preparation())
    assert [len(split) for split in splits.values()] == [5, 5]


@pytest.mark.slow
def test_crops_of_a_picture_that_is_too_large_to_be_seen_whole(tmp_path):
    picture = np.zeros((13_000, 14_000), np.uint8)  # more pixels than Pillow would take, too
    picture[::50, ::2] = 255
    Image.fromarray(picture).save(tmp_path / "large.png", compress_level=1)
    assert look([tmp_path / "large.png"]).smallest == 13_000
    how = Preparation(dark_objects=False, subtract_ground=False)
    drawn = crops.draw_crops([tmp_path / "large.png"], Crops(500, "none", 3, 2), (16, 16, 1), how)
    assert [len(drawn[name]) for name in ("train", "test")] == [3, 2]
