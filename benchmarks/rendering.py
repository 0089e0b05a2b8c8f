"""What rendering costs in a training step on table-top scenes.

    python -m benchmarks.rendering

Times, forwards and with gradients, compiled: each solid by the ray caster; all images that are summed
over; the convolutions; and the whole step. Wants a quiet machine. Writes results/rendering.json.
"""

import functools
import os
import sys
import time

import numpy as np
import tensorflow as tf

from air_tf import AIR, cli
from air_tf.json_files import write_json
from air_tf.model.composition import Layer
from air_tf.parts import replaced
from air_tf.presets import TABLE_TOP
from air_tf.rendering import AnalyticSettings
from air_tf.rendering.renderer import Renderer
from experiments.runs import ROOT

CALLS = 10  # of which the median is taken
SIDE = 64  # pixels


def milliseconds(function, *arguments) -> float:
    """The median time of a call, compiled before."""
    compiled = tf.function(function, jit_compile=True)

    def call():
        started = time.perf_counter()
        tf.nest.map_structure(lambda x: x.numpy(), compiled(*arguments))
        return 1000 * (time.perf_counter() - started)

    call()
    return float(np.median([call() for _ in range(CALLS)]))


def gradient_of(function, *arguments) -> list[tf.Tensor]:
    """The gradient of the sum of all that a function returns."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        total = tf.add_n([tf.reduce_sum(part) for part in tf.nest.flatten(function(*arguments))])
    found = tape.gradient(total, arguments)
    return [gradient for gradient in tf.nest.flatten(found) if gradient is not None]


def drawn(renderer: Renderer, which: int, poses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Colour and opacity; depth has no gradient."""
    layer = renderer.draw(which, poses)
    return layer.colour, layer.alpha


def measured() -> dict:
    """All times, in ms, of a batch of the preset's size."""
    random, batch_size = np.random.default_rng(0), TABLE_TOP.training.batch_size
    images = tf.constant(random.random((batch_size, SIDE, SIDE, 3)), tf.float32)
    poses = tf.constant(random.uniform(-0.8, 0.8, (batch_size, 3)), tf.float32)
    renderer = AnalyticSettings().make("solids", (SIDE, SIDE, 3))
    result = {"batch_size": batch_size, "cores": os.cpu_count(), "solids": {}}
    for which, solid in enumerate(renderer.solids):
        draw = functools.partial(drawn, renderer, which)
        result["solids"][solid.name] = {
            "forwards": milliseconds(draw, poses),
            "with gradient": milliseconds(functools.partial(gradient_of, draw), poses),
        }
    model = AIR(replaced(TABLE_TOP.model, image_shape=(SIDE, SIDE, 3)))
    unrolled = model.unroll(images, model.sample_noise(batch_size, 0))

    def summed(*looks):
        steps = [
            step._replace(looks=Layer(*of_step, step.looks.depth))
            for step, of_step in zip(unrolled.steps, looks)
        ]
        return unrolled._replace(steps=steps).log_px_summed()

    looks = [tuple(step.looks[:2]) for step in unrolled.steps]
    result["composed"] = milliseconds(functools.partial(gradient_of, summed), *looks)
    embedding = functools.partial(gradient_of, model.inference.embedding)
    result["embedding"] = milliseconds(embedding, images)
    result["step"] = milliseconds(lambda x: model.gradients(x, 0)[0][0], images)
    rendered = sum(times["with gradient"] for times in result["solids"].values())
    result["renderings"] = rendered * TABLE_TOP.model.max_objects
    return result


def main() -> None:
    result = measured()
    write_json(result, ROOT / "results" / "rendering.json")
    print(cli.table(result))


if __name__ == "__main__":
    sys.exit(cli.run(main))
