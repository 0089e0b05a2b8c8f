"""Train AIR: python train.py --help"""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from air_tf import cli
from air_tf.training.loop import Stopped, train


def main() -> int:
    try:
        folder, metrics = train(cli.parse_run())
    except Stopped as stopped:
        message, signal_number = stopped.args
        print(message)
        return 128 + signal_number
    print(cli.table(metrics))
    print(f"In {folder}: metrics.json, samples.png, checkpoints; tensorboard --logdir {folder.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
