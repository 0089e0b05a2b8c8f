"""Time and memory of a training step with N objects: python -m experiments.step_cost 6

Of preset nine_digits. Prints JSON: milliseconds, the least over rounds, and the most memory that was
resident while steps ran, over what was before the model was made (Linux; the compiler's own peak does
not count).
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tyro

from air_tf import cli
from air_tf.config import Config, TrainingConfig
from air_tf.parts import replaced
from air_tf.presets import NINE_DIGITS
from air_tf.training.trainer import Trainer

ROUNDS, STEPS = 5, 4


def megabytes(field: str) -> float:
    """Of this process, now (VmRSS) or the most since it was reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def step_cost(max_objects: int, canvas_size: int, batch_size: int) -> dict:
    """Time and memory of one step on images of noise."""
    random, shape = np.random.default_rng(0), (canvas_size, canvas_size, 1)
    images = random.integers(0, 256, (2 * batch_size, *shape), np.uint8)
    before = megabytes("VmRSS")
    model = replaced(NINE_DIGITS.model, image_shape=shape, max_objects=max_objects)
    training = TrainingConfig(batch_size=batch_size, steps=(ROUNDS + 1) * STEPS)
    trainer = Trainer(Config(model=model, training=training), images, tf.distribute.get_strategy())
    trainer.start()
    trainer.run(STEPS)  # compiles
    Path("/proc/self/clear_refs").write_text("5")  # the most from here on
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        trainer.run(STEPS)
        seconds.append(time.perf_counter() - started)
    return {
        "max_objects": max_objects,
        "ms_per_step": 1000 * min(seconds) / STEPS,
        "megabytes": megabytes("VmHWM") - before,
    }


def main(max_objects: tyro.conf.Positional[int], canvas_size: int = 100, batch_size: int = 64) -> None:
    """Time and memory of a training step.

    Args:
        max_objects: N.
        canvas_size: side of an image, in pixels.
        batch_size: images a step.
    """
    print(json.dumps(step_cost(max_objects, canvas_size, batch_size)))


if __name__ == "__main__":
    sys.exit(cli.run(lambda: tyro.cli(main)))
