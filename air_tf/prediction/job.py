"""What a model sees in picture files: tables and drawn pictures.

Each finished batch is added to `progress.jsonl`, one line per picture. A job that was stopped goes on
from there, and the tables are made from it, so that memory holds one batch of pictures at a time.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

import air_tf
from air_tf import drawing
from air_tf.air import AIR
from air_tf.folders import PROGRESS, RESULT
from air_tf.image_files import as_png, read_picture, shrunk
from air_tf.json_files import json_text
from air_tf.paths import as_text, shown
from air_tf.polarity import hides_from
from air_tf.prediction.tables import Prediction, parsed, picture_name, write_tables
from air_tf.prediction.tiled import Tiling, see_tiled

LARGEST_BATCH = 512  # pictures, of up to 3 MB each
Seen = tuple[Prediction, np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Count and box the objects in PNG and JPEG files.

    A job that was stopped goes on where it was when the same command is given again.
    Exit status: 0 when all were read, 1 when some were skipped, 2 when there is nothing to do.
    """

    images: tyro.conf.Positional[tuple[str, ...]]
    """Files, folders, or globs in quotes."""

    model: str = ""
    """A run or a SavedModel (default: the newest export in exports/air, else the pretrained one)."""

    out: str = "predictions"
    """Folder to write: predictions.csv (one line per picture), predictions.json (boxes in COCO's layout,
    pixels), pictures/ (with the boxes drawn; large ones are shrunk). It has to be new, or hold an
    earlier result that nobody has changed, which is replaced. In predictions.csv, a file name that a
    spreadsheet would take for a formula, because it begins with = + - @ or white space, gets a ' in
    front, and so does one that begins with '. Bytes of a name that are no UTF-8 are written as \\xNN."""

    boxes: Literal["tight", "window"] = "tight"
    """tight: the ink of each object; window: the glimpse that it was seen in."""

    invert: Literal["auto", "yes", "no"] = "auto"
    """auto: a picture whose ground hides its objects from the model: a light one from a model of light
    objects, say."""

    pictures: bool = True
    """Whether to draw the pictures."""

    batch_size: int = 64
    """Pictures, or tiles of one, at a time: 512 at most."""

    tiles: int = 0
    """Side of a tile, in pixels of the picture: that of the crops that the model was trained on. A
    picture, of up to 400 million pixels, is then looked at in square tiles, and what several of them saw
    is counted once. predictions.csv has no probability of such a count. 0: no tiles; the whole picture
    is fitted into the model."""

    tile_overlap: int = 0
    """Pixels that neighbouring tiles share: at least an object's side, so that one tile sees it whole.
    A larger overlap takes more tiles. 0: the side that an object's window in a tile has by the model's
    prior, or a third of the tile for a SavedModel, which does not tell its prior."""

    tile_nested: float = 1.0
    """With tiles: a box of which more than this share (above 0, up to 1) lies in a larger box is taken
    for a second drawing of the same object and is left out. 1: all boxes are kept."""


class Done(NamedTuple):
    """How many pictures a job has predicted, and how many it has skipped."""

    predicted: int = 0
    skipped: int = 0

    def plus(self, predictions: list[Prediction]) -> "Done":
        skipped = sum(prediction.skipped for prediction in predictions)
        return Done(self.predicted + len(predictions) - skipped, self.skipped + skipped)


def predict(model, paths: list[Path], config: PredictConfig, folder: Path) -> Done:
    """Fills `folder/result` with what the model sees in the files, or goes on with doing so.

    Args:
        model: `AIR` or `serving.ServedModel`.
        paths: of the files; one that cannot be read is skipped, with a line on the terminal.
        config: `PredictConfig`.
        folder: what `folders.writing` yields.

    Raises:
        ValueError: none of the files can be read.
    """
    result, total = folder / RESULT, len(paths)
    size = 1 if config.tiles else config.batch_size  # a tiled picture is kept as soon as it is done
    look = looking(model, config)
    done = resume(
        folder, job_of(model, paths, config), [len(paths[i : i + size]) for i in range(0, total, size)]
    )
    if config.pictures:
        (result / "pictures").mkdir(exist_ok=True)
    bar = tqdm(total=total, initial=sum(done), unit=" pictures", dynamic_ncols=True)
    try:
        with bar, open(folder / PROGRESS, "a") as progress:
            for start in range(sum(done), total, size):
                batch = []
                for prediction, picture in look(paths[start : start + size]):
                    if config.pictures and picture is not None:
                        name = picture_name(done.plus(batch).predicted, paths[start + len(batch)])
                        boxes = np.clip(np.nan_to_num(np.array(prediction.boxes, float)), 0, 1)
                        drawn = drawing.draw_boxes(Image.fromarray(picture), boxes)
                        drawn.save(result / "pictures" / name)
                    batch.append(prediction)
                progress.writelines(f"{json_text(dataclasses.asdict(each))}\n" for each in batch)
                progress.flush()
                done = done.plus(batch)
                bar.update(len(batch))
        if not done.predicted:
            raise ValueError(f"Expected a picture that can be read. Received: {total} that cannot.")
        write_tables(folder / PROGRESS, result)
    except BaseException:
        if done.predicted:
            kept = (
                f"{sum(done):,} of {total:,} pictures are done; the same command will go on from there."
            )
            print(kept, file=sys.stderr)
        else:
            (folder / PROGRESS).unlink()
        raise
    return done


