"""From the layers that objects draw to images of the first 0, 1, ..., N of them.

References:
    [1] Porter and Duff 1984, Compositing Digital Images. SIGGRAPH 18(3).
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from air_tf.parts import kind, one_of
from air_tf.validation import settings


class Layer(NamedTuple):
    """What one object draws, or all that has been drawn so far."""

    colour: tf.Tensor  # (..., H, W, C): what it looks like alone, on black: times alpha, if there is one
    alpha: Any = None  # (..., H, W, 1) in [0, 1]: how opaque it is; None where that does not matter
    depth: Any = None  # (..., H, W, 1): how far in front of the camera; None where that does not matter

    @property
    def ink(self) -> tf.Tensor:
        """How much there is of it in each pixel: `(..., H, W)`."""
        return tf.reduce_max(self.colour if self.alpha is None else self.alpha, axis=-1)


class Composition(keras.layers.Layer):
    """How one object after the other is drawn into an image."""

    uses_alpha = False  # whether objects have to say how opaque they are

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def add(self, canvas: Layer, layer: Layer, presence: tf.Tensor | None = None) -> Layer:
        """The canvas with one more object.

        Args:
            canvas: what has been drawn so far.
            layer: what the object draws.
            presence: `(B, 1, 1, 1)` in [0, 1], how far it is there; None: wholly.
        """
        raise NotImplementedError

    def canvases(self, background: Layer, layers: list[Layer]) -> tf.Tensor:
        """The images with the first 0, 1, ..., N objects: `(N + 1, B, H, W, C)`."""
        canvas, images = background, [background.colour]
        for layer in layers:
            canvas = self.add(canvas, layer)
            images.append(canvas.colour)
        return tf.stack(images)

    def compose(
        self, background: Layer, layers: list[Layer], presence: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The images of the objects that are there, by `presence (B, N)`, or of all: `(B, H, W, C)`."""
        canvas, there = background, [None] * len(layers)
        if presence is not None:
            there = tf.unstack(presence[..., None, None, None], axis=1)
        for layer, of_layer in zip(layers, there):
            canvas = self.add(canvas, layer, of_layer)
        return canvas.colour

    def masks(self, layers: list[Layer], presence: tf.Tensor) -> tf.Tensor:
        """How much of each pixel each object shows, by `presence (B, N)`: `(B, N, H, W)`.

        The object that owns a pixel is the one with most of it; 0 means that it shows nothing there.
        """
        raise NotImplementedError


@settings
class AddSettings:
    """Objects add up, as in Eslami et al. 2016."""

    composition: kind("add") = "add"

    def make(self) -> Composition:
        return Add()


class Add(Composition):
    """canvas_n = background + sum over i <= n of what object i draws."""

    def add(self, canvas, layer, presence=None):
        colour = layer.colour if presence is None else presence * layer.colour
        return Layer(canvas.colour + colour)

    def masks(self, layers, presence):
        shown = tf.stack([tf.reduce_sum(layer.colour, axis=-1) for layer in layers], axis=1)
        return presence[..., None, None] * shown


@settings
class OverSettings:
    """Each object hides what is behind it, as far as it is opaque."""

    composition: kind("over") = "over"

    def make(self) -> Composition:
        return Over()


class Over(Composition):
    """canvas_n = (1 - alpha_n) canvas_{n-1} + colour_n: Porter and Duff's "over" [1].

    Departure from Eslami et al. 2016, whose objects only add light: grey objects on grey grounds, and
    dark ones on light grounds, take light away.
    """

    uses_alpha = True

    def add(self, canvas, layer, presence=None):
        colour, alpha = layer.colour, layer.alpha
        if presence is not None:
            colour, alpha = presence * colour, presence * alpha
        return Layer((1.0 - alpha) * canvas.colour + colour)

    def masks(self, layers, presence):
        masks, uncovered = [], 1.0
        for layer, there in reversed([*zip(layers, tf.unstack(presence[..., None, None], axis=1))]):
            alpha = there * layer.alpha[..., 0]
            masks.append(uncovered * alpha)
            uncovered *= 1.0 - alpha
        return tf.stack(masks[::-1], axis=1)


@settings
class NearestSettings:
    """Nearer objects hide farther ones, whichever is found first. Rendered objects need this."""

    composition: kind("nearest") = "nearest"

    def make(self) -> Composition:
        return Nearest()


class Nearest(Composition):
    """A depth buffer, but with edges that stay antialiased; the background lies behind all objects.

        canvas_n = sum over i <= n of u_i colour_i + product over i <= n of (1 - alpha_i) background
        u_i = product over j <= n of (1 - alpha_j [j is nearer than i])

    The order of the objects does not matter, except that the first of equally near ones is in front.
    """

    uses_alpha = True

    def add(self, canvas, layer, presence=None):
        """With a depth buffer alone, so that here the order matters in pixels that an edge crosses: what
        is farther and comes later is not drawn there."""
        colour, alpha, depth = layer
        if presence is not None:
            colour, alpha = presence * colour, presence * alpha
        farther = np.inf if canvas.depth is None else canvas.depth
        nearer = depth < farther
        shown = tf.cast(nearer, alpha.dtype)
        colour = shown * colour + (1.0 - shown * alpha) * canvas.colour
        return Layer(colour, None, tf.where(nearer & (alpha > 0.5), depth, farther))

    def canvases(self, background, layers):
        return tf.stack([self.compose(background, layers[:n]) for n in range(len(layers) + 1)])

    def compose(self, background, layers, presence=None):
        layers = layers if presence is None else present(layers, presence)
        colour, behind = 0.0, 1.0
        for i, layer in enumerate(layers):
            colour += layer.colour * uncovered(i, layers)
            behind *= 1.0 - layer.alpha
        return colour + behind * background.colour

    def masks(self, layers, presence):
        there = present(layers, presence)
        shares = [layer.alpha * uncovered(i, there) for i, layer in enumerate(there)]
        return tf.stack(shares, axis=1)[..., 0]


def present(layers: list[Layer], presence: tf.Tensor) -> list[Layer]:
    """The layers as far as they are there, by `presence (B, N)`."""
    there = tf.unstack(presence[..., None, None, None], axis=1)
    return [Layer(p * colour, p * alpha, depth) for p, (colour, alpha, depth) in zip(there, layers)]


def uncovered(i: int, layers: list[Layer]) -> tf.Tensor:
    """How much of each pixel those in front of layer i leave of it, `(..., H, W, 1)`.

    Of layers that are equally far away, the first is in front.
    """
    left, depth = tf.ones_like(layers[i].alpha), layers[i].depth
    for j, other in enumerate(layers):
        if j != i:
            in_front = other.depth <= depth if j < i else other.depth < depth
            left *= 1.0 - other.alpha * tf.cast(in_front, left.dtype)
    return left


CompositionSettings = one_of("composition", AddSettings, OverSettings, NearestSettings)
