"""What a training step costs, part by part, and its floor: python -m benchmarks.step_time

The floor is the step's multiply-adds over the matmul rate that this machine reaches on the step's own
shapes, plus the optimizer's bytes over its copy rate. Rates are the best of several tries. Writes
results/step_time.json.
"""

import dataclasses
import json
import time
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from air_tf.config import Config, ModelConfig, TrainingConfig
from air_tf.model.composition import Layer
from air_tf.parts import flat
from air_tf.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
TRIES, REPEATS, COPIES = 15, 20, 8
STEPS_PER_TRY = 50
ADAM_FLOATS = 7  # a weight: reads gradient, weight and two moments, writes weight and two moments


class Product(NamedTuple):
    """Matrix products (m, k) . (k, n), `batch` at once, `count` times a step, with their gradients."""

    part: str
    batch: int
    m: int
    k: int
    n: int
    count: int
    input_gradient: bool = True

    def multiply_adds(self) -> int:
        products = 3 if self.input_gradient else 2
        return products * self.batch * self.m * self.k * self.n * self.count

    def shapes(self) -> list[tuple[int, int, int]]:
        """Forward, weight gradient and, where it is needed, input gradient."""
        m, k, n = self.m, self.k, self.n
        return [(m, k, n), (k, m, n)] + ([(m, n, k)] if self.input_gradient else [])


def products(model: ModelConfig, batch: int) -> list[Product]:
    """Every matrix product of a step."""
    (height, width, channels), steps = model.image_shape, model.max_objects
    model = types.SimpleNamespace(**flat(model))
    side = model.glimpse_size
    pixels, glimpse = height * width * channels, side * side * channels
    hidden, lstm, code = model.hidden_units, model.lstm_units, model.z_what_size
    inputs = model.embedding_units + 3 + code

    def dense(part, k, n, count=steps, input_gradient=True):
        return Product(part, 1, batch, k, n, count, input_gradient)

    images = batch * channels
    return [
        dense("embedding", pixels, model.embedding_units, 1, input_gradient=False),
        dense("LSTM", inputs, 4 * lstm),
        dense("LSTM", lstm, 4 * lstm, steps - 1),  # the first step's state is zeros
        dense("heads", lstm, 2 * hidden),
        dense("heads", hidden, 1),
        dense("heads", hidden, 6),
        Product("attend and place", images, side, height, width, steps, input_gradient=False),
        Product("attend and place", images, side, width, side, steps),
        Product("attend and place", images, height, side, side, steps),
        Product("attend and place", images, height, side, width, steps),
        dense("encoder and decoder", glimpse, hidden),
        dense("encoder and decoder", hidden, 2 * code),
        dense("encoder and decoder", code, hidden),
        dense("encoder and decoder", hidden, glimpse),
    ]


def best_seconds(call) -> float:
    """The shortest of several tries, each of REPEATS calls, after one that compiles."""
    call()
    seconds = []
    for _ in range(TRIES):
        started = time.perf_counter()
        for _ in range(REPEATS):
            result = call()
        tf.nest.map_structure(lambda tensor: tensor.numpy() if tf.is_tensor(tensor) else tensor, result)
        seconds.append((time.perf_counter() - started) / REPEATS)
    return min(seconds)


def product_seconds(batch: int, shape: tuple[int, int, int]) -> float:
    """Best time of one product of this shape, with XLA or without, whichever is faster.

    COPIES different ones run in a call, so that the call itself does not count.
    """
    m, k, n = shape
    prefix = (batch,) if batch > 1 else ()
    a = [tf.random.normal((*prefix, m, k)) for _ in range(COPIES)]
    b = tf.random.normal((*prefix, k, n))

    def multiply():
        return [tf.matmul(each, b) for each in a]

    calls = [tf.function(multiply, jit_compile=jit) for jit in (False, True)]
    return min(best_seconds(call) for call in calls) / COPIES


def floor(model: ModelConfig, batch: int, num_weights: int) -> tuple[dict, float]:
    """By part: multiply-adds, reached rate and least milliseconds; and the sum in milliseconds."""
    parts = {}
    for product in products(model, batch):
        seconds = product.count * sum(product_seconds(product.batch, s) for s in product.shapes())
        part = parts.setdefault(product.part, {"multiply_adds": 0, "floor_ms": 0.0})
        part["multiply_adds"] += product.multiply_adds()
        part["floor_ms"] += 1000 * seconds
    for part in parts.values():
        part["giga_multiply_adds_per_second"] = part["multiply_adds"] / part["floor_ms"] / 1e6
    weights, target = np.ones(num_weights, np.float32), np.empty(num_weights, np.float32)
    copy_seconds = best_seconds(lambda: np.copyto(target, weights))  # reads and writes each float
    parts["optimizer"] = {
        "bytes": 4 * ADAM_FLOATS * num_weights,
        "floor_ms": 1000 * copy_seconds * ADAM_FLOATS / 2,
        "gigabytes_per_second": 8 * num_weights / copy_seconds / 1e9,
    }
    return parts, sum(part["floor_ms"] for part in parts.values())


