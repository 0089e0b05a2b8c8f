"""What the latents are good for: learning from few labels.

    python -m experiments.representation              # 3 seeds, 100 to 30,000 labels
    python -m experiments.representation --quick

On images of two digits, a small network learns their sum (0 to 18), and whether they ascend from left
to right (images of two equal digits left out), after Eslami et al. 2016. It sees the latents of an AIR
(of DAIR, whose windows fit better) that was trained on the benchmark without labels and is frozen; or
those of a plain VAE of equal size, trained on the same images for as many steps; against a CNN that sees
the pixels. Of AIR it first sees each object's latents by themselves, with the same weights, then all.
The images with labels are of MNIST's training digits, the 5,000 to test on of its test digits. What is
done is not done again. Writes results/representation.{jsonl,md,png}.
"""

import itertools
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from air_tf import cli
from air_tf.air import AIR
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.split import Split
from air_tf.evaluation.evaluate import evaluate, infer_all
from air_tf.training.run_record import load_model
from experiments.digits import apart, held_out_digits
from experiments.records import Records
from experiments.runs import Job, Run, SeedArguments, in_time, parse, records_of, run_on_digits, train
from experiments.tables import column, markdown, run_columns, spread, write
from experiments.vae import VAE, evaluate_vae, vae_of

LABELS = 100, 300, 1_000, 3_000, 10_000, 30_000
TEST_IMAGES = 5_000
TASKS = {"sum": 19, "ascending": 2}  # classes
TITLES = {"sum": "sum of two digits", "ascending": "ascending from left to right?"}
NAMES = {  # what the network sees: latents, or the pixels
    "AIR": "DAIR with attention", "VAE": "plain VAE", "CNN": "CNN on pixels",
}  # fmt: skip
SEEN = tuple(NAMES)
UNITS, DROPOUT = 256, 0.3  # of the small network's layers
NOISE = 0.1  # on latents; these stay in units of the prior, where those that say nothing are almost 0
BATCH_SIZE, LEARNING_RATE = 128, 1e-3  # falling to 0 as a cosine
GUESSED = {"sum": 0.1, "ascending": 0.5}  # by the most frequent answer
PAPER = 0.95  # both tasks, with the most labels; read off its plots


class Budget(NamedTuple):
    """How long the small network learns."""

    steps_a_label: float = 0.4
    least: int = 1500

    def steps(self, labels: int) -> int:
        return max(int(self.steps_a_label * labels), self.least)


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
    return np.concatenate([there, *(there * latent for latent in scene.latents.values())], axis=-1)


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
    keras.backend.clear_session()  # of the network before, with its images
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


def images_of_pairs(arguments: SeedArguments, most_labels: int) -> tuple[Split, Split]:
    """Images of two digits, to learn from and, of other digits, to test on."""
    config = MultiMNISTSettings(
        digits=arguments.digits, digit_counts=(2,), cache_dir=str(arguments.cache_dir),
        train_images=most_labels, test_images=40 if arguments.quick else TEST_IMAGES,
    )  # fmt: skip
    splits = config.load().splits
    return splits["train"], held_out_digits(splits)


def vae_beside(air: AIR, seed: int, run: Run, arguments: SeedArguments) -> VAE:
    """A VAE trained on AIR's images as long as AIR; its weights are kept in AIR's folder."""
    config = cli.parse_run([*run.flags.split(), "--cache-dir", str(arguments.cache_dir)])
    images = config.data.load().splits["train"].images
    kept = arguments.runs_dir.resolve() / run.name / "vae.weights.h5"
    return vae_of(images, seed, air, config.training, kept)


def score(
    seed: int, run: Run, split: Split, arguments: SeedArguments, folder: Path, metrics: dict
) -> dict:
    """How well AIR and the VAE describe the images of pairs."""
    air = load_model(folder)
    of_pairs = evaluate(air, split).metrics
    return {
        "AIR": {name: of_pairs[name] for name in ("count_accuracy", "elbo", "pixel_mse")},
        "VAE": evaluate_vae(vae_beside(air, seed, run, arguments), split),
    }


def job_of(seed: int, test_split: Split, arguments: SeedArguments) -> Job:
    run = run_on_digits("representation-air", "representation", seed, arguments)
    return Job(run, {"seed": seed}, partial(score, seed, run, test_split, arguments))


def accuracy_name(run: Run, seen: str, task: str, labels: int) -> str:
    return f"{run.name}-{seen}-{task}-{labels}"


