"""Scenes of digits or shapes on any ground, against brute force."""

import dataclasses
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from air_tf import replaced
from air_tf.config import Config
from air_tf.data import digits, grounds, masks, things
from air_tf.data.placing import Rule, grown, place
from air_tf.data.scenes import ScenesSettings

STANDARD_ERRORS = 5


def load(folder, **changes):
    sizes = {"train_images": 150, "test_images": 40, "cache_dir": str(folder), "things": "shapes"}
    return ScenesSettings(**sizes | changes).load()


def hull(mask):
    y, x = np.nonzero(mask)
    return np.array([y.min(), x.min(), y.max() + 1, x.max() + 1])


@pytest.mark.parametrize("side, stretch, angle", [
    (12, (1, 1), 0), (30, (0.7, 1.3), 25), (9.3, (1.2, 0.8), -130), (40, (1, 1), 90), (3, (1, 1), 45),
])  # fmt: skip
def test_things_are_shrunk_stretched_and_turned(side, stretch, angle):
    """The mean of a fine grid, looked up by SciPy where the inverse map says."""
    source = digits.embedded_digits()
    for thing in (*things.shapes(), things.Things(source.train_images[:1], source.train_labels)[0]):
        form = things.form(thing, side, stretch, angle)
        picture = np.asarray(thing.picture, float)
        size = np.array(picture.shape) - 2
        wanted = side * size / size.max() * stretch
        np.testing.assert_allclose([form.height / 100, form.width / 100], wanted, atol=0.006)
        turn = np.deg2rad(angle)
        away = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])  # of (y, x)
        extent = np.ceil(abs(away) @ [form.height / 100, form.width / 100]).astype(int) + 2
        fine = max(2, int(np.ceil(max(size / [form.height / 100, form.width / 100]))))
        at = (np.indices(extent * fine).reshape(2, -1).T + 0.5) / fine - extent / 2
        inside = at @ away / [form.height / 100, form.width / 100] * size + np.array(picture.shape) / 2
        values = ndimage.map_coordinates(picture, inside.T - 0.5, order=1, mode="constant")
        expected = values.reshape(extent[0], fine, extent[1], fine).mean(axis=(1, 3))
        expected[expected < 0.25 * expected.max()] = 0
        top, left, bottom, right = hull(expected)
        ink = things.draw(thing, form)
        sure = abs(expected - 0.25 * expected.max()) > 2
        if sure.all():
            assert ink.shape == (bottom - top, right - left)
            assert abs(ink - expected[top:bottom, left:right]).max() < 3
        assert abs(np.subtract(ink.shape, (bottom - top, right - left))).max() <= 2
        assert ink.any(axis=0)[[0, -1]].all() and ink.any(axis=1)[[0, -1]].all()


def test_things_without_ink_are_left_out():
    images = np.zeros((3, 28, 28), np.uint8)
    images[1, 3:9, 5] = 255
    found = things.Things(images, np.array([7, 8, 9]))
    assert [thing.label for thing in found] == [8] and found[0].picture.size == (3, 8)


