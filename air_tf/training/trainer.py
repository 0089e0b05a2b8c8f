"""Model, optimizer and the compiled steps, under any strategy; checkpoints of all three.

All noise and batches are functions of (seed, step, replica), so a resumed run equals an uninterrupted
one bit for bit (same machine, same number of threads).
"""

import os
import time
from pathlib import Path

import keras
import numpy as np
import pydantic
import tensorflow as tf

from air_tf.air import AIR
from air_tf.config import Config, TrainingConfig
from air_tf.data.split import Composer, as_float, batches
from air_tf.memory import check_model_fits
from air_tf.paths import first_line
from air_tf.training import checkpoints
from air_tf.validation import parse_json

ADAPTED_TO = 500  # images, which a background begins with


class Diverged(ArithmeticError):
    """The loss or its gradient is no longer finite."""


class Task(pydantic.BaseModel):
    """Which of the workers this process is."""

    type: str
    index: pydantic.NonNegativeInt


class TFConfig(pydantic.BaseModel):
    """What the variable TF_CONFIG says."""

    cluster: dict[str, list[str]] = {}
    task: Task | None = None


def names_workers(tf_config: str) -> bool:
    """Whether the variable TF_CONFIG names several workers, this process among them.

    Raises:
        ValueError: it is no JSON of this kind, or its task is none of its cluster.
    """
    parsed = parse_json(tf_config or "{}", TFConfig, "a cluster and a task in JSON", "TF_CONFIG")
    cluster, task = parsed.cluster, parsed.task
    if cluster and (task is None or task.index >= len(cluster.get(task.type, []))):
        raise ValueError(f"Expected a task of TF_CONFIG's cluster. Received: {task!r} of {cluster}.")
    return bool(cluster)


def make_strategy() -> tf.distribute.Strategy:
    """Several workers when TF_CONFIG names them, several replicas when there are several GPUs."""
    if names_workers(os.environ.get("TF_CONFIG", "")):
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one of the strategy's workers that keeps the run."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def make_optimizer(config: TrainingConfig, num_replicas: int = 1) -> keras.optimizers.Adam:
    """Adam on gradients clipped by their global norm.

    Keras clips before it adds up the replicas' gradients, so each may have its share of the norm.
    """
    rate = config.learning_rate
    if config.learning_rate_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, config.steps)
    return keras.optimizers.Adam(rate, global_clipnorm=config.gradient_clip / num_replicas)


def first_images(images: np.ndarray | Composer, seed: int) -> np.ndarray:
    """Some of the images to train on, `(S, H, W, C)` float32 in [0, 1]."""
    return as_float(images(ADAPTED_TO, [seed]) if callable(images) else images[:ADAPTED_TO])


class Trainer:
    """Model, optimizer and the compiled loop over training steps, under a strategy.

    Args:
        config: `Config`.
        images: training images, `(S, H, W, C)` uint8, or what composes them.
        strategy: `tf.distribute.Strategy`.
    """

    def __init__(self, config: Config, images: np.ndarray | Composer, strategy: tf.distribute.Strategy):
        check_model_fits(config.model, config.training.batch_size, training=True)
        self.config, self.images, self.strategy = config, images, strategy
        keras.utils.set_random_seed(config.training.seed)
        with strategy.scope():
            self.model = AIR(config.model, seed=config.training.seed)
            self.model.background.adapt(first_images(images, config.training.seed))
            self.optimizer = make_optimizer(config.training, strategy.num_replicas_in_sync)
            self.optimizer.build(self.model.variable_groups[0])  # or a restore would skip its state
        self.metrics = (*self.model.term_metrics, "gradient_norm")  # of a step, means over the replicas
        self.seconds = tf.Variable(0.0, dtype=tf.float64)  # of training, over all resumptions
        self.checkpoint = tf.train.Checkpoint(
            model=self.model, optimizer=self.optimizer, seconds=self.seconds
        )
        # The gradient is always compiled with XLA. Optimizers apply it outside, since strategies
        # cannot reduce inside; on one device the whole step is compiled, which is faster.
        # Renderers that are black boxes are not.
        compiled = self.model.objects.compiled
        self.gradients = tf.function(self.model.gradients, jit_compile=compiled)
        self.replica_step = self._replica_step
        if strategy.num_replicas_in_sync == 1:
            self.replica_step = tf.function(self._replica_step, jit_compile=compiled)
        self.iterator = None

    @property
    def step(self) -> int:
        """Training steps done."""
        return int(keras.ops.convert_to_numpy(self.optimizer.iterations))

    def start(self) -> None:
        """Lays out the batches from the current step on."""
        training, replicas = self.config.training, self.strategy.num_replicas_in_sync

        def make(context):
            local = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * local
            return batches(
                self.images, training.batch_size, training.seed, self.step, training.steps,
                range(first, first + local), replicas,
            )  # fmt: skip

        self.iterator = iter(self.strategy.distribute_datasets_from_function(make))

    def run(self, num_steps: int) -> np.ndarray:
        """Runs training steps; returns their `metrics`, `(num_steps, len(metrics))`.

        Raises:
            Diverged: a metric is not finite; says at which step.
        """
        started, first = time.perf_counter(), self.step
        values = self._run(self.iterator, tf.constant(num_steps)).numpy()
        self.seconds.assign_add(time.perf_counter() - started)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise Diverged(
                f"The loss is no longer finite at step {first + bad[0] + 1}. "
                "Its last good checkpoint is kept; begin a new run with a smaller --learning-rate."
            )
        return values

    @tf.function
    def _run(self, iterator, num_steps):
        values = tf.TensorArray(tf.float32, num_steps, element_shape=(len(self.metrics),))
        for i in tf.range(num_steps):
            per_replica = self.strategy.run(self.replica_step, args=(next(iterator),))
            total = self.strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)
            values = values.write(i, total / self.strategy.num_replicas_in_sync)
        return values.stack()

    def _replica_step(self, x):
        context = tf.distribute.get_replica_context()
        step, replica = tf.convert_to_tensor(self.optimizer.iterations), context.replica_id_in_sync_group
        gradients, estimate = self.gradients(x, step, replica, context.num_replicas_in_sync)
        self.model.apply_gradients(self.optimizer, gradients, estimate)
        norm = tf.linalg.global_norm(gradients[0]) * context.num_replicas_in_sync
        return tf.stack([*(tf.reduce_mean(term) for term in estimate.terms.values()), norm])

    def any_worker(self, flag: bool) -> bool:
        """Whether `flag` is true on any worker: all have to stop at the same step."""
        return bool(self._sum_over_replicas(tf.constant(int(flag))) > 0)

    @tf.function
    def _sum_over_replicas(self, value):
        per_replica = self.strategy.run(tf.identity, args=(value,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

    def save(self, folder: Path) -> None:
        """Writes a checkpoint; those before the last few are removed after it is whole.

        Raises:
            OSError: it cannot be written, for example on a full disk. Earlier ones stay good.
        """
        path = str(folder / "checkpoints" / f"step-{self.step}")
        try:
            self.checkpoint.write(path)
        except tf.errors.OpError as error:
            checkpoints.remove_unfinished(folder)
            reason = first_line(error)
            raise OSError(f"Checkpoint {path} cannot be written, earlier ones stay: {reason}") from error
        for old in checkpoints.paths(folder)[: -checkpoints.KEPT]:
            for file in Path(old).parent.glob(Path(old).name + ".*"):
                file.unlink()
