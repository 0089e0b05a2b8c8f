"""The pictures of blobs that examples/blobs.py draws, counted by SciPy."""

import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from air_tf.data.labels import read_labels
from examples import blobs


def drawn(tmp_path, monkeypatch, *flags):
    """The folder of pictures that the command draws."""
    monkeypatch.setattr(sys, "argv", ["blobs", "--out", str(tmp_path / "blobs"), *flags])
    blobs.main()
    return tmp_path / "blobs"


def count(pixels):
    """Blobs are far from the ground's colour; those that touch come apart where they are thin."""
    ground = np.median(pixels, axis=(0, 1))
    away = ndimage.gaussian_filter(np.abs(pixels - ground).max(axis=-1), 1)
    inside = ndimage.gaussian_filter(ndimage.distance_transform_edt(away > 60), 1)
    labels = np.zeros(inside.shape, int)
    return ndimage.label(inside > 7, np.ones((3, 3)), output=labels)


def test_scipy_counts_every_picture_right(tmp_path, monkeypatch):
    folder = drawn(tmp_path, monkeypatch, "--images", "50")
    paths = sorted(folder.glob("*.jpg"))
    counts, boxes = read_labels(paths, np.full((50, 2), 160))
    pictures = [np.asarray(Image.open(path), float) for path in paths]
    assert [count(pixels) for pixels in pictures] == counts.tolist()
    assert set(counts) == set(range(6))
    for pixels, edges in zip(pictures, boxes * 160):
        middles = ((edges[:, :2] + edges[:, 2:]) / 2)[edges.any(axis=-1)].astype(int)
        away = np.abs(pixels - np.median(pixels, axis=(0, 1))).max(axis=-1)
        assert (away[tuple(middles.T)] > 60).all()


def test_some_blobs_touch_and_sizes_stay_within_their_bounds():
    random = np.random.default_rng(0)
    gaps = []
    for _ in range(200):
        found = np.array(blobs.places(blobs.Blobs(), random)).reshape(-1, 3)
        assert ((found[:, 2] >= 11) & (found[:, 2] <= 16)).all()
        for i, (x, y, radius) in enumerate(found):
            gaps += [np.hypot(x - a, y - b) / (radius + r) for a, b, r in found[:i]]
    gaps = np.array(gaps)
    assert gaps.min() >= 0.97 and (gaps < 1).sum() > 20 and (gaps > 1.1).sum() > 100


def test_more_blobs_than_have_room_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="Expected pictures with room for their blobs"):
        drawn(tmp_path, monkeypatch, "--most", "50")
    assert not (tmp_path / "blobs").exists()
