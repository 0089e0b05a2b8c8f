import numpy as np
import pytest
import tensorflow as tf

from air_tf.model.composition import Add, Layer, Nearest, Over
from air_tf.model.networks import MLPSettings
from air_tf.model.objects import GlimpseSettings

random = np.random.default_rng(0)


def drawn(*shape):
    return tf.constant(random.random(shape), tf.float32)


@pytest.fixture
def layers():
    return [Layer(drawn(2, 4, 3, 1), drawn(2, 4, 3, 1)) for _ in range(3)]


def test_objects_add_up(layers):
    background, add = Layer(drawn(2, 4, 3, 1)), Add()
    expected = np.cumsum([background.colour, *(layer.colour for layer in layers)], axis=0)
    np.testing.assert_allclose(add.canvases(background, layers), expected, rtol=1e-6)
    presence = np.float32([[1, 0, 0.25], [0, 1, 1]])
    by_object = presence.T[..., None, None, None] * np.stack([layer.colour for layer in layers])
    composed = add.compose(background, layers, tf.constant(presence))
    np.testing.assert_allclose(composed, background.colour + by_object.sum(axis=0), rtol=1e-6)
    masks = add.masks(layers, tf.constant(presence))
    np.testing.assert_allclose(masks, np.moveaxis(by_object[..., 0], 0, 1), rtol=1e-6)


def test_objects_hide_what_is_behind_them(layers):
    background, over = Layer(drawn(2, 4, 3, 1)), Over()
    canvases = over.canvases(background, layers).numpy()
    for before, after, layer in zip(canvases, canvases[1:], layers):
        np.testing.assert_allclose(after, layer.colour + (1 - layer.alpha) * before, rtol=1e-5)
    none, everything = (tf.fill((2, 3), value) for value in (0.0, 1.0))
    np.testing.assert_allclose(over.compose(background, layers, none), background.colour, rtol=1e-6)
    np.testing.assert_allclose(over.compose(background, layers, everything), canvases[-1], rtol=1e-5)


def test_what_is_seen_of_objects_and_background_fills_each_pixel(layers):
    """The masks, and what no object covers, sum to 1; and they weigh the colours in the image."""
    background, over = Layer(drawn(2, 4, 3, 1)), Over()
    presence = np.float32([[1, 0, 0.25], [0, 1, 1]])
    masks = over.masks(layers, tf.constant(presence)).numpy()
    alphas = presence[..., None, None] * np.stack([layer.alpha[..., 0] for layer in layers], axis=1)
    uncovered = np.prod(1 - alphas, axis=1)
    np.testing.assert_allclose(masks.sum(axis=1) + uncovered, 1.0, rtol=1e-5)
    np.testing.assert_allclose(masks[:, 2], alphas[:, 2], rtol=1e-6)  # nothing is before the last
    straight = [layer.colour[..., 0] / layer.alpha[..., 0] for layer in layers]
    weighed = uncovered * background.colour[..., 0] + sum(
        masks[:, i] * colour for i, colour in enumerate(straight)
    )
    composed = over.compose(background, layers, tf.constant(presence))[..., 0]
    np.testing.assert_allclose(composed, weighed, rtol=1e-4)


def test_nearer_objects_hide_farther_ones():
    """As painting the objects of each pixel one over the other, from the farthest to the nearest."""
    layers = [Layer(drawn(2, 4, 3, 1), drawn(2, 4, 3, 1), drawn(2, 4, 3, 1)) for _ in range(3)]
    background, nearest = Layer(drawn(2, 4, 3, 1)), Nearest()
    presence = np.float32([[1, 0, 0.25], [0, 1, 1]])
    there = presence.T[..., None, None, None]
    colour, alpha, depth = (
        np.stack([getattr(layer, name) for layer in layers]) for name in Layer._fields
    )

    def painted(colour, alpha):
        order = np.argsort(-depth[: len(alpha)], axis=0)
        canvas = background.colour.numpy()
        for i in range(len(alpha)):
            at = order[i : i + 1]
            over = np.take_along_axis(alpha, at, axis=0)[0]
            canvas = np.take_along_axis(colour, at, axis=0)[0] + (1 - over) * canvas
        return canvas

    composed = nearest.compose(background, layers, tf.constant(presence))
    np.testing.assert_allclose(composed, painted(there * colour, there * alpha), rtol=1e-5)
    canvases = nearest.canvases(background, layers)
    for n, canvas in enumerate(canvases):
        np.testing.assert_allclose(canvas, painted(colour[:n], alpha[:n]), rtol=1e-5)
    turned = nearest.canvases(background, layers[::-1])
    np.testing.assert_allclose(turned[-1], canvases[-1], rtol=1e-5)
    masks = nearest.masks(layers, tf.constant(presence)).numpy()
    uncovered = np.prod(1 - there * alpha, axis=0)[..., 0]
    np.testing.assert_allclose(masks.sum(axis=1) + uncovered, 1.0, rtol=1e-5)


def test_of_equally_near_objects_the_first_hides_the_others():
    depth, background = tf.ones((1, 2, 2, 1)), Layer(drawn(1, 2, 2, 1))
    layers = [Layer(drawn(1, 2, 2, 1), tf.ones((1, 2, 2, 1)), depth) for _ in range(3)]
    nearest, presence = Nearest(), tf.constant([[1.0, 1.0, 1.0]])
    np.testing.assert_allclose(nearest.compose(background, layers, presence), layers[0].colour)
    np.testing.assert_array_equal(nearest.masks(layers, presence)[0, :, 0, 0], [1, 0, 0])
    canvas = Layer(background.colour)
    for layer in layers:
        canvas = nearest.add(canvas, layer)
    np.testing.assert_allclose(canvas.colour, layers[0].colour)


def test_glimpses_say_how_opaque_they_are_where_a_composition_asks():
    """Colour is what an object looks like on black, so it is nowhere brighter than it is opaque."""
    settings = GlimpseSettings(glimpse_size=6, z_what_size=4)
    objects = settings.make(MLPSettings(hidden_units=8), (12, 10, 3), Over.uses_alpha)
    where = tf.constant([[3.0, 0.0, 0.0]] * 2)
    layer = objects.draw({"where": where, "what": drawn(2, 4)})
    assert layer.colour.shape == (2, 12, 10, 3) and layer.alpha.shape == (2, 12, 10, 1)
    assert (layer.colour <= layer.alpha + 1e-6).numpy().all()
    np.testing.assert_array_equal(layer.ink, layer.alpha[..., 0])
    assert float(tf.reduce_max(layer.alpha)) > 0 and float(layer.alpha[0, 0, 0, 0]) == 0
