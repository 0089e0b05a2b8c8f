"""Train AIR: python train.py --help"""

import sys

from air_tf.commands import run

if __name__ == "__main__":
    sys.exit(run("train"))