@pytest.mark.parametrize("paste, channels", [("add", 1), ("over", 1), ("add", 3), ("over", 3)])
def test_objects_drawn_again_from_their_placements_give_the_image(tmp_path, paste, channels):
    """One grey on one grey; in colour, only the ground is known, and what no object covers."""
    dataset = load(tmp_path, paste=paste, channels=channels, object_range=(0.6, 0.6),
                   ground_range=(0.2, 0.2), object_counts=(0, 3), rotation_range=(-45, 45))  # fmt: skip
    split, ground = dataset.splits["test"], round(0.2 * 255)
    whole, segments = dataset.masks("test", split), dataset.segments("test", split)
    draw = things.inks(things.shapes())
    assert split.images.shape == (40, 64, 64, channels) and set(split.counts) == {0, 3}
    for i, count in enumerate(split.counts):
        canvas, alone, owner = (
            np.full((64, 64), ground, float),
            np.zeros((3, 64, 64)),
            np.zeros((64, 64)),
        )
        owner, fullest = np.zeros((2, 64, 64))
        for j, placement in enumerate(split.placements[i, :count]):
            ink, top, left = draw(placement)
            for y, x in np.ndindex(ink.shape):
                share, at = ink[y, x] / 255, (top + y, left + x)
                alone[j][at] = share
                part = share * (0.6 * 255 - (canvas[at] if paste == "over" else 0))
                canvas[at] = np.round(min(255, canvas[at] + part))
                if share > (0 if paste == "over" else fullest[at]):
                    owner[at], fullest[at] = j + 1, share
        np.testing.assert_array_equal(whole[i], alone > 0)
        np.testing.assert_array_equal(segments[i], owner)
        if channels == 1:
            assert abs(split.images[i, ..., 0] - canvas).max() <= 1
        else:
            assert (split.images[i][owner == 0] == ground).all()
            assert (split.images[i][owner > 0] != ground).any() == (count > 0)


def test_boxes_are_the_hulls_of_the_masks(tmp_path):
    dataset = load(tmp_path, rotation_range=(-180, 180), stretch_range=(0.7, 1.3), canvas_size=80)
    for name, split in dataset.splits.items():
        for each, boxes, count in zip(dataset.masks(name, split), split.boxes, split.counts):
            assert not boxes[count:].any() and not each[count:].any()
            for mask, box in zip(each[:count], boxes):
                np.testing.assert_allclose(box * 80, hull(mask), atol=1e-4)


@pytest.mark.parametrize("overlap, gap", [("box", 0), ("box", 3), ("ink", 0), ("ink", 3)])
def test_objects_keep_apart_from_each_other_and_from_the_border(tmp_path, overlap, gap):
    dataset = load(tmp_path, overlap=overlap, gap=gap, margin=4, object_counts=(5,), canvas_size=72,
                   rotation_range=(-45, 45), side_range=(9, 16), train_images=40)  # fmt: skip
    split = dataset.splits["train"]
    apart, near = [], 0
    for each in dataset.masks("train", split):
        pixels = [np.argwhere(mask) for mask in each]
        if overlap == "box":
            pixels = [np.argwhere(filled(mask)) for mask in each]
        for one, other in itertools.combinations(pixels, 2):
            distance = abs(one[:, None] - other).max(axis=-1).min()
            apart.append(distance)
            near += distance == gap + 1
    assert min(apart) > gap and near  # and some as near as they may be
    edges = split.boxes * 72
    assert edges.min() >= 4 - 1e-4 and edges.max() <= 68 + 1e-4
    assert np.isclose(edges.min(), 4, atol=1e-4)


def filled(mask):
    top, left, bottom, right = hull(mask)
    result = np.zeros_like(mask)
    result[top:bottom, left:right] = True
    return result


def test_without_a_rule_objects_overlap_and_lie_anywhere(tmp_path):
    ink = np.full((4, 6), 255, np.uint8)
    random = np.random.default_rng(0)
    found = np.array([place([ink], Rule(10), random)[0] for _ in range(3500)])
    table = np.zeros((7, 5))
    np.add.at(table, tuple(found.T), 1)
    assert stats.chisquare(table.ravel()).pvalue > 1e-6
    assert place([np.ones((11, 2), np.uint8)], Rule(10), random) is None
    both = [place([ink, ink], Rule(10), random) for _ in range(50)]
    assert any(abs(first - second).max() < 2 for first, second in both)


def test_a_mask_grows_by_the_gap():
    mask = np.random.default_rng(1).random((5, 7)) < 0.1
    square = np.ones((5, 5), bool)
    np.testing.assert_array_equal(grown(mask, 2), ndimage.binary_dilation(np.pad(mask, 2), square))


