"""What is seen of pictures whose ground and objects are known."""

import numpy as np
import pytest

from air_tf.appearance import (
    appearance,
    find_objects,
    fitted_ground,
    otsu,
    shared_ground,
)
from examples.blobs import Blobs, draw_blobs

SIZE, RADIUS = 90, 8
Y, X = np.mgrid[:SIZE, :SIZE]


def with_discs(ground, places, value, radius=RADIUS):
    """A picture `(SIZE, SIZE, C)` uint8 with discs of a value, or colour, at places (y, x)."""
    picture = np.array(ground, float)
    for y, x in places:
        picture[np.hypot(Y - y, X - x) <= radius] = value
    return picture.clip(0, 255).astype(np.uint8)


def flat(level, channels=3):
    return np.full((SIZE, SIZE, channels), float(level))


PLACES = [(20, 20), (20, 60), (65, 40)]


def test_a_ground_with_a_slope_is_found_beneath_objects_that_cover_a_third():
    surface = 60 + 80 * (Y / SIZE)[..., None] + 20 * ((X / SIZE - 0.5) ** 2)[..., None]
    places = [(y, x) for y in range(15, SIZE, 25) for x in range(15, SIZE, 25)]
    picture = with_discs(np.tile(surface, 3), places, 250, radius=9)
    assert 0.25 < (picture[..., 0] == 250).mean() < 0.4
    np.testing.assert_allclose(fitted_ground(picture.astype(np.float32)), np.tile(surface, 3), atol=1)


def test_grain_is_the_deviation_of_the_noise():
    random = np.random.default_rng(0)
    picture = with_discs(flat(150, 1) + random.normal(0, 10, (SIZE, SIZE, 1)), PLACES, 20)
    assert appearance(picture).grain == pytest.approx(10, rel=0.2)


@pytest.mark.parametrize("level, value, dark", [(0, 255, 0), (200, 60, 1), (120, 190, 0)])
def test_discs_are_counted_measured_and_darker_or_lighter(level, value, dark):
    seen = [appearance(with_discs(flat(level), PLACES[:n], value)) for n in range(4)]
    found = find_objects(seen)
    assert found is not None and found.counts.tolist() == [0, 1, 2, 3] and found.dark == dark
    np.testing.assert_allclose(found.sizes, 2 * RADIUS + 1, atol=2.1)
    distances = np.linalg.norm(found.places[3][:, None] - PLACES, axis=-1)
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2] and distances.min(axis=1).max() < 1
    assert found.contrast == pytest.approx(abs(value - level), abs=5) and found.chroma == 0


def test_coloured_discs_have_chroma_and_some_lighter_ones_make_it_mixed():
    red = find_objects([appearance(with_discs(flat(120), PLACES, (220, 120, 120)))])
    assert red is not None and red.chroma == pytest.approx(1, abs=0.05)
    picture = with_discs(with_discs(flat(120), PLACES[:2], 20), PLACES[2:], 220)
    both = find_objects([appearance(picture)])
    assert both is not None and both.dark == pytest.approx(2 / 3, abs=0.03)


def test_large_pictures_are_shrunk_and_measured_in_their_own_pixels():
    picture = with_discs(flat(200), PLACES, 60).repeat(10, axis=0).repeat(10, axis=1)
    found = find_objects([appearance(picture)])
    assert found is not None and found.counts.tolist() == [3]
    np.testing.assert_allclose(found.sizes, 10 * (2 * RADIUS + 1), atol=25)
    distances = np.linalg.norm(found.places[0][:, None] - 10 * np.array(PLACES), axis=-1)
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2] and distances.min(axis=1).max() < 10


def test_touching_blobs_are_told_apart():
    random = np.random.default_rng(0)
    drawn = [draw_blobs(Blobs(touching=0.6), random) for _ in range(40)]
    found = find_objects([appearance(np.asarray(picture)) for picture, _ in drawn])
    assert found is not None
    np.testing.assert_array_equal(found.counts, [len(boxes) for _, boxes in drawn])


@pytest.mark.parametrize("apart", [2 * RADIUS + 1, 2 * RADIUS])
def test_discs_that_touch_are_measured_one_by_one(apart):
    row = [(45, 20), (45, 20 + apart), (45, 20 + 2 * apart)]
    found = find_objects([appearance(with_discs(flat(0), row, 255))])
    assert found is not None and found.counts.tolist() == [3]
    np.testing.assert_allclose(found.sizes, 2 * RADIUS + 1, atol=3)
    np.testing.assert_allclose(found.whiteness, np.pi * RADIUS**2, rtol=0.15)


def test_strokes_are_not_cut_into_their_thick_parts():
    ring = (np.abs(np.hypot(Y - 40, X - 40) - 15) < 2 + (X > 40) + (Y > 40)) & (Y < X + 15)
    found = find_objects([appearance(np.where(ring, 255, 0).astype(np.uint8)[..., None])])
    assert found is not None and found.counts.tolist() == [1]


def test_noise_alone_holds_no_objects():
    random = np.random.default_rng(0)
    noise = [appearance(random.normal(128, 4, (SIZE, SIZE, 3)).astype(np.uint8)) for _ in range(3)]
    assert find_objects(noise) is None
    assert find_objects([appearance(np.zeros((1, 1, 1), np.uint8))]) is None


def test_a_fixed_ground_is_shared_and_one_of_each_picture_is_not():
    random = np.random.default_rng(0)

    def pictures(grounds):
        return [
            appearance(with_discs(ground, random.integers(15, 75, (2, 2)), 250)) for ground in grounds
        ]

    def tiles():
        return np.kron(random.integers(40, 120, (9, 9, 3)), np.ones((10, 10, 1)))

    fixed = tiles()
    ground = shared_ground(pictures([fixed] * 20))
    assert ground is not None and np.abs(ground - fixed).max() < 1
    assert shared_ground(pictures([tiles() for _ in range(20)])) is None
    assert shared_ground(pictures([flat(50)] * 20)) is None  # needs no image
    assert shared_ground(pictures([fixed] * 2)) is None


def test_otsu_equals_brute_force():
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(40, 10, 900), random.normal(150, 20, 100)]).clip(0, 255)
    levels = np.floor(values)

    def between(threshold):
        low, high = levels[levels < threshold], levels[levels >= threshold]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    thresholds = range(int(levels.min()) + 1, int(levels.max()) + 1)
    assert between(otsu(values)) == pytest.approx(max(map(between, thresholds)))
