"""Whole pictures as images to train on."""

import os
import sys
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from air_tf.data.labels import read_labels
from air_tf.data.split import Split
from air_tf.image_files import read_picture
from air_tf.preparation import Preparation, Shape, fit

TEST_SHARE = 0.1  # of the pictures, held out


def whole_pictures(paths: list[Path], image_shape: Shape, how: Preparation) -> dict[str, Split]:
    """Reads, fits and splits the pictures; those that cannot be read are reported and left out.

    Raises:
        ValueError: fewer than two can be read, or a file with labels is none.
    """
    images, edges, sizes, kept = [], [], [], []
    for path in tqdm(paths, desc="Reading pictures", unit=" pictures", leave=False, dynamic_ncols=True):
        try:
            picture = read_picture(path, image_shape[2])
        except ValueError as error:
            tqdm.write(f"{error}: left out.", file=sys.stderr)
            continue
        image, edge = fit(picture, image_shape, how)
        images.append(image)
        edges.append(edge)
        sizes.append(picture.shape[:2])
        kept.append(path)
    if len(kept) < 2:
        raise ValueError(
            "Expected at least two pictures that can be read, or one with --crop. "
            f"Received: {len(kept)}."
        )
    counts, boxes = read_labels(kept, np.array(sizes))
    boxes = within_image(boxes, np.array(edges)[:, None])
    split = Split.of(np.stack(images), counts, boxes)
    held_out = is_held_out(kept)
    return {"train": split[~held_out], "test": split[held_out]}


def within_image(boxes: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Boxes `(..., 4)` as fractions of a picture at `edges (..., 4)` in the image; 0 stay 0."""
    corner, extent = (np.tile(part, 2) for part in np.split(edges, 2, axis=-1))
    return (boxes * extent + corner) * boxes.any(axis=-1, keepdims=True)


def is_held_out(paths: list[Path]) -> np.ndarray:
    """Which pictures test, `(S,)`: by a hash of each name, so that no other picture changes it.

    Where pictures in several folders have the same name, by a hash of the folder and the name.
    """
    names = [path.name for path in paths]
    if len({*names}) < len(names):
        above = os.path.commonpath([path.parent for path in paths])
        names = [os.path.relpath(path, above) for path in paths]
    hashes = np.array([zlib.crc32(os.fsencode(name)) / 2**32 for name in names])
    held_out = hashes < TEST_SHARE
    held_out[hashes.argmin()], held_out[hashes.argmax()] = True, False  # one of each at least
    return held_out
