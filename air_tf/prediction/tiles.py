"""A large picture as overlapping square tiles, and what they saw as the objects of the whole picture.

    grid = Grid(picture.shape[:2], side, overlap)
    seen = [grid.objects_in(...) of each batch of tiles]
    objects = merged(grid, Objects.joined(seen))

An object that is no larger than the overlap lies wholly in at least one tile. Every point of the picture
belongs to the core of one tile, which ends in the middle of the overlap: that tile sees the object
around the point wholly, others see it too or see a piece of it. So a tile's objects count where their
centre lies in its core, or so near to it that another tile may have seen the centre in the core. Of
several boxes by which different tiles mean the same object, the one farthest inside its tile is kept.
Two boxes from one tile are two objects: the model has told them apart. Where it draws an object twice,
`without_nested` keeps the larger of two boxes that lie in each other.

With objects that do not overlap each other and are no larger than the overlap, each is found exactly
once if a tile sees all that lie wholly in it, with every edge off by up to 8% of the object's side.

Boxes are (ymin, xmin, ymax, xmax), in pixels of the picture where nothing else is said.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

SLACK = 0.1  # sides of its box that an object's centre may lie outside of the core of its tile
SAME_IOU = 0.5  # of two boxes of one object
SAME_CENTRE = 0.4  # sides of the smaller box between the centres of two boxes of one object
SAME_PIECE = 0.5  # of a box that its tile has cut: the share that lies in the box of the whole object
CUT = 0.02  # of a tile's side: a box that ends so near to the tile's border may be cut there


class Objects(NamedTuple):
    """Objects that tiles of one picture saw."""

    tight: np.ndarray  # (M, 4), boxes of their ink, by which they are told apart
    boxes: np.ndarray  # (M, 4), the boxes that are asked for
    scores: np.ndarray  # (M,), q(n >= i) in the tile
    tiles: np.ndarray  # (M,), the number of the tile

    def part(self, index) -> "Objects":
        """Those that an array of indices picks."""
        return Objects(*(values[index] for values in self))

    @classmethod
    def joined(cls, parts: list["Objects"]) -> "Objects":
        """Those of several batches of tiles."""
        return cls(*map(np.concatenate, zip(*parts)))


class Axis(NamedTuple):
    """The tiles along one side of a picture, as intervals in pixels."""

    starts: np.ndarray  # (n,)
    borders: np.ndarray  # (n, 2), where another tile follows; infinite at the edges of the picture
    cores: np.ndarray  # (n, 2), which divide the side among the tiles

    @classmethod
    def of(cls, length: int, side: int, overlap: int) -> "Axis":
        begin = starts(length, side, overlap)
        end = begin + side
        middles = (begin[1:] + end[:-1]) / 2
        return cls(begin, _intervals(begin[1:], end[:-1]), _intervals(middles, middles))


def _intervals(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    return np.stack([np.append(-np.inf, lows), np.append(highs, np.inf)], axis=1)


def starts(length: int, side: int, overlap: int) -> np.ndarray:
    """Where the tiles along a picture's side begin, `(n,)`, in pixels.

    The last one is moved inwards to end with the picture. A picture shorter than a tile lies in the
    middle of one, which begins before it.

    >>> print(starts(105, 40, 10), starts(30, 40, 10))
    [ 0 30 60 65] [-5]
    """
    if length <= side:
        return np.array([-((side - length) // 2)])
    return np.append(np.arange(0, length - side, side - overlap), length - side)


class Grid:
    """The tiles of a picture, numbered row by row.

    Args:
        size: (height, width) of the picture, in pixels.
        side: of a tile, in pixels.
        overlap: of neighbouring tiles, in pixels, below `side`. The last ones may overlap more.
    """

    def __init__(self, size: tuple[int, int], side: int, overlap: int):
        self.size, self.side = size, side
        self.y, self.x = (Axis.of(length, side, overlap) for length in size)

    def __len__(self):
        return len(self.y.starts) * len(self.x.starts)

    def _places(self, tiles) -> tuple[np.ndarray, np.ndarray]:
        return np.divmod(tiles, len(self.x.starts))

    def corners(self, tiles) -> np.ndarray:
        """(top, left) of tiles `(M,)`: `(M, 2)`; negative where a picture is smaller than a tile."""
        row, column = self._places(tiles)
        return np.stack([self.y.starts[row], self.x.starts[column]], axis=-1)

    def borders(self, tiles) -> np.ndarray:
        """The edges of tiles `(M,)` behind which the picture goes on, else infinite: `(M, 4)`."""
        row, column = self._places(tiles)
        return np.stack([self.y.borders[row], self.x.borders[column]], axis=-1).reshape(-1, 4)

    def cores(self, tiles) -> np.ndarray:
        """The cores of tiles `(M,)`: `(M, 4)`, infinite where no tile follows."""
        row, column = self._places(tiles)
        return np.stack([self.y.cores[row], self.x.cores[column]], axis=-1).reshape(-1, 4)

    def cut(self, picture: np.ndarray, tile: int, ground: np.ndarray) -> np.ndarray:
        """The tile's pixels, `(side, side, C)`.

        Args:
            picture: `(h, w, C)`.
            tile: its number.
            ground: `(C,)`, what is shown beyond a picture that is smaller than a tile.
        """
        top, left = self.corners(tile)
        bottom, right = top + self.side, left + self.side
        inside = picture[max(0, top) : bottom, max(0, left) : right]
        if inside.shape[:2] == (self.side, self.side):
            return inside
        pixels = np.empty((self.side, self.side, picture.shape[2]), picture.dtype)
        pixels[:] = ground
        height, width, _ = inside.shape
        pixels[max(0, -top) : max(0, -top) + height, max(0, -left) : max(0, -left) + width] = inside
        return pixels

    def objects_in(self, tiles, counts, tight, boxes, scores) -> Objects:
        """The objects that lie in their tiles' cores or near them.

        What draws nothing, and so lies nowhere, is none.

        Args:
            tiles: numbers of tiles, `(B,)`.
            counts: `(B,)`.
            tight: `(B, N, 4)`, fractions of the tile, as in a `Scene`.
            boxes: `(B, N, 4)`, the same.
            scores: `(B, N)`.
        """
        image, step = np.nonzero(np.arange(scores.shape[1]) < np.asarray(counts)[:, None])
        tiles = np.asarray(tiles)[image]
        corners, edges = np.tile(self.corners(tiles), 2), np.tile(self.size, 2)
        tight, boxes = (
            np.clip(corners + of_tile[image, step].astype(float) * self.side, 0, edges)
            for of_tile in (tight, boxes)
        )
        objects = Objects(tight, boxes, scores[image, step].astype(float), tiles)
        centres, sides = _centres(tight), _sides(tight)
        low, high = np.split(self.cores(tiles), 2, axis=1)
        near = (centres >= low - SLACK * sides) & (centres <= high + SLACK * sides)
        return objects.part(near.all(axis=1) & (sides > 0).all(axis=1))


def merged(grid: Grid, objects: Objects) -> Objects:
    """Each object once, from top to bottom.

    Args:
        grid: the tiles.
        objects: what `Grid.objects_in` gives for all of them.
    """
    borders = grid.borders(objects.tiles)
    cut = _room(objects.tight, borders) <= CUT * grid.side
    depth = _room(np.tile(_centres(objects.tight), 2), borders)
    order = np.lexsort((-objects.scores, -depth, cut))  # whole before cut, then far inside, then sure
    ranked = objects.part(order)
    tiles, kept = ranked.tiles.tolist(), np.ones(len(order), bool)
    for better, worse in _twins(ranked.tight, ranked.tiles, cut[order]):
        matched = set()  # tiles whose whole view of the object is found
        for other, piece in worse if kept[better] else ():
            if kept[other] and (piece or tiles[other] not in matched):
                kept[other] = False
                if not piece:
                    matched.add(tiles[other])
    found = ranked.part(kept)
    return found.part(np.lexsort(found.tight.T[1::-1]))


def without_nested(objects: Objects, share: float) -> Objects:
    """Those whose box does not lie, by more than `share` of its area, in a larger one."""
    larger_first = np.argsort(-np.prod(_sides(objects.tight), axis=1), kind="stable")
    ranked, kept = objects.tight[larger_first], np.ones(len(larger_first), bool)
    first, second = _neighbours(ranked)
    inside = _shared(ranked, first, second) > share * np.prod(_sides(ranked), axis=1)[second]
    for larger, smaller in zip(first[inside].tolist(), second[inside].tolist()):
        kept[smaller] &= not kept[larger]
    return objects.part(np.sort(larger_first[kept]))


def _neighbours(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of boxes `(M, 4)` that may meet, sorted, each with its first `(P,)` before its second."""
    if len(boxes) < 2:
        return np.zeros(0, int), np.zeros(0, int)
    reach = np.hypot(*_sides(boxes).T).max() + 1e-9  # farther apart, boxes do not meet
    pairs = np.sort(KDTree(_centres(boxes)).query_pairs(reach, output_type="ndarray"), axis=1)
    first, second = pairs[np.lexsort(pairs.T[::-1])].T
    return first, second


