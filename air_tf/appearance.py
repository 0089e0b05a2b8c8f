"""What pictures look like: their ground, and what stands out from it. Needs neither labels nor a model.

The ground is a quadratic surface in each channel, fitted to the pixels that lie near it (least trimmed
squares, and of several such fits that of the least median: Rousseeuw 1984, Least Median of Squares
Regression). What differs from it by more than Otsu's threshold over all pictures (Otsu 1979, A threshold
selection method from gray-level histograms) is taken for objects.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

LONGEST_SIDE = 400  # pixels that are looked at; larger pictures are shrunk
FITTED_SIDE = 80  # pixels of each side that the ground is fitted to
LEVELS = 255
ROUNDS = 10  # of fitting the ground
TRIM = 2.5  # standard deviations from the ground within which a pixel may belong to it
LEAST_TRIM = 3.0  # levels
QUARTILE = 0.3186  # of |x|, x standard normal
FEWEST_TO_SHARE = 8  # pictures of one ground
SHARED = 0.7  # of the grain of grounds of their own that is left beside a shared one
GRAINS = 5.0  # standard deviations of the ground's grain that an object stands out by, at least
LEAST_CONTRAST = 12.0  # levels
FULL = np.ones((3, 3))  # pixels that touch at a corner are connected
SPECK = 0.1  # of the median area, below which a component is no object
COMPACT = 0.6  # of its box that an object fills: more than strokes do


class Appearance(NamedTuple):
    """One picture, at the size at which it was looked at."""

    pixels: np.ndarray  # (h, w, C) float32, levels
    ground: np.ndarray  # (h, w, C), the same
    shrunk: float  # pixels of the file per pixel here

    @property
    def away(self) -> np.ndarray:
        """How far each pixel is from the ground in the channel that shows it most, `(h, w)`, levels."""
        difference = _farthest(self.pixels - self.ground)
        return ndimage.gaussian_filter(difference, 1)

    @property
    def grain(self) -> float:
        """The standard deviation of the ground's pixels about its surface, levels."""
        return _deviation(_farthest(self.pixels - self.ground))


def appearance(pixels: np.ndarray) -> Appearance:
    """Looks at a picture `(h, w, C)` uint8."""
    height, width, channels = pixels.shape
    shrunk = max(1.0, max(height, width) / LONGEST_SIDE)
    size = max(1, round(width / shrunk)), max(1, round(height / shrunk))
    picture = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    small = np.asarray(picture.resize(size, Image.Resampling.BOX), np.float32)
    small = small.reshape(size[1], size[0], channels)
    return Appearance(small, fitted_ground(small), shrunk)


