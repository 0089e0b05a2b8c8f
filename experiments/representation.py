"""What the latents are good for: learning from few labels.

    python -m experiments.representation              # 3 seeds, 100 to 30,000 labels
    python -m experiments.representation --quick

On images of two digits, a small network learns their sum (0 to 18), and whether they ascend from left
to right (images of two equal digits left out), after Eslami et al. 2016. It sees the latents of an AIR
(of DAIR, whose windows fit better) that was trained on the benchmark without labels and is frozen; or
those of a plain VAE of equal size, trained on the same images for as many steps; against a CNN that sees
the pixels. Of AIR it first sees each object's latents by themselves, with the same weights, then all.
The images with labels are of MNIST's training digits, the 5,000 to test on of its test digits. What is
done is not done again. Writes results/representation.{md,json,png}.
"""

import dataclasses
import itertools
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from air_tf import cli, plots
from air_tf.config import REPRESENTATION, DataConfig
from air_tf.data import Split, load_splits
from air_tf.evaluation import infer_all
from air_tf.model import AIR
from air_tf.run import load_model, read_json, write_json
from experiments.digits import apart, held_out_digits
from experiments.runs import FAILURE, QUICK, Run, SeedArguments, in_time, parse, scored, train
from experiments.tables import markdown, spread
from experiments.vae import vae_of

LABELS = 100, 300, 1_000, 3_000, 10_000, 30_000
TEST_IMAGES = 5_000
TASKS = {"sum": 19, "ascending": 2}  # classes
TITLES = {"sum": "sum of two digits", "ascending": "ascending from left to right?"}
SEEN = "AIR", "VAE", "CNN"  # what the network sees: latents, or the pixels
UNITS, DROPOUT = 256, 0.3  # of the small network's layers
NOISE = 0.1  # on latents; these stay in units of the prior, where those that say nothing are almost 0
BATCH_SIZE, LEARNING_RATE = 128, 1e-3  # falling to 0 as a cosine
PAPER = 0.95  # both tasks, with the most labels; read off its plots


class Budget(NamedTuple):
    """How long the small network learns."""

    steps_a_label: float = 0.4
    least: int = 1500

    def steps(self, labels: int) -> int:
        return max(int(self.steps_a_label * labels), self.least)


def air_run(seed: int, arguments: SeedArguments) -> Run:
    flags = f"--preset representation --digits {arguments.digits} --seed {seed}"
    return Run(f"representation-air-seed{seed}", flags + f" {QUICK}" * arguments.quick)


