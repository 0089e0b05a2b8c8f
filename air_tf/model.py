"""AIR as a Keras model: inference, generation and the training step.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575.
"""

import dataclasses
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from air_tf.cell import AIRCell, Step, StepNoise
from air_tf.config import ModelConfig
from air_tf.distributions import at_least, count_posterior, count_prior
from air_tf.networks import ImageEmbedding
from air_tf.objectives import OBJECTIVES, Terms, canvases
from air_tf.spatial_transformer import boxes

NO_REPLICA = -1  # stands for a replica in the seeds of noise outside of training


class Scene(NamedTuple):
    """What AIR sees in a batch of images; past an image's count, boxes are zeros."""

    counts: tf.Tensor  # (B,) int32, the most probable number of objects
    count_probs: tf.Tensor  # (B, N + 1), q(n)
    boxes: tf.Tensor  # (B, N, 4), (ymin, xmin, ymax, xmax) as fractions of the image
    scores: tf.Tensor  # (B, N), q(n >= i)
    reconstructions: tf.Tensor  # (B, H, W, C), of the counted objects
    z_what: tf.Tensor  # (B, N, z_what_size)
    z_where: tf.Tensor  # (B, N, 3), (scale, shift_x, shift_y)


@keras.saving.register_keras_serializable("air_tf")
class AIR(keras.Model):
    """Attend, Infer, Repeat [1]: counts, boxes and encodes the objects in images.

    Built at once, so its weights can be restored before it has seen an image. Works in plain
    Keras: `AIR(config).compile("adam")` and `.fit(dataset)` of images or (images, counts).

    Args:
        config: `ModelConfig`.
        seed: of the noise in training. Weights follow `keras.utils.set_random_seed`.

    Call arguments:
        images: `(B, H, W, C)` float32 in [0, 1].

    Returns:
        `Scene`: at the posterior means and the most probable count, so deterministic.
    """

    def __init__(self, config: ModelConfig | None = None, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.config = config or ModelConfig()
        self.seed = seed
        self.embedding = ImageEmbedding(self.config.embedding_units)
        self.cell = AIRCell(self.config)
        self.objective = OBJECTIVES[self.config.presence](self.config)
        self.term_metrics = {name: keras.metrics.Mean(name) for name in Terms._fields}
        self.accuracy_metric = keras.metrics.Mean("count_accuracy")
        self(tf.zeros((1, *self.config.image_shape)))

    def unroll(self, x: tf.Tensor, noise: list[StepNoise]) -> list[Step]:
        """Infers N objects one after the other, as if all were present."""
        embedding = self.embedding(x)
        state = self.cell.initial_state(tf.shape(x)[0])
        steps = []
        for step_noise in noise:
            step, state = self.cell(embedding, x, step_noise, state)
            steps.append(step)
        return steps

    def call(self, images):
        return self.scene(self.posterior_means(images))

    def posterior_means(self, images) -> list[Step]:
        """The N steps without noise."""
        return self.unroll(images, self._noise(tf.shape(images)[0], tf.zeros))

    def scene(self, steps: list[Step]) -> Scene:
        """What the steps say of the images, at the most probable count."""
        q_count = count_posterior(tf.stack([step.pres_logit for step in steps], axis=-1))
        counts = tf.argmax(q_count.logits_parameter(), axis=-1, output_type=tf.int32)
        z_where = tf.stack([step.z_where for step in steps], axis=1)
        present = tf.sequence_mask(counts, self.config.max_objects, tf.float32)  # (B, N)
        return Scene(
            counts=counts,
            count_probs=q_count.probs_parameter(),
            boxes=boxes(z_where, self.config.image_shape) * present[..., None],
            scores=at_least(q_count),
            reconstructions=_canvas_of(counts, [step.placed for step in steps]),
            z_what=tf.stack([step.z_what for step in steps], axis=1),
            z_where=z_where,
        )

    def infer(self, images) -> Scene:
        """`call` on checked images, compiled.

        Args:
            images: `(B, H, W, C)` array or tensor in [0, 1].

        Raises:
            ValueError: the images have another shape or type, or pixels outside [0, 1].
        """
        check_images(images, self.config.image_shape)
        return self._compiled_call(tf.convert_to_tensor(images, tf.float32))

    def elbo(self, images, seed: int = 0) -> Terms:
        """The ELBO and its parts from one sample of the latents, compiled.

        Args:
            images: as for `infer`.
            seed: of the sample, which is none of those that training draws.

        Returns:
            `Terms`, `(B,)` nats each.

        Raises:
            ValueError: as `infer`.
        """
        check_images(images, self.config.image_shape)
        return self._compiled_elbo(tf.convert_to_tensor(images, tf.float32), tf.constant(seed))

    @tf.function(reduce_retracing=True)
    def _compiled_call(self, images):
        return self(images)

    @tf.function(reduce_retracing=True)
    def _compiled_elbo(self, images, seed):
        noise = self.sample_noise(tf.shape(images)[0], seed, replica=NO_REPLICA)
        return self.bound(images, noise, 0)[1]

    def decode(self, counts, z_what, z_where) -> tf.Tensor:
        """Draws objects: `counts (B,)`, `z_what (B, N, D)`, `z_where (B, N, 3)` to `(B, H, W, C)`."""
        latents = zip(tf.unstack(z_where, axis=1), tf.unstack(z_what, axis=1))
        return _canvas_of(counts, [self.cell.draw(where, what)[1] for where, what in latents])

    def generate(self, num_images: int, seed: int = 0) -> tf.Tensor:
        """Images from the prior: the mean of p(x | z, n), `(num_images, H, W, C)`."""
        shape = (num_images, self.config.max_objects)
        seeds = [tf.constant([seed, part]) for part in range(3)]
        p_count = count_prior(self.config.rho, self.config.max_objects)
        counts = p_count.sample(num_images, seed=seeds[0])
        z_where = self.cell.p_where.sample(shape, seed=seeds[1])
        z_where = self.cell.keep_scale(z_where)
        return self.decode(counts, self.cell.p_what.sample(shape, seed=seeds[2]), z_where)

    def sample_noise(self, batch_size, train_step, replica=0) -> list[StepNoise]:
        """The noise of a training step: a pure function of (seed, step, replica)."""
        seed = tf.random.fold_in(tf.constant([self.seed, 0]), train_step)
        seed = tf.random.fold_in(seed, replica)
        layers = iter(range(2 * self.config.max_objects))
        draw = lambda shape: tf.random.stateless_normal(shape, tf.random.fold_in(seed, next(layers)))  # noqa: E731
        return self._noise(batch_size, draw)

    def _noise(self, batch_size, draw) -> list[StepNoise]:
        shapes = (batch_size, 3), (batch_size, self.config.z_what_size)
        return [StepNoise(*map(draw, shapes)) for _ in range(self.config.max_objects)]

    def bound(self, x, noise: list[StepNoise], train_step) -> tuple[tf.Tensor, Terms]:
        """What training maximises and the ELBO's terms, per image: `(B,)` nats each."""
        steps = self.unroll(x, noise)
        return self.objective(x, steps, self.cell.p_where, self.cell.p_what, train_step)

    def gradients(self, x, train_step, replica=0, num_replicas: int = 1):
        """The gradient of this replica's share of the loss, and its `Terms`, `(B,)` each."""
        noise = self.sample_noise(tf.shape(x)[0], train_step, replica)
        with tf.GradientTape() as tape:
            objective, terms = self.bound(x, noise, train_step)
            loss = -tf.reduce_mean(objective) / num_replicas
        return tape.gradient(loss, self.trainable_variables), terms

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        context = tf.distribute.get_replica_context()
        step, replica = tf.convert_to_tensor(self.optimizer.iterations), context.replica_id_in_sync_group
        gradients, terms = self.gradients(x, step, replica, context.num_replicas_in_sync)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._update_metrics(terms, x, None)

    def test_step(self, data):
        x, counts, _ = keras.utils.unpack_x_y_sample_weight(data)
        _, terms = self.bound(x, self.sample_noise(tf.shape(x)[0], 0, NO_REPLICA), 0)
        return self._update_metrics(terms, x, counts)

    def _update_metrics(self, terms: Terms, x, counts) -> dict[str, tf.Tensor]:
        for name, values in terms._asdict().items():
            self.term_metrics[name].update_state(values)
        results = {name: metric.result() for name, metric in self.term_metrics.items()}
        if counts is not None:
            correct = tf.equal(self(x).counts, tf.cast(counts, tf.int32))
            self.accuracy_metric.update_state(tf.cast(correct, tf.float32))
            results["count_accuracy"] = self.accuracy_metric.result()
        return results

    def get_config(self):
        return {**super().get_config(), "config": dataclasses.asdict(self.config), "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "config": ModelConfig.from_json(config["config"])})


def _canvas_of(counts, placed: list[tf.Tensor]) -> tf.Tensor:
    """The canvas with the first `counts (B,)` of the N placed objects: `(B, H, W, C)`."""
    by_image = tf.transpose(canvases(placed), [1, 0, 2, 3, 4])
    return tf.gather(by_image, counts, batch_dims=1)


def check_images(images, image_shape: tuple[int, int, int]) -> None:
    """Refuses what is no batch of images in [0, 1].

    Raises:
        ValueError: says what was expected and what came.
    """
    expected = "(batch, {}, {}, {})".format(*image_shape)
    shape, dtype = tuple(np.shape(images)), tf.as_dtype(getattr(images, "dtype", np.float32))
    if len(shape) != 4 or shape[1:] != tuple(image_shape) or shape[0] == 0:
        raise ValueError(f"Expected images of shape {expected}. Received: shape={shape}.")
    if not dtype.is_floating:
        raise ValueError(f"Expected floating-point images in [0, 1]. Received: dtype={dtype.name}.")
    low, high = float(np.min(images)), float(np.max(images))
    if not (low >= 0.0 and high <= 1.0):  # also true for NaN
        raise ValueError(f"Expected pixels in [0, 1]. Received: pixels from {low:g} to {high:g}.")
