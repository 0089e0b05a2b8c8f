"""One step of AIR: attend to an object and infer its latents.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 2.1 and figure 3.
"""

from typing import NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from air_tf.config import ModelConfig
from air_tf.model.networks import (
    MLP,
    Decoder,
    ImageEmbedding,
    MixtureParameters,
    NormalParameters,
    PlaceAttention,
    receptive_field,
)
from air_tf.model.noise import StepNoise, no_noise
from air_tf.model.where import Attend, Place

tfd = tfp.distributions


class CellState(NamedTuple):
    """What one step hands to the next."""

    embedding: tf.Tensor  # (B, embedding_units), of the image; of DAIR: of what is left to explain
    features: tf.Tensor  # (B, rows, columns, channels), those under the embedding
    canvas: tf.Tensor  # (B, H, W, C), what has been drawn so far
    lstm: list[tf.Tensor]  # h and c, (B, lstm_units) each
    z_where: tf.Tensor  # (B, 3)
    z_what: tf.Tensor  # (B, z_what_size)


class Step(NamedTuple):
    """One object: its samples, the distributions they came from, and what they draw."""

    pres_logit: tf.Tensor  # (B,), of q(z_pres_i = 1 | x, all before present)
    q_where: tfd.Distribution  # q(z_where_i | x, z_<i)
    z_where: tf.Tensor  # (B, 3)
    glimpse: tf.Tensor  # (B, h, w, C)
    q_what: tfd.Distribution  # q(z_what_i | glimpse_i)
    z_what: tf.Tensor  # (B, z_what_size)
    glimpse_recon: tf.Tensor  # (B, h, w, C), the mean of p(glimpse | z_what_i)
    placed: tf.Tensor  # (B, H, W, C), glimpse_recon at z_where_i


def normal(loc, scale) -> tfd.Distribution:
    """A diagonal normal over the last axis."""
    return tfd.Independent(tfd.Normal(loc, scale), reinterpreted_batch_ndims=1)


def reparameterised(q: tfd.Distribution, noise: tf.Tensor) -> tf.Tensor:
    """The sample of a diagonal normal that standard normal `noise` stands for."""
    return q.mean() + q.stddev() * noise


