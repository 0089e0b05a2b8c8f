"""Training from config to metrics: the loop between evaluations, checkpoints and signals."""

import contextlib
import dataclasses
import math
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from air_tf import figures, metrics
from air_tf import run as run_folder
from air_tf.config import Config
from air_tf.data import Dataset, Split, load_splits
from air_tf.evaluation import evaluate
from air_tf.model import AIR, Scene
from air_tf.trainer import STEP_METRICS, Trainer, is_chief, make_strategy

SAMPLE_IMAGES = 12  # shown in samples.png and TensorBoard


class Stopped(Exception):
    """A signal asked to stop; what was reached is saved. `args` are (message, signal number)."""


@contextlib.contextmanager
def stop_signals():
    """Yields a list that SIGTERM and Ctrl-C append to, once; a second one acts at once."""
    received, previous = [], {}

    def note(number, frame):
        received.append(number)
        for each, handler in previous.items():
            signal.signal(each, handler)

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, note)
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def train(config: Config) -> tuple[Path, dict]:
    """Trains, evaluates and leaves a run's folder.

    Returns:
        The folder, and what stands in its `metrics.json`.

    Raises:
        ValueError: bad config or data, or a run that cannot be resumed.
        Diverged: the loss is no longer finite.
        Stopped: by SIGTERM or Ctrl-C, after a checkpoint.
    """
    strategy = make_strategy()  # collective operations must be set up first
    dataset = load_splits(config.data)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, digits=dataset.digits),
        model=dataclasses.replace(config.model, image_shape=dataset.splits["train"].image_shape),
    )
    print(dataset.description, flush=True)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        if is_chief(strategy):
            folder = run_folder.open_folder(config)
            stack.enter_context(run_folder.lock(folder))
        else:  # the other workers compute the same; only the chief's files are kept
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trainer = Trainer(config, dataset.splits["train"].images, strategy)
        restored = run_folder.restore(trainer.checkpoint, folder) if config.run.resume else None
        if restored:
            print(f"Going on from step {trainer.step:,} of {folder}.", flush=True)
        else:
            print(f"Training {config.training.steps:,} steps in {folder}.", flush=True)
        return folder, _train(config, dataset, trainer, folder, stack, stop)


def _train(config, dataset: Dataset, trainer: Trainer, folder: Path, stack, stop: list[int]) -> dict:
    """The loop, between checkpoints, evaluations and signals."""
    training, held_out = config.training, dataset.splits["test"]
    writer = tf.summary.create_file_writer(str(folder))
    stack.enter_context(writer.as_default())
    config_text = run_folder.write_config(config, folder)
    tf.summary.text("config", f"```\n{config_text}\n```", step=trainer.step)
    bar = stack.enter_context(
        tqdm(total=training.steps, initial=trainer.step, unit=" steps", dynamic_ncols=True)
    )
    trainer.start()
    shown, call_ms = {}, []
    while trainer.step < training.steps:
        if stop:
            trainer.save(folder)
            bar.close()
            name = signal.Signals(stop[0]).name
            message = f"Stopped by {name}: step {trainer.step:,} is saved in {folder}; --resume goes on."
            raise Stopped(message, stop[0])
        intervals = training.steps_per_call, training.evaluate_every, training.checkpoint_every
        target = min(training.steps, *(every * (trainer.step // every + 1) for every in intervals))
        num_steps, started = target - trainer.step, time.perf_counter()
        values = trainer.run(num_steps)
        call_ms.append(1000 * (time.perf_counter() - started) / num_steps)
        ms_per_step = float(np.median(call_ms[1:] or call_ms))  # the first call compiles

        scalars = dict(zip(STEP_METRICS, values.mean(axis=0)), ms_per_step=call_ms[-1])
        scalars["learning_rate"] = float(trainer.optimizer.learning_rate)
        write_scalars("train", scalars, target)
        bar.update(num_steps)
        shown |= {"ELBO": f"{scalars['elbo']:.1f}", "ms/step": f"{ms_per_step:.1f}"}
        bar.set_postfix(shown)

        if target % training.evaluate_every == 0 or target == training.steps:
            part = held_out[: training.evaluation_images]
            evaluation = evaluate(trainer.model, part)
            write_scalars("held_out", evaluation.metrics, target)
            write_pictures(trainer.model, part, target)
            shown["count accuracy"] = f"{evaluation.metrics['count_accuracy']:.1%}"
            bar.set_postfix(shown)
            collapse = metrics.collapsed(evaluation.scenes.counts, config.model.max_objects)
            if collapse and target >= min(config.model.warm_start_steps, training.steps):
                tqdm.write(f"Collapse at step {target:,}: {collapse}.", file=sys.stderr)
        if target % training.checkpoint_every == 0 or target == training.steps:
            trainer.save(folder)
            writer.flush()
    bar.close()

    results = {
        **evaluate(trainer.model, held_out).metrics,
        **{
            name: evaluate(trainer.model, split).metrics
            for name, split in dataset.splits.items()
            if name not in ("train", "test")
        },
        "steps": trainer.step,
        "seconds": float(trainer.seconds),
        "ms_per_step": ms_per_step if call_ms else None,
        "seed": training.seed,
        "dataset": config.data.dataset,
        "digits": config.data.digits,
    }
    run_folder.write_json(results, folder / "metrics.json")
    Image.fromarray(draw_samples(trainer.model, held_out)).save(folder / "samples.png")
    return results


def write_scalars(prefix: str, values: dict, step: int) -> None:
    """Writes a dictionary of numbers, or of such dictionaries, to TensorBoard."""
    for name, value in values.items():
        if isinstance(value, dict):
            write_scalars(f"{prefix}/{name}", value, step)
        elif math.isfinite(value):
            tf.summary.scalar(f"{prefix}/{name}", value, step=step)


def draw_samples(model: AIR, split: Split) -> np.ndarray:
    """The scenes of the split's first images as one picture; only the first is an empty one."""
    chosen = [*np.flatnonzero(split.counts == 0)[:1], *np.flatnonzero(split.counts)]
    images = split[chosen[:SAMPLE_IMAGES]].float_images()
    steps = model.posterior_means(images)
    glimpses, recons = (
        np.stack([getattr(step, name) for step in steps], axis=1)
        for name in ("glimpse", "glimpse_recon")
    )
    scene = Scene(*(values.numpy() for values in model.scene(steps)))
    return figures.samples_picture(images, scene, glimpses, recons)


def write_pictures(model: AIR, split: Split, step: int) -> None:
    """Writes inputs, boxes, reconstructions and glimpses to TensorBoard."""
    tf.summary.image("scenes", draw_samples(model, split)[None], step=step)
