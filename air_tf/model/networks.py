"""The networks, which return parameters and never sample; `Networks` are those that one can choose."""

import functools
import math
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field

from air_tf.parts import kind, one_of
from air_tf.validation import Units, settings

LEAST_LEFT = 1e-3  # added to mean squares before their logarithm is taken
KERNEL = 4  # pixels, height and width of the convolutions on glimpses


class MLP(keras.layers.Layer):
    """A hidden layer with ReLU, then a linear one.

    Args:
        hidden_units: width of the hidden layer.
        output_units: width of the output.

    Call arguments:
        inputs: `(B, D)`.

    Returns:
        `(B, output_units)`.
    """

    def __init__(self, hidden_units: int, output_units: int, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(hidden_units, activation="relu")
        self.outputs = keras.layers.Dense(output_units)

    def call(self, inputs):
        return self.outputs(self.hidden(inputs))


def receptive_field(kernels, strides) -> tuple[int, int]:
    """How many pixels one place of stacked convolutions sees, and how many lie between two places."""
    field, stride = 1, 1
    for kernel, step in zip(kernels, strides):
        field += (kernel - 1) * stride
        stride *= step
    return field, stride


class ImageEmbedding(keras.layers.Layer):
    """What the recurrent core sees of the image: convolutions, if any, then a dense layer, with ReLU.

    Args:
        units: width of the embedding.
        filters: channels of each convolution.
        kernels: height and width of each one's kernels, in pixels.
        strides: the stride of each one, in pixels.

    Call arguments:
        image: `(B, H, W, C)`.

    Returns:
        The embedding `(B, units)`, and the features under it `(B, rows, columns, channels)`: of the
        last convolution, or, without one, the image.
    """

    def __init__(self, units: int, filters=(), kernels=(), strides=(), **kwargs):
        super().__init__(**kwargs)
        convolutions = [
            keras.layers.Conv2D(*convolution, activation="relu")
            for convolution in zip(filters, kernels, strides)
        ]
        # not a list of layers: TensorFlow's checkpoints leave out what Keras keeps in lists
        self.convolutions = keras.Sequential(convolutions or [keras.layers.Identity()])
        self.dense = keras.Sequential(
            [keras.layers.Flatten(), keras.layers.Dense(units, activation="relu")]
        )

    def call(self, image):
        features = self.convolutions(image)
        return self.dense(features), features


class PlaceAttention(keras.layers.Layer):
    """Where to look next: attention over the places of the embedding's features.

    Each place's score is how well its key fits the query, in the scaled product of Vaswani et al.
    2017 (arXiv 1706.03762, section 3.2.1), plus a bias of its own. Between two places that score
    alike, the mean place under a softmax is the empty one in the middle. Mean shift (Cheng 1995,
    Mean Shift, Mode Seeking, and Clustering) moves it to one of them: from the mean place m,

        p_j = softmax_j(score_j - |j - m|^2 / 2),    m = sum_j p_j j,

    with distances in places, again and again.

    With a gain, gain * log(what is left to explain there) is added to each score, and the gain is
    learned. Without it, attention begins in the middle of the image. What is drawn there is mostly
    wrong, and small or faint objects fade to nothing before attention has found where they are.

    Args:
        units: width of keys, queries and what is seen.
        mean_shifts: how many times.
        image_shape: `(height, width, channels)` of the image.
        kernels: those of the embedding's convolutions, in pixels.
        strides: those of the embedding's convolutions, in pixels.
        gain: with which it begins; 0: there is none.

    Call arguments:
        features: `(B, rows, columns, channels)`.
        query: `(B, D)`.
        left: mean squares of what is left to explain around each place, `(B, rows, columns)`.

    Returns:
        The place (x, y) `(B, 2)`, in image coordinates, [-1, 1] from the centre of one corner pixel
        to the other, and what is seen there `(B, units)`.
    """

    def __init__(
        self, units: int, mean_shifts: int, image_shape, kernels, strides, gain: float = 0.0, **kwargs
    ):
        super().__init__(**kwargs)
        height, width, _ = image_shape
        self.last_pixel = np.float32([width - 1, height - 1])
        self.mean_shifts = mean_shifts
        self.field, self.stride = receptive_field(kernels, strides)
        self.seen = keras.layers.Dense(units, activation="relu")
        self.key = keras.layers.Dense(units, use_bias=False)  # a bias would cancel in the softmax
        self.query = keras.layers.Dense(units)
        self.bias = keras.layers.Dense(1, use_bias=False)
        self.gain = None
        if gain:
            initial = keras.initializers.Constant(gain)
            self.gain = self.add_weight(initializer=initial, name="gain")

    def call(self, features, query, left):
        rows, columns, channels = features.shape[1:]
        places = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)  # (x, y)
        places = places.reshape(-1, 2).astype(np.float32)  # (P, 2)
        features = tf.reshape(features, (-1, rows * columns, channels))
        seen, key, query = self.seen(features), self.key(features), self.query(query)
        scores = tf.linalg.matvec(key, query) / query.shape[-1] ** 0.5 + self.bias(seen)[..., 0]
        if self.gain is not None:
            scores += self.gain * tf.math.log(LEAST_LEFT + tf.reshape(left, (-1, rows * columns)))
        weights = tf.nn.softmax(scores)  # (B, P)
        for _ in range(self.mean_shifts):
            away = places - (weights @ places)[:, None]
            weights = tf.nn.softmax(scores - tf.reduce_sum(away**2, axis=-1) / 2)
        pixel = self.stride * (weights @ places) + (self.field - 1) / 2
        return 2 * pixel / self.last_pixel - 1, tf.linalg.matvec(seen, weights, transpose_a=True)


