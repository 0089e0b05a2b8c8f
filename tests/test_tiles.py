"""Tiles of a large picture, and what they saw merged: against scenes of discs whose places are known."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from air_tf.prediction.tiles import Axis, Grid, Objects, merged, without_nested

OFF = 0.08  # sides of its object that each edge of a detection may be off, as the module promises
SMALLEST_PIECE = 0.02  # of an object, that a tile may take for one


@pytest.mark.parametrize("side, overlap", [(8, 1), (16, 5), (16, 15), (40, 20)])
@pytest.mark.parametrize("length", [1, 8, 16, 17, 37, 40, 41, 95, 160])
def test_tiles_cover_every_pixel_and_cores_divide_them(length, side, overlap):
    starts, borders, cores = Axis.of(length, side, overlap)
    if length < side:
        assert len(starts) == 1 and abs(2 * starts[0] + side - length) <= 1  # in the middle
    else:
        assert starts[0] == 0 and starts[-1] == length - side
        assert (np.diff(starts) > 0).all() and (np.diff(starts) <= side - overlap).all()
    places = np.arange(length)[:, None] + 0.25  # no core ends there
    owner = (places > cores[:, 0]) & (places < cores[:, 1])
    np.testing.assert_array_equal(owner.sum(axis=1), 1)
    room = np.minimum(places - starts, starts + side - places)  # of a place in a tile
    assert room[owner].min() > 0
    to_border = np.minimum(places - borders[:, 0], borders[:, 1] - places)[owner]
    assert to_border.min() >= overlap / 2 - 0.25  # behind which no other tile sees the place better


def test_a_grid_crosses_the_intervals_of_its_axes():
    grid = Grid((200, 300), 100, 20)
    y, x = Axis.of(200, 100, 20), Axis.of(300, 100, 20)
    crossed = list(itertools.product(range(len(y.starts)), range(len(x.starts))))
    assert len(grid) == len(crossed)
    for tile, (row, column) in enumerate(crossed):
        assert grid.corners(tile).tolist() == [y.starts[row], x.starts[column]]
        for of_grid, of_axes in ((grid.borders, "borders"), (grid.cores, "cores")):
            (low_y, high_y), (low_x, high_x) = getattr(y, of_axes)[row], getattr(x, of_axes)[column]
            assert of_grid(np.array([tile])).tolist() == [[low_y, low_x, high_y, high_x]]


def test_a_tile_shows_its_pixels_and_the_ground_around_a_small_picture():
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (50, 21, 3), np.uint8)
    ground = np.array([1, 2, 3])
    grid = Grid((50, 21), 30, 10)
    assert len(grid) == 2
    for tile in range(2):
        pixels = grid.cut(picture, tile, ground)
        np.testing.assert_array_equal(pixels[:, 4:25], picture[20 * tile : 20 * tile + 30])
        np.testing.assert_array_equal(pixels[:, :4], np.broadcast_to(ground, (30, 4, 3)))
        np.testing.assert_array_equal(pixels[:, 25:], np.broadcast_to(ground, (30, 5, 3)))
    whole = Grid((30, 30), 30, 10)
    np.testing.assert_array_equal(whole.cut(picture[:30].repeat(2, 1)[:, :30], 0, ground),
                                  picture[:30].repeat(2, 1)[:, :30])  # fmt: skip


def scene_of_discs(random, size, most, radii):
    """Centres and radii of discs that do not overlap each other; many touch another one."""
    centres, chosen = np.empty((0, 2)), np.empty(0)
    for _ in range(10 * most):
        radius = random.uniform(*radii)
        if len(chosen) and random.random() < 0.6:  # beside another one
            other, angle = random.integers(len(chosen)), random.uniform(0, 2 * np.pi)
            direction = np.array([np.sin(angle), np.cos(angle)])
            centre = centres[other] + (chosen[other] + radius) * direction
        else:
            centre = random.uniform(radius, np.array(size) - radius)
        inside = (centre >= radius).all() and (centre <= np.array(size) - radius).all()
        if inside and (np.hypot(*(centres - centre).T) >= chosen + radius - 1e-6).all():
            centres, chosen = np.append(centres, [centre], axis=0), np.append(chosen, radius)
        if len(chosen) == most:
            break
    return centres, chosen


def detections(random, grid, true):
    """What tiles see of objects with the boxes `true (M, 4)`: all whole ones, and some of the pieces."""
    sides, seen = true[:, 2:] - true[:, :2], []
    for tile in range(len(grid)):
        low = grid.corners(tile)
        high = low + grid.side

        def clipped(boxes, low=low, high=high):
            return np.concatenate(
                [np.maximum(boxes[:, :2], low), np.minimum(boxes[:, 2:], high)], axis=1
            )

        visible = clipped(true)
        shares = np.prod(np.maximum(0, visible[:, 2:] - visible[:, :2]) / sides, axis=1)
        taken = (shares > 1 - 1e-9) | ((shares > SMALLEST_PIECE) & (random.random(len(true)) < 0.7))
        off = random.uniform(-OFF, OFF, true.shape) * np.tile(sides, 2)
        found = clipped(true + off)[taken]
        found = found[(found[:, 2:] > found[:, :2]).all(axis=1)]
        random.shuffle(found)
        boxes = ((found - np.tile(low, 2)) / grid.side)[None]
        seen.append(
            grid.objects_in([tile], [len(found)], boxes, boxes, random.uniform(0.5, 1, boxes.shape[:2]))
        )
    return Objects.joined(seen)


@pytest.mark.parametrize("seed", range(60))
def test_every_object_is_found_exactly_once(seed):
    """Discs of up to the overlap, touching each other, seen with jitter and in pieces at borders.

    A found box is an object's if its centre is off by no more than the edges may be.
    """
    random = np.random.default_rng(seed)
    side = int(random.integers(60, 150))
    overlap = int(random.integers(12, 2 * side // 3))
    size = tuple(random.integers(110, 500, 2).tolist())
    least = 0.1 if seed % 2 else 0.7  # of the largest: similar or very different sizes
    centres, radii = scene_of_discs(random, size, 60, (least * overlap / 2, overlap / 2))
    true = np.concatenate([centres - radii[:, None], centres + radii[:, None]], axis=1)
    grid = Grid(size, side, overlap)
    seen = detections(random, grid, true)
    found = merged(grid, seen)
    assert len(found.scores) == len(true)
    apart = np.abs((found.tight[:, None, :2] + found.tight[:, None, 2:]) / 2 - centres).max(axis=-1)
    right = apart <= 2 * OFF * radii + 1e-9
    assert right[linear_sum_assignment(~right)].all()
    assert (np.diff(found.tight[:, 0]) >= 0).all()


def seen_by(grid, *views):
    """Objects of (tile, boxes in pixels of the picture)."""
    seen = []
    for tile, boxes in views:
        boxes = np.reshape(boxes, (1, -1, 4)) - np.tile(grid.corners(tile), 2)
        scores = np.ones(boxes.shape[:2])
        seen.append(grid.objects_in([tile], [len(boxes[0])], *[boxes / grid.side] * 2, scores))
    return Objects.joined(seen)


TWO = Grid((100, 150), 100, 50)  # tiles from 0 to 100 and from 50 to 150; the cores meet at 75


@pytest.mark.parametrize(
    "views, count",
    [
        ([(0, [(40, 65, 60, 85)]), (1, [(41, 66, 61, 86)])], 1),  # seen twice
        ([(0, [(40, 52, 60, 72)]), (1, [(40, 53, 61, 73)])], 1),  # once in the core
        ([(0, [(40, 66, 60, 86)]), (1, [(40, 64, 60, 84)])], 1),  # each tile sees it in the other's core
        ([(0, [(40, 55, 60, 75)]), (1, [(40, 75, 60, 95)])], 2),  # side by side
        ([(0, [(40, 60, 60, 80), (44, 62, 64, 82)]), (1, [])], 2),  # one tile tells two apart
        ([(0, [(40, 66, 60, 84), (44, 67, 64, 85)]), (1, [(40, 66, 60, 84)])], 2),
        ([(0, [(40, 65, 60, 83)]), (1, [(40, 65, 60, 83), (44, 66, 64, 84)])], 2),
        ([(0, [(40, 60, 60, 90)]), (1, [(40, 74, 60, 90)])], 1),  # IoU 0.53, centres 0.44 sides apart
        ([(0, [(30, 60, 70, 90)]), (1, [(46, 71, 56, 81)])], 1),  # IoU 0.08, centres 0.1 sides apart
        ([(0, [(42, 54, 58, 100)]), (1, [(40, 54, 60, 146)])], 1),  # a piece of it
        ([(0, [(40, 66, 80, 86)]), (1, [(30, 76, 42, 88)])], 2),  # a small one beside a large one
        ([(0, [(40, 5, 60, 25)]), (1, [(40, 125, 60, 145)])], 2),  # far apart
        ([(0, [(40, 74, 60, 94)]), (1, [(40, 50, 60, 60)])], 0),  # what the other tile has to see
        ([(0, [(40, 40, 40, 60), (np.nan,) * 4]), (1, [])], 0),  # nothing
        ([(0, []), (1, [])], 0),
    ],
)
def test_boxes_are_one_object_or_two(views, count):
    for order in views, views[::-1]:
        assert len(merged(TWO, seen_by(TWO, *order)).scores) == count


def test_the_view_from_farthest_inside_is_kept():
    inside, piece = (40, 64, 60, 96), (40, 68, 60, 100)
    grid = Grid((100, 160), 100, 40)
    found = merged(grid, seen_by(grid, (0, [piece]), (1, [inside])))
    np.testing.assert_allclose(found.tight, [inside])
    assert found.tiles.tolist() == [1]


def test_objects_beyond_a_counted_one_and_beyond_the_picture_are_left_out():
    grid = Grid((20, 20), 40, 10)  # the picture lies at 10 to 30 of its tile
    boxes = np.array([[[0.3, 0.3, 0.5, 0.5], [0.0, 0.0, 0.2, 0.2], [0.6, 0.6, 0.9, 0.9], [0.3] * 4]])
    shown = boxes + np.array([-0.05, -0.05, 0.05, 0.05])
    for count, expected in enumerate([0, 1, 1, 2]):
        seen = grid.objects_in([0], [count], boxes, shown, np.float32([[0.9, 0.8, 0.7, 0.6]]))
        assert len(merged(grid, seen).scores) == expected
    np.testing.assert_allclose(seen.tight, [[2, 2, 10, 10], [14, 14, 20, 20]])
    np.testing.assert_allclose(seen.boxes, [[0, 0, 12, 12], [12, 12, 20, 20]])
    np.testing.assert_allclose(seen.scores, [0.9, 0.7])


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_box_in_a_larger_one_is_left_out(share):
    """As the definition says, box by box from the largest: only what is kept leaves others out."""
    random = np.random.default_rng(int(10 * share))
    corners, sides = random.integers(0, 100, (60, 2)), random.integers(5, 40, (60, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    objects = Objects(boxes, boxes, random.random(60), np.zeros(60, int))

    def shared(i: int, k: int) -> int:
        pixels = np.zeros((2, 140, 140), bool)
        for picture, (top, left, bottom, right) in zip(pixels, boxes[[i, k]]):
            picture[top:bottom, left:right] = True
        return np.sum(pixels[0] & pixels[1])

    kept = []
    for i in np.argsort(-sides.prod(axis=1), kind="stable"):
        if all(shared(i, k) <= share * sides[i].prod() for k in kept):
            kept.append(i)
    found = without_nested(objects, share)
    np.testing.assert_array_equal(found.tight, boxes[sorted(kept)])
    assert (len(kept) == 60) == (share == 1.0)
