"""What a model sees in a large picture, tile by tile."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from air_tf.air import AIR
from air_tf.data.own_images import WINDOW_SIDE
from air_tf.image_files import LARGEST_IN_PARTS, LONGEST, as_png, read_picture, shrunk
from air_tf.parts import flat
from air_tf.paths import as_text, shown
from air_tf.prediction.tables import Prediction
from air_tf.prediction.tiles import Grid, Objects, merged, without_nested
from air_tf.preset_folder import is_preset
from air_tf.training.run_record import CONFIG, read_config
from air_tf.validation import require

SMALLEST_TILE = 8  # pixels, as of a model's images
MOST_TILES = 250_000  # of a picture
USUAL_SHARE = 1 / 3  # of a tile's side that an object has, where the model does not tell
LARGEST_SHARE = 0.75  # with more, a picture needs over 16 times the tiles that cover it
DRAWN = 4096  # pixels of the longer side of a picture with its boxes drawn
MANY = 0.1  # of a picture's boxes: a warning is given if more are larger than the overlap


class Tiling(NamedTuple):
    """How pictures are cut into square tiles, in pixels of the picture."""

    side: int
    overlap: int
    nested: float = 1.0  # share of a box in a larger one, above which it is no object of its own

    @classmethod
    def of(cls, model, side: int, overlap: int, nested: float = 1.0) -> "Tiling":
        """The tiling for a model. An overlap of 0 stands for the usual side of its objects.

        Raises:
            ValueError: there are no such tiles, or the model's objects nearly fill them.
        """
        check(side, overlap, nested)
        share = object_share(model)
        if share > LARGEST_SHARE:
            raise ValueError(
                f"Expected a model whose objects have at most {LARGEST_SHARE:.0%} of a tile's side. "
                f"Received: one with objects of {share:.0%}; train on larger crops."
            )
        usual = math.ceil(side * share)
        if 0 < overlap < usual:
            print(
                f"Warning: this model's objects usually have {usual} pixels in tiles of {side}. With "
                f"tile_overlap={overlap}, those at the borders of tiles may be missed or counted twice.",
                file=sys.stderr,
            )
        return cls(side, overlap or usual, nested)


def check(side: int, overlap: int, nested: float) -> None:
    """Refuses tiles that cannot be; with a side of 0 there are none, an overlap of 0 is chosen later."""
    require(
        side == 0 or SMALLEST_TILE <= side <= LONGEST,
        f"tiles of {SMALLEST_TILE} to {LONGEST:,} pixels, or 0 for none",
        tiles=side,
    )
    require(
        overlap == 0 or 0 < overlap < side,
        "a tile_overlap of at least 0 pixels and below the side of tiles",
        tile_overlap=overlap,
        tiles=side,
    )
    require(0 < nested <= 1, "a tile_nested above 0 and at most 1", tile_nested=nested)


def check_objects_fit(place: Path, side: int) -> None:
    """Refuses tiles that are smaller than the objects which a run was trained to find.

    Args:
        place: of the model; only the folder of a run on pictures tells how large their objects are.
        side: of the tiles, in pixels of the pictures.
    """
    if not (place / CONFIG).is_file() or is_preset(place):
        return
    record = read_config(place)
    data, model = flat(record.data), flat(record.model)
    size = data.get("object_size", 0)
    if not size and data.get("crop") and "scale_prior" in model:
        size = round(data["crop"] / (WINDOW_SIDE * model["scale_prior"][0]))
    require(side >= size, f"tiles no smaller than an object, of about {size:g} pixels", tiles=side)


def object_share(model) -> float:
    """The part of a tile's side that an object's window has by the prior.

    A SavedModel does not tell its prior: for it, the share is that of the default prior.
    """
    if not isinstance(model, AIR):
        return USUAL_SHARE
    means = {name: prior.mean() for name, prior in model.objects.priors().items()}
    ymin, xmin, ymax, xmax = np.asarray(model.objects.windows(means)).tolist()
    height, width, _ = model.image_shape  # a tile is fitted into it, and takes its smaller side
    return max((ymax - ymin) * height, (xmax - xmin) * width) / min(height, width)


def see_tiled(
    model, path: Path, hides: Callable[[np.ndarray], bool], boxes: str, tiling: Tiling, batch_size: int
) -> tuple[Prediction, np.ndarray | None]:
    """The prediction of a file and its picture, shrunk to DRAWN; None of a file that is skipped.

    The count is that of the merged objects, and the expected count the sum of their q(n >= i), each in
    the tile that it was kept from. The count has no probability: tiles overlap, so theirs do not
    multiply to one of the whole picture.

    Args:
        model: `AIR` or `serving.ServedModel`.
        path: of the file; if it cannot be read, a line on the terminal says why.
        hides: whether a picture's greys have to be turned round; asked once, of the shrunk picture.
        boxes: "tight" or "window".
        tiling: `Tiling`.
        batch_size: tiles that the model is given at a time.
    """
    try:
        picture = read_picture(path, largest=LARGEST_IN_PARTS)
        height, width, _ = picture.shape
        grid = Grid((height, width), tiling.side, tiling.overlap)
        if len(grid) > MOST_TILES:
            raise ValueError(
                f"Expected at most {MOST_TILES:,} tiles. Received: {path}, which takes {len(grid):,}"
            )
    except ValueError as error:
        tqdm.write(f"{shown(str(error))}: skipped.", file=sys.stderr)
        return Prediction(as_text(path), skipped=True), None
    drawn = shrunk(picture, DRAWN)
    turned = np.invert if hides(drawn) else np.asarray
    found = merged(grid, objects_of(model, picture, grid, turned, batch_size))
    found = without_nested(found, tiling.nested)
    of_picture = (found.tight if boxes == "tight" else found.boxes) / [height, width, height, width]
    warn_of_large(found, tiling, path)
    return Prediction(
        as_text(path), False, (height, width), len(found.scores), None, float(found.scores.sum()),
        of_picture.tolist(), found.scores.tolist(),
    ), drawn  # fmt: skip


def objects_of(model, picture: np.ndarray, grid: Grid, turned: Callable, batch_size: int) -> Objects:
    """What the model sees in all tiles of a picture `(h, w, 3)` uint8."""
    edges = picture[0], picture[-1], picture[:, 0], picture[:, -1]
    ground = np.median(np.concatenate(edges), axis=0)
    seen = []
    with tqdm(total=len(grid), unit=" tiles", leave=False, dynamic_ncols=True) as bar:
        for start in range(0, len(grid), batch_size):
            tiles = np.arange(start, min(start + batch_size, len(grid)))
            files = [as_png(shrunk(turned(grid.cut(picture, tile, ground)))) for tile in tiles]
            scene = model.infer_encoded(files).numpy()
            seen.append(
                grid.objects_in(tiles, scene.counts, scene.tight_boxes, scene.boxes, scene.scores)
            )
            bar.update(len(tiles))
    return Objects.joined(seen)


def warn_of_large(found: Objects, tiling: Tiling, path: Path) -> None:
    """Says if many objects of a picture are larger than the overlap, so that tiles may cut them."""
    sides = (found.tight[:, 2:] - found.tight[:, :2]).max(axis=1)
    if len(sides) and (share := np.mean(sides > tiling.overlap)) > MANY:
        tqdm.write(
            f"{shown(path)}: {share:.0%} of its objects are larger than the overlap of {tiling.overlap} "
            "pixels, so that those at the borders of tiles may be missed or counted twice. Give "
            "larger --tiles, or a larger --tile-overlap.",
            file=sys.stderr,
        )