def _shared(boxes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The area that pairs of boxes have in common, `(P,)`."""
    low = np.maximum(boxes[first, :2], boxes[second, :2])
    high = np.minimum(boxes[first, 2:], boxes[second, 2:])
    return np.prod(np.maximum(0, high - low), axis=1)


def _twins(boxes: np.ndarray, tiles: np.ndarray, cut: np.ndarray) -> Iterator[tuple[int, list]]:
    """Boxes with all later ones, from other tiles, that may be the same object, likeliest first.

    Args:
        boxes: `(M, 4)`, the better ones first.
        tiles: `(M,)`.
        cut: `(M,)`, whether a box ends at its tile's border.

    Yields:
        The number of a box, and (number, whether it is a piece) of each of the others.
    """
    centres, sides = _centres(boxes), _sides(boxes)
    first, second = _neighbours(boxes)
    others = tiles[first] != tiles[second]
    first, second = first[others], second[others]
    both = _shared(boxes, first, second)
    areas = np.prod(sides, axis=1)
    iou = both / (areas[first] + areas[second] - both)
    smaller = np.minimum(sides[first], sides[second])
    apart = (np.abs(centres[first] - centres[second]) / smaller).max(axis=1)
    piece = cut[second] & (both >= SAME_PIECE * areas[second])
    same = np.flatnonzero((iou >= SAME_IOU) | (apart <= SAME_CENTRE) | piece)
    same = same[np.lexsort((apart[same], first[same]))]
    found = zip(first[same].tolist(), second[same].tolist(), piece[same].tolist())
    for better, group in itertools.groupby(found, key=lambda pair: pair[0]):
        yield better, [(other, is_piece) for _, other, is_piece in group]


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _sides(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, 2:] - boxes[:, :2]


def _room(boxes: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """How far boxes end from the nearest of their tile's borders, `(M,)`, in pixels."""
    return np.minimum(boxes[:, :2] - borders[:, :2], borders[:, 2:] - boxes[:, 2:]).min(axis=1)