def features_of(seen: str, model, split: Split) -> np.ndarray:
    """What the small network sees of the images: latents `(S, parts, D)`, or pixels `(S, H, W, 1)`.

    The latents of objects that are not there are 0.
    """
    if seen == "CNN":
        return split.float_images()
    if seen == "VAE":
        batches_of = np.array_split(split.float_images(), -(-len(split) // 1000))
        latents = np.concatenate([model.q_z(batch).mean().numpy() for batch in batches_of])
        return latents[:, None]
    scene = infer_all(model, split)
    there = scene.scores[..., None] > 0.5
    return np.concatenate([there, there * scene.z_where, there * scene.z_what], axis=-1)


def targets_of(task: str, split: Split) -> np.ndarray:
    """The class of each image, `(S,)`; -1 for those that the task leaves out."""
    if task == "sum":
        return split.labels.sum(axis=1)
    centres = split.boxes[..., 1] + split.boxes[..., 3]
    left_first = np.take_along_axis(split.labels, np.argsort(centres, axis=1), axis=1)
    return np.where(left_first[:, 0] == left_first[:, 1], -1, left_first[:, 0] < left_first[:, 1])


def small_network(seen: str, classes: int) -> keras.Model:
    """Layers that see each part by itself, or convolutions of the pixels; then those that see all."""
    dense = lambda: [keras.layers.Dense(UNITS, activation="relu"), keras.layers.Dropout(DROPOUT)]  # noqa: E731
    if seen == "CNN":
        below = [
            keras.layers.Conv2D(32, 5, strides=2, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(128, 3, activation="relu"),
        ]
    else:
        noise = keras.layers.GaussianNoise(NOISE)
        below = [noise, *dense(), *dense(), keras.layers.Dense(64, "relu")]
    return keras.Sequential([*below, keras.layers.Flatten(), *dense(), keras.layers.Dense(classes)])


def answers_from(
    seen: str, task: str, labels: int, train_set, features: np.ndarray, seed: int, budget: Budget
) -> np.ndarray:
    """The classes `(S,)` given to unlabelled features after learning from so many labels.

    Args:
        seen: "AIR", "VAE" or "CNN".
        task: of TASKS.
        labels: to learn from, the first ones.
        train_set: `(features, targets)`.
        features: to answer for.
        seed: of weights, order and dropout.
        budget: how long to learn at most.
    """
    keras.utils.set_random_seed(seed)
    seen_features, targets = (values[:labels] for values in train_set)
    kept = targets >= 0
    seen_features, targets = seen_features[kept], targets[kept]
    network = small_network(seen, TASKS[task])
    steps = budget.steps(labels)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # not compiled by XLA: its matrix products of three axes are ten times slower on a CPU
    network.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    order = tf.data.Dataset.range(len(targets)).shuffle(labels, seed=seed).repeat()
    batched = order.batch(BATCH_SIZE).map(lambda i: (tf.gather(seen_features, i), tf.gather(targets, i)))
    network.fit(batched.prefetch(2), steps_per_epoch=steps, shuffle=False, verbose=0)
    return network.predict(features, batch_size=1000, verbose=0).argmax(axis=-1)


def own_score(split: Split, model: AIR, record: Path) -> dict:
    """How many of the two digits AIR itself finds."""
    return {"count_accuracy": float(np.mean(infer_all(model, split).counts == split.counts))}


def records_of(seed: int, arguments: SeedArguments, sizes: tuple[int, ...], budget: Budget):
    """Yields a record for each accuracy of this seed: those that were measured, then new ones."""
    folder, run = arguments.results_dir / "representation", air_run(seed, arguments)
    shared = {"digits": arguments.digits, "cache_dir": str(arguments.cache_dir)}
    small = {"train_images": max(sizes), "test_images": 40 if arguments.quick else TEST_IMAGES}
    pairs = load_splits(DataConfig(**shared, digit_counts=(2,), **small)).splits
    train_split, test_split = pairs["train"], held_out_digits(pairs)
    record = scored(run, folder, arguments, partial(own_score, test_split))
    if record is None:
        return
    if (record / FAILURE).exists():
        raise ValueError(f"Expected AIR of seed {seed} to be trained. Received: {record / FAILURE}.")
    wanted = list(itertools.product(SEEN, TASKS, sizes))
    path_of = {key: record / "{}-{}-{}.json".format(*key) for key in wanted}
    yield from (read_json(path) for path in path_of.values() if path.exists())
    left = [key for key, path in path_of.items() if not path.exists()]
    if not left or not in_time(arguments):
        return
    air_folder = train(run, arguments)
    air, config = load_model(air_folder), cli.parse_run(run.flags.split())
    for seen in SEEN:
        of_it = [key for key in left if key[0] == seen]
        if not of_it or not in_time(arguments):
            continue
        model = air
        if seen == "VAE":
            data = dataclasses.replace(config.data, **shared)
            unlabelled, kept = load_splits(data).splits["train"].images, air_folder / "vae.weights.h5"
            model = vae_of(unlabelled, seed, air, config.training, kept)
        train_features, test_features = (features_of(seen, model, s) for s in (train_split, test_split))
        for key in (key for key in of_it if in_time(arguments)):
            _, task, labels = key
            train_set, targets = (
                (train_features, targets_of(task, train_split)),
                targets_of(task, test_split),
            )
            answers = answers_from(seen, task, labels, train_set, test_features, seed, budget)
            right, lie_apart = (answers == targets)[targets >= 0], apart(test_split.boxes)[targets >= 0]
            result = {
                "seen": seen, "task": task, "labels": labels, "seed": seed,
                "accuracy": float(np.mean(right)), "accuracy_apart": float(np.mean(right[lie_apart])),
            }  # fmt: skip
            write_json(result, path_of[key])
            print(result, flush=True)
            yield result


def lines(rows: list[dict], sizes) -> list[dict[str, str]]:
    """The table: accuracies for each number of labels, over the seeds."""
    result = []
    for task, seen in itertools.product(TASKS, SEEN):
        of_both = [r for r in rows if (r["task"], r["seen"]) == (task, seen)]
        accuracies = {
            f"{labels:,}": spread([r["accuracy"] for r in of_both if r["labels"] == labels], ".1%")
            for labels in sizes
        }
        most = [r["accuracy_apart"] for r in of_both if r["labels"] == max(sizes)]
        result.append({"task": task, "from": seen} | accuracies | {"digits apart": spread(most, ".1%")})
    return result


def figure_of(rows: list[dict]) -> Figure:
    """Accuracy against labels: medians, and the range over seeds."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    names = {"AIR": "AIR's latents", "VAE": "a plain VAE's latents", "CNN": "CNN on pixels"}
    for axes, task in zip(figure.subplots(1, len(TASKS)), TASKS):
        of_task = [r for r in rows if r["task"] == task]
        for seen, colour in zip(SEEN, ("tab:red", "tab:blue", "0.3")):
            of_both = [r for r in of_task if r["seen"] == seen]
            labels = sorted({r["labels"] for r in of_both})
            values = [[r["accuracy"] for r in of_both if r["labels"] == n] for n in labels]
            axes.plot(labels, list(map(np.median, values)), "o-", color=colour, label=names[seen], ms=4)
            if labels:
                axes.fill_between(
                    labels, *zip(*((min(v), max(v)) for v in values)), color=colour, alpha=0.2
                )
        axes.axhline(PAPER, color="0.6", ls=":", lw=1, label="paper, most labels")
        axes.set(xscale="log" if of_task else "linear", xlabel="labels", ylim=(0, 1), title=TITLES[task])
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def write_results(rows: list[dict], sizes, folder: Path) -> None:
    write_json(rows, folder / "representation.json")
    steps = REPRESENTATION.training.steps
    text = (
        "`python -m experiments.representation`: accuracy on 5,000 images of two of MNIST's test "
        "digits (of 'ascending', without those of two equal ones), against the number of labels. Least "
        "/ median / greatest over seeds. Digits apart: with the most labels, on the images where no two "
        "boxes overlap, as in the paper. The small networks were chosen by seed 0 on these images. "
        "AIR, which is DAIR with attention here: "
        f"`python train.py --preset representation --digits mnist --seed SEED`, {steps:,} steps on the "
        "benchmark's images; the VAE as many.\n\n"
    )
    (folder / "representation.md").write_text(text + markdown(lines(rows, sizes)))
    figure_of(rows).savefig(folder / "representation.png", dpi=plots.DPI)


def main() -> None:
    arguments, rows = parse(SeedArguments), []
    sizes, budget = ((20, 40), Budget(0, 2)) if arguments.quick else (LABELS, Budget())
    arguments.results_dir.mkdir(parents=True, exist_ok=True)
    for seed in range(arguments.seeds):
        for record in records_of(seed, arguments, sizes, budget):
            rows.append(record)
            write_results(rows, sizes, arguments.results_dir)
    if rows:
        print(markdown(lines(rows, sizes)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
