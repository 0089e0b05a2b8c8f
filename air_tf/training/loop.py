"""Training from config to metrics: the loop between evaluations, checkpoints and signals."""

import contextlib
import dataclasses
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from air_tf import drawing, preset_folder
from air_tf.air import AIR
from air_tf.config import Config
from air_tf.data.base import Dataset
from air_tf.data.split import Split, check_batch_size
from air_tf.evaluation import verdict
from air_tf.evaluation.evaluate import Evaluation, evaluate, pixel_errors
from air_tf.evaluation.glimpses import glimpses_and_recons
from air_tf.json_files import write_json
from air_tf.model.where import ScaleShiftSettings
from air_tf.parts import flat, replaced
from air_tf.paths import expand, first_line, shown
from air_tf.scene import Scene
from air_tf.training import checkpoints, run_folder, run_record
from air_tf.training.trainer import Trainer, is_chief, make_strategy

SAMPLE_IMAGES = 12  # shown in samples.png and TensorBoard


class Stopped(Exception):
    """A signal asked to stop; what was reached is saved. `args` are (message, signal number)."""

    def __str__(self):
        return self.args[0]


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
    dataset = config.data.load()
    check_dataset_fits(config, dataset)
    model = replaced(config.model, **dataset.model_settings)
    config = run_folder.with_warm_start(dataclasses.replace(config, data=dataset.settings, model=model))
    print(dataset.description, flush=True)
    check_batch_size(config.training.batch_size, strategy.num_replicas_in_sync)
    images = dataset.compose if config.training.fresh_images else dataset.splits["train"].images
    trainer = Trainer(config, images, strategy)  # before anything is written: it may refuse the config
    trainer.model.likelihood.check(dataset.splits["train"].images)
    source = source_model(config)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        # All workers of a strategy compute the same; only the chief's files are kept.
        if is_chief(strategy):
            folder = stack.enter_context(run_folder.opened(config, dataset.fingerprint))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        resume = config.run.resume and run_folder.folder_to_resume(config)
        config_text = run_record.write_config(config, dataset.fingerprint, folder)
        if resume and checkpoints.restore(trainer.checkpoint, resume):
            print(f"Going on from step {trainer.step:,} of {folder}.", flush=True)
        else:
            if source is not None:
                print(initialise(trainer.model, source, config.training.init_from), flush=True)
            print(f"Training {config.training.steps:,} steps in {folder}.", flush=True)
        try:
            with tf.summary.create_file_writer(str(folder)).as_default():
                tf.summary.text("config", f"```\n{config_text}\n```", step=trainer.step)
                ms_per_step = _train(trainer, dataset, folder, stop)
        except tf.errors.OpError as error:  # a full disk under TensorBoard's events, a lost worker
            lines = str(error).splitlines()
            reason = next((line for line in lines if "Expected" in line), first_line(error))
            raise OSError(
                f"Training ended early: {reason}. --resume goes on from the last checkpoint of {folder}."
            ) from error
        held_out = evaluations(trainer.model, dataset)
        test = held_out.pop("test")
        results = {
            **test.metrics,
            **{name: evaluation.metrics for name, evaluation in held_out.items()},
            "steps": trainer.step,
            "seconds": float(trainer.seconds),
            "ms_per_step": ms_per_step,
            "seed": config.training.seed,
            "dataset": config.data.dataset,
            "digits": dataset.digits,
            "verdict": verdict.verdict(trainer.model, dataset.splits["test"]),
        }
        rows = draw_samples(trainer.model, dataset.splits["test"], test.scene)
        behind = bool(test.scene.backgrounds.any())
        picture = drawing.samples_picture(rows, model.image_shape[1], behind)
        picture.save(folder / "samples.png")
        write_json(results, folder / "metrics.json")
        return folder, results


