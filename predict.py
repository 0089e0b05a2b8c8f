"""Count and box the objects in pictures: python predict.py 'photos/*.png' --model exports/air"""

import csv
import dataclasses
import functools
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from air_tf import cli, figures
from air_tf.folders import check_replaceable, replace_folder
from air_tf.pictures import as_png, find_pictures, inverted, read_picture, shrunk, takes_light_grounds
from air_tf.run import write_json
from air_tf.scene import Scene
from air_tf.serving import default_model, load

FILES = {"predictions.csv", "predictions.json", "pictures"}
EXIT_SOME_SKIPPED = 1


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Count and box the objects in PNG and JPEG files.

    Exit status: 0 when all were read, 1 when some were skipped, 2 when there is nothing to do.
    """

    images: tyro.conf.Positional[tuple[str, ...]]
    """Files, folders, or globs in quotes."""

    model: str = ""
    """A run or a SavedModel (default: the newest export in exports/air, else pretrained/)."""

    out: str = "predictions"
    """Folder to write: predictions.csv (a line a picture), predictions.json (boxes in COCO's layout,
    pixels), pictures/ (with the boxes drawn; large ones are shrunk)."""

    boxes: Literal["tight", "window"] = "tight"
    """tight: the ink of each object; window: the glimpse that it was seen in."""

    invert: Literal["auto", "yes", "no"] = "auto"
    """auto: a picture with a light border, for a model that was trained on dark ones."""

    pictures: bool = True
    """Whether to draw the pictures."""

    batch_size: int = 64
    """Pictures at a time."""


def main(config: PredictConfig) -> int:
    if not config.images or config.batch_size < 1:
        raise ValueError(
            "Expected picture files, and a batch of at least 1. "
            f"Received: {len(config.images)} files, batch_size={config.batch_size}."
        )
    paths = list(dict.fromkeys(itertools.chain.from_iterable(map(find_pictures, config.images))))
    out = Path(config.out).expanduser()
    check_replaceable(out, FILES, "predictions.csv")
    if inside := [path for path in paths if path.resolve().is_relative_to(out.resolve())]:
        raise ValueError(f"Expected pictures outside of {out}, to be replaced. Received: {inside[0]}.")
    place = config.model or default_model()
    print(f"The model: {place}.", flush=True)
    model, skipped = load(place), []
    replace_folder(out, functools.partial(predict, model, paths, config, skipped))
    print(f"In {out}: {len(paths) - len(skipped):,} of {len(paths):,} pictures.")
    return EXIT_SOME_SKIPPED if skipped else 0


class Prediction(NamedTuple):
    """What the model sees in one file."""

    path: Path
    size: tuple[int, int]  # height and width, pixels
    count: int
    probs: np.ndarray  # (N + 1,), of the counts
    boxes: np.ndarray  # (count, 4), (ymin, xmin, ymax, xmax) as fractions
    scores: np.ndarray  # (count,)


def predict(model, paths: list[Path], config: PredictConfig, skipped: list[Path], folder: Path) -> None:
    """Writes what the model sees in the pictures; files that cannot be read go to `skipped`."""
    invert = config.invert if config.invert != "auto" or not takes_light_grounds(model) else "no"
    turned = {"auto": inverted, "yes": np.invert, "no": np.asarray}[invert]
    (folder / "pictures").mkdir()
    predictions = []
    with tqdm(total=len(paths), unit=" pictures", dynamic_ncols=True) as bar:
        for start in range(0, len(paths), config.batch_size):
            batch = {}
            for path in paths[start : start + config.batch_size]:
                try:
                    picture = read_picture(path)
                    batch[path] = shrunk(picture), picture.shape[:2]
                except ValueError as error:
                    tqdm.write(f"{error}: skipped.", file=sys.stderr)
                    skipped.append(path)
            bar.update(min(config.batch_size, len(paths) - start))
            if not batch:
                continue
            scene = model.infer_encoded([as_png(turned(picture)) for picture, _ in batch.values()])
            for prediction in listed(scene, batch, config.boxes == "tight"):
                if config.pictures:
                    picture = Image.fromarray(batch[prediction.path][0])
                    drawn = figures.draw_boxes(picture, prediction.boxes)
                    name = f"{len(predictions):05}-{prediction.path.stem}.png"
                    drawn.save(folder / "pictures" / name)
                predictions.append(prediction)
    if not predictions:
        raise ValueError(f"Expected a picture that can be read. Received: {len(paths)} that cannot.")
    write_tables(predictions, folder)


def listed(scene: Scene, batch: dict, tight: bool) -> Iterator[Prediction]:
    """A scene's predictions for files: `batch` holds the picture and original size of each path."""
    scene = Scene(*map(np.asarray, scene))
    boxes = scene.tight_boxes if tight else scene.boxes
    rows = zip(batch.items(), scene.counts.tolist(), scene.count_probs, boxes, scene.scores)
    for (path, (_, size)), count, probs, of_picture, scores in rows:
        yield Prediction(path, size, count, probs, of_picture[:count], scores[:count])


def write_tables(predictions: list[Prediction], folder: Path) -> None:
    """Writes predictions.csv and, in COCO's layout, predictions.json."""
    header = "file", "count", "probability", "expected_count"
    with open(folder / "predictions.csv", "w", newline="") as file:
        rows = (
            (p.path, p.count, f"{p.probs[p.count]:.4f}", f"{np.arange(len(p.probs)) @ p.probs:.4f}")
            for p in predictions
        )
        csv.writer(file).writerows([header, *rows])
    images, annotations = [], []
    for number, (path, (height, width), _, _, boxes, scores) in enumerate(predictions):
        images.append({"id": number, "file_name": str(path), "width": width, "height": height})
        for (ymin, xmin, ymax, xmax), score in zip(boxes.tolist(), scores.tolist()):
            bbox = [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": bbox,
                 "area": bbox[2] * bbox[3], "iscrowd": 0, "score": score}
            )  # fmt: skip
    categories = [{"id": 1, "name": "object"}]
    record = {"images": images, "annotations": annotations, "categories": categories}
    write_json(record, folder / "predictions.json")


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(cli.parse(PredictConfig))))
