"""Labels for evaluation that lie beside one's own pictures.

`counts.csv` has a header and columns file,count; `boxes.json` has COCO's layout: images with id and
file_name; annotations with image_id and bbox (x, y, width, height in pixels); more fields are ignored.
Names that no picture has are ignored too. Anything else that is wrong is refused, with its place.
"""

import csv
import dataclasses
import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic

from air_tf.data.split import UNKNOWN
from air_tf.memory import check_memory
from air_tf.paths import shown
from air_tf.validation import read_json

COUNTS, BOXES = "counts.csv", "boxes.json"
MOST_OBJECTS = 1_000  # in one picture: the evaluation's tables have one row per count
MOST_IN_COCO = 1_000_000  # images or annotations of a file; COCO's own has 860,001
MOST_BYTES = 64 * 2**20  # of a file with labels; COCO's own validation set has 20 MB
FARTHEST = 1e6  # pixels of a coordinate, beyond any picture's side

Coordinate = Annotated[float, pydantic.Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]
Length = Annotated[float, pydantic.Field(ge=0, le=FARTHEST, allow_inf_nan=False)]


@dataclasses.dataclass(slots=True)
class CocoImage:
    """A picture that was labelled, even if it has no objects."""

    id: int | str
    file_name: str


@dataclasses.dataclass(slots=True)
class CocoAnnotation:
    """An object: its box is x, y, width, height in pixels."""

    image_id: int | str
    bbox: tuple[Coordinate, Coordinate, Length, Length]


@dataclasses.dataclass(slots=True)
class Coco:
    """A file in COCO's layout, as far as it is used."""

    images: Annotated[list[CocoImage], pydantic.Field(max_length=MOST_IN_COCO, fail_fast=True)]
    annotations: Annotated[list[CocoAnnotation], pydantic.Field(max_length=MOST_IN_COCO, fail_fast=True)]


def label_files(paths: list[Path]) -> list[Path]:
    """The files with labels that lie in the pictures' folders; a count in counts.csv comes last."""
    folders = sorted({path.parent for path in paths})
    return [f / name for name in (BOXES, COUNTS) for f in folders if os.path.isfile(f / name)]