def source_model(config: Config) -> AIR | None:
    """The model that training starts from; None to start from random weights, or from a checkpoint.

    Raises:
        ValueError: it is neither a preset nor a run, or takes images of another size.
    """
    place, resume = config.training.init_from, config.run.resume
    if not place or (resume and checkpoints.steps(run_folder.folder_to_resume(config))):
        return None
    is_preset = place in preset_folder.BUILT_IN or preset_folder.is_preset(expand(place))
    is_run = expand(place).is_dir() and not is_preset
    source = run_record.load_model(place) if is_run else AIR.from_preset(place)
    ours, theirs = (
        "{} x {} pixels with {} channels".format(*m.image_shape) for m in (config.model, source)
    )
    if ours != theirs:
        raise ValueError(
            f"Expected a model for images of {ours} to start from. Received: {shown(place)}, which is "
            f"for {theirs}."
        )
    return source


def initialise(model: AIR, source: AIR, place: str) -> str:
    """Gives the model the source's weights, and says which ones it could not use."""
    used, others = preset_folder.copy_weights(source, model)
    left = f"; not used, since it has others there: {', '.join(others)}" if others else ""
    return f"Starting from {used} of {used + len(others)} weights of {shown(place)}{left}."


def check_dataset_fits(config: Config, dataset: Dataset) -> None:
    """Raises ValueError if the settings do not go together with the data set."""
    if config.training.stop_at_accuracy and not dataset.splits["test"].labelled().any():
        raise ValueError("Expected images with counts for stop_at_accuracy. Received: none has one.")
    prior = flat(config.model).get("scale_prior")
    if "scale_prior" in dataset.model_settings and prior != ScaleShiftSettings.scale_prior:
        raise ValueError(
            "Expected either --object-size or --scale-prior. Received: "
            f"{flat(config.data)['object_size']:g} and {prior}."
        )
    if config.training.fresh_images and dataset.compose is None:
        raise ValueError(
            f"Expected a generated data set for fresh_images. Received: {dataset.settings.dataset}."
        )


