import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit
from scipy.stats import norm

import air_tf
from air_tf import replaced
from air_tf.model.composition import Layer
from air_tf.model.inference import Embedded, State

random = np.random.default_rng(0)


def normal(*shape):
    return random.normal(size=shape).astype(np.float32)


class Inferring:
    """A model's inference of one object, with its other parts at hand."""

    def __init__(self, config):
        self.model = air_tf.AIR(config)
        self.inference, self.objects = self.model.inference, self.model.objects

    def __call__(self, x, noise, prev):
        parts = {"objects": self.objects, "composition": self.model.composition}
        return self.inference(x, noise=noise, prev=prev, **parts)


@pytest.fixture
def arguments(small_images):
    canvas, lstm = Layer(tf.constant(small_images[::-1] * 0.5)), [normal(5, 8), normal(5, 8)]
    embedded = Embedded(normal(5, 8), normal(5, 12, 10, 1), normal(5, 12, 10))
    state = State(embedded, canvas, lstm, [normal(5, 3), normal(5, 4)])
    return tf.constant(small_images), {"where": normal(5, 3), "what": normal(5, 4)}, state


def test_recurrence_equals_numpy(small_config, arguments):
    _, _, prev = arguments
    step = Inferring(small_config)
    _, state = step(*arguments)
    kernel, recurrent_kernel, bias = step.inference.lstm.get_weights()
    inputs = np.concatenate([prev.embedded.embedding, *prev.samples], -1)
    gates = inputs @ kernel + prev.lstm[0] @ recurrent_kernel + bias
    i, f, c, o = np.split(gates, 4, -1)
    memory = expit(f) * prev.lstm[1] + expit(i) * np.tanh(c)
    np.testing.assert_allclose(state.lstm[1], memory, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.lstm[0], expit(o) * np.tanh(memory), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("error::UserWarning")
def test_all_layers_are_built_with_the_model_without_a_warning(small_config):
    model = air_tf.AIR(small_config)
    assert model.built and all(layer.built for layer in model._flatten_layers())


def test_forget_gates_start_open(small_config):
    np.testing.assert_array_equal(Inferring(small_config).inference.lstm.get_weights()[2][8:16], 1)


def test_step_is_what_the_layers_say(small_config, arguments):
    infer = Inferring(small_config)
    x, noise, prev = arguments
    step, state = infer(*arguments)
    (q_where, p_where, z_where, _), (q_what, _, z_what, _) = step.latents.values()
    for q, z, drawn in (q_where, z_where, noise["where"]), (q_what, z_what, noise["what"]):
        np.testing.assert_allclose(z, q.mean() + q.stddev() * drawn, rtol=1e-5, atol=1e-6)
    objects = infer.objects
    glimpse = objects.where.attend(x, z_where, small_config.objects.glimpse_size)
    np.testing.assert_allclose(q_what.mean(), objects.what_encoder(glimpse)[0], atol=1e-5)
    recon = tf.sigmoid(objects.decoder(z_what) + small_config.objects.decoder_bias)
    placed = objects.where.place(recon, z_where, small_config.image_shape)
    np.testing.assert_allclose(step.layer.colour, placed, atol=1e-6)
    assert state.samples[0] is z_where and state.samples[1] is z_what
    np.testing.assert_allclose(state.canvas.colour, prev.canvas.colour + placed, atol=1e-6)
    np.testing.assert_array_equal(state.embedded.embedding, prev.embedded.embedding)
    np.testing.assert_allclose(p_where.mean(), [3, 0, 0])


def test_dair_sees_what_is_left(small_config, arguments):
    """Each step's embedding is that of the image less the canvas so far; all else is as in AIR."""
    x, noise, prev = arguments
    keras.utils.set_random_seed(0)
    air = Inferring(small_config)
    keras.utils.set_random_seed(0)
    dair = Inferring(replaced(small_config, difference=True))
    np.testing.assert_allclose(dair.inference.embedding(x)[0], air.inference.embedding(x)[0])
    (of_air, _), (of_dair, state) = air(x, noise, prev), dair(x, noise, prev)
    np.testing.assert_allclose(of_dair.layer.colour, of_air.layer.colour, atol=1e-6)
    left = x - prev.canvas.colour - of_dair.layer.colour
    weights, bias = dair.inference.embedding.dense.get_weights()
    expected = np.maximum(tf.reshape(left, (5, -1)) @ weights + bias, 0)
    np.testing.assert_allclose(state.embedded.embedding, expected, rtol=1e-4, atol=1e-5)


def test_dairs_canvas_passes_no_gradient(small_config, arguments):
    """What is drawn is not trained to tell later steps something; the embedding is."""
    x, noise, prev = arguments
    dair = Inferring(replaced(small_config, difference=True))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(prev.canvas.colour)
        _, state = dair(x, noise, prev)
    drawn = [prev.canvas.colour, *dair.objects.decoder.trainable_weights]
    assert drawn[1:] and tape.gradient(state.embedded.embedding, drawn) == [None] * len(drawn)
    for gradient in tape.gradient(state.embedded.embedding, dair.inference.embedding.trainable_weights):
        assert np.abs(gradient).max() > 0


def test_attention_proposes_the_place_it_finds(small_config, arguments):
    x, noise, prev = arguments
    convolutions = {"embedding_filters": (2,), "embedding_kernels": (3,), "embedding_strides": (2,)}
    infer = Inferring(replaced(small_config, attention_units=4, **convolutions))
    outputs = infer.objects.where_head.network.outputs
    outputs.set_weights([np.zeros_like(weight) for weight in outputs.get_weights()])
    embedded = infer.inference.embedded(x, Layer(0 * x))
    step, state = infer(x, noise, prev._replace(embedded=embedded))
    hidden, _ = state.lstm
    place, seen = infer.inference.attention(embedded.features, hidden, embedded.left)
    scale, shift = np.split(step.latents["where"].q.mean().numpy(), [1], axis=1)
    np.testing.assert_allclose(scale * place + shift, 0, atol=1e-5)  # the glimpse's centre
    np.testing.assert_allclose(scale, 3.0)
    logit = infer.inference.pres_head(tf.concat([hidden, seen], axis=1))
    np.testing.assert_allclose(step.pres_logit[:, None], logit, atol=1e-5)


def test_eager_equals_graph(small_config, arguments):
    infer = Inferring(small_config)
    eager, _ = infer(*arguments)
    graph = tf.function(lambda *args: infer(*args)[0].layer.colour)(*arguments)
    np.testing.assert_allclose(eager.layer.colour, graph, atol=1e-6)


def test_sampled_scale_is_kept_above_its_least(small_config, arguments):
    x, noise, prev = arguments
    step, _ = Inferring(small_config)(x, noise | {"where": np.full((5, 3), -1e3, np.float32)}, prev)
    np.testing.assert_allclose(step.latents["where"].sample[:, 0], 0.2)
    assert np.isfinite(step.layer.colour).all()


def test_a_sample_is_weighed_where_q_drew_it(small_config, arguments):
    """At the least scale, a q that lies below it would be improbable, and its weight without limit."""
    x, noise, prev = arguments
    far = -1e5  # standard deviations: below the least scale, however small untrained weights make them
    infer, deviations = Inferring(small_config), np.full((5, 3), far, np.float32)
    step, _ = infer(x, noise | {"where": deviations}, prev)
    q, _, z_where, drawn = step.latents["where"]
    np.testing.assert_allclose(z_where[:, 0], 0.2)
    np.testing.assert_allclose(drawn, q.mean() + far * q.stddev(), rtol=1e-5)
    loc, scale = np.float32([3, 0, 0]), np.float32([0.2, 1, 1])
    expected = (norm(loc, scale).logpdf(drawn) - norm(q.mean(), q.stddev()).logpdf(drawn)).sum(-1)
    np.testing.assert_allclose(step.latents["where"].log_ratio(), expected, rtol=1e-4)
