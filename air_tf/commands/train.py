"""Trains a model, or goes on with doing so."""

from air_tf import cli
from air_tf.config import Config
from air_tf.training.loop import Stopped, train

parse = cli.parse_run


def main(config: Config) -> int:
    try:
        folder, metrics = train(config)
    except Stopped as stopped:
        message, signal_number = stopped.args
        print(message)
        return 128 + signal_number
    verdict = metrics.pop("verdict")
    print(cli.table(metrics))
    print("\n".join(verdict))
    print(f"In {folder}: metrics.json, samples.png, checkpoints; tensorboard --logdir {folder.parent}")
    return 0
