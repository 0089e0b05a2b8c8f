"""Count and box the objects in pictures: python predict.py 'photos/*.png' --model exports/air"""

import itertools
import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from air_tf import cli
from air_tf.folders import writing
from air_tf.image_files import find_pictures
from air_tf.paths import expand, shown
from air_tf.prediction.job import LARGEST_BATCH, PredictConfig, predict
from air_tf.serving.served import default_model, load

EXIT_SOME_SKIPPED = 1


def main(config: PredictConfig) -> int:
    if not config.images or not 1 <= config.batch_size <= LARGEST_BATCH:
        raise ValueError(
            f"Expected picture files, and a batch of 1 to {LARGEST_BATCH}. "
            f"Received: {len(config.images)} files, batch_size={config.batch_size}."
        )
    paths = list(dict.fromkeys(itertools.chain.from_iterable(map(find_pictures, config.images))))
    out = expand(config.out)
    with writing(out, "predict.py") as folder:
        if inside := [path for path in paths if path.resolve().is_relative_to(out.resolve())]:
            raise ValueError(
                f"Expected pictures outside of {shown(out)}, which is replaced. "
                f"Received: {shown(inside[0])}."
            )
        place = config.model or default_model()
        print(f"The model: {shown(place)}.", flush=True)
        done = predict(load(place), paths, config, folder)
    print(f"In {shown(out)}: {done.predicted:,} of {len(paths):,} pictures.")
    return EXIT_SOME_SKIPPED if done.skipped else 0


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(cli.parse(PredictConfig))))