def read_labels(paths: list[Path], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts `(S,)`, UNKNOWN where none are given, and boxes `(S, M, 4)` as fractions of the pictures.

    A box of which no part lies in its picture is reported and left out.

    Args:
        paths: of the pictures.
        sizes: `(S, 2)`, their heights and widths in pixels.

    Raises:
        ValueError: a file with labels is not in its layout, or all boxes do not fit into memory.
        OSError: it cannot be read.
    """
    index = {path: i for i, path in enumerate(paths)}
    counts, boxes_of = np.full(len(paths), UNKNOWN, np.int32), {}
    for file in label_files(paths):
        if file.name == COUNTS:
            for path, count in read_counts(file).items():
                if (i := index.get(path)) is not None:
                    counts[i] = count
            continue
        for path, boxes in read_boxes(file).items():
            if (i := index.get(path)) is not None:
                edges = _fractions(boxes, sizes[i])
                visible = (edges[:, 2:] > edges[:, :2]).all(axis=-1)
                if not visible.all():
                    print(
                        f"{shown(file)}: {np.sum(~visible)} boxes of {shown(path.name)} lie outside of "
                        "it or have no area: left out.",
                        file=sys.stderr,
                    )
                boxes_of[i], counts[i] = edges[visible], visible.sum()
    most = max(map(len, boxes_of.values()), default=0)
    check_memory(
        len(paths) * most * 4 * 8, f"the boxes of {len(paths):,} pictures, {most} in one of them"
    )
    result = np.zeros((len(paths), most, 4))
    for i, boxes in boxes_of.items():
        result[i, : len(boxes)] = boxes
    return counts, result


def _fractions(boxes: list[tuple], size: np.ndarray) -> np.ndarray:
    """`(n, 4)` (ymin, xmin, ymax, xmax), within the picture, of boxes x, y, width, height in pixels."""
    x, y, width, height = np.reshape(boxes, (-1, 4)).T
    edges = np.stack([y, x, y + height, x + width], axis=-1) / np.tile(size, 2)
    return np.clip(edges, 0.0, 1.0)


def check_size(file: Path) -> None:
    """Raises ValueError if the file is too large to be read as a whole."""
    if (size := file.stat().st_size) > MOST_BYTES:
        raise ValueError(
            f"Expected at most {MOST_BYTES:,} bytes in {shown(file)}. Received: {size:,} bytes."
        )


def read_counts(file: Path) -> dict[Path, int]:
    """The counts in a `counts.csv`, by the pictures' paths.

    Raises:
        ValueError: with the line that is wrong: it is not UTF-8, lacks a column, counts a file again, or
            its count is no whole number up to MOST_OBJECTS.
        OSError: it cannot be read.
    """

    def refused(line: int, received: str) -> ValueError:
        return ValueError(
            f"Expected columns file,count in {shown(file)}. Received in line {line}: {shown(received)}."
        )

    check_size(file)
    content = file.read_bytes()
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        raise refused(content.count(b"\n", 0, error.start) + 1, "text that is not UTF-8") from None
    result = {}
    try:
        header = [name.strip() for name in next(rows, [])]
        if not {"file", "count"} <= set(header):
            raise refused(1, ",".join(header)[:60] or "no header")
        name_at, count_at = header.index("file"), header.index("count")
        for row in rows:
            if not row:
                continue
            if len(row) <= max(name_at, count_at):
                raise refused(rows.line_num, f"{len(row)} of {len(header)} columns")
            name, count = file.parent / row[name_at], row[count_at].strip()
            if not (count.isascii() and count.isdigit() and len(count) <= 9):
                raise refused(rows.line_num, f"the count {count[:20]!r}")
            if int(count) > MOST_OBJECTS:
                raise refused(rows.line_num, f"{count} objects, over {MOST_OBJECTS:,}")
            if name in result:
                raise refused(rows.line_num, f"a second count of {row[name_at]}")
            result[name] = int(count)
    except csv.Error as error:
        raise refused(rows.line_num, str(error)) from None
    return result


def read_boxes(file: Path) -> dict[Path, list[tuple]]:
    """The boxes in a `boxes.json`, x, y, width, height in pixels, by the pictures' paths.

    Raises:
        ValueError: with the place that is wrong: the file does not follow the schema `Coco`, an image is
            listed again, an annotation names none, or an image has over MOST_OBJECTS.
        OSError: it cannot be read.
    """
    expected = "COCO's images and annotations"

    def refused(place: str, received: str) -> ValueError:
        return ValueError(f"Expected {expected} in {shown(file)}. Received: {place}: {shown(received)}.")

    check_size(file)
    coco = read_json(file, Coco, expected)
    result, boxes_of = {}, {}
    for number, image in enumerate(coco.images):
        path = file.parent / image.file_name
        if image.id in boxes_of or path in result:
            raise refused(f"images.{number}", f"a second {image.file_name} or id {image.id!r}")
        result[path] = boxes_of[image.id] = []
    for number, annotation in enumerate(coco.annotations):
        boxes, place = boxes_of.get(annotation.image_id), f"annotations.{number}.image_id"
        if boxes is None:
            raise refused(place, f"{annotation.image_id!r}, which no image has")
        if len(boxes) == MOST_OBJECTS:
            raise refused(place, f"more than {MOST_OBJECTS:,} boxes of image {annotation.image_id!r}")
        boxes.append(annotation.bbox)
    return result


def write_labels(
    folder: Path, boxes_of: dict[str, list[tuple[float, ...]]], size: tuple[int, int], category: str
) -> None:
    """Writes `counts.csv` and `boxes.json` beside pictures that a program has drawn.

    Args:
        folder: that of the pictures.
        boxes_of: by the pictures' names, the box (x, y, width, height) of each object in pixels.
        size: (height, width) of every picture, in pixels.
        category: what the objects are called.
    """
    height, width = size
    images = [
        {"id": i, "file_name": name, "width": width, "height": height} for i, name in enumerate(boxes_of)
    ]
    annotations = [
        {"image_id": i, "category_id": 1, "bbox": [float(edge) for edge in box]}
        for i, boxes in enumerate(boxes_of.values())
        for box in boxes
    ]
    annotations = [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)]
    categories = [{"id": 1, "name": category}]
    record = {"images": images, "annotations": annotations, "categories": categories}
    (folder / BOXES).write_text(json.dumps(record))
    with open(folder / COUNTS, "w", newline="") as file:
        rows = ((name, len(boxes)) for name, boxes in boxes_of.items())
        csv.writer(file).writerows([("file", "count"), *rows])
