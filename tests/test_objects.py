"""Objects that are no glimpses: what the seam between objects and the rest of the model promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import air_tf
from air_tf.config import ModelConfig
from air_tf.data.split import Split
from air_tf.evaluation import report
from air_tf.evaluation.evaluate import evaluate_fully
from air_tf.model.composition import Layer
from air_tf.model.latent import Latent, normal, reparameterised, standard_normal
from air_tf.model.networks import NormalParameters
from air_tf.model.objects import GlimpseSettings, Objects
from air_tf.parts import kind, one_of, replaced
from air_tf.serving.export import export
from air_tf.validation import settings

WIDTH = 0.5  # of a bar, where the image reaches from -1 to 1


@settings
class BarSettings:
    """A horizontal bar of light across the image, whose height alone is inferred."""

    objects: kind("bar") = "bar"

    def num_latents(self):
        return 1

    def num_weights(self, networks, image_shape, state):
        return 0

    def num_activations(self, channels):
        return 0

    def make(self, networks, image_shape, alpha):
        return Bars(networks, image_shape)


class Bars(Objects):
    """z_row ~ Normal(0, 1) is the bar's middle: -1 at the top of the image, 1 at its bottom."""

    sizes = {"row": 1}  # noqa: RUF012

    def __init__(self, networks, image_shape):
        super().__init__()
        self.image_shape = image_shape
        self.head = NormalParameters(networks.head(2), [0.0], [1.0])
        self.built = True

    def priors(self):
        return {"row": standard_normal(1)}

    def infer(self, x, seen, place, noise):
        q_row = normal(*self.head(seen))
        return {"row": Latent(q_row, self.priors()["row"], reparameterised(q_row, noise["row"]))}

    def draw(self, samples):
        height, width, channels = self.image_shape
        rows = np.linspace(-1, 1, height, dtype=np.float32)
        bar = tf.exp(-(((rows - samples["row"]) / WIDTH) ** 2))  # (B, H)
        return Layer(tf.tile(bar[:, :, None, None], (1, 1, width, channels)))

    def windows(self, samples):
        middle = (samples["row"][..., 0] + 1) / 2
        zeros = tf.zeros_like(middle)
        return tf.stack([middle - WIDTH, zeros, middle + WIDTH, zeros + 1], axis=-1)


@settings
class BarConfig(ModelConfig):
    objects: one_of("objects", GlimpseSettings, BarSettings) = BarSettings()


@pytest.fixture
def config(small_config):
    sizes = {"image_shape": (12, 10, 1), "max_objects": 2, "embedding_units": 32, "lstm_units": 16}
    return replaced(BarConfig(), hidden_units=16, warm_start_steps=0, **sizes)


def images_of(rows, model):
    """One bar in each image, `(n, 12, 10, 1)`."""
    return model.objects.draw({"row": np.float32(rows)[:, None]}).colour.numpy()


def test_bars_are_found_by_training_alone(config):
    """The inferred middle follows the true one, in a model that knows no glimpse and no z_where."""
    random = np.random.default_rng(0)
    model = air_tf.AIR(replaced(config, max_objects=1, warm_start_steps=150))
    images = images_of(random.uniform(-0.8, 0.8, 640), model)
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(images, batch_size=32, epochs=20, shuffle=False, verbose=0)
    rows = random.uniform(-0.8, 0.8, 50)
    scene = model.infer(images_of(rows, model))
    assert np.mean(scene.counts.numpy() == 1) > 0.9
    assert np.abs(scene.latents["row"][:, 0, 0] - rows).mean() < 0.1


@pytest.mark.parametrize("presence", ["enumerate", "nvil", "concrete"])
def test_every_estimator_trains_objects_without_glimpses(config, small_images, presence):
    model = air_tf.AIR(replaced(config, presence=presence))
    gradients, estimate = model.gradients(tf.constant(small_images), 5)
    assert list(estimate.terms) == ["elbo", "log_px", "kl_count", "kl_row"]
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients[0])


def test_they_are_served_evaluated_and_shown(config, small_images, tmp_path):
    model = air_tf.AIR(config)
    model.inference.pres_head.outputs.bias.assign([1.0])
    served = air_tf.load(export(model, tmp_path))
    scene = served.infer(small_images).numpy()
    assert list(scene.latents) == ["row"] and served.endpoints == model.endpoints
    decoded = served.decode(scene.counts, z_row=scene.latents["row"])
    np.testing.assert_allclose(decoded, scene.reconstructions, atol=1e-5)
    with pytest.raises(ValueError, match="Expected counts, z_row for decode. Received: counts, z_what"):
        served.decode(scene.counts, z_what=scene.latents["row"])

    boxes = np.tile(np.float32([0, 0, 1, 1]), (5, 2, 1))
    split = Split.of(np.uint8(255 * small_images), scene.counts, boxes)
    halves = np.tile(np.repeat([1, 2], 6)[:, None], (5, 1, 10))
    metrics = evaluate_fully(served, split, lambda part: halves, show_progress=False).metrics
    assert metrics["count_accuracy"] == 1 and metrics["foreground_ari"] is not None
    figures = report.make_figures(served, scene, split, [])
    assert {"progress", "where", "traversal"} <= set(figures)
    assert model.generate(3, counts=[0, 1, 2]).shape == (3, 12, 10, 1)
