"""Whether a background swallows the objects: its capacity, and the objects' warm start.

    python -m experiments.backgrounds
    python -m experiments.backgrounds --quick

Digits on gradients (the cell `digits-large-gradient-over` of `experiments.robustness`), trained for
fewer steps, with one thing changed at a time. A gradient is a plane, so the true ground under an object
is known from the pixels around it. Runs that have a record are not repeated.

Writes results/backgrounds.{jsonl,md}.
"""

import contextlib
import itertools
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf

from air_tf import cli
from air_tf.air import AIR
from air_tf.evaluation.evaluate import evaluate_fully
from air_tf.model.background import VAEBackground
from air_tf.training.run_record import load_model
from experiments.records import Records
from experiments.robustness import cells_by_name
from experiments.runs import QUICK, Job, Run, SeedArguments, carry_out, parse
from experiments.tables import column, markdown, run_columns, spread, write

CELL = "digits-large-gradient-over"
STEPS = 1000
SHOWN = 1000  # images whose backgrounds are looked at
CHANGES = {  # what is changed, and its flags
    "nothing (a code of 8 numbers, drawn on 6 x 6)": "",
    "code of 2 numbers": " --background-size 2",
    "code of 64 numbers": " --background-size 64",
    "drawn on 3 x 3": " --background-resolution 3",
    "drawn on 16 x 16": " --background-resolution 16",
    "drawn on 64 x 64": " --background-resolution 0",
    "drawn on 64 x 64, code of 64 numbers": " --background-resolution 0 --background-size 64",
    "no warm start": " --warm-start-steps 0",
    "warm start all the way": f" --warm-start-steps {STEPS}",
    "one image behind all (mean)": " --background mean",
    "none": " --background none",
}


@contextlib.contextmanager
def begins_grey():
    """While this holds, a background does not begin as the median of the images."""
    adapt = VAEBackground.adapt

    def adapt_but_grey(self, images):
        adapt(self, images)
        self.logits.assign(tf.zeros_like(self.logits))

    with mock.patch.object(VAEBackground, "adapt", adapt_but_grey):
        yield


@contextlib.contextmanager
def let_in():
    """While this holds, training scales a background's code by a factor that grows to 1 by STEPS / 2."""
    unroll, draw = AIR.unroll, VAEBackground.draw

    def unroll_at(self, x, noise, train_step=None, samples=1):
        if train_step is not None:
            self.background.factor = tf.minimum(1.0, 2.0 * tf.cast(train_step, tf.float32) / STEPS)
        try:
            return unroll(self, x, noise, train_step, samples)
        finally:
            self.background.factor = 1.0

    def draw_scaled(self, latents, batch_size):
        code = getattr(self, "factor", 1.0) * latents["background"]
        return draw(self, {"background": code}, batch_size)

    with (
        mock.patch.object(AIR, "unroll", unroll_at),
        mock.patch.object(VAEBackground, "draw", draw_scaled),
    ):
        yield


WITHOUT_A_FLAG = {
    "begins grey, not as the median": begins_grey,
    "the code is let in over the first half": let_in,
}
CHANGES |= dict.fromkeys(WITHOUT_A_FLAG, "")


def job_of(change: str, seed: int, arguments: SeedArguments) -> Job:
    of_cell = f"{cells_by_name()[CELL].flags} --steps {STEPS}"
    flags = f"{of_cell}{CHANGES[change]} --digits {arguments.digits} --seed {seed}"
    number = [*CHANGES].index(change)
    run = Run(f"backgrounds-{number}-seed{seed}", flags + f" {QUICK}" * arguments.quick)
    fields, of_run = {"change": change, "seed": seed}, partial(score, run, arguments)
    return Job(run, fields, of_run, WITHOUT_A_FLAG.get(change, contextlib.nullcontext))


def score(run: Run, arguments: SeedArguments, folder: Path, metrics: dict) -> dict:
    """What is found in held-out images, and what the background holds of the objects."""
    model = load_model(folder)
    config = cli.parse_run([*run.flags.split(), "--cache-dir", str(arguments.cache_dir)])
    dataset = config.data.load()
    split = dataset.splits["test"]
    scene, found = evaluate_fully(model, split, partial(dataset.segments, "test"))
    shown = split[:SHOWN]
    objects = dataset.masks("test", shown).any(axis=1)
    drawn = np.asarray(scene.backgrounds[: len(shown)])
    part, error = swallowed(shown.float_images(), drawn, objects)
    names = "count_accuracy", "tight_ap50", "pixel_mse", "elbo"
    return {name: found[name] for name in names} | {"swallowed": part, "ground_error": error}


def swallowed(images: np.ndarray, backgrounds: np.ndarray, objects: np.ndarray) -> tuple[float, float]:
    """The part of the objects that the background holds, and how far it is from the ground elsewhere.

    Args:
        images: `(S, H, W, C)`, in [0, 1], whose grounds are planes.
        backgrounds: what the model drew behind the objects, likewise.
        objects: `(S, H, W)`, which pixels have an object.

    Returns:
        The slope, by least squares, of (background - ground) in (image - ground) over the pixels of all
        objects: 0 where the background is the ground, 1 where it is the image. The root of the mean
        squared difference of background and ground over the other pixels, from 0 to 1.
    """
    height, width = objects.shape[1:]
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    plane = np.stack([np.ones_like(x), x, y], axis=-1).astype(float)
    of_objects, of_ground = [], []
    for image, background, inside in zip(images, backgrounds, objects):
        fitted, *_ = np.linalg.lstsq(plane[~inside], image[~inside], rcond=None)
        ground = plane @ fitted
        of_objects.append(np.stack([(image - ground)[inside], (background - ground)[inside]]))
        of_ground.append(np.square(background - ground)[~inside].mean())
    ink, held = np.concatenate(of_objects, axis=1)
    return float((held * ink).sum() / np.square(ink).sum()), float(np.sqrt(np.mean(of_ground)))


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds of each change."""
    result = []
    for change in dict.fromkeys(r["change"] for r in rows):
        of_it = [r for r in rows if r["change"] == change]
        result.append({
            "changed": change,
            "objects in the background": spread(column(of_it, "swallowed"), ".0%"),
            "error of the ground": spread(column(of_it, "ground_error"), ".3f"),
            "count accuracy": spread(column(of_it, "count_accuracy"), ".1%"),
            "box AP at 0.5": spread(column(of_it, "tight_ap50"), ".2f"),
            "ELBO (nats)": spread(column(of_it, "elbo"), ".0f"),
            **run_columns(of_it),
            **({"command": "`python -m experiments.backgrounds`"} if change in WITHOUT_A_FLAG else {}),
        })  # fmt: skip
    return result


def write_results(rows: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.backgrounds`: each row is one command, run once per seed, evaluated on "
        "images of held-out digits. Least / median / greatest over the seeds, or both of two. Objects "
        "in the background: the part of their contrast that the background holds, in the first "
        f"{SHOWN:,} images. Error of the ground: root mean square where there is no object; white is 1. "
        "The last two changes are made by the experiment itself, since air_tf has no flag for them."
        "\n\n"
    )
    write("backgrounds", folder, text + markdown(lines(rows)))


def main() -> None:
    arguments = parse(SeedArguments)
    records = Records(arguments.results_dir / "backgrounds.jsonl")
    changes = [*CHANGES][:1] if arguments.quick else [*CHANGES]
    jobs = [
        job_of(change, seed, arguments)
        for seed, change in itertools.product(range(arguments.seeds), changes)
    ]
    carry_out("backgrounds", jobs, records, arguments, write_results)


if __name__ == "__main__":
    sys.exit(cli.run(main))
