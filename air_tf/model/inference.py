"""One step of the inference network: attend to an object and infer its latents.

References:
    [1] Eslami et al. 2016, Attend, Infer, Repeat. arXiv 1603.08575, section 2.1 and figure 3.
"""

from typing import Annotated, NamedTuple

import keras
import tensorflow as tf
from pydantic import Field

from air_tf.model.composition import Composition, Layer
from air_tf.model.latent import Latent
from air_tf.model.networks import ImageEmbedding, Networks, PlaceAttention, receptive_field
from air_tf.model.objects import Objects
from air_tf.validation import Kernel, Units, require, settings


class Embedded(NamedTuple):
    """What the recurrence sees: the image less its background; for DAIR, less what is drawn so far."""

    embedding: tf.Tensor  # (B, embedding_units)
    features: tf.Tensor  # (B, rows, columns, channels), those under the embedding
    left: tf.Tensor  # (B, rows, columns), mean squares of what each of these places sees


class State(NamedTuple):
    """What one step hands to the next."""

    embedded: Embedded
    canvas: Layer  # what has been drawn so far
    lstm: list[tf.Tensor]  # h and c, (B, lstm_units) each
    samples: list[tf.Tensor]  # of the previous object's latents, (B, size) each


class Step(NamedTuple):
    """One object: whether it is there, its latents, and what it draws."""

    pres_logit: tf.Tensor  # (B,), of q(z_pres_i = 1 | x, all before present)
    latents: dict[str, Latent]
    layer: Layer
    looks: Layer | None  # (K, B, H, W, C): in each of the classes that the layer is a mixture of, if any

    @property
    def samples(self) -> dict[str, tf.Tensor]:
        """The samples of the latents, `(B, size)` each."""
        return {name: latent.sample for name, latent in self.latents.items()}