def test_counts_have_their_weights_and_forms_their_ranges(tmp_path):
    weights = (1.0, 0.0, 3.0, 1.0)
    dataset = load(tmp_path, object_counts=(0, 1, 2, 3), count_weights=weights, train_images=1500,
                   side_range=(9, 18), stretch_range=(0.7, 1.3), rotation_range=(-30, 45))  # fmt: skip
    split = dataset.splits["train"]
    share, size = np.array(weights) / 5, 1500
    found = np.bincount(split.counts, minlength=4) / size
    assert (abs(found - share) <= STANDARD_ERRORS * np.sqrt(share * (1 - share) / size)).all()
    present = np.arange(3) < split.counts[:, None]
    _, height, width, angle, *_ = np.moveaxis(split.placements[present], -1, 0)
    assert -300 <= angle.min() < -290 and 440 < angle.max() <= 450
    for length in height, width:
        assert length.min() >= 9 * 0.7 * 100 - 1 and length.max() <= 18 * 1.3 * 100 + 1
        assert length.max() > 21 * 100 and length.min() < 7.5 * 100
    labels = np.bincount(split.labels[present])
    assert stats.chisquare(labels).pvalue > 1e-6 and len(labels) == 3
    assert abs(np.corrcoef(height, width)[0, 1]) < 0.9  # stretched each by its own factor


@pytest.mark.parametrize("change", [{}, {"ground": "noise", "channels": 3, "things": "digits",
                                         "digits": "embedded", "paste": "add"}])  # fmt: skip
def test_scenes_are_a_function_of_the_settings_and_the_same_from_the_cache(tmp_path, change):
    first, cached = load(tmp_path / "a", **change), load(tmp_path / "a", **change)
    again = load(tmp_path / "b", **change)
    for name, split in first.splits.items():
        for field in dataclasses.fields(split):
            values = getattr(split, field.name)
            np.testing.assert_array_equal(values, getattr(cached.splits[name], field.name))
            np.testing.assert_array_equal(values, getattr(again.splits[name], field.name))
    fresh = first.compose(30, [1, 2])
    np.testing.assert_array_equal(fresh, first.compose(30, [1, 2]))
    assert (fresh != first.compose(30, [1, 3])).any()
    assert first.model_settings == {"image_shape": first.splits["train"].image_shape}
    assert first.digits == change.get("digits", "none")


def test_held_out_scenes_show_only_held_out_digits(tmp_path, monkeypatch):
    tall, wide = np.zeros((2, 3, 28, 28), np.uint8)
    tall[:, 4:24, 8:12], wide[:, 8:12, 4:24] = 255, 255
    label = np.arange(3)
    made = digits.Digits("embedded", tall, label, wide, label)
    monkeypatch.setattr("air_tf.data.scenes.load_digits", lambda *_: (made, ""))
    for name, split in load(tmp_path, things="digits").splits.items():
        height, width = np.moveaxis(split.boxes[..., 2:] - split.boxes[..., :2], -1, 0)
        ours = height > width if name == "train" else width > height
        assert ours[height > 0].all() and ours.any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [*grounds.GROUNDS])
def test_grounds_lie_in_their_range(kind, channels):
    made = grounds.GROUNDS[kind]((40, 30, channels), (0.2, 0.6), 200, np.random.default_rng(0))
    assert made.shape == (200, 40, 30, channels) and made.dtype == np.uint8
    assert abs(made.min() / 255 - 0.2) < 0.02 and abs(made.max() / 255 - 0.6) < 0.02
    if kind == "flat":
        np.testing.assert_array_equal(made, np.broadcast_to(made[:, :1, :1], made.shape))
        assert stats.kstest(made[:, 0, 0, 0] / 255, "uniform", (0.2, 0.4)).pvalue > 1e-6
    if kind == "noise":
        assert stats.kstest(made[0].ravel() / 255, "uniform", (0.2, 0.4)).pvalue > 1e-6
        assert (made[0] != made[1]).mean() > 0.9
    if kind == "gradient":
        y, x = np.indices((40, 30)).reshape(2, -1)
        plane = np.stack([y, x, np.ones(1200)], axis=1)
        for image in made[:20]:
            fit, *_ = np.linalg.lstsq(plane, image.reshape(1200, -1).astype(float), rcond=None)
            assert abs(plane @ fit - image.reshape(1200, -1)).max() < 1.01
        assert (made.std(axis=(1, 2)) > 0.5).mean() > 0.8
    if kind == "grid":
        for image in made:
            light = image[..., 0] == 153
            rows, columns = np.flatnonzero(light.all(axis=1)), np.flatnonzero(light.all(axis=0))
            assert (np.diff(rows) == 5).all() and len(rows) == 8
            assert (np.diff(columns) == 5).all() and len(columns) == 6
            assert light.sum() == 8 * 30 + 6 * 40 - 48 and {*np.unique(image)} == {51, 153}


