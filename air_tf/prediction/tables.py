"""Predictions as files: lines of a job's progress, and the tables that are made from them."""

import csv
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from air_tf.folders import PROGRESS
from air_tf.json_files import json_text
from air_tf.paths import shown
from air_tf.validation import parse_json

LONGEST_NAME = 255  # bytes of a file's name
QUOTED_STARTS = tuple("=+-@'")  # of text, in a table: spreadsheets compute what follows


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the model sees in one file. A file that was skipped has only its name."""

    file: str
    skipped: bool = False
    size: tuple[int, int] = (0, 0)  # height and width, pixels
    count: int = 0
    probability: float | None = None  # of the count
    expected_count: float | None = None
    boxes: list[list[float | None]] = dataclasses.field(default_factory=list)  # fractions, as in `Scene`
    scores: list[float | None] = dataclasses.field(default_factory=list)


def parsed(line: bytes) -> Prediction:
    """A line of the progress; raises ValueError if it is none."""
    return parse_json(line, Prediction, "a finished prediction", PROGRESS)


def picture_name(number: int, path: Path) -> str:
    """The file that a drawn picture goes to: its number, and as much of its own name as fits."""
    start, end = f"{number:05}-", ".png"
    room = LONGEST_NAME - len(start + end)
    return start + shown(path.stem).encode()[:room].decode(errors="ignore") + end


def finished(progress: Path) -> Iterator[Prediction]:
    """Yields the predictions of the files that were not skipped."""
    with open(progress, "rb") as file:
        for line in itertools.islice(file, 1, None):  # the first is the job's
            if not (prediction := parsed(line)).skipped:
                yield prediction


def write_tables(progress: Path, folder: Path) -> None:
    """Writes predictions.csv and, in COCO's layout, predictions.json."""
    with open(folder / "predictions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "count", "probability", "expected_count"])
        for p in finished(progress):
            numbers = ["" if x is None else f"{x:.4f}" for x in (p.probability, p.expected_count)]
            table.writerow([no_formula(p.file), p.count, *numbers])
    with open(folder / "predictions.json", "w") as file:
        file.write('{"images": ')
        write_list(images(finished(progress)), file)
        file.write(', "annotations": ')
        write_list(annotations(finished(progress)), file)
        file.write(', "categories": ')
        write_list([{"id": 1, "name": "object"}], file)
        file.write("}\n")


def no_formula(text: str) -> str:
    """Text that no spreadsheet takes for a formula: what looks like one, or starts with ', gets a '."""
    return f"'{text}" if text[:1].isspace() or text.startswith(QUOTED_STARTS) else text


def write_list(values: Iterable[dict], file) -> None:
    """Writes a JSON list as its values come, one per line."""
    separator = "["
    for value in values:
        file.write(f"{separator}\n{json_text(value)}")
        separator = ","
    file.write("\n]" if separator == "," else "[]")


def images(predictions: Iterable[Prediction]) -> Iterator[dict]:
    """COCO's images."""
    for number, prediction in enumerate(predictions):
        height, width = prediction.size
        yield {"id": number, "file_name": prediction.file, "width": width, "height": height}


def annotations(predictions: Iterable[Prediction]) -> Iterator[dict]:
    """COCO's annotations: boxes in pixels of the files."""
    identity = itertools.count(1)
    for number, prediction in enumerate(predictions):
        height, width = prediction.size
        for box, score in zip(prediction.boxes, prediction.scores):
            ymin, xmin, ymax, xmax = np.array(box, float).tolist()
            bbox = [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]
            yield {
                "id": next(identity), "image_id": number, "category_id": 1, "bbox": bbox,
                "area": bbox[2] * bbox[3], "iscrowd": 0, "score": score,
            }  # fmt: skip
