"""Export a run as a SavedModel: python export.py --run runs/NAME --out exports/air"""

import sys

from air_tf.commands import run

if __name__ == "__main__":
    sys.exit(run("export"))
