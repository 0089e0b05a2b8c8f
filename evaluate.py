"""Evaluate a run: python evaluate.py --run runs/NAME"""

import sys

from air_tf.commands import run

if __name__ == "__main__":
    sys.exit(run("evaluate"))
