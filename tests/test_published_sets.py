"""The sets on which others published figures: noisy, grid, sprites, small_mnist, multi_dsprites."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage, stats

from air_tf import memory
from air_tf.data import digits, multi_dsprites, small_mnist, sprites
from air_tf.data.grid import GridSettings
from air_tf.data.multi_dsprites import MultiDspritesSettings
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.noisy import NoisySettings
from air_tf.data.small_mnist import SmallMNISTSettings
from air_tf.data.sprites import SpritesSettings

OF_DIGITS = MultiMNISTSettings, NoisySettings, GridSettings, SmallMNISTSettings
OF_GLYPHS = SpritesSettings, SmallMNISTSettings, MultiDspritesSettings
ALL = NoisySettings, GridSettings, *OF_GLYPHS
STANDARD_ERRORS = 5


def load(kind, folder, **changes):
    sizes = {"train_images": 600, "test_images": 120, "cache_dir": str(folder)} | changes
    of_digits = {"digits": "embedded"} if kind in OF_DIGITS else {}
    return kind(**of_digits, **sizes).load()


@pytest.fixture(scope="module")
def datasets(cache_dir):
    return {kind: load(kind, cache_dir) for kind in {*OF_DIGITS, *ALL}}


def are_equal(one, other):
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(one)
    )


def layers_of(dataset, name):
    """The object of each placement drawn alone, `(S, M, H, W, C)`, from the data set's glyphs."""
    split = dataset.splits[name]
    if isinstance(dataset.settings, SmallMNISTSettings):
        source = digits.embedded_digits()
        which = source.train_images if name == "train" else source.test_images
        bank = small_mnist.small_digits(which, np.zeros(len(which))).images
    else:
        own = sprites.sprites if isinstance(dataset.settings, SpritesSettings) else None
        bank = (own or multi_dsprites.dsprites)().images
    layers = np.zeros((*split.placements.shape[:2], *split.image_shape), int)
    for i, count in enumerate(split.counts):
        for j, (index, side, top, left) in enumerate(split.placements[i, :count]):
            for y in range(side):
                layers[i, j, top + y, left : left + side] = bank[index, y, :side]
    return layers


@pytest.mark.parametrize("kind", OF_GLYPHS)
@pytest.mark.parametrize("name", ["train", "test"])
def test_objects_add_up_to_the_image_and_boxes_are_their_hulls(datasets, kind, name):
    dataset = datasets[kind]
    split, layers = dataset.splits[name], layers_of(dataset, name)
    np.testing.assert_array_equal(split.images, np.minimum(layers.sum(axis=1), 255))
    ink = layers.max(axis=-1)
    size = split.image_shape[0]
    for masks, boxes, count in zip(ink > 0, split.boxes, split.counts):
        assert not boxes[count:].any()
        for mask, box in zip(masks, boxes[:count]):
            y, x = np.nonzero(mask)
            hull = np.array([y.min(), x.min(), y.max() + 1, x.max() + 1]) / size
            np.testing.assert_allclose(box, hull, rtol=1e-6)
    black = np.zeros_like(ink[:, :1])
    expected = np.concatenate([black, ink], axis=1).argmax(axis=1)
    np.testing.assert_array_equal(dataset.segments(name, split), expected)


@pytest.mark.parametrize("kind", ALL)
def test_counts_are_equally_likely(datasets, kind):
    counts = datasets[kind].splits["train"].counts
    found = np.bincount(counts, minlength=3)
    error = np.sqrt(len(counts) * (1 / 3) * (2 / 3))
    assert len(found) == 3 and (abs(found - len(counts) / 3) < STANDARD_ERRORS * error).all()


@pytest.mark.parametrize("kind", ALL)
def test_images_are_a_function_of_the_settings_and_the_same_from_the_cache(tmp_path, datasets, kind):
    fresh, again = load(kind, tmp_path), load(kind, tmp_path)
    for name, split in datasets[kind].splits.items():
        assert are_equal(split, fresh.splits[name]) and are_equal(split, again.splits[name])
    assert not np.array_equal(split.images, fresh.splits["train"].images[: len(split)])
    shape = split.image_shape
    assert fresh.model_settings == {"image_shape": shape} and split.images.dtype == np.uint8
    assert fresh.fingerprint == again.fingerprint and "\n" not in fresh.description


