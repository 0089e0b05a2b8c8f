import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit
from scipy.stats import logistic, norm

import air_tf
from air_tf import replaced
from air_tf.model.count import logit


@pytest.fixture
def make_model(small_config):
    def make(**changes):
        changes = {"presence": "concrete", "max_objects": 3, "rho": 0.1, **changes}
        return air_tf.AIR(replaced(small_config, **changes))

    return make


def test_near_temperature_0_the_reconstruction_is_the_discrete_one(make_model, small_images):
    model = make_model(temperature=1e-3)
    x, noise = tf.constant(small_images), model.sample_noise(5, 4)
    unrolled = model.unroll(x, noise)
    presence = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]])
    logits = np.float32(0.1) * np.where(presence, 1, -1).astype(np.float32)
    there, drawn, _ = model.estimator.relaxed(logits / np.float32(1e-3))
    canvas = model.composition.compose(unrolled.behind.layer, unrolled.layers, there)
    counts = np.array([3, 2, 1, 0, 0])
    np.testing.assert_array_equal(np.sum(drawn, axis=-1), counts)
    for b, count in enumerate(counts):
        expected = sum(
            (s.layer.colour[b].numpy() for s in unrolled.steps[:count]), np.zeros((12, 10, 1))
        )
        np.testing.assert_allclose(canvas[b], expected, atol=1e-5)


def test_bound_equals_numpy(make_model, small_images):
    """Straight from the definition, image by image and step by step."""
    temperature = 0.7
    model = make_model(temperature=temperature)
    x, noise = tf.constant(small_images), model.sample_noise(5, 4)
    steps, estimate = model.unroll(x, noise).steps, model.bound(x, noise, 0)
    priors = model.objects.priors()
    kl_where, kl_what = (
        [s.latents[name].q.kl_divergence(priors[name]).numpy() for s in steps]
        for name in ("where", "what")
    )
    for b in range(5):
        canvas, stopped, bound = np.zeros((12, 10, 1)), 0.0, 0.0
        for i, step in enumerate(steps):
            if stopped >= 0.99:
                break
            loc = float(step.pres_logit[b]) / temperature
            pre = loc + float(noise.presence[b, i]) / temperature
            bound -= logistic(loc, 1 / temperature).logpdf(pre)
            bound += logistic(logit(0.1) / temperature, 1 / temperature).logpdf(pre)
            stopped += 1 - expit(pre)
            if stopped < 0.99:
                canvas += expit(pre) * step.layer.colour[b].numpy()
                bound -= kl_where[i][b] + kl_what[i][b]
        bound += norm(canvas, 0.3).logpdf(small_images[b]).sum()
        assert float(estimate.terms["elbo"][b]) == pytest.approx(bound, rel=1e-4)
    np.testing.assert_array_equal(estimate.objective, estimate.terms["elbo"])


def test_the_noise_makes_a_presence_with_the_probability_of_its_logit(make_model):
    pres = np.ravel(make_model().sample_noise(20_000, 0).presence)
    for pres_logit in (-2.0, 0.0, 1.5):
        share = np.mean(pres_logit + pres > 0)
        assert share == pytest.approx(expit(pres_logit), abs=5 * 0.5 / np.sqrt(len(pres)))


def test_gradients_reach_every_weight(make_model, small_images):
    [gradients, _], _ = make_model().gradients(tf.constant(small_images), 3)
    assert all(g is not None and np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
