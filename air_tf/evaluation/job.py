"""A whole evaluation: what is measured on a split, and the files that show it."""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Literal

from air_tf.data import DatasetSettings
from air_tf.data.base import Dataset
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.evaluation.evaluate import check_images_fit, evaluate_fully, importance_bounds
from air_tf.json_files import write_json
from air_tf.paths import as_text
from air_tf.serving.predictor import Predictor
from air_tf.training.run_record import read_history

MOST_IMPORTANCE_SAMPLES = 1_000_000  # per image


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Measure a run or a SavedModel on a data set, and show what it does on one page."""

    run: str = ""
    """The run's folder, runs/NAME."""

    saved_model: str = ""
    """Instead of --run: an exported SavedModel. It has no ELBO, no prior and no history."""

    split: Literal["test", "test_digits", "train"] = "test"
    """Images: held out; of MNIST, test_digits are images of its test digits."""

    num_images: int = 0
    """The first images of the split (0: all)."""

    rho: float | None = None
    """Prior over counts for the ELBO and its bound (default: the run's; 0.01 in published figures)."""

    importance_samples: int | None = None
    """Samples K of the importance-weighted bound (default: no bound; 100 in published figures)."""

    out: str = ""
    """Folder to write (default: evaluation/SPLIT in the run, or evaluation for a SavedModel). It has to
    be new, or hold an earlier result that nobody has changed, which is replaced."""

    data: DatasetSettings = dataclasses.field(default_factory=MultiMNISTSettings)


def check(config: EvaluateConfig) -> None:
    """Raises ValueError if the settings do not go together."""
    if bool(config.run) == bool(config.saved_model):
        given = f"--run {config.run!r} --saved-model {config.saved_model!r}"
        raise ValueError(f"Expected either --run or --saved-model. Received: {given}.")
    samples = config.importance_samples
    if samples is not None and not 1 <= samples <= MOST_IMPORTANCE_SAMPLES:
        raise ValueError(
            f"Expected 1 to {MOST_IMPORTANCE_SAMPLES:,} importance samples. Received: {samples}."
        )
    if config.saved_model and (samples is not None or config.rho is not None):
        raise ValueError(
            "Expected neither --importance-samples nor --rho with --saved-model, which has no ELBO. "
            f"Received: {samples} and {config.rho}."
        )
    if config.rho is not None and not 0 < config.rho < 1:
        raise ValueError(f"Expected rho between 0 and 1. Received: {config.rho}.")
    if config.num_images < 0:
        raise ValueError(f"Expected a number of images of at least 0. Received: {config.num_images}.")


def write_evaluation(
    config: EvaluateConfig, model: Predictor, dataset: Dataset, run: Path | None, folder: Path
) -> dict:
    """Measures a model, and writes the numbers, the figures and the page that shows them.

    Args:
        config: `EvaluateConfig`.
        model: the `AIR` of the run, or a `ServedModel`.
        dataset: `Dataset`.
        run: the run's folder, where the projector is written for TensorBoard; None for a `ServedModel`.
        folder: where all else is written.

    Returns:
        What is in `evaluation.json`.

    Raises:
        ValueError: the data set lacks the split, or its images are not of the model's size.
    """
    from air_tf.evaluation import report  # matplotlib takes its time

    started = time.perf_counter()
    if config.split not in dataset.splits:
        has = ", ".join(dataset.splits)
        name = dataset.settings.dataset
        raise ValueError(f"Expected a split of {name}: {has}. Received: {config.split}.")
    split = dataset.splits[config.split][: config.num_images or None]
    check_images_fit(model, dataset, split)

    segments = dataset.segments and functools.partial(dataset.segments, config.split)
    scene, metrics = evaluate_fully(model, split, segments)
    if dataset.measure is not None:
        metrics |= dataset.measure(scene, split)
    record = {
        "model": as_text(config.run or config.saved_model),
        "dataset": config.data.dataset,
        "digits": dataset.digits,
        "split": config.split,
        "images": len(split),
        **metrics,
    }
    if run is not None:
        record["rho"] = model.rho()
    captioned = report.make_figures(model, scene, split, [] if run is None else read_history(run))
    if dataset.picture is not None:
        captioned |= dataset.picture(scene, split)
    record["seconds"] = time.perf_counter() - started
    if config.importance_samples is not None:
        started = time.perf_counter()
        record["importance_samples"] = config.importance_samples
        record["importance_bounds"] = importance_bounds(model, split, config.importance_samples)
        record["importance_seconds"] = time.perf_counter() - started

    if run is not None:
        record["objects_in_projector"] = report.write_projector(scene, split, run)
    write_json(record, folder / "evaluation.json")
    title = f"air_tf: {record['model']} on {record['dataset']}, {record['digits']}, {record['split']}"
    report.write_page(title, record, captioned, folder)
    return record
