"""One's own pictures as a data set, with labels for evaluation where there are any.

Beside the pictures may lie `counts.csv`, with a header and columns file,count, and `boxes.json` in
COCO's layout (images with id and file_name; annotations with image_id and bbox in pixels).
"""

import contextlib
import csv
import json
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from air_tf.config import DataConfig, ModelConfig
from air_tf.data.cache import fingerprint
from air_tf.data.split import UNKNOWN, Split
from air_tf.pictures import find_pictures, read_picture
from air_tf.preparation import border_median, fit

TEST_SHARE = 0.1  # of the pictures, held out
WINDOW_SIDE = 1.1  # sides of the object that a glimpse's window has, with its margin
LOOKED_AT = 20  # pictures that tell light objects from dark ones, and sizes
COUNTS, BOXES = "counts.csv", "boxes.json"


class OwnImages(NamedTuple):
    """The splits `train` and `test`, the model's fields they fix, and lines that say what was done."""

    splits: dict[str, Split]
    model_fields: dict
    description: str


def labels(paths: list[Path]) -> list[Path]:
    """The files with labels that lie in the pictures' folders; a count in counts.csv comes last."""
    folders = sorted({path.parent for path in paths})
    return [f / name for name in (BOXES, COUNTS) for f in folders if (f / name).is_file()]


def own_images(paths: list[Path], model: ModelConfig) -> dict[str, Split]:
    """Reads, fits and splits the pictures; those that cannot be read are reported and left out.

    Raises:
        ValueError: fewer than two can be read, or a file with labels is none.
    """
    images, edges, sizes, kept = [], [], [], []
    for path in tqdm(paths, desc="Reading pictures", unit=" pictures", leave=False, dynamic_ncols=True):
        try:
            picture = read_picture(path, model.image_shape[2])
        except ValueError as error:
            tqdm.write(f"{error}: left out.", file=sys.stderr)
            continue
        image, edge = fit(picture, model)
        images.append(image)
        edges.append(edge)
        sizes.append(picture.shape[:2])
        kept.append(path)
    if len(kept) < 2:
        raise ValueError(f"Expected at least two pictures that can be read. Received: {len(kept)}.")
    counts, boxes = read_labels(kept, np.array(sizes))
    corner, extent = (np.tile(part, 2)[:, None] for part in np.split(np.array(edges), 2, axis=1))
    boxes = (boxes * extent + corner) * boxes.any(axis=-1, keepdims=True)
    split = Split.of(np.stack(images), counts, boxes.astype(np.float32))
    held_out = is_held_out(kept)
    return {"train": split[~held_out], "test": split[held_out]}


def is_held_out(paths: list[Path]) -> np.ndarray:
    """Which pictures test, `(S,)`: by a hash of each name, so that no other picture changes it."""
    hashes = np.array([zlib.crc32(path.name.encode()) / 2**32 for path in paths])
    held_out = hashes < TEST_SHARE
    held_out[hashes.argmin()], held_out[hashes.argmax()] = True, False  # one of each at least
    return held_out