def fitted_ground(pixels: np.ndarray) -> np.ndarray:
    """The ground of `(h, w, C)`, of the same shape, fitted to a part of its pixels.

    The fits that begin at the most common colour and at the median one may end in objects: that whose
    median distance is least is taken.
    """
    basis = _basis(*pixels.shape[:2])
    step = -(-max(pixels.shape[:2]) // FITTED_SIDE)
    terms, values = (
        each[::step, ::step].reshape(-1, each.shape[-1]) for each in (basis, pixels.astype(np.float64))
    )
    fits = [_fit(terms, values, start) for start in (_most_common(values), np.median(values, axis=0))]
    weights = min(fits, key=lambda fit: np.median(_farthest(values - terms @ fit)))
    return (basis @ weights).astype(np.float32)


def _fit(terms: np.ndarray, values: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Weights `(6, C)` of the terms, fitted again and again to the pixels near the last fit."""
    weights = np.zeros((terms.shape[-1], values.shape[-1]))
    for _ in range(ROUNDS):
        away = _farthest(values - ground)
        near = away <= max(TRIM * _deviation(away), LEAST_TRIM)
        weights = _least_squares(terms[near], values[near])
        ground = terms @ weights
    return weights


def _farthest(difference: np.ndarray) -> np.ndarray:
    """The distance from the ground in the channel that shows it most."""
    return np.abs(difference).max(axis=-1)


def _least_squares(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weights of `terms (P, K)` that fit `values (P, C)`: `(K, C)`, by the normal equations.

    These are small; on the whole array, NumPy's threads cost ten times what they save.
    """
    return np.linalg.lstsq(terms.T @ terms, terms.T @ values, rcond=None)[0]


def _basis(height: int, width: int) -> np.ndarray:
    """The terms of a quadratic surface in each pixel, `(h, w, 6)`."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _most_common(values: np.ndarray) -> np.ndarray:
    """The mode of each channel, `(C,)`, of values smoothed over some levels."""
    histograms = [
        np.bincount(v.astype(np.int64).clip(0, LEVELS), minlength=LEVELS + 1) for v in values.T
    ]
    return np.array([ndimage.gaussian_filter1d(h.astype(float), 4).argmax() for h in histograms], float)


def _deviation(away: np.ndarray) -> float:
    """The standard deviation of the ground, from the quarter of all pixels that is nearest to it."""
    return float(np.quantile(away, 0.25) / QUARTILE)


def shared_ground(appearances: list[Appearance]) -> np.ndarray | None:
    """The median picture, `(h, w, C)`, where it is the ground of all: that of a fixed camera.

    None where there are too few pictures, of several sizes, or a ground of each one's own fits as well.
    """
    shapes = {each.pixels.shape for each in appearances}
    if len(appearances) < FEWEST_TO_SHARE or len(shapes) > 1:
        return None
    median = np.median([each.pixels for each in appearances], axis=0)
    left = [_deviation(_farthest(each.pixels - median)) for each in appearances]
    own = float(np.median([each.grain for each in appearances]))
    return median if np.median(left) < SHARED * own and own > LEAST_TRIM else None


class Objects(NamedTuple):
    """What stands out in some pictures."""

    contrast: float  # of the median object pixel, levels
    dark: float  # share of the object pixels that are darker than the ground
    chroma: float  # of the median object pixel, as a share of the contrast: 0 is grey
    sizes: np.ndarray  # of each object, the longer side of its box, pixels of the files
    whiteness: np.ndarray  # of each, the sum of its squared contrast; a white pixel on black has 1
    places: list[np.ndarray]  # of each picture's objects: (y, x), pixels of the files
    doubt: float  # share of the pixels about half-way between ground and objects

    @property
    def counts(self) -> np.ndarray:
        """Objects in each picture."""
        return np.array([len(each) for each in self.places])


def find_objects(appearances: list[Appearance]) -> Objects | None:
    """What stands out from the grounds of pictures; None if nothing does.

    Objects that touch are told apart where they are thin, if they fill their boxes as discs do.
    """
    away = [each.away for each in appearances]
    threshold = max(
        otsu(np.concatenate([each.ravel() for each in away])),
        GRAINS * float(np.median([each.grain for each in appearances])) / 2,  # smoothed grain is less
        LEAST_CONTRAST,
    )
    masks = [np.asarray(ndimage.binary_fill_holes(each > threshold)) for each in away]
    found = [(a, mask) for a, mask in zip(appearances, masks) if mask.any()]
    if not found:
        return None
    difference = np.concatenate([(a.pixels - a.ground)[mask] for a, mask in found])
    sizes, whiteness, places = _components(appearances, masks)
    pixels = np.concatenate([each.ravel() for each in away])
    return Objects(
        contrast=float(np.median(_farthest(difference))),
        dark=float(np.mean(difference.mean(axis=-1) < 0)),
        chroma=float(np.median(np.ptp(difference, axis=-1) / _farthest(difference).clip(1))),
        sizes=sizes,
        whiteness=whiteness,
        places=places,
        doubt=float(np.mean(np.abs(pixels / threshold - 1) < 0.25) / np.mean(pixels > threshold)),
    )


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold of levels: that with the greatest variance between those below and above."""
    histogram = np.bincount(values.clip(0, LEVELS).astype(np.int64), minlength=LEVELS + 1)
    levels, below = np.arange(LEVELS + 1), np.cumsum(histogram)
    sums, total = np.cumsum(histogram * levels), below[-1]
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(np.nan_to_num(between).argmax()) + 1.0


def _components(appearances: list[Appearance], masks: list[np.ndarray]):
    """Size and whiteness of each object, and the places of each picture's, pixels of the files."""
    labelled = [_label(mask) for mask in masks]
    areas = [np.bincount(labels.ravel())[1:] for labels in labelled]
    least = SPECK * np.median(np.concatenate(areas))
    boxes = [
        [(s.stop - s.start) for s in box] for of_one in labelled for box in ndimage.find_objects(of_one)
    ]
    filled = np.concatenate(areas) / np.prod(boxes, axis=-1)
    compact = np.median(filled[np.concatenate(areas) >= least]) >= COMPACT
    sizes, whiteness, places = [], [], []
    for a, labels, area in zip(appearances, labelled, areas):
        mask = np.concatenate([[False], area >= least])[labels]
        labels = _apart(mask) if compact else _label(mask)
        numbers = np.arange(1, labels.max() + 1)
        boxes = ndimage.find_objects(labels)
        sizes += [a.shrunk * max(s.stop - s.start for s in box) for box in boxes]
        squares = (((a.pixels - a.ground) / LEVELS) ** 2).mean(axis=-1)
        whiteness += [a.shrunk**2 * each for each in ndimage.sum_labels(squares, labels, numbers)]
        centres = ndimage.center_of_mass(np.ones(labels.shape), labels, numbers)
        places.append(a.shrunk * np.reshape(centres, (-1, 2)))
    return np.array(sizes), np.array(whiteness), places


def _label(mask: np.ndarray) -> np.ndarray:
    labels = np.zeros(mask.shape, np.int64)
    ndimage.label(mask, FULL, output=labels)
    return labels


def _apart(mask: np.ndarray) -> np.ndarray:
    """Labels of objects, cut apart where they are half as thick as in the middle.

    A pixel that is cut off belongs to the object whose inner part is nearest.
    """
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    inside = ndimage.gaussian_filter(depth, 1)
    whole = _label(mask)
    number = whole.max()
    if not number:
        return whole
    thickest = np.concatenate([[0], ndimage.maximum(inside, whole, np.arange(1, number + 1))])
    typical = np.median(thickest[1:])
    inner = _label((inside > 0.5 * np.minimum(thickest, typical)[whole]) & mask)
    nearest = ndimage.distance_transform_edt(inner == 0, return_distances=False, return_indices=True)
    return np.where(mask, inner[tuple(nearest)], 0)