class NormalParameters(keras.layers.Layer):
    """Parameters of a diagonal normal relative to the prior's.

    loc = prior loc + head, scale = prior scale * softplus(head) + 1e-4.

    Args:
        network: gives `(B, 2 D)`.
        prior_loc: `(D,)`.
        prior_scale: `(D,)`.

    Call arguments:
        inputs: what the network takes.

    Returns:
        `(loc, scale)`, both `(B, D)`.
    """

    def __init__(self, network: keras.Layer, prior_loc, prior_scale, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.prior_loc = np.asarray(prior_loc, np.float32)
        self.prior_scale = np.asarray(prior_scale, np.float32)

    def call(self, inputs):
        loc, scale_logits = tf.split(self.network(inputs), 2, axis=-1)
        scale = self.prior_scale * tf.nn.softplus(scale_logits) + 1e-4
        return self.prior_loc + loc, scale


class MixtureParameters(keras.layers.Layer):
    """Parameters of a learned mixture of diagonal normals: begins near the standard normal.

    Args:
        components: of the mixture.
        size: D.

    Returns:
        `(logits (K,), loc (K, D), scale (K, D))`.
    """

    def __init__(self, components: int, size: int, **kwargs):
        super().__init__(**kwargs)
        shape, random = (components, size), keras.initializers.RandomNormal(stddev=0.5)
        self.logits = self.add_weight(shape=(components,), initializer="zeros", name="logits")
        self.loc = self.add_weight(shape=shape, initializer=random, name="loc")
        self.log_scale = self.add_weight(shape=shape, initializer="zeros", name="log_scale")
        self.built = True

    def parameters(self):
        return tf.identity(self.logits), tf.identity(self.loc), tf.exp(self.log_scale)


class Networks:
    """Networks that read and draw: heads on the recurrent state, and an object's encoder and decoder."""

    def head(self, outputs: int) -> keras.Layer:
        """`(B, D)` to `(B, outputs)`."""
        raise NotImplementedError

    def encoder(self, outputs: int) -> keras.Layer:
        """A glimpse `(B, h, w, C)` to `(B, outputs)`."""
        raise NotImplementedError

    def decoder(self, glimpse_shape: tuple[int, int, int]) -> keras.Layer:
        """A code `(B, D)` to the logits of a glimpse, `(B, h, w, C)`."""
        raise NotImplementedError

    def num_weights(self, glimpse: int, z_what_size: int, state: int) -> int:
        """About how many weights there are, for glimpses of so many numbers and a state of so many."""
        raise NotImplementedError


@settings
class MLPSettings(Networks):
    """All networks have one hidden layer."""

    networks: kind("mlp") = "mlp"

    hidden_units: Units = 200
    """Width of the hidden layer in each head, the encoder and the decoder."""

    def head(self, outputs):
        return MLP(self.hidden_units, outputs)

    def encoder(self, outputs):
        return keras.Sequential([keras.layers.Flatten(), MLP(self.hidden_units, outputs)])

    def decoder(self, glimpse_shape):
        height, width, channels = glimpse_shape
        network = MLP(self.hidden_units, height * width * channels)
        return keras.Sequential([network, keras.layers.Reshape(glimpse_shape)])

    def num_weights(self, glimpse, z_what_size, state):
        return self.hidden_units * (2 * glimpse + 3 * z_what_size + 2 * state)


@settings
class ConvolutionalSettings(Networks):
    """Convolutions read and draw glimpses; the heads have one hidden layer."""

    networks: kind("convolutional") = "convolutional"

    hidden_units: Units = 200
    """Width of the hidden layer in each head."""

    glimpse_filters: Annotated[tuple[Units, ...], Field(min_length=1, max_length=8)] = (16, 32)
    """Channels of the encoder's convolutions, each of which halves the glimpse's sides; the decoder has
    the same the other way round."""

    def head(self, outputs):
        return MLP(self.hidden_units, outputs)

    def encoder(self, outputs):
        convolutions = [
            keras.layers.Conv2D(filters, KERNEL, strides=2, padding="same", activation="relu")
            for filters in self.glimpse_filters
        ]
        return keras.Sequential([*convolutions, keras.layers.Flatten(), keras.layers.Dense(outputs)])

    def decoder(self, glimpse_shape):
        height, width, channels = glimpse_shape
        halvings = 2 ** len(self.glimpse_filters)
        smallest = -(-height // halvings), -(-width // halvings), self.glimpse_filters[-1]
        too_much = smallest[0] * halvings - height, smallest[1] * halvings - width
        twice = functools.partial(
            keras.layers.Conv2DTranspose, kernel_size=KERNEL, strides=2, padding="same"
        )
        return keras.Sequential(
            [
                keras.layers.Dense(math.prod(smallest), activation="relu"),
                keras.layers.Reshape(smallest),
                *(twice(filters, activation="relu") for filters in self.glimpse_filters[-2::-1]),
                twice(channels),
                keras.layers.Cropping2D(((0, too_much[0]), (0, too_much[1]))),
            ]
        )

    def num_weights(self, glimpse, z_what_size, state):
        # the dense layers between code and smallest features, for three channels
        smallest = glimpse // (3 * 4 ** len(self.glimpse_filters)) * self.glimpse_filters[-1]
        return self.hidden_units * 2 * state + 3 * z_what_size * smallest


NetworksSettings = one_of("networks", MLPSettings, ConvolutionalSettings)