def save(folder, name, pixels):
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


@pytest.mark.parametrize("pictures, shape", [(1, (40, 90)), (1, (90, 40)), (4, (30, 45))])
def test_patches_are_of_the_photographs_and_held_out_ones_of_others(tmp_path, pictures, shape):
    """Each patch is found where it was taken: in one place of one photograph, of one split only."""
    random, folder = np.random.default_rng(0), tmp_path / "photographs"
    for i in range(pictures):
        save(folder, f"{i}.png", random.integers(0, 256, (*shape, 3), np.uint8))
    paths = sorted(folder.iterdir())
    photographs = [np.asarray(Image.open(path)) for path in paths]
    made = grounds.grounds("photographs", (20, 20, 3), (0.0, 1.0), paths)
    found = {}
    for name, ground in made.items():
        found[name] = set()
        for patch in ground(60, random):
            places = {
                (i, y, x)
                for i, picture in enumerate(photographs)
                for y, x in np.argwhere((picture == patch[0, 0]).all(axis=-1))
                if np.array_equal(picture[y : y + 20, x : x + 20], patch)
            }
            assert len(places) == 1
            found[name] |= places
    if pictures == 1:
        last = {name: max(max(y, x) for _, y, x in places) for name, places in found.items()}
        first = min(max(y, x) for _, y, x in found["test"])
        assert first >= last["train"] + 20 and last["test"] == 70
    else:
        assert not {i for i, *_ in found["train"]} & {i for i, *_ in found["test"]}