@pytest.mark.parametrize("kind", OF_DIGITS)
def test_held_out_images_show_only_held_out_digits(tmp_path, monkeypatch, kind):
    """Digits to train on have ink in the upper half alone, the others in the lower half."""
    upper = np.zeros((4, 28, 28), np.uint8)
    upper[:, 2:12, 4:24] = 255
    label = np.arange(4)
    made = digits.Digits("embedded", upper, label, upper[:, ::-1], label)
    for module in ("multi_mnist", "small_mnist"):
        monkeypatch.setattr(f"air_tf.data.{module}.load_digits", lambda *_: (made, ""))
    splits = load(kind, tmp_path, test_images=300).splits
    for name, is_upper in ("train", True), ("test", False):
        split = splits[name]
        centre = (split.boxes[..., 0] + split.boxes[..., 2]) / 2 * split.image_shape[0]
        _, side, top, _ = np.moveaxis(split.placements, -1, 0)
        present = side > 0
        assert present.any()
        np.testing.assert_array_equal((centre < top + side / 2)[present], is_upper)


@pytest.mark.parametrize("kind", ALL)
def test_fresh_images_are_new_and_a_function_of_the_seed(datasets, kind):
    compose = datasets[kind].compose
    one, again, other = compose(20, [1, 2]), compose(20, [1, 2]), compose(20, [1, 3])
    np.testing.assert_array_equal(one, again)
    assert one.shape[1:] == datasets[kind].splits["train"].image_shape and (one != other).any()


@pytest.mark.parametrize("kind", [NoisySettings, GridSettings])
def test_what_is_known_of_the_objects_is_as_in_multi_mnist(datasets, kind):
    ours, plain = datasets[kind], datasets[MultiMNISTSettings]
    assert [*ours.splits] == [*plain.splits]
    for name, split in plain.splits.items():
        assert are_equal(dataclasses.replace(ours.splits[name], images=split.images), split)
        np.testing.assert_array_equal(ours.segments(name, split), plain.segments(name, split))


@pytest.mark.parametrize("ink, mean", [(0, 0.1), (255, 0.9)])
def test_noise_is_normal_around_the_paler_digits(datasets, ink, mean):
    clean = datasets[MultiMNISTSettings].splits["train"].images
    pixels = datasets[NoisySettings].splits["train"].images[clean == ink]
    values = np.arange(256)
    below = stats.norm.cdf((values + 0.5) / 255, mean, 0.2)
    below[-1] = 1  # all that is cut at white
    found = np.cumsum(np.bincount(pixels, minlength=256)) / len(pixels)
    error = np.sqrt(below * (1 - below) / len(pixels))
    assert (abs(found - below) <= STANDARD_ERRORS * error + 1e-9).all()


def test_every_fifth_row_and_column_is_grey_at_least(datasets):
    clean = datasets[MultiMNISTSettings].splits["train"].images
    offsets = []
    for image, plain in zip(datasets[GridSettings].splits["train"].images, clean):
        found = []
        for first_row in range(5):
            for first_column in range(5):
                expected = plain.astype(float) / 255
                for row in range(first_row, 50, 5):
                    expected[row] = np.maximum(expected[row], 0.4)
                for column in range(first_column, 50, 5):
                    expected[:, column] = np.maximum(expected[:, column], 0.4)
                if np.array_equal(np.round(255 * expected), image):
                    found.append((first_row, first_column))
        assert len(found) == 1
        offsets += found
    error = np.sqrt(len(offsets) * 0.2 * 0.8)
    for axis in np.transpose(offsets):
        found = np.bincount(axis, minlength=5)
        assert (abs(found - len(offsets) / 5) < STANDARD_ERRORS * error).all()


