import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit
from scipy.stats import norm

import air_tf
from air_tf import replaced
from air_tf.estimators.enumerate import Enumerate, EnumerateSettings
from air_tf.model.inference import Step
from tests.conftest import named

random = np.random.default_rng(0)


def unrolled(model, images, train_step=10):
    noise = model.sample_noise(len(images), train_step)
    return noise, model.unroll(tf.constant(images), noise).steps


def kl_to_normal(q, prior_loc, prior_scale):
    """KL of diagonal normals, closed form."""
    loc, scale = q.mean().numpy(), q.stddev().numpy()
    ratio, distance = scale / prior_scale, (loc - prior_loc) / prior_scale
    return np.sum(0.5 * (ratio**2 + distance**2 - 1) - np.log(ratio), axis=-1)


def brute_force_elbo(config, images, steps: list[Step]):
    """The ELBO by summing over every presence string, object by object, in float64."""
    config = named(config)
    where = zip(config.scale_prior, config.shift_prior, config.shift_prior)
    where_loc, where_scale = map(np.array, where)
    elbo = np.zeros(len(images))
    for b in range(len(images)):
        for string in itertools.product([0, 1], repeat=len(steps)):
            n = sum(string)
            if list(string) != sorted(string, reverse=True):
                continue  # an object after an absence: probability 0
            q = p = 1.0
            for i, z_pres in enumerate(string[: n + 1]):
                pi = expit(float(steps[i].pres_logit[b]))
                q *= pi if z_pres else 1 - pi
                p *= config.rho if z_pres else 1 - config.rho
            canvas = sum((step.layer.colour[b].numpy() for step in steps[:n]), np.zeros(images[b].shape))
            value = norm(canvas, config.pixel_scale).logpdf(images[b]).sum() + np.log(p) - np.log(q)
            for step in steps[:n]:
                value -= kl_to_normal(step.latents["where"].q, where_loc, where_scale)[b]
                value -= kl_to_normal(step.latents["what"].q, 0.0, 1.0)[b]
            elbo[b] += q * value
    return elbo


@pytest.mark.parametrize("max_objects, rho", [(1, 0.5), (3, 0.1)])
def test_enumerated_elbo_equals_brute_force(small_config, small_images, max_objects, rho):
    config = replaced(small_config, max_objects=max_objects, rho=rho)
    model = air_tf.AIR(config)
    noise, steps = unrolled(model, small_images)
    terms = model.bound(tf.constant(small_images), noise, 10).terms
    np.testing.assert_allclose(terms["elbo"], brute_force_elbo(config, small_images, steps), rtol=1e-4)
    parts = terms["log_px"] - terms["kl_count"] - terms["kl_where"] - terms["kl_what"]
    np.testing.assert_allclose(terms["elbo"], parts, rtol=1e-5)


def test_warm_start_begins_with_the_mean_over_prefixes(small_model, small_images):
    config = named(small_model.config)
    noise, steps = unrolled(small_model, small_images)
    objective = small_model.bound(tf.constant(small_images), noise, 0).objective
    where = zip(config.scale_prior, config.shift_prior, config.shift_prior)
    where_loc, where_scale = map(np.array, where)
    bounds = []
    for n in range(config.max_objects + 1):
        canvas = sum((step.layer.colour.numpy() for step in steps[:n]), np.zeros(small_images.shape))
        bound = norm(canvas, config.pixel_scale).logpdf(small_images).sum(axis=(1, 2, 3))
        bound += n * np.log(config.rho) + (np.log(1 - config.rho) if n < config.max_objects else 0)
        for step in steps[:n]:
            bound -= kl_to_normal(step.latents["where"].q, where_loc, where_scale)
            bound -= kl_to_normal(step.latents["what"].q, 0.0, 1.0)
        bounds.append(bound)
    np.testing.assert_allclose(objective, np.mean(bounds, axis=0), rtol=1e-4)


@pytest.mark.parametrize("train_step, weight", [(0, 1.0), (375, 0.75), (1500, 0.0), (9000, 0.0)])
def test_warm_start_weight_falls_linearly(train_step, weight):
    estimator = Enumerate(EnumerateSettings())
    assert float(estimator.warm_start_weight(train_step)) == pytest.approx(weight)


def test_without_warm_start_the_objective_is_the_elbo(small_config, small_images):
    model = air_tf.AIR(replaced(small_config, warm_start_steps=0))
    noise, _ = unrolled(model, small_images)
    estimate = model.bound(tf.constant(small_images), noise, 0)
    np.testing.assert_allclose(estimate.objective, estimate.terms["elbo"], rtol=1e-6)


def test_every_weight_has_a_gradient_and_it_equals_finite_differences(small_model, small_images):
    """Along a random direction in the space of all weights, from which the slope is not small."""
    x = tf.constant(small_images)
    [gradients, _], _ = small_model.gradients(x, 700)
    assert all(gradient is not None for gradient in gradients)
    variables = small_model.trainable_variables
    direction = [random.normal(size=v.shape).astype(np.float32) for v in variables]
    lengths = [np.sqrt(sum(np.sum(np.square(v)) for v in each)) for each in (direction, gradients)]
    direction = [d / lengths[0] + g / lengths[1] for d, g in zip(direction, gradients)]
    noise = small_model.sample_noise(len(small_images), 700)

    def loss(distance):
        start = [v.numpy() for v in variables]
        for v, d in zip(variables, direction):
            v.assign_add(distance * d)
        value = -np.mean(small_model.bound(x, noise, 700).objective, dtype=np.float64)
        for v, value_before in zip(variables, start):
            v.assign(value_before)
        return value

    slope = sum(np.sum(g.numpy() * d) for g, d in zip(gradients, direction))
    assert (loss(2e-3) - loss(-2e-3)) / 4e-3 == pytest.approx(slope, rel=0.02)


@pytest.mark.parametrize("logit", [-30.0, 30.0])
def test_extreme_presence_keeps_loss_and_gradient_finite(small_model, small_images, logit):
    small_model.inference.pres_head.outputs.bias.assign([logit])
    [gradients, _], estimate = small_model.gradients(tf.constant(small_images), 5000)
    assert np.isfinite(estimate.objective).all() and np.isfinite(estimate.terms["elbo"]).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_learned_prior_of_z_what_is_a_mixture(small_config, small_images):
    """Its part of the bound, by the sample, against NumPy; it learns; it is sampled from."""
    model = air_tf.AIR(replaced(small_config, what_components=3, warm_start_steps=0))
    noise, steps = unrolled(model, small_images)
    logits, loc, scale = (v.numpy() for v in model.objects.what_prior.parameters())
    weights, present = np.exp(logits) / np.exp(logits).sum(), 1.0
    expected = np.zeros(5)
    for step in steps:
        density = norm(loc, scale).pdf(step.latents["what"].sample.numpy()[:, None]).prod(-1) @ weights
        q = step.latents["what"].q
        log_q = norm(q.mean(), q.stddev()).logpdf(step.latents["what"].sample).sum(-1)
        present = present * expit(step.pres_logit.numpy())
        expected += present * (log_q - np.log(density))
    estimate = model.bound(tf.constant(small_images), noise, 10)
    np.testing.assert_allclose(estimate.terms["kl_what"], expected, rtol=1e-4)

    [gradients, _], _ = model.gradients(tf.constant(small_images), 10)
    of = dict(zip((v.path for v in model.trainable_variables), gradients))
    learned = [v.path for v in model.objects.what_prior.trainable_variables]
    assert len(learned) == 3 and all(np.abs(of[path]).max() > 0 for path in learned)
    assert model.generate(4).shape == (4, *small_config.image_shape)
