"""Count and box the objects in pictures: python predict.py 'photos/*.png' --model exports/air"""

import sys

from air_tf.commands import run

if __name__ == "__main__":
    sys.exit(run("predict"))
