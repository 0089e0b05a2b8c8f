"""The variance of each estimator's gradient at the same weights: python -m experiments.gradient_variance

One model is trained with `enumerate`. Early and late in its training, its weights are given to every
estimator, and the gradient of the loss on one batch is drawn many times, with fresh noise each time. The
variance of each weight's gradient over these draws is what the estimator adds to training. Baselines
learn first, with the weights held. Writes results/gradient_variance.{jsonl,md,png}. MNIST comes from
AIR_MNIST or tensorflow-datasets.
"""

import dataclasses
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
import tyro
from matplotlib.figure import Figure
from tqdm import tqdm

from air_tf import cli, replaced
from air_tf.air import AIR
from air_tf.config import Config, ModelConfig, TrainingConfig
from air_tf.data.multi_mnist import MultiMNISTSettings
from air_tf.data.split import batches
from air_tf.training.trainer import Trainer
from experiments import records
from experiments.tables import markdown, write

ROOT = Path(__file__).parents[1]
RHO = 0.01
# The signal is not normalised: that would scale the gradient, and its variance with it.
ESTIMATORS = {
    "enumerate": {"presence": "enumerate", "warm_start_steps": 0},
    "concrete": {"presence": "concrete"},
    "nvil, learned baseline": {"presence": "nvil", "signal_normalisation": False},
    "nvil, running mean only": {"presence": "nvil", "signal_normalisation": False},
    "plain score function": {
        "presence": "nvil", "signal_normalisation": False, "signal_centring": False,
    },
}  # fmt: skip
WITH_BASELINE = ("nvil, learned baseline",)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The variance of each estimator's gradient, at the same weights."""

    steps: tuple[int, ...] = (500, 5000)
    """Training steps at which to measure; the last one is the length of the training."""

    draws: int = 300
    """Gradients drawn of each estimator."""

    baseline_steps: int = 1000
    """Steps that a baseline learns before."""

    baseline_learning_rate: float = 1e-2
    """Adam's, of the baselines: they have a model that stands still to learn."""

    batch_size: int = 64
    """Images of the batch."""

    seed: int = 0
    """Of weights, batches and noise."""

    digits: str = "mnist"
    """Digits of the images."""

    results_dir: Path = ROOT / "results"
    """Folder of the results."""

    cache_dir: Path = Path("~/.cache/air_tf")
    """Folder for generated images."""


def make_model(name: str, weights: list[np.ndarray], arguments: Arguments) -> AIR:
    """The estimator's model with these weights; a baseline that is not to learn gives 0."""
    changes = dict(ESTIMATORS[name])
    if changes["presence"] == "nvil":
        changes["baseline_learning_rate"] = arguments.baseline_learning_rate
    keras.utils.set_random_seed(0)
    model = AIR(replaced(ModelConfig(), rho=RHO, **changes))
    for variable, value in zip(model.variable_groups[0], weights):
        variable.assign(value)
    if model.variable_groups[1] and name not in WITH_BASELINE:
        for variable in model.variable_groups[1]:
            variable.assign(tf.zeros_like(variable))
    return model


def prepare(name: str, model: AIR, images: np.ndarray, arguments: Arguments) -> None:
    """Lets nvil's baseline and running mean learn, the model's weights held."""
    if not model.variable_groups[1]:
        return

    @tf.function(jit_compile=True)
    def step(x, train_step):
        gradients, estimate = model.gradients(x, train_step)
        learns = 1.0 if name in WITH_BASELINE else 0.0
        model.estimator.update([learns * gradient for gradient in gradients[1]], estimate)

    data = batches(images, arguments.batch_size, arguments.seed, 0, arguments.baseline_steps)
    for train_step, x in enumerate(tqdm(data, name, arguments.baseline_steps, leave=False)):
        step(x, tf.constant(train_step))