def test_photographs_are_brought_into_the_range(tmp_path):
    save(tmp_path, "a.png", np.arange(256, dtype=np.uint8).reshape(8, 32).repeat(4, axis=0))
    made = grounds.grounds("photographs", (8, 8, 1), (0.5, 0.7), [tmp_path / "a.png"])
    train, test = (made[name](300, np.random.default_rng(0)) for name in ("train", "test"))
    assert 127 <= train.min() <= 129 and 177 <= test.max() <= 179


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"object_counts": (0,)}, "object_counts to be different numbers"),
        ({"count_weights": (1.0,)}, "count_weights of 3 numbers"),
        ({"count_weights": (0.0, 0.0, 0.0)}, "one of them above 0"),
        ({"side_range": (20.0, 10.0)}, "side_range from the lower to the higher"),
        ({"rotation_range": (10.0, -10.0)}, "rotation_range from the lower"),
        ({"rotation_range": (-200.0, 0.0)}, "rotation_range at least -180"),
        ({"ground_range": (0.0, 1.5)}, "ground_range at most 1"),
        ({"side_range": (1.0, 10.0)}, "side_range at least 2"),
        ({"gap": 2}, "gap with overlap box or ink. Received: gap=2, overlap='any'"),
        ({"side_range": (10.0, 50.0), "stretch_range": (1.0, 1.5)}, "objects of up to 75 pixels to fit"),
        ({"side_range": (10.0, 40.0), "margin": 13}, "between the margins. Received: canvas_size=64"),
        ({"ground": "photographs"}, "photographs together with ground photographs"),
        ({"photographs": "folder"}, "photographs together with ground photographs"),
        ({"digits": "embedded"}, "digits and mnist with things digits"),
        ({"ground": "clouds"}, "ground to be one of 'flat'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"Expected .*{message}"):
        load(tmp_path, **changes)


def test_more_objects_than_fit_are_refused_with_the_number_of_tries(tmp_path):
    with pytest.raises(ValueError, match="12 objects .* 200 tries of 50 pos.*overlap=box") as error:
        load(tmp_path, object_counts=(12,), side_range=(20, 20), overlap="box")
    assert "\n" not in str(error.value) and not [*tmp_path.iterdir()]


def test_photographs_that_are_none_or_too_small_are_refused(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    flags = {"ground": "photographs", "photographs": str(photographs)}
    with pytest.raises(ValueError, match="Expected PNG or JPEG files. Received: .*photographs"):
        load(tmp_path / "cache", **flags)
    save(photographs, "only.png", np.zeros((100, 100), np.uint8))
    with pytest.raises(ValueError, match="at least 64 x 64 twice, .*only.png of 100 x 100"):
        load(tmp_path / "cache", **flags)
    save(photographs, "small.png", np.zeros((70, 50), np.uint8))
    with pytest.raises(ValueError, match="at least 64 x 64 pixels. Received: .*small.png of 50 x 70"):
        load(tmp_path / "cache", **flags)
    (photographs / "small.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="Expected a PNG or JPEG picture. Received: .*small.png"):
        load(tmp_path / "cache", **flags)
    assert not (tmp_path / "cache").exists()


def test_other_photographs_of_the_same_names_make_other_scenes(tmp_path):
    photographs = tmp_path / "photographs"
    flags = {"ground": "photographs", "photographs": str(photographs), "ground_range": (0.0, 1.0)}
    fingerprints = set()
    for grey in 50, 90:
        save(photographs, "a.png", np.full((64, 200), grey, np.uint8))
        dataset = load(tmp_path / "cache", **flags)
        assert (dataset.splits["test"].images[dataset.splits["test"].counts == 0] == grey).all()
        fingerprints.add(dataset.fingerprint)
    assert len(fingerprints) == 2


def test_where_an_object_shows_hardly_anything_nobody_could_tell():
    row = np.zeros((5, 3, 1, 12), bool)
    row[0, 0, 0, :10] = row[0, 1, 0, 8:] = True  # 8 of 10 and 2 of 4 show by themselves
    row[1, 0, 0, :10] = row[1, 1, 0, :9] = True  # 1 of 10
    row[2, 0, 0, :10] = row[2, 1, 0, :3] = True  # the second lies within the first
    row[3, 0, 0, :3] = row[3, 1, 0, :10] = True  # the first lies within the second
    np.testing.assert_array_equal(masks.inseparable(row, hide=False), [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(masks.inseparable(row, hide=True), [0, 1, 0, 1, 0])


def test_objects_overlap_where_two_have_a_pixel_in_common():
    many = np.random.default_rng(0).random((40, 3, 5, 5)) < 0.12
    expected = [any((a & b).any() for a, b in itertools.combinations(each, 2)) for each in many]
    np.testing.assert_array_equal(masks.overlapping(many), expected)
    assert 0 < np.mean(expected) < 1


@pytest.mark.parametrize("hide", [True, False])
def test_inseparable_by_brute_force(hide):
    many = np.random.default_rng(2).random((60, 3, 3, 4)) < 0.4
    for each, found in zip(many, masks.inseparable(many, hide)):
        shown, whole = np.zeros(3), np.zeros(3)
        for y, x in np.ndindex(3, 4):
            there = np.flatnonzero(each[:, y, x])
            whole[there] += 1
            if len(there) == 1 or (hide and len(there)):
                shown[there[-1]] += 1
        assert found == (5 * shown < whole).any()


def test_flags_of_scenes_are_refused_elsewhere():
    with pytest.raises(ValueError, match="Expected side_range only with dataset scenes"):
        replaced(Config(), side_range=(3.0, 4.0))