def part_milliseconds(trainer: Trainer, x: tf.Tensor) -> dict[str, float]:
    """Each part alone, compiled, forward and backward, for all its calls in a step."""
    model, config = trainer.model, trainer.config.model
    inference, objects, where = model.inference, model.objects, model.objects.where
    batch, steps, side = x.shape[0], config.max_objects, config.objects.glimpse_size
    unrolled = model.unroll(x, model.sample_noise(batch, 0))
    step, hidden = unrolled.steps[0], tf.random.normal((batch, config.inference.lstm_units))
    z_where = step.samples["where"]
    glimpse = where.attend(x, z_where, side)
    inputs = tf.concat([inference.embedding(x)[0], *step.samples.values()], axis=-1)

    def forward_and_backward(function, inputs, weights):
        @tf.function(jit_compile=True)
        def call(*values):
            with tf.GradientTape() as tape:
                tape.watch(values)
                outputs = tf.nest.flatten(function(*values))
                loss = tf.add_n([tf.reduce_sum(output) for output in outputs])
            return tape.gradient(loss, [*weights, *values])

        return 1000 * best_seconds(lambda: call(*inputs))

    def transform(image, glimpse, z_where):
        # each step at another place, or XLA would compute one for all
        places = [z_where * (1.0 + i / 7) for i in range(steps)]
        attended = [where.attend(image, place, side) for place in places]
        return attended, [where.place(glimpse, place, config.image_shape) for place in places]

    def chain(layer):
        """The layer on its own output's sum, so that no call is the same as the one before."""

        def call(values):
            total = 0.0
            for _ in range(steps):
                outputs = tf.nest.flatten(layer(values + 1e-9 * total))
                total = tf.add_n([tf.reduce_sum(output) for output in outputs])
            return total

        return call

    heads = lambda h: (inference.pres_head(h), objects.where_head(h))  # noqa: E731
    head_weights = inference.pres_head.trainable_weights + objects.where_head.trainable_weights
    coding_weights = objects.what_encoder.trainable_weights + objects.decoder.trainable_weights
    coding = lambda g: tf.sigmoid(objects.decoder(objects.what_encoder(g)[0]))  # noqa: E731

    gradients = [tf.zeros_like(v) for v in model.trainable_variables]
    apply = tf.function(
        lambda: trainer.optimizer.apply(gradients, model.trainable_variables), jit_compile=True
    )
    embed = tf.function(jit_compile=True)(lambda: _embedding_gradient(inference.embedding, x))
    return {
        "embedding": 1000 * best_seconds(embed),
        "LSTM": forward_and_backward(
            chain(lambda i: inference.lstm(i, [hidden, hidden])[0]),
            [inputs],
            inference.lstm.trainable_weights,
        ),
        "heads": forward_and_backward(chain(heads), [hidden], head_weights),
        "attend and place": forward_and_backward(transform, [x, glimpse, z_where], []),
        "encoder and decoder": forward_and_backward(chain(coding), [glimpse], coding_weights),
        "likelihood": forward_and_backward(
            lambda *placed: model.likelihood.log_prob(
                x, model.composition.canvases(unrolled.behind.layer, [Layer(p) for p in placed])
            ),
            [step.layer.colour * (1 + i) for i in range(steps)],
            [],
        ),
        "optimizer": 1000 * best_seconds(apply),
    }


def _embedding_gradient(layer, x):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x)[0])
    return tape.gradient(loss, layer.trainable_weights)


def step_milliseconds(trainer: Trainer) -> list[float]:
    """A whole training step as train.py runs it, batches included; several tries."""
    trainer.start()
    trainer.run(STEPS_PER_TRY)  # compiles
    milliseconds = []
    for _ in range(TRIES):
        started = time.perf_counter()
        trainer.run(STEPS_PER_TRY)
        milliseconds.append(1000 * (time.perf_counter() - started) / STEPS_PER_TRY)
    return milliseconds


def main() -> None:
    config = Config(training=dataclasses.replace(TrainingConfig(), steps=2 * TRIES * STEPS_PER_TRY))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5000, *config.model.image_shape), np.uint8)
    trainer = Trainer(config, images, tf.distribute.get_strategy())
    step = step_milliseconds(trainer)
    num_weights = sum(v.numpy().size for v in trainer.model.trainable_variables)
    parts, floor_ms = floor(config.model, config.training.batch_size, num_weights)
    x = tf.constant(images[: config.training.batch_size] / np.float32(255))
    for part, milliseconds in part_milliseconds(trainer, x).items():
        parts.setdefault(part, {"floor_ms": 0.0})["ms"] = milliseconds
    results = {
        "command": "python -m benchmarks.step_time",
        "batch_size": config.training.batch_size,
        "step_ms_median": float(np.median(step)),
        "step_ms_best": min(step),
        "floor_ms": floor_ms,
        "ratio_median": float(np.median(step)) / floor_ms,
        "multiply_adds": sum(
            p.multiply_adds() for p in products(config.model, config.training.batch_size)
        ),
        "weights": num_weights,
        "parts": parts,
    }
    (ROOT / "results" / "step_time.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"{'part':<20} {'ms alone':>9} {'floor ms':>9} {'mega multiply-adds':>19}")
    for name, part in parts.items():
        adds = part.get("multiply_adds", 0) / 1e6
        print(f"{name:<20} {part['ms']:9.2f} {part['floor_ms']:9.2f} {adds:19.1f}")
    print(
        f"a step: {results['step_ms_median']:.2f} ms (median of {TRIES}), floor {floor_ms:.2f} ms, "
        f"ratio {results['ratio_median']:.2f}"
    )


if __name__ == "__main__":
    main()