@settings
class InferenceSettings:
    """What the recurrence sees, and how wide it is."""

    embedding_units: Units = 256
    """Width of the image's embedding."""

    embedding_filters: tuple[Units, ...] = ()
    """Channels of each convolution under the embedding (default: none, so it sees the pixels)."""

    embedding_kernels: tuple[Kernel, ...] = ()
    """Height and width of each convolution's kernels, in pixels."""

    embedding_strides: tuple[Kernel, ...] = ()
    """Pixels from one place of each convolution's kernels to the next."""

    attention_units: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Width of an attention over the convolutions' places, which then proposes where an object is.
    0: no attention; the recurrent state alone proposes."""

    mean_shifts: Annotated[int, Field(ge=0, le=1000)] = 3
    """Mean-shift steps that gather the attention around one place."""

    attention_gain: Annotated[float, Field(ge=0, le=100)] = 0.0
    """How strongly attention looks where most is left to explain when training begins; it learns how
    strongly it should. 0: not at all. Small or faint objects may not be found without it."""

    lstm_units: Units = 256
    """Width of the recurrent state."""

    difference: bool = False
    """DAIR: at each step the recurrence sees the image less what has been drawn so far."""

    def __post_init__(self):
        convolutions = self.embedding_filters, self.embedding_kernels, self.embedding_strides
        require(len({*map(len, convolutions)}) == 1,
                "as many embedding_filters as embedding_kernels and embedding_strides",
                embedding_filters=self.embedding_filters, embedding_kernels=self.embedding_kernels,
                embedding_strides=self.embedding_strides)  # fmt: skip
        require(self.attention_units == 0 or len(self.embedding_filters) > 0,
                "attention_units 0, or above 0 together with embedding_filters",
                attention_units=self.attention_units, filters=self.embedding_filters)  # fmt: skip
        require(self.attention_gain == 0 or self.attention_units > 0,
                "attention_gain 0, or above 0 together with attention_units",
                attention_gain=self.attention_gain, attention_units=self.attention_units)  # fmt: skip

    def num_weights(self, image_shape: tuple[int, int, int], latents: int) -> int:
        """About how many weights there are, for latents of so many numbers."""
        height, width, channels = image_shape
        inputs = self.lstm_units + self.embedding_units + latents
        weights = 4 * self.lstm_units * inputs
        if not self.embedding_filters:
            weights += height * width * channels * self.embedding_units
        return weights


def mean_squares(image: tf.Tensor, kernels, strides) -> tf.Tensor:
    """Mean squares of the pixels that each place of stacked convolutions sees, `(B, rows, columns)`."""
    field, stride = receptive_field(kernels, strides)
    squares = tf.reduce_mean(image**2, axis=-1, keepdims=True)
    return tf.nn.avg_pool2d(squares, field, stride, "VALID")[..., 0]


class Inference(keras.layers.Layer):
    """Infers one object, as if it and all before it were present.

    The recurrence sees the difference between the image and its background. With `settings.difference`
    it is a step of DAIR ([1]), and sees that between the image and the canvas so far, hence what is left
    to explain. No gradient flows through the canvas: objects are drawn to be right, not to tell later
    steps something.

    Departures from [1]: the presence does not feed back into the recurrence, which is conditioned
    on 'all before are present' anyway; and the embedding replaces the raw image in the recurrence.
    With `settings.attention_units`, an object is proposed around the place that `PlaceAttention` finds,
    and the presence too sees what is there: a dense embedding of three objects is unlike all those
    of two, but the neighbourhood of each of them is not.

    Args:
        settings: `InferenceSettings`.
        networks: the presence's head.
        image_shape: `(height, width, channels)`, in pixels.

    Call arguments:
        x: images, `(B, H, W, C)` float32 in [0, 1].
        noise: standard normal noise for each of the object's latents.
        prev: `State` of the previous step.
        objects: what is inferred and drawn.
        composition: how it is drawn.

    Returns:
        `Step` and the next `State`.
    """

    def __init__(self, settings: InferenceSettings, networks: Networks, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.settings = settings
        kernels, strides = settings.embedding_kernels, settings.embedding_strides
        least, _ = receptive_field(kernels, strides)
        if min(image_shape[:2]) < least:
            raise ValueError(
                f"Expected images of at least {least} x {least} for these convolutions. "
                f"Received: image_shape={image_shape}, embedding_kernels={kernels}."
            )
        self.embedding = ImageEmbedding(
            settings.embedding_units, settings.embedding_filters, kernels, strides
        )
        self.lstm = keras.layers.LSTMCell(settings.lstm_units, recurrent_initializer="glorot_uniform")
        self.attention = None
        if settings.attention_units:
            self.attention = PlaceAttention(
                settings.attention_units, settings.mean_shifts, image_shape, kernels, strides,
                settings.attention_gain,
            )  # fmt: skip
        self.pres_head = networks.head(1)

    def build(self, *_):
        """The layers are built by their first call: Keras cannot trace a `Step`."""

    def embedded(self, x: tf.Tensor, canvas: Layer) -> Embedded:
        """What is left of the images to explain; no gradient flows through the canvas."""
        left = x - tf.stop_gradient(canvas.colour)
        convolutions = self.settings.embedding_kernels, self.settings.embedding_strides
        return Embedded(*self.embedding(left), mean_squares(left, *convolutions))

    def initial_state(self, embedded: Embedded, canvas: Layer, objects: Objects) -> State:
        """The state before the first object: zeros, as in [1].

        Args:
            embedded: what `embedded` returns, of the background.
            canvas: the background.
            objects: what is inferred.
        """
        zeros = lambda units: tf.zeros((tf.shape(embedded.embedding)[0], units))  # noqa: E731
        lstm = [zeros(self.settings.lstm_units), zeros(self.settings.lstm_units)]
        return State(embedded, canvas, lstm, [zeros(size) for size in objects.sizes.values()])

    def call(self, x, noise, prev: State, objects: Objects, composition: Composition):
        inputs = tf.concat([prev.embedded.embedding, *prev.samples], axis=-1)
        hidden, lstm = self.lstm(inputs, prev.lstm)

        place, seen, judged = None, hidden, hidden
        if self.attention is not None:
            place, seen = self.attention(prev.embedded.features, hidden, prev.embedded.left)
            judged = tf.concat([hidden, seen], axis=-1)
        pres_logit = tf.squeeze(self.pres_head(judged), axis=-1)
        latents = objects.infer(x, seen, place, noise)
        samples = {name: latent.sample for name, latent in latents.items()}

        step = Step(pres_logit, latents, *objects.draw_looks(samples))
        canvas = composition.add(prev.canvas, step.layer)
        embedded = self.embedded(x, canvas) if self.settings.difference else prev.embedded
        return step, State(embedded, canvas, lstm, [*samples.values()])