def _train(trainer: Trainer, dataset: Dataset, folder: Path, stop: list[int]) -> float:
    """Runs the steps that are left, with evaluations, checkpoints and a progress bar.

    Args:
        trainer: `Trainer`, at the step to go on from.
        dataset: its images `test` are evaluated on.
        folder: the run's.
        stop: signals received so far.

    Returns:
        The median time of a step, in ms; when no step was left, the mean over all there were.

    Raises:
        Stopped: a signal was received.
    """
    training = trainer.config.training
    intervals = training.steps_per_call, training.evaluate_every, training.checkpoint_every
    part = dataset.splits["test"][: training.evaluation_images]
    shown, call_ms, collapsed = {}, [], False
    ms_per_step = 1000 * float(trainer.seconds) / max(trainer.step, 1)
    last = next((r for r in run_record.read_history(folder) if r["step"] == trainer.step), None)
    reached = last is not None and 0 < training.stop_at_accuracy <= (last["count_accuracy"] or 0)
    trainer.start()
    opened = folder.stat()
    with tqdm(total=training.steps, initial=trainer.step, unit=" steps", dynamic_ncols=True) as bar:
        while trainer.step < training.steps and not reached:
            if trainer.any_worker(bool(stop)):
                trainer.save(folder)
                number = stop[0] if stop else signal.SIGTERM
                saved = f"step {trainer.step:,} is saved in {folder}; --resume goes on."
                raise Stopped(f"Stopped by {signal.Signals(number).name}: {saved}", int(number))
            run_folder.check_in_place(folder, opened)
            target = min(training.steps, *(every * (trainer.step // every + 1) for every in intervals))
            num_steps, started = target - trainer.step, time.perf_counter()
            values = trainer.run(num_steps)
            call_ms.append(1000 * (time.perf_counter() - started) / num_steps)
            ms_per_step = float(np.median(call_ms[1:] or call_ms))  # the first call compiles

            scalars = dict(zip(trainer.metrics, values.mean(axis=0)), ms_per_step=call_ms[-1])
            scalars["learning_rate"] = float(trainer.optimizer.learning_rate)
            scalars["rho"] = trainer.model.rho(target)
            write_scalars("train", scalars, target)
            shown |= {"ELBO": f"{scalars['elbo']:.1f}", "ms/step": f"{ms_per_step:.1f}"}
            if target % training.evaluate_every == 0 or target == training.steps:
                seen = look(trainer, dataset, part, target, folder)
                if seen["collapse"] and not collapsed:  # said when it begins
                    tqdm.write(seen["collapse"], file=sys.stderr)
                collapsed = bool(seen["collapse"])
                accuracy = seen["count_accuracy"]
                if accuracy is None:
                    shown["objects"] = f"{seen['mean_count']:.2f}"
                else:
                    shown["count accuracy"] = f"{accuracy:.1%}"
                    reached = 0 < training.stop_at_accuracy <= accuracy
            bar.set_postfix(shown, refresh=False)
            bar.update(num_steps)
            if reached or target % training.checkpoint_every == 0 or target == training.steps:
                trainer.save(folder)
                tf.summary.flush()
    return ms_per_step


def look(trainer: Trainer, dataset: Dataset, held_out: Split, step: int, folder: Path) -> dict:
    """Evaluates, writes what is seen to the run's folder; returns metrics, and `collapse` in words."""
    evaluation, model = evaluate(trainer.model, held_out, dataset.measure), trainer.model
    write_scalars("held_out", evaluation.metrics, step)
    record = {"step": step, "seconds": float(trainer.seconds), **evaluation.metrics}
    run_record.append_history(record, folder)
    rows = draw_samples(model, held_out, evaluation.scene)
    tf.summary.image("scenes", rows, step=step, max_outputs=SAMPLE_IMAGES)
    if dataset.picture is not None:
        from air_tf.evaluation import plots  # matplotlib takes its time

        for name, (caption, figure) in dataset.picture(evaluation.scene, held_out).items():
            tf.summary.image(name, plots.as_array(figure)[None], step=step, description=caption)
    right = evaluation.metrics["count_accuracy"]
    return evaluation.metrics | {"collapse": collapse_at(trainer, evaluation.scene.counts, right, step)}


def collapse_at(trainer: Trainer, counts: np.ndarray, right: float | None, step: int) -> str | None:
    """That the counts of an evaluation have collapsed, and what to try; None if they have not."""
    collapse = verdict.collapse(counts, trainer.model.config.max_objects, right)
    if collapse is None:
        return None
    warm_start = min(trainer.model.estimator.warm_start_steps, trainer.config.training.steps)
    passing = f" The warm start, until step {warm_start:,}, may still end it."
    return f"Step {step:,}: {collapse}{passing if step < warm_start else ''}"


def evaluations(model: AIR, dataset: Dataset) -> dict[str, Evaluation]:
    """What is measured on each held-out split, by its name."""
    held_out = {name: split for name, split in dataset.splits.items() if name != "train"}
    return {name: evaluate(model, split, dataset.measure) for name, split in held_out.items()}


def write_scalars(prefix: str, values: dict, step: int) -> None:
    """Writes a dictionary of numbers, or of such dictionaries, to TensorBoard."""
    for name, value in values.items():
        if isinstance(value, dict):
            write_scalars(f"{prefix}/{name}", value, step)
        elif value is not None:
            tf.summary.scalar(f"{prefix}/{name}", value, step=step)


def draw_samples(model: AIR, split: Split, scene: Scene) -> np.ndarray:
    """Pictures of the scenes of the split's first images, at most one of them empty.

    Without labels they are those of the first images, then those of the worst reconstructed.
    """
    chosen = [*np.flatnonzero(split.counts == 0)[:1], *np.flatnonzero(split.counts)][:SAMPLE_IMAGES]
    if not split.labelled().any():
        worst = np.argsort(-pixel_errors(scene, split))
        chosen = [*chosen[: SAMPLE_IMAGES // 2], *worst[: SAMPLE_IMAGES // 2]]
    images, seen = split[chosen].float_images(), scene.part(np.array(chosen))
    layers = model.layers_of(seen)
    return drawing.scene_rows(images, seen, layers.corners, *glimpses_and_recons(images, layers))