def variance(name: str, model: AIR, x: tf.Tensor, draws: int) -> dict[str, np.ndarray]:
    """The variance over draws of the gradient of every weight: of all, and of the presence's head."""
    variables = model.variable_groups[0]
    head = {id(v) for v in model.inference.pres_head.trainable_variables}

    @tf.function(jit_compile=True)
    def gradient(draw):
        gradients, _ = model.gradients(x, draw)
        return tf.concat([tf.reshape(g, [-1]) for g in gradients[0]], axis=0)

    total = squares = 0.0
    for draw in tqdm(range(draws), name, leave=False):
        # far from the steps that training and the baselines have used
        value = gradient(tf.constant(10**6 + draw)).numpy().astype(np.float64)
        total, squares = total + value, squares + value**2
    values = (squares - total**2 / draws) / (draws - 1)
    of_head = np.concatenate([np.full(v.numpy().size, id(v) in head) for v in variables])
    return {"all": values, "presence head": values[of_head]}


def plot(variances: dict[int, dict[str, dict[str, np.ndarray]]]) -> Figure:
    """The distribution over weights of the variance, a panel for each time."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, len(variances), sharex=True, sharey=True, squeeze=False)[0]
    bins = np.linspace(-12, 4, 65)
    for axis, (step, by_estimator) in zip(axes, variances.items()):
        for name, values in by_estimator.items():
            logs = np.log10(np.maximum(values["all"], 10.0 ** bins[0]))
            axis.hist(logs, bins, histtype="step", linewidth=1.5, label=name)
        axis.set_title(f"after {step:,} training steps")
        axis.set_xlabel("log10 of a weight's gradient variance, nats^2")
        axis.set_yscale("log")
    axes[0].set_ylabel("weights")
    axes[0].legend(fontsize=8)
    return figure


def main() -> None:
    arguments = tyro.cli(Arguments)
    if not arguments.steps or min(arguments.steps) < 1 or arguments.draws < 2:
        received = f"steps={arguments.steps}, draws={arguments.draws}"
        raise ValueError(f"Expected steps above 0 and at least 2 draws. Received: {received}.")
    dataset = MultiMNISTSettings(digits=arguments.digits, cache_dir=str(arguments.cache_dir)).load()
    images, steps = dataset.splits["train"].images, sorted(arguments.steps)
    training = TrainingConfig(steps=steps[-1], seed=arguments.seed, batch_size=arguments.batch_size)
    config = replaced(Config(training=training), rho=RHO)
    trainer = Trainer(config, images, tf.distribute.get_strategy())
    trainer.start()
    x = dataset.splits["test"][: arguments.batch_size].float_images()
    variances, rows = {}, []
    for step in steps:
        with tqdm(total=step - trainer.step, desc="Training", unit=" steps") as bar:
            while trainer.step < step:
                before = trainer.step
                trainer.run(min(50, step - before))
                bar.update(trainer.step - before)
        weights = [v.numpy() for v in trainer.model.variable_groups[0]]
        variances[step] = {}
        for name in ESTIMATORS:
            model = make_model(name, weights, arguments)
            prepare(name, model, images, arguments)
            variances[step][name] = variance(name, model, tf.constant(x), arguments.draws)
            means = {f"mean, {part}": float(v.mean()) for part, v in variances[step][name].items()}
            about = {"name": f"{name} after {step}", "flags": "", "steps": step, "estimator": name}
            rows.append(about | means)
            print(rows[-1], flush=True)
    write_results(rows, plot(variances), arguments)


def write_results(rows: list[dict], figure: Figure, arguments: Arguments) -> None:
    text = (
        "`python -m experiments.gradient_variance`: variance of a weight's gradient of the loss on one "
        f"batch of {arguments.batch_size} test images over {arguments.draws} draws of the noise, mean "
        f"over weights, nats^2; rho {RHO}, seed {arguments.seed}. Baselines learned "
        f"{arguments.baseline_steps:,} steps at these weights. `concrete` follows another bound.\n\n"
    )
    lines = [
        {
            "training steps": f"{r['steps']:,}",
            "estimator": r["estimator"],
            "all weights": f"{r['mean, all']:.2g}",
            "the presence's head": f"{r['mean, presence head']:.2g}",
        }
        for r in rows
    ]
    records.write(rows, arguments.results_dir / "gradient_variance.jsonl")
    write("gradient_variance", arguments.results_dir, text + markdown(lines), figure)


if __name__ == "__main__":
    sys.exit(cli.run(main))
