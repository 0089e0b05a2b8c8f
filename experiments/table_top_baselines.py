"""What inference through a renderer is compared with: labels, and optimisation image by image.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 3.3.
"""

import time
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from air_tf.air import AIR
from air_tf.config import Config
from air_tf.data.base import Dataset
from air_tf.data.split import Split
from air_tf.data.table_top import Poses
from air_tf.rendering.poses import Placed
from air_tf.rendering.renderer import Renderer

LABELLED = 10_000  # images whose labels the supervised network is given
STARTS, CHUNK, CHUNKS = 10, 10, 40  # random poses of each class; Adam's steps at once, and how often
RATE = 0.05  # of Adam, which moves poses
PLACES = 0.9  # where starts lie, in halves of the table's side


class Supervised(AIR):
    """The network of `AIR`, of one object, trained by the log likelihood of its class and pose."""

    def train_step(self, data):
        images, (classes, positions, angles) = data
        symmetry = tf.constant([solid.symmetry for solid in self.objects.solids], tf.float32)
        turns = tf.gather(symmetry, classes)
        points = tf.stack([tf.cos(turns * angles), tf.sin(turns * angles)], axis=-1)
        step = tf.convert_to_tensor(self.optimizer.iterations)
        noise = self.sample_noise(tf.shape(images)[0], step)
        with tf.GradientTape() as tape:
            first = self.unroll(images, noise).steps[0]
            latents = first.latents
            told = (
                tf.math.log_sigmoid(first.pres_logit)
                + latents["class"].q.log_prob(tf.one_hot(classes, len(self.objects.solids)))
                + latents["where"].q.log_prob(positions)
                + tf.cast(turns > 0, tf.float32) * latents["turn"].q.log_prob(points)
            )
            loss = -tf.reduce_mean(told)
        weights = self.trainable_variables
        # 0 for weights that have no part in it, such as the background's
        gradients = zip(tape.gradient(loss, weights), weights)
        self.optimizer.apply([tf.zeros(w.shape) if g is None else g for g, w in gradients], weights)
        return {"loss": loss}


def supervised(config: Config, dataset: Dataset) -> AIR:
    """A network trained with labels, for as many steps and on as large batches as the run."""
    split, training = dataset.splits["train"][:LABELLED], config.training
    keras.utils.set_random_seed(training.seed)
    model = Supervised(config.model, training.seed)
    images = split.float_images()
    model.background.adapt(images)
    true = Poses.of(split)
    numbers = true.numbers[:, 0].astype(np.float32)
    labels = true.classes[:, 0], numbers[:, :2], numbers[:, 2]
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = batches.shuffle(len(split), seed=training.seed).repeat().batch(training.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(training.learning_rate, training.steps)
    model.compile(keras.optimizers.Adam(rate), jit_compile=True)
    model.fit(batches.take(training.steps), shuffle=False, verbose=2)
    return model


class Optimised(NamedTuple):
    """What optimisation found in images, one by one."""

    placed: Placed
    reached: np.ndarray  # (S,), whether it came to the error that was asked for
    seconds: np.ndarray  # (S,), until then, or until it gave up


def optimised(
    renderer: Renderer,
    table: tf.Tensor,
    split: Split,
    targets: np.ndarray,
    seed: int,
    chunk: int = CHUNK,
    chunks: int = CHUNKS,
) -> Optimised:
    """Moves a solid in each image by Adam, from random starts, until it is drawn as well as asked for.

    Args:
        renderer: what draws the solid.
        table: what it stands on, `(1, H, W, C)`.
        split: images of one solid each.
        targets: `(S,)`, mean squared errors of their pixels.
        seed: of the starts.
        chunk: steps after which it looks whether it may end.
        chunks: of steps, after which it gives up.
    """
    random, kinds = np.random.default_rng(seed), range(len(renderer.solids))
    poses = tf.Variable(tf.zeros((len(kinds), STARTS, 3)))
    optimizer = keras.optimizers.Adam(RATE)
    optimizer.build([poses])

    def errors_of(image):
        layers = [renderer.draw(kind, poses[kind]) for kind in kinds]
        drawn = tf.stack([layer.colour + (1 - layer.alpha) * table for layer in layers])
        return tf.reduce_mean((drawn - image) ** 2, axis=[2, 3, 4])  # (K, STARTS)

    @tf.function(jit_compile=True)
    def improve(image):
        for _ in tf.range(chunk):
            with tf.GradientTape() as tape:
                error = tf.reduce_sum(errors_of(image))
            optimizer.apply(tape.gradient(error, [poses]), [poses])
        return errors_of(image)

    improve(split[:1].float_images()[0])  # compiled before time is taken
    found, reached, seconds = [], [], []
    for image, target in zip(split.float_images(), targets):
        starts = random.uniform(-1, 1, poses.shape) * (PLACES, PLACES, np.pi)
        poses.assign(starts.astype(np.float32))
        optimizer.iterations.assign(0)
        for variable in optimizer.variables[2:]:  # moments; before them come steps and learning rate
            variable.assign(tf.zeros_like(variable))
        started = time.perf_counter()
        for _ in range(chunks):
            errors = improve(image).numpy()
            if errors.min() <= target:
                break
        seconds.append(time.perf_counter() - started)
        reached.append(errors.min() <= target)
        kind, start = np.unravel_index(errors.argmin(), errors.shape)
        found.append((kind, *poses.numpy()[kind, start]))
    classes, *numbers = np.array(found).T
    placed = Placed(
        np.ones(len(found), int), classes.astype(int)[:, None], np.stack(numbers[:2], axis=-1)[:, None],
        numbers[2][:, None],
    )  # fmt: skip
    return Optimised(placed, np.array(reached), np.array(seconds))
