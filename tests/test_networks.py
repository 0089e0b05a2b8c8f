import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate2d
from scipy.special import expit, softmax

from air_tf import AIR, replaced
from air_tf.model.inference import mean_squares
from air_tf.model.networks import (
    LEAST_LEFT,
    MLP,
    ConvolutionalSettings,
    ImageEmbedding,
    MLPSettings,
    NormalParameters,
    PlaceAttention,
)
from air_tf.model.objects import GlimpseSettings

random = np.random.default_rng(0)


def by_hand(mlp, inputs):
    (w1, b1), (w2, b2) = mlp.hidden.get_weights(), mlp.outputs.get_weights()
    return np.maximum(inputs @ w1 + b1, 0) @ w2 + b2


def test_mlp_equals_numpy():
    inputs = random.normal(size=(3, 5)).astype(np.float32)
    mlp = MLP(7, 2)
    outputs = mlp(inputs)
    np.testing.assert_allclose(outputs, by_hand(mlp, inputs), rtol=1e-5, atol=1e-5)


def test_embedding_equals_scipy():
    image = random.normal(size=(2, 9, 11, 1)).astype(np.float32)
    embedding = ImageEmbedding(6, filters=(3,), kernels=(4,), strides=(2,))
    embedded, features = embedding(image)
    kernels, biases = embedding.convolutions.get_weights()
    correlated = [
        [correlate2d(x[..., 0], kernels[:, :, 0, i], "valid")[::2, ::2] for i in range(3)] for x in image
    ]
    seen = np.maximum(np.moveaxis(correlated, 1, -1) + biases, 0)
    np.testing.assert_allclose(features, seen, rtol=1e-4, atol=1e-5)
    weights, bias = embedding.dense.get_weights()
    expected = np.maximum(seen.reshape(2, -1) @ weights + bias, 0)
    np.testing.assert_allclose(embedded, expected, rtol=1e-4, atol=1e-5)