def accuracies(
    job: Job,
    left: list[tuple[str, str, int]],
    splits: tuple[Split, Split],
    arguments: SeedArguments,
    budget: Budget,
) -> Iterator[dict]:
    """Measures the accuracies that are left of a seed, while there is time; yields the record of each.

    Args:
        job: of the seed's AIR.
        left: what is seen, the task, and the number of labels, for each.
        splits: to learn from and to test on.
        arguments: `SeedArguments`.
        budget: of the small network.
    """
    (train_split, test_split), seed = splits, job.fields["seed"]
    air, lie_apart = load_model(train(job.run, arguments)), apart(test_split.boxes)
    for seen, keys in itertools.groupby(left, key=lambda key: key[0]):
        model = vae_beside(air, seed, job.run, arguments) if seen == "VAE" else air
        train_features, test_features = (features_of(seen, model, split) for split in splits)
        for key in keys:
            if not in_time(arguments):
                return
            _, task, labels = key
            train_set = train_features, targets_of(task, train_split)
            targets = targets_of(task, test_split)
            answers = answers_from(seen, task, labels, train_set, test_features, seed, budget)
            asked, right = targets >= 0, answers == targets
            result = {
                "seen": seen, "task": task, "labels": labels, "seed": seed,
                "accuracy": float(np.mean(right[asked])),
                "accuracy_apart": float(np.mean(right[asked & lie_apart])),
            }  # fmt: skip
            print(result, flush=True)
            yield {"name": accuracy_name(job.run, *key), "flags": job.run.flags, **result}


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
        more = {"digits apart": spread(most, ".1%"), "seeds": str(len(most))}
        result.append({"task": task, "from": NAMES[seen]} | accuracies | more)
    return result


def figure_of(rows: list[dict]) -> Figure:
    """Accuracy against labels: medians, and the range over seeds."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(TASKS)), TASKS):
        of_task = [r for r in rows if r["task"] == task]
        for seen, colour in zip(SEEN, ("tab:red", "tab:blue", "0.3")):
            of_both = [r for r in of_task if r["seen"] == seen]
            labels = sorted({r["labels"] for r in of_both})
            values = [[r["accuracy"] for r in of_both if r["labels"] == n] for n in labels]
            axes.plot(labels, list(map(np.median, values)), "o-", color=colour, label=NAMES[seen], ms=4)
            if labels:
                axes.fill_between(
                    labels, *zip(*((min(v), max(v)) for v in values)), color=colour, alpha=0.2
                )
        axes.axhline(PAPER, color="0.6", ls=":", lw=1, label="paper, most labels")
        axes.axhline(GUESSED[task], color="0.6", ls="--", lw=1, label="guessed")
        axes.set(xscale="log" if of_task else "linear", xlabel="labels", ylim=(0, 1), title=TITLES[task])
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def run_lines(runs: list[dict]) -> list[dict[str, str]]:
    """The table of the models whose latents are seen, on the images to test on."""
    result = []
    for model, made in ("AIR", run_columns(runs)), ("VAE", {}):
        scores = column(runs, model)
        measured = {
            "latents of": NAMES[model],
            "count accuracy": spread([s.get("count_accuracy") for s in scores], ".1%"),
            "ELBO (nats)": spread([s["elbo"] for s in scores], ".0f"),
            "pixel MSE": spread([s["pixel_mse"] for s in scores], ".4f"),
            "latents in use": spread([s.get("latents_in_use") for s in scores], ".0f"),
        }
        result.append(measured | dict.fromkeys(run_columns(runs), "as above") | made)
    return result


def write_results(runs: list[dict], rows: list[dict], sizes, folder: Path) -> None:
    text = (
        "`python -m experiments.representation`: accuracy on 5,000 images of two of MNIST's test "
        "digits (of 'ascending', without those of two equal ones), against the number of labels. Least "
        "/ median / greatest over seeds. Digits apart: with the most labels, on the images where no two "
        "boxes overlap, as in the paper. The small networks were chosen by seed 0 on these images; they "
        f"learn for {Budget().steps_a_label} steps of {BATCH_SIZE} images a label, at least "
        f"{Budget().least:,}.\n\n"
    )
    if rows:
        text += markdown(lines(rows, sizes))
    if column(runs, "AIR"):
        text += (
            "\nThe models, trained on the benchmark's images, evaluated on the same 5,000; minutes of "
            "training, with whatever else the machine had to do.\n\n"
        ) + markdown(run_lines(runs))
    write("representation", folder, text, figure_of(rows))


def main() -> None:
    arguments, runs = parse(SeedArguments), []
    sizes, budget = ((40,), Budget(0, 2)) if arguments.quick else (LABELS, Budget())
    records = Records(arguments.results_dir / "representation.jsonl")
    splits = images_of_pairs(arguments, max(sizes))
    jobs = [job_of(seed, splits[1], arguments) for seed in range(arguments.seeds)]
    wanted = list(itertools.product(SEEN, TASKS, sizes))

    def accuracy(job, key):
        return records.find(accuracy_name(job.run, *key), job.run.flags)

    def write_all(runs):
        rows = [row for job in jobs for key in wanted if (row := accuracy(job, key))]
        write_results(runs, rows, sizes, arguments.results_dir)

    for runs in records_of(jobs, records, arguments):
        write_all(runs)
    trained = column(runs, "seed")
    for job in jobs:
        left = [key for key in wanted if not accuracy(job, key)]
        if left and job.fields["seed"] in trained and in_time(arguments):
            for record in accuracies(job, left, splits, arguments, budget):
                records.add(record)
                write_all(runs)
    if runs:
        print((arguments.results_dir / "representation.md").read_text())


if __name__ == "__main__":
    sys.exit(cli.run(main))
