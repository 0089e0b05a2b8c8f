"""Count and box the objects in pictures: python predict.py 'photos/*.png' --model exports/air"""

import csv
import dataclasses
import functools
import itertools
import os
import sys
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from air_tf import cli, figures
from air_tf.folders import check_replaceable, replace_folder
from air_tf.pictures import as_png, find_pictures, inverted, read_picture, takes_light_grounds
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
    pixels), pictures/ (with the boxes drawn)."""

    boxes: Literal["tight", "window"] = "tight"
    """tight: the ink of each object; window: the glimpse that it was seen in."""

    invert: Literal["auto", "yes", "no"] = "auto"
    """auto: a picture with a light border, for a model that was trained on dark ones."""

    pictures: bool = True
    """Whether to draw the pictures."""

    batch_size: int = 64
    """Pictures at a time."""


def main() -> int:
    config = cli.parse(PredictConfig)
    if not config.images or config.batch_size < 1:
        raise ValueError(
            "Expected picture files, and a batch of at least 1. "
            f"Received: {len(config.images)} files, batch_size={config.batch_size}."
        )
    paths = list(dict.fromkeys(itertools.chain.from_iterable(map(find_pictures, config.images))))
    out = Path(config.out).expanduser()
    check_replaceable(out, FILES)
    model = load(config.model or default_model())
    skipped = []
    replace_folder(out, functools.partial(predict, model, paths, config, skipped))
    print(f"In {out}: {len(paths) - len(skipped):,} of {len(paths):,} pictures.")
    return EXIT_SOME_SKIPPED if skipped else 0


def predict(model, paths: list[Path], config: PredictConfig, skipped: list[Path], folder: Path) -> None:
    """Writes what the model sees in the pictures; files that cannot be read go to `skipped`."""
    rows, images, annotations = [], [], []
    invert = config.invert if config.invert != "auto" or not takes_light_grounds(model) else "no"
    turned = {"auto": inverted, "yes": np.invert, "no": np.asarray}[invert]
    (folder / "pictures").mkdir()
    with tqdm(total=len(paths), unit=" pictures", dynamic_ncols=True) as bar:
        for start in range(0, len(paths), config.batch_size):
            batch = {}
            for path in paths[start : start + config.batch_size]:
                try:
                    batch[path] = read_picture(path)
                except ValueError as error:
                    tqdm.write(f"{error}: skipped.", file=sys.stderr)
                    skipped.append(path)
                bar.update(1)
            if not batch:
                continue
            scene = Scene(
                *map(np.asarray, model.infer_encoded([as_png(turned(p)) for p in batch.values()]))
            )
            boxes = scene.tight_boxes if config.boxes == "tight" else scene.boxes
            found = zip(batch.items(), scene.counts, scene.count_probs, scene.scores, boxes)
            for (path, picture), count, probs, scores, of_picture in found:
                number, (height, width) = len(images), picture.shape[:2]
                rows.append((path, count, f"{probs[count]:.4f}", f"{np.arange(len(probs)) @ probs:.4f}"))
                images.append({"id": number, "file_name": str(path), "width": width, "height": height})
                for (ymin, xmin, ymax, xmax), score in zip(of_picture[:count].tolist(), scores):
                    left, top = xmin * width, ymin * height
                    bbox = [left, top, xmax * width - left, ymax * height - top]
                    annotations.append(
                        {"id": len(annotations) + 1, "image_id": number, "category_id": 1,
                         "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0, "score": float(score)}
                    )  # fmt: skip
                if config.pictures:
                    drawn = figures.draw_boxes(Image.fromarray(picture), of_picture[:count])
                    drawn.save(folder / "pictures" / f"{number:05}-{path.stem}.png")
    if not rows:
        raise ValueError(f"Expected a picture that can be read. Received: {len(paths)} that cannot.")
    with open(folder / "predictions.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "count", "probability", "expected_count"), *rows])
    categories = [{"id": 1, "name": "object"}]
    record = {"images": images, "annotations": annotations, "categories": categories}
    write_json(record, folder / "predictions.json")


if __name__ == "__main__":
    sys.exit(cli.run(main))
