import numpy as np
from scipy.signal import correlate2d
from scipy.special import expit

from air_tf.networks import MLP, Decoder, ImageEmbedding, NormalParameters

random = np.random.default_rng(0)


def by_hand(mlp, inputs):
    (w1, b1), (w2, b2) = mlp.hidden.get_weights(), mlp.outputs.get_weights()
    return np.maximum(inputs @ w1 + b1, 0) @ w2 + b2


def test_mlp_equals_numpy():
    inputs = random.normal(size=(3, 5)).astype(np.float32)
    mlp = MLP(7, 2)
    outputs = mlp(inputs)
    np.testing.assert_allclose(outputs, by_hand(mlp, inputs), rtol=1e-5)


def test_embedding_equals_scipy():
    image = random.normal(size=(2, 9, 11, 1)).astype(np.float32)
    embedding = ImageEmbedding(6, filters=(3,), kernels=(4,), strides=(2,))
    embedded = embedding(image)
    kernels, biases = embedding.network.layers[0].get_weights()
    correlated = [
        [correlate2d(x[..., 0], kernels[:, :, 0, i], "valid")[::2, ::2] for i in range(3)] for x in image
    ]
    seen = np.maximum(np.moveaxis(correlated, 1, -1) + biases, 0).reshape(2, -1)
    weights, bias = embedding.network.layers[-1].get_weights()
    np.testing.assert_allclose(embedded, np.maximum(seen @ weights + bias, 0), rtol=1e-4, atol=1e-5)


def test_embedding_without_convolutions_sees_the_pixels():
    image = random.normal(size=(2, 9, 11, 1)).astype(np.float32)
    embedding = ImageEmbedding(6)
    embedded = embedding(image)
    weights, bias = embedding.network.layers[-1].get_weights()
    np.testing.assert_allclose(
        embedded, np.maximum(image.reshape(2, -1) @ weights + bias, 0), rtol=1e-4, atol=1e-5
    )


def test_normal_parameters_are_relative_to_the_prior():
    inputs = random.normal(size=(3, 2, 2)).astype(np.float32)
    layer = NormalParameters(4, [3.0, 0.0], [0.2, 1.0])
    loc, scale = layer(inputs)
    outputs = by_hand(layer.mlp, inputs.reshape(3, 4))
    np.testing.assert_allclose(loc, [3.0, 0.0] + outputs[:, :2], rtol=1e-5)
    expected = np.float32([0.2, 1.0]) * np.log1p(np.exp(outputs[:, 2:])) + 1e-4
    np.testing.assert_allclose(scale, expected, rtol=1e-5)


def test_untrained_decoder_draws_a_nearly_empty_glimpse():
    z_what = random.normal(size=(8, 5)).astype(np.float32)
    decoder = Decoder(200, (6, 4, 3), bias=-2.0)
    glimpse = decoder(z_what).numpy()
    assert glimpse.shape == (8, 6, 4, 3)
    expected = expit(by_hand(decoder.mlp, z_what) - 2.0)
    np.testing.assert_allclose(glimpse.reshape(8, -1), expected, rtol=1e-4)
    assert glimpse.mean() < 0.2
