import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from air_tf.model.inference import AIRCell, CellState
from air_tf.model.noise import StepNoise

random = np.random.default_rng(0)


def normal(*shape):
    return random.normal(size=shape).astype(np.float32)


@pytest.fixture
def arguments(small_config, small_images):
    canvas, lstm = tf.constant(small_images[::-1] * 0.5), [normal(5, 8), normal(5, 8)]
    state = CellState(normal(5, 8), normal(5, 4, 3, 2), canvas, lstm, normal(5, 3), normal(5, 4))
    return tf.constant(small_images), StepNoise(normal(5, 3), normal(5, 4), normal(5)), state


def test_recurrence_equals_numpy(small_config, arguments):
    _, _, prev = arguments
    cell = AIRCell(small_config)
    _, state = cell(*arguments)
    kernel, recurrent_kernel, bias = cell.lstm.get_weights()
    inputs = np.concatenate([prev.embedding, prev.z_where, prev.z_what], -1)
    gates = inputs @ kernel + prev.lstm[0] @ recurrent_kernel + bias
    i, f, c, o = np.split(gates, 4, -1)
    memory = expit(f) * prev.lstm[1] + expit(i) * np.tanh(c)
    np.testing.assert_allclose(state.lstm[1], memory, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.lstm[0], expit(o) * np.tanh(memory), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("error::UserWarning")
def test_is_built_by_its_first_call_without_a_warning(small_config, arguments):
    cell = AIRCell(small_config)
    cell(*arguments)
    assert cell.built and all(layer.built for layer in cell._flatten_layers())


def test_forget_gates_start_open(small_config, arguments):
    cell = AIRCell(small_config)
    cell(*arguments)
    np.testing.assert_array_equal(cell.lstm.get_weights()[2][8:16], 1)


def test_step_is_what_the_layers_say(small_config, arguments):
    cell = AIRCell(small_config)
    x, noise, prev = arguments
    step, state = cell(*arguments)
    np.testing.assert_allclose(
        step.z_what, step.q_what.mean() + step.q_what.stddev() * noise.what, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(step.glimpse, cell.attend(x, step.z_where), atol=1e-6)
    np.testing.assert_allclose(step.placed, cell.place(step.glimpse_recon, step.z_where), atol=1e-6)
    assert state.z_where is step.z_where and state.z_what is step.z_what
    np.testing.assert_allclose(state.canvas, prev.canvas + step.placed, atol=1e-6)
    np.testing.assert_array_equal(state.embedding, prev.embedding)


def test_dair_sees_what_is_left(small_config, arguments):
    """Each step's embedding is that of the image less the canvas so far; all else is as in AIR."""
    x, noise, prev = arguments
    keras.utils.set_random_seed(0)
    air = AIRCell(small_config)
    keras.utils.set_random_seed(0)
    dair = AIRCell(dataclasses.replace(small_config, difference=True))
    first, same = dair.initial_state(x), air.initial_state(x)
    np.testing.assert_allclose(first.embedding, same.embedding)
    (of_air, _), (of_dair, state) = air(x, noise, prev), dair(x, noise, prev)
    np.testing.assert_allclose(of_dair.placed, of_air.placed, atol=1e-6)
    left = x - prev.canvas - of_dair.placed
    weights, bias = dair.embedding.dense.get_weights()
    expected = np.maximum(tf.reshape(left, (5, -1)) @ weights + bias, 0)
    np.testing.assert_allclose(state.embedding, expected, rtol=1e-4, atol=1e-5)


def test_dairs_canvas_passes_no_gradient(small_config, arguments):
    """What is drawn is not trained to tell later steps something; the embedding is."""
    x, noise, prev = arguments
    dair = AIRCell(dataclasses.replace(small_config, difference=True))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(prev.canvas)
        _, state = dair(x, noise, prev)
    drawn = [prev.canvas, *dair.decode.trainable_weights]
    assert drawn[1:] and tape.gradient(state.embedding, drawn) == [None] * len(drawn)
    for gradient in tape.gradient(state.embedding, dair.embedding.trainable_weights):
        assert np.abs(gradient).max() > 0


def test_attention_proposes_the_place_it_finds(small_config, arguments):
    x, _, _ = arguments
    convolutions = {"embedding_filters": (2,), "embedding_kernels": (3,), "embedding_strides": (2,)}
    cell = AIRCell(dataclasses.replace(small_config, attention_units=4, **convolutions))
    hidden, features = normal(5, 8), cell.initial_state(x).features
    cell.propose(features, hidden)
    outputs = cell.where_head.mlp.outputs
    outputs.set_weights([np.zeros_like(weight) for weight in outputs.get_weights()])
    q_where, seen = cell.propose(features, hidden)
    place, there = cell.attention(features, hidden)
    scale, shift = np.split(q_where.mean().numpy(), [1], axis=1)
    np.testing.assert_allclose(scale * place + shift, 0, atol=1e-5)  # the glimpse's centre
    np.testing.assert_allclose(scale, small_config.scale_prior[0])
    np.testing.assert_array_equal(seen, np.concatenate([hidden, there], axis=1))


def test_eager_equals_graph(small_config, arguments):
    cell = AIRCell(small_config)
    eager, _ = cell(*arguments)
    graph = tf.function(lambda *args: cell(*args)[0].placed)(*arguments)
    np.testing.assert_allclose(eager.placed, graph, atol=1e-6)


def test_sampled_scale_is_kept_above_its_least(small_config, arguments):
    x, noise, prev = arguments
    noise = noise._replace(where=np.full((5, 3), -1e3, np.float32))
    step, _ = AIRCell(small_config)(x, noise, prev)
    np.testing.assert_allclose(step.z_where[:, 0], small_config.min_scale)
    assert np.isfinite(step.glimpse).all()
