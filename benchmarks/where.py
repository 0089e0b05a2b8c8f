"""What each kind of z_where costs: python -m benchmarks.where

Training steps of the benchmark with each, in turns, and the times as long that a step takes with it as
with the first. Writes results/where.json.
"""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from air_tf.config import Config
from air_tf.parts import choices, replaced
from air_tf.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
TURNS, STEPS = 10, 50


def trainer_with(where: str) -> Trainer:
    """A compiled one, on noise."""
    config = Config()
    config = dataclasses.replace(config, model=replaced(config.model, where=where))
    config = replaced(config, steps=(1 + TURNS) * STEPS)
    shape = 5000, *config.model.image_shape
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    trainer = Trainer(config, images, tf.distribute.get_strategy())
    trainer.start()
    trainer.run(STEPS)
    return trainer


def main() -> None:
    trainers = {where: trainer_with(where) for where in choices(Config)["where"]}
    milliseconds = {where: [] for where in trainers}
    for _ in tqdm(range(TURNS), unit="turn", leave=False):
        for where, trainer in trainers.items():
            started = time.perf_counter()
            trainer.run(STEPS)
            milliseconds[where].append(1000 * (time.perf_counter() - started) / STEPS)
    medians = {where: float(np.median(each)) for where, each in milliseconds.items()}
    ratios = {where: median / next(iter(medians.values())) for where, median in medians.items()}
    results = {"command": "python -m benchmarks.where", "step_ms_median": medians, "ratio": ratios}
    (ROOT / "results" / "where.json").write_text(json.dumps(results, indent=2) + "\n")
    for where, median in medians.items():
        print(f"{where:<12} {median:6.1f} ms a step, {ratios[where]:.2f} times as long")


if __name__ == "__main__":
    main()