def test_embedding_without_convolutions_sees_the_pixels():
    image = random.normal(size=(2, 9, 11, 1)).astype(np.float32)
    embedding = ImageEmbedding(6)
    embedded, features = embedding(image)
    np.testing.assert_array_equal(features, image)
    weights, bias = embedding.dense.get_weights()
    np.testing.assert_allclose(
        embedded, np.maximum(image.reshape(2, -1) @ weights + bias, 0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("gain", [0.0, 2.5])
def test_attention_equals_numpy(gain):
    features = random.normal(size=(2, 3, 4, 5)).astype(np.float32)
    query = random.normal(size=(2, 6)).astype(np.float32)
    left = random.random((2, 3, 4)).astype(np.float32)
    attention = PlaceAttention(7, 2, (17, 20, 1), kernels=(4, 3), strides=(3, 1), gain=gain)
    found, seen_there = attention(features, query, left)
    layers = attention.seen, attention.key, attention.query, attention.bias
    (w, b), (wk,), (wq, bq), (wb,) = (layer.get_weights() for layer in layers)
    for i in range(2):
        cells = [(x, y) for y in range(3) for x in range(4)]
        at = np.array([features[i, y, x] for x, y in cells])
        seen = np.maximum(at @ w + b, 0)
        scores = at @ wk @ (query[i] @ wq + bq) / np.sqrt(7) + (seen @ wb)[:, 0]
        scores += gain * np.log(LEAST_LEFT + left[i].ravel())
        p = softmax(scores)
        for _ in range(2):
            mean = p @ cells
            p = softmax(scores - np.sum((np.array(cells) - mean) ** 2, axis=1) / 2)
        # the first cell sees pixels 0 to 9, the next one begins 3 further
        pixel = 4.5 + 3 * (p @ cells)
        np.testing.assert_allclose(found[i], [2 * pixel[0] / 19 - 1, 2 * pixel[1] / 16 - 1], atol=1e-4)
        np.testing.assert_allclose(seen_there[i], p @ seen, rtol=1e-4, atol=1e-5)


def test_attention_chooses_one_of_two_places():
    """At 0.55 to 0.45 the mean place lies in the middle, where there is nothing."""
    features = np.zeros((1, 1, 9, 2), np.float32)
    features[0, 0, [1, 7], 0] = np.log([0.55, 0.45]) + 20
    places = []
    for mean_shifts in (0, 3):
        attention = PlaceAttention(1, mean_shifts, (2, 9, 1), kernels=(1,), strides=(1,))
        nothing = np.zeros((1, 1, 9), np.float32)
        attention(features, np.ones((1, 1), np.float32), nothing)
        attention.key.set_weights([np.float32([[1], [0]])])
        attention.query.set_weights([np.ones((1, 1), np.float32), np.zeros(1, np.float32)])
        attention.bias.set_weights([np.zeros((1, 1), np.float32)])
        place, _ = attention(features, np.ones((1, 1), np.float32), nothing)
        places.append(4 * (place[0, 0] + 1))  # in pixels
    np.testing.assert_allclose(places, [0.55 * 1 + 0.45 * 7, 1], atol=0.05)


def test_place_of_the_attention_is_the_middle_of_what_the_features_see():
    keras.utils.set_random_seed(0)
    image = tf.constant(random.random(size=(1, 20, 17, 1)).astype(np.float32))
    convolutions = {"kernels": (4, 3), "strides": (3, 1)}
    embedding = ImageEmbedding(6, filters=(8, 8), **convolutions)
    with tf.GradientTape() as tape:
        tape.watch(image)
        features = embedding(image)[1]
        at = tf.reduce_sum(features[0, 1, 2])
    rows, columns = np.nonzero(tape.gradient(at, image)[0, ..., 0])
    middle = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    attention = PlaceAttention(1, 0, (20, 17, 1), **convolutions)
    only = np.zeros((1, *features.shape[1:3], 1), np.float32)
    only[0, 1, 2] = 1e3
    attention(only, np.ones((1, 1), np.float32), only[..., 0])
    one, zero = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    for layer in (attention.query, attention.seen):
        layer.set_weights([one, zero])
    attention.key.set_weights([one])
    attention.bias.set_weights([0 * one])
    place, _ = attention(only, one, only[..., 0])
    np.testing.assert_allclose(place[0], [2 * middle[0] / 16 - 1, 2 * middle[1] / 19 - 1], atol=1e-6)


def test_mean_squares_are_of_what_the_features_see():
    image = random.normal(size=(2, 20, 17, 3)).astype(np.float32)
    found = mean_squares(tf.constant(image), kernels=(4, 3), strides=(3, 1))  # 10 pixels, each 3
    expected = [
        [
            (of_image[3 * i : 3 * i + 10, 3 * j : 3 * j + 10] ** 2).mean()
            for i in range(4)
            for j in range(3)
        ]
        for of_image in image
    ]
    np.testing.assert_allclose(found, np.reshape(expected, (2, 4, 3)), rtol=1e-5)


def test_with_a_gain_attention_begins_at_what_is_left_to_explain():
    """Places lie at least 10 pixels from the border. Of 40 seeds: at least 26 pixels, and at most 10."""
    keras.utils.set_random_seed(0)
    convolutions = {"kernels": (6, 5), "strides": (4, 1)}
    embedding = ImageEmbedding(8, filters=(16, 32), **convolutions)
    for top, left in (0, 0), (44, 6), (8, 50), (50, 50):
        image = random.normal(scale=0.01, size=(1, 64, 64, 1)).astype(np.float32)
        image[0, top : top + 14, left : left + 14] += 0.3
        found = []
        for gain in (0.0, 3.0):
            attention = PlaceAttention(64, 3, (64, 64, 1), **convolutions, gain=gain)
            squares = mean_squares(tf.constant(image), **convolutions)
            place, _ = attention(embedding(image)[1], np.zeros((1, 8), np.float32), squares)
            pixel = 31.5 * (place[0] + 1)
            found.append(np.linalg.norm(pixel - np.array([left + 6.5, top + 6.5])))
        assert found[0] > 20 and found[1] < 12


@pytest.mark.parametrize("glimpse_shape", [(6, 6, 1), (28, 28, 3), (9, 5, 2)])
@pytest.mark.parametrize("filters", [(3,), (3, 4), (2, 3, 4)])
def test_convolutional_networks_have_the_shapes_that_are_asked_for(glimpse_shape, filters):
    networks = ConvolutionalSettings(glimpse_filters=filters, hidden_units=8)
    glimpse = random.random((2, *glimpse_shape)).astype(np.float32)
    assert networks.encoder(7)(glimpse).shape == (2, 7)
    assert networks.decoder(glimpse_shape)(np.ones((2, 5), np.float32)).shape == (2, *glimpse_shape)


def test_the_convolutional_encoder_equals_scipy():
    glimpse = random.random((1, 8, 8, 1)).astype(np.float32)
    encoder = ConvolutionalSettings(glimpse_filters=(3,)).encoder(5)
    outputs = encoder(glimpse)
    kernels, biases, weights, bias = encoder.get_weights()
    padded = np.pad(glimpse[0, ..., 0], 1)  # of 4 pixels at strides of 2, one more on each side
    seen = [correlate2d(padded, kernels[:, :, 0, i], "valid")[::2, ::2] for i in range(3)]
    seen = np.maximum(np.stack(seen, axis=-1) + biases, 0)
    np.testing.assert_allclose(outputs, seen.reshape(1, -1) @ weights + bias, rtol=1e-4, atol=1e-5)


def test_a_convolutional_model_is_trained_and_keeps_all_its_weights(
    small_config, small_images, tmp_path
):
    config = replaced(small_config, networks="convolutional", glimpse_filters=(2, 3))
    model, other = AIR(config), AIR(config)
    [gradients, _], _ = model.gradients(tf.constant(small_images), 5)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    np.testing.assert_array_equal(model(small_images).z_what, other(small_images).z_what)


def test_the_estimate_of_convolutional_weights_is_below_what_there_are(small_config):
    for channels in (1, 3):
        config = replaced(small_config, networks="convolutional", image_shape=(12, 10, channels))
        weights = sum(variable.shape.num_elements() for variable in AIR(config).trainable_variables)
        assert 0 < config.num_weights() <= weights


def test_normal_parameters_are_relative_to_the_prior():
    inputs = random.normal(size=(3, 2, 2)).astype(np.float32)
    layer = NormalParameters(MLPSettings(hidden_units=4).encoder(4), [3.0, 0.0], [0.2, 1.0])
    loc, scale = layer(inputs)
    outputs = by_hand(layer.network.layers[-1], inputs.reshape(3, 4))
    np.testing.assert_allclose(loc, [3.0, 0.0] + outputs[:, :2], rtol=1e-5, atol=1e-5)
    expected = np.float32([0.2, 1.0]) * np.log1p(np.exp(outputs[:, 2:])) + 1e-4
    np.testing.assert_allclose(scale, expected, rtol=1e-5, atol=1e-5)


def test_untrained_decoder_draws_a_nearly_empty_glimpse():
    z_what = random.normal(size=(8, 5)).astype(np.float32)
    decoder = MLPSettings().decoder((6, 4, 3))
    logits = decoder(z_what).numpy()
    assert logits.shape == (8, 6, 4, 3)
    np.testing.assert_allclose(logits.reshape(8, -1), by_hand(decoder.layers[0], z_what), atol=1e-5)
    assert expit(logits + GlimpseSettings.decoder_bias).mean() < 0.2