def first_pictures(paths: list[Path], channels: int) -> list[np.ndarray]:
    """Up to LOOKED_AT pictures, spread over the files.

    Raises:
        ValueError: none of them can be read.
    """
    pictures, looked_at = [], paths[:: -(-len(paths) // LOOKED_AT)]
    for path in looked_at:
        with contextlib.suppress(ValueError):  # reported when all are read
            pictures.append(read_picture(path, channels))
    if not pictures:
        raise ValueError(f"Expected pictures that can be read. Received: {looked_at[0]} and others.")
    return pictures


def objects_are_dark(pictures: list[np.ndarray]) -> bool:
    """Whether what differs from the border's median colour is darker than it."""
    return bool(
        np.mean([np.mean(pixels - border_median(pixels / 255).numpy() * 255) for pixels in pictures]) < 0
    )


def read_labels(paths: list[Path], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts `(S,)`, UNKNOWN where none are given, and boxes `(S, M, 4)` as fractions of the pictures.

    Args:
        paths: of the pictures.
        sizes: `(S, 2)`, their heights and widths in pixels.

    Raises:
        ValueError: a file with labels is not in its layout.
    """
    index = {path: i for i, path in enumerate(paths)}
    counts, boxes_of = np.full(len(paths), UNKNOWN, np.int32), {}
    for file in labels(paths):
        if file.name == COUNTS:
            for name, count in _read_counts(file).items():
                if (i := index.get(file.parent / name)) is not None:
                    counts[i] = count
            continue
        for name, boxes in _read_boxes(file).items():
            if (i := index.get(file.parent / name)) is not None:
                x, y, width, height = np.transpose(boxes) if boxes else np.zeros((4, 0))
                edges = np.stack([y, x, y + height, x + width], axis=-1) / np.tile(sizes[i], 2)
                boxes_of[i], counts[i] = np.clip(edges, 0.0, 1.0), len(boxes)
    result = np.zeros((len(paths), max(map(len, boxes_of.values()), default=0), 4))
    for i, boxes in boxes_of.items():
        result[i, : len(boxes)] = boxes
    return counts, result


def _read_counts(file: Path) -> dict[str, int]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            result = {row["file"]: int(row["count"]) for row in csv.DictReader(lines)}
        if min(result.values(), default=0) < 0:
            raise ValueError("a count below 0")
        return result
    except (KeyError, ValueError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"Expected columns file,count in {file}. Received: {type(error).__name__}: {error}"
        ) from error


def _read_boxes(file: Path) -> dict[str, list]:
    try:
        record = json.loads(file.read_text())
        names = {image["id"]: image["file_name"] for image in record["images"]}
        result = {name: [] for name in names.values()}
        for annotation in record["annotations"]:
            result[names[annotation["image_id"]]].append([*map(float, annotation["bbox"])])
        if any(len(box) != 4 for boxes in result.values() for box in boxes):
            raise ValueError("a bbox that is not x, y, width, height")
        return result
    except (KeyError, ValueError, TypeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(
            f"Expected COCO's images and annotations in {file}. "
            f"Received: {type(error).__name__}: {error}"
        ) from error


def load_own_images(config: DataConfig, cached) -> tuple[OwnImages, str]:
    """The data set that `config.images` names, and its fingerprint.

    Args:
        config: `DataConfig`.
        cached: keeps splits on disk: (fingerprint, how to make them) to splits.

    Raises:
        ValueError: as `own_images`, or an object size that does not fit.
    """
    paths = find_pictures(config.images)
    pictures = first_pictures(paths, config.channels)
    dark = objects_are_dark(pictures) if config.invert == "auto" else config.invert == "yes"
    fields = {
        "image_shape": (*config.image_size, config.channels),
        "dark_objects": dark,
        "subtract_ground": True,
    }
    changed = [path.stat().st_mtime_ns for path in paths + labels(paths)]
    version = fingerprint(paths + labels(paths), changed, fields)
    splits = cached(version, lambda: own_images(paths, ModelConfig(**fields)))
    labelled = sum(int(split.labelled().sum()) for split in splits.values())
    total = sum(map(len, splits.values()))
    description = (
        f"Images: {total:,} pictures of {config.images}, {len(splits['test']):,} of them held out, "
        f"{labelled:,} with a count; {'dark objects, inverted' if dark else 'light objects'}."
    )
    if config.object_size:
        fields["scale_prior"], inside = scale_prior_of(config, pictures)
        mean, deviation = fields["scale_prior"]
        description += (
            f"\nObjects of {config.object_size:g} pixels are {inside:.1f} of the model's "
            f"{min(config.image_size)}: z_where's scale has the prior {mean:.2f} +- {deviation:.2f}."
        )
    return OwnImages(splits, fields, description), fingerprint(paths)


def scale_prior_of(config: DataConfig, pictures: list[np.ndarray]) -> tuple[tuple[float, float], float]:
    """The prior of z_where's scale for objects of `config.object_size`, and their side in the model.

    The window of scale s is 1/s of the image, and WINDOW_SIDE times the object; mean and standard
    deviation stand to each other as in the default prior.

    Args:
        config: `DataConfig`.
        pictures: some, as they are on disk: their median size tells how much they are shrunk.
    """
    factors = [np.min(np.array(config.image_size) / picture.shape[:2]) for picture in pictures]
    inside, size = config.object_size * float(np.median(factors)), min(config.image_size)
    scale = size / (WINDOW_SIDE * inside)
    if not 1.0 <= scale <= size / 2:
        raise ValueError(
            f"Expected an object_size between 2 pixels of the model's image and all of its {size}. "
            f"Received: object_size={config.object_size:g}, which is {inside:.1f} of them."
        )
    mean, deviation = ModelConfig().scale_prior
    return (round(scale, 4), round(scale * deviation / mean, 4)), inside