class AIRCell(keras.layers.Layer):
    """Attend, infer, and draw one object, as if it and all before it were present.

    With `config.difference` it is a step of DAIR ([1]): the recurrence sees the difference
    between the image and the canvas so far, hence what is left to explain. No gradient flows
    through the canvas: objects are drawn to be right, not to tell later steps something.

    Departures from [1]: the presence does not feed back into the recurrence, which is conditioned
    on 'all before are present' anyway; and the embedding replaces the raw image in the recurrence.
    The glimpse is always taken from the image itself: from DAIR's difference image it counts worse.
    With `config.attention_units`, z_where is proposed around the place that `PlaceAttention` finds,
    and the presence too sees what is there: a dense embedding of three objects is unlike all those
    of two, but the neighbourhood of each of them is not.

    Args:
        config: `ModelConfig`.

    Call arguments:
        x: images, `(B, H, W, C)` float32 in [0, 1].
        noise: `StepNoise`.
        prev: `CellState` of the previous step.

    Returns:
        `Step` and the next `CellState`.
    """

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        glimpse_shape = (config.glimpse_size, config.glimpse_size, config.image_shape[2])
        where_loc, where_scale = zip(config.scale_prior, config.shift_prior, config.shift_prior)
        what_loc, what_scale = [0.0] * config.z_what_size, [1.0] * config.z_what_size

        # p(z_where_i), the same for every object
        self.p_where = normal(tf.constant(where_loc), tf.constant(where_scale))
        self.what_prior = None
        if config.what_components > 1:
            self.what_prior = MixtureParameters(config.what_components, config.z_what_size)

        kernels, strides = config.embedding_kernels, config.embedding_strides
        least, _ = receptive_field(kernels, strides)
        if min(config.image_shape[:2]) < least:
            raise ValueError(
                f"Expected images of at least {least} x {least} for these convolutions. "
                f"Received: image_shape={config.image_shape}, embedding_kernels={kernels}."
            )
        self.embedding = ImageEmbedding(
            config.embedding_units,
            config.embedding_filters,
            kernels,
            strides,
        )
        self.lstm = keras.layers.LSTMCell(config.lstm_units, recurrent_initializer="glorot_uniform")
        self.attention = None
        if config.attention_units:
            self.attention = PlaceAttention(
                config.attention_units,
                config.mean_shifts,
                config.image_shape,
                kernels,
                strides,
            )
        self.pres_head = MLP(config.hidden_units, 1)
        self.where_head = NormalParameters(config.hidden_units, where_loc, where_scale)
        self.attend = Attend(config.glimpse_size)
        self.what_encoder = NormalParameters(config.hidden_units, what_loc, what_scale)
        self.decode = Decoder(config.hidden_units, glimpse_shape, config.decoder_bias)
        self.place = Place(config.image_shape)

    @property
    def p_what(self) -> tfd.Distribution:
        """p(z_what_i), the same for every object. [1]: the standard normal, here the default."""
        if self.what_prior is None:
            zeros = tf.zeros(self.config.z_what_size)
            return normal(zeros, tf.ones_like(zeros))
        logits, loc, scale = self.what_prior.parameters()
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), normal(loc, scale))

    def initial_state(self, x) -> CellState:
        """The state before the first object of images `(B, H, W, C)`: zeros, as in [1]."""
        zeros = lambda units: tf.zeros((tf.shape(x)[0], units))  # noqa: E731
        lstm = [zeros(self.config.lstm_units), zeros(self.config.lstm_units)]
        what = zeros(self.config.z_what_size)
        return CellState(*self.embedding(x), tf.zeros_like(x), lstm, zeros(3), what)

    def keep_scale(self, z_where) -> tf.Tensor:
        """`z_where (..., 3)` with a scale of at least `min_scale`."""
        return tf.maximum(z_where, [self.config.min_scale, -float("inf"), -float("inf")])

    def propose(self, features, hidden) -> tuple[tfd.Distribution, tf.Tensor]:
        """q(z_where_i | x, z_<i), and what the presence is to be inferred from."""
        if self.attention is None:
            return normal(*self.where_head(hidden)), hidden
        place, seen = self.attention(features, hidden)
        loc, stddev = self.where_head(seen)
        scale, shift = tf.split(loc, [1, 2], axis=-1)
        # the glimpse's centre is where scale * x + shift = 0
        loc = tf.concat([scale, shift - scale * place], axis=-1)
        return normal(loc, stddev), tf.concat([hidden, seen], axis=-1)

    def draw(self, z_where, z_what):
        """The generative half: the decoded glimpse `(B, h, w, C)` and the image with it alone."""
        glimpse_recon = self.decode(z_what)
        return glimpse_recon, self.place(glimpse_recon, z_where)

    def build(self, input_shape):
        """Builds all layers by one step on an empty image: Keras cannot trace a `Step`."""
        x = tf.zeros((1, *input_shape[1:]))
        self.call(x, no_noise(self.config, 1)[0], self.initial_state(x))

    def call(self, x, noise: StepNoise, prev: CellState):
        inputs = tf.concat([prev.embedding, prev.z_where, prev.z_what], axis=-1)
        hidden, lstm = self.lstm(inputs, prev.lstm)

        q_where, seen = self.propose(prev.features, hidden)
        pres_logit = tf.squeeze(self.pres_head(seen), axis=-1)
        z_where = self.keep_scale(reparameterised(q_where, noise.where))

        glimpse = self.attend(x, z_where)
        q_what = normal(*self.what_encoder(glimpse))
        z_what = reparameterised(q_what, noise.what)

        glimpse_recon, placed = self.draw(z_where, z_what)
        step = Step(pres_logit, q_where, z_where, glimpse, q_what, z_what, glimpse_recon, placed)

        canvas = prev.canvas + placed
        embedded = prev.embedding, prev.features
        if self.config.difference:
            embedded = self.embedding(x - tf.stop_gradient(canvas))
        return step, CellState(*embedded, canvas, lstm, z_where, z_what)
