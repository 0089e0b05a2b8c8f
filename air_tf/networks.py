"""The networks. They return parameters and never sample."""

import keras
import numpy as np
import tensorflow as tf


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


class ImageEmbedding(keras.layers.Layer):
    """What the recurrent core sees of the image: convolutions, if any, then a dense layer, with ReLU.

    Args:
        units: width of the embedding.
        filters: channels of each convolution.
        kernels: height and width of each one's kernels, in pixels.
        strides: of each, in pixels.

    Call arguments:
        image: `(B, H, W, C)`.

    Returns:
        `(B, units)`.
    """

    def __init__(self, units: int, filters=(), kernels=(), strides=(), **kwargs):
        super().__init__(**kwargs)
        convolutions = [
            keras.layers.Conv2D(*convolution, activation="relu")
            for convolution in zip(filters, kernels, strides)
        ]
        dense = keras.layers.Dense(units, activation="relu")
        # not a list of layers: TensorFlow's checkpoints leave out what Keras keeps in lists
        self.network = keras.Sequential([*convolutions, keras.layers.Flatten(), dense])

    def call(self, image):
        return self.network(image)


class NormalParameters(keras.layers.Layer):
    """Parameters of a diagonal normal relative to the prior's.

    loc = prior loc + head, scale = prior scale * softplus(head) + 1e-4.

    Args:
        hidden_units: width of the hidden layer.
        prior_loc: `(D,)`.
        prior_scale: `(D,)`.

    Call arguments:
        inputs: `(B, ...)`, flattened.

    Returns:
        `(loc, scale)`, both `(B, D)`.
    """

    def __init__(self, hidden_units: int, prior_loc, prior_scale, **kwargs):
        super().__init__(**kwargs)
        self.prior_loc = np.asarray(prior_loc, np.float32)
        self.prior_scale = np.asarray(prior_scale, np.float32)
        self.flatten = keras.layers.Flatten()
        self.mlp = MLP(hidden_units, 2 * len(prior_loc))

    def call(self, inputs):
        loc, scale_logits = tf.split(self.mlp(self.flatten(inputs)), 2, axis=-1)
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


class Decoder(keras.layers.Layer):
    """p(glimpse | z_what): `(B, D)` to the mean of the glimpse, `(B, h, w, C)` in (0, 1).

    Args:
        hidden_units: width of the hidden layer.
        glimpse_shape: `(h, w, C)`.
        bias: added to the logits, so that an untrained decoder draws a nearly empty glimpse.
    """

    def __init__(self, hidden_units: int, glimpse_shape: tuple[int, int, int], bias: float, **kwargs):
        super().__init__(**kwargs)
        self.bias = bias
        self.mlp = MLP(hidden_units, glimpse_shape[0] * glimpse_shape[1] * glimpse_shape[2])
        self.reshape = keras.layers.Reshape(glimpse_shape)

    def call(self, z_what):
        return self.reshape(tf.sigmoid(self.mlp(z_what) + self.bias))
