"""Counts and boxes the objects in picture files."""

import functools
import itertools
import os
from pathlib import Path

from air_tf import cli
from air_tf.folders import writing
from air_tf.image_files import find_pictures
from air_tf.paths import expand, shown
from air_tf.prediction.job import LARGEST_BATCH, PredictConfig, predict
from air_tf.prediction.tiled import check, check_objects_fit
from air_tf.serving.served import default_model, load

EXIT_SOME_SKIPPED = 1

parse = functools.partial(cli.parse, PredictConfig)


def main(config: PredictConfig) -> int:
    if not config.images or not 1 <= config.batch_size <= LARGEST_BATCH:
        raise ValueError(
            f"Expected picture files, and a batch of 1 to {LARGEST_BATCH}. "
            f"Received: {len(config.images)} files, batch_size={config.batch_size}."
        )
    check(config.tiles, config.tile_overlap, config.tile_nested)
    by_file: dict[str, Path] = {}  # one with several names is counted once, under the first
    for path in itertools.chain.from_iterable(map(find_pictures, config.images)):
        by_file.setdefault(os.path.realpath(path), path)
    paths = list(by_file.values())
    out = expand(config.out)
    with writing(out, "air predict") as folder:
        if inside := [path for path in paths if path.resolve().is_relative_to(out.resolve())]:
            raise ValueError(
                f"Expected pictures outside of {shown(out)}, which is replaced. "
                f"Received: {shown(inside[0])}."
            )
        place = config.model or default_model()
        if config.tiles:
            check_objects_fit(expand(place), config.tiles)
        print(f"The model: {shown(place)}.", flush=True)
        done = predict(load(place), paths, config, folder)
    print(f"In {shown(out)}: {done.predicted:,} of {len(paths):,} pictures.")
    return EXIT_SOME_SKIPPED if done.skipped else 0