def test_sprites_are_the_published_shapes_and_never_overlap(datasets):
    dataset = datasets[SpritesSettings]
    split = dataset.splits["train"]
    for image, count, placements, labels in zip(
        split.images, split.counts, split.placements, split.labels
    ):
        canvas = np.zeros((50, 50, 3), int)
        for (_, side, top, left), label in zip(placements[:count], labels):
            assert 12 <= side <= 16 and max(top, left) <= 38 and max(top, left) + side <= 50
            middle_y, middle_x, radius = top + side // 2, left + side // 2, side // 2
            for y in range(top, top + side):
                for x in range(left, left + side):
                    disc = (y - middle_y) ** 2 + (x - middle_x) ** 2 < radius**2
                    diamond = abs(y - middle_y) + abs(x - middle_x) < radius
                    canvas[y, x, label] += (disc, True, diamond)[label]
        assert canvas.sum(axis=-1).max(initial=0) <= 1
        np.testing.assert_array_equal(image, 255 * canvas)
    first = np.bincount(split.labels[split.counts > 0, 0])  # the second one's shape may be redrawn
    error = np.sqrt(first.sum() * (1 / 3) * (2 / 3))
    assert (abs(first - first.sum() / 3) < STANDARD_ERRORS * error).all()


def test_small_digits_are_blurred_shrunk_by_cubic_splines_and_rounded():
    images = digits.embedded_digits().train_images[:100]
    bank = small_mnist.small_digits(images, np.arange(100))
    for small, label in zip(bank.images, bank.labels):
        blurred = ndimage.gaussian_filter(images[label] / 255, (28 / 18 - 1) / 2, mode="constant")
        grey = ndimage.zoom(blurred, 18 / 28, order=3, mode="grid-constant", grid_mode=True)
        sure = abs(grey - 0.5) > 1e-3
        np.testing.assert_array_equal(small[sure, 0], 255 * (grey > 0.5)[sure])
    assert {*np.unique(bank.images)} == {0, 255}


def test_a_digit_that_vanishes_when_it_is_shrunk_is_left_out():
    images = np.zeros((3, 28, 28), np.uint8)
    images[1, 10:20, 10:20] = 255
    bank = small_mnist.small_digits(images, np.arange(3))
    np.testing.assert_array_equal(bank.labels, [1])


def test_dsprites_are_the_published_shapes():
    from matplotlib.path import Path

    bank = multi_dsprites.dsprites()
    colours = np.array([*multi_dsprites.COLOURS.values()])[:, None]
    points = np.indices((18, 18)).reshape(2, -1).T
    i, circle = 0, np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    for scale in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        for step in range(40):
            angle = 2 * np.pi * step / 40
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            outlines = []
            for corners in (4, 3):
                at = angle + 2 * np.pi * np.arange(corners) / corners
                outlines.append(9 + 9 * scale * np.stack([np.cos(at), np.sin(at)], axis=1))
            ring = np.stack([9 * scale * np.cos(circle), 6 * scale * np.sin(circle)], axis=1)
            outlines.append(9 + ring @ turn)
            for label, outline in enumerate(outlines):
                path = Path(outline)
                inside = path.contains_points(points, radius=0.01)
                near = inside != path.contains_points(points, radius=-0.01)
                found = bank.images[i : i + 7].reshape(7, -1, 3)[:, ~near]
                np.testing.assert_array_equal(found, inside[~near, None] * colours)
                assert (bank.labels[i : i + 7] == label).all()
                i += 7
    assert i == len(bank.images) == 5040


def test_images_beyond_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2**30)
    with pytest.raises(ValueError, match="1,000,120 images of 64 x 64 pixels to fit into the 1.0 GiB"):
        load(MultiDspritesSettings, tmp_path, train_images=10**6)


def test_digits_flags_are_shared(tmp_path):
    for kind in OF_DIGITS:
        with pytest.raises(ValueError, match="mnist with digits of MNIST alone"):
            kind(digits="embedded", mnist="mnist.npz")
    assert load(NoisySettings, tmp_path, digit_counts=(3,)).splits["test"].counts.min() == 3
