"""Try a model with the mouse: python demo.py"""

import sys

from air_tf.commands import run

if __name__ == "__main__":
    sys.exit(run("demo"))