def job_of(model, paths: list[Path], config: PredictConfig) -> str:
    """A hash of what a result depends on: model, flags, and the pictures' names, sizes and times."""
    free = {"images", "model", "out"}
    flags = {name: value for name, value in dataclasses.asdict(config).items() if name not in free}
    digest = hashlib.sha256(json.dumps([air_tf.__version__, flags]).encode())
    digest.update(fingerprint(model))
    for path in paths:
        with contextlib.suppress(OSError):
            found = path.stat()
            digest.update(b"%b\0%d\0%d\0" % (os.fsencode(path), found.st_size, found.st_mtime_ns))
    return digest.hexdigest()


def fingerprint(model) -> bytes:
    """A hash of a model: of its config and weights, or of the files of a `serving.ServedModel`."""
    digest = hashlib.sha256()
    if isinstance(model, AIR):
        digest.update(json.dumps(model.get_config()).encode())
        for weights in model.get_weights():
            digest.update(np.ascontiguousarray(weights))
    else:
        for path in sorted(model.folder.rglob("*")):
            if path.is_file():
                digest.update(as_text(path.relative_to(model.folder)).encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def resume(folder: Path, job: str, batches: list[int]) -> Done:
    """Opens a job: keeps what the same job has finished in whole batches, and deletes what is another's.

    Batches stay whole because a model's last digits may depend on what it sees at the same time.

    Args:
        folder: what `folders.writing` yields.
        job: what `job_of` returns.
        batches: the number of pictures of each.
    """
    header, done = f"{json.dumps({'job': job})}\n".encode(), Done()
    with open(folder / PROGRESS, "a+b") as file:
        file.seek(0)
        if (first := file.readline()) == header:
            end = len(header)
            with contextlib.suppress(ValueError):  # a line that was damaged, or cut short
                for size in batches:
                    lines = list(itertools.islice(file, size))
                    if len(lines) < size or not lines[-1].endswith(b"\n"):
                        break
                    done = done.plus([parsed(line) for line in lines])
                    end += sum(map(len, lines))
            file.truncate(end)
        else:
            if first:
                print("Starting anew: the unfinished job was of another model, other pictures or flags.")
            shutil.rmtree(folder / RESULT)
            (folder / RESULT).mkdir()
            file.truncate(0)
            file.write(header)
    if sum(done):
        print(f"Going on: {sum(done):,} of {sum(batches):,} pictures are done.", flush=True)
    return done


def looking(model, config: PredictConfig) -> Callable[[list[Path]], Iterator[Seen]]:
    """How the pictures of a batch are looked at: whole, or each in tiles.

    Raises:
        ValueError: there are no such tiles.
    """
    auto = hides_from(model) if config.invert == "auto" else None
    hides = auto or (lambda picture: config.invert == "yes")
    if not config.tiles:
        return lambda paths: see(model, paths, hides, config.boxes)
    tiling = Tiling.of(model, config.tiles, config.tile_overlap, config.tile_nested)
    print(f"Tiles of {tiling.side} x {tiling.side} pixels, overlapping by {tiling.overlap}.", flush=True)
    how = hides, config.boxes, tiling, config.batch_size
    return lambda paths: (see_tiled(model, path, *how) for path in paths)


def see(model, paths: list[Path], hides: Callable[[np.ndarray], bool], boxes: str) -> Iterator[Seen]:
    """Yields the prediction of each file and its picture, shrunk; None of a file that is skipped."""
    pictures, sizes = {}, {}
    for path in paths:
        try:
            picture = read_picture(path)
            pictures[path], sizes[path] = shrunk(picture), picture.shape[:2]
        except ValueError as error:
            tqdm.write(f"{shown(str(error))}: skipped.", file=sys.stderr)
    seen = {}
    if pictures:
        turned = (np.invert(p) if hides(p) else p for p in pictures.values())
        scene = model.infer_encoded([*map(as_png, turned)]).numpy()
        of_each = scene.tight_boxes if boxes == "tight" else scene.boxes
        seen = dict(zip(pictures, zip(scene.counts.tolist(), scene.count_probs, of_each, scene.scores)))
    for path in paths:
        if path not in seen:
            yield Prediction(as_text(path), skipped=True), None
            continue
        count, probs, of_picture, scores = seen[path]
        expected = float(np.arange(len(probs)) @ probs)
        numbers = float(probs[count]), expected, of_picture[:count].tolist(), scores[:count].tolist()
        yield Prediction(as_text(path), False, sizes[path], count, *numbers), pictures[path]
