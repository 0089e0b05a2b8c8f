"""Importance-weighted bounds, as objective and in evaluation."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import norm

import air_tf
from air_tf import replaced
from air_tf.data.split import Split
from air_tf.evaluation import evaluate as evaluation
from air_tf.model.noise import Noise
from tests.conftest import named

SAMPLES = 3
random = np.random.default_rng(0)


def numpy_weights(config, x, unrolled):
    """log of p(n) p(x | z, n) prod p(z_i) / q(z_i) for each image and count, and log q(n)."""
    config, steps = named(config), unrolled.steps
    where_loc, where_scale = map(
        np.array, zip(config.scale_prior, config.shift_prior, config.shift_prior)
    )
    log_weights = []
    for n in range(config.max_objects + 1):
        canvas = sum((s.layer.colour.numpy() for s in steps[:n]), np.zeros(x.shape))
        value = norm(canvas, config.pixel_scale).logpdf(x).sum(axis=(1, 2, 3))
        value += n * np.log(config.rho) + (np.log(1 - config.rho) if n < config.max_objects else 0)
        for s in steps[:n]:
            for name, prior in ("where", norm(where_loc, where_scale)), ("what", norm(0, 1)):
                latent = s.latents[name]
                q, z = latent.q, latent.sample if latent.drawn is None else latent.drawn
                value += (prior.logpdf(z) - norm(q.mean(), q.stddev()).logpdf(z)).sum(-1)
        log_weights.append(value)
    log_q = np.log(unrolled.q_count.probs_parameter().numpy())
    return np.stack(log_weights, -1), log_q


@pytest.fixture
def sampled(small_config, small_images):
    """A model, its noise for SAMPLES of each image, and NumPy's weights, (B, SAMPLES, N + 1)."""

    def make(**changes):
        model = air_tf.AIR(replaced(small_config, rho=0.3, warm_start_steps=0, **changes))
        noise = model.sample_noise(5 * SAMPLES, 0)
        unrolled = model.unroll(tf.constant(small_images), noise, samples=SAMPLES)
        repeated = np.repeat(small_images, SAMPLES, axis=0)
        values = numpy_weights(model.config, repeated.astype(np.float64), unrolled)
        return model, noise, *(v.reshape(5, SAMPLES, -1) for v in values)

    return make


def test_log_weights_equal_numpy(sampled, small_images):
    model, noise, log_weights, log_q = sampled()
    summed, counted = model.log_weights(tf.constant(small_images), noise, SAMPLES)
    np.testing.assert_allclose(summed, logsumexp(log_weights, axis=-1), rtol=1e-4)
    unrolled = model.unroll(tf.constant(small_images), noise, samples=SAMPLES)
    present = (noise.presence + unrolled.pres_logits).numpy().reshape(5, SAMPLES, -1) > 0
    counts = np.cumprod(present, axis=-1).sum(-1)[..., None]
    assert len(np.unique(counts)) == 3
    expected = np.take_along_axis(log_weights - log_q, counts, axis=-1)[..., 0]
    np.testing.assert_allclose(counted, expected, rtol=1e-4)


def test_objective_of_k_samples_equals_numpy(sampled, small_images):
    x = tf.constant(small_images)
    model, noise, log_weights, log_q = sampled(importance_samples=SAMPLES)
    by_sample = np.sum(np.exp(log_q) * (log_weights - log_q), axis=-1)
    expected = logsumexp(by_sample, axis=1) - np.log(SAMPLES)
    np.testing.assert_allclose(model.bound(x, noise, 0).objective, expected, rtol=1e-4)

    model, noise, log_weights, _ = sampled(importance_samples=SAMPLES, count_bound="marginal")
    expected = logsumexp(log_weights, axis=(1, 2)) - np.log(SAMPLES)
    np.testing.assert_allclose(model.bound(x, noise, 0).objective, expected, rtol=1e-4)


def test_marginal_bound_fits_the_count_to_its_responsibilities(small_config, small_images):
    """Following the gradient of the presence's last bias alone, q(n) becomes w(n) / sum of w."""
    model = air_tf.AIR(replaced(small_config, count_bound="marginal", max_objects=1, warm_start_steps=0))
    x, noise = tf.constant(small_images[:1]), model.sample_noise(1, 0)
    log_weights, _ = numpy_weights(model.config, small_images[:1], model.unroll(x, noise))
    bias = model.inference.pres_head.outputs.bias
    # far from certain, or the fit would take for ever
    shift = float(log_weights[0, 1] - log_weights[0, 0] - 0.7)
    model.count_prior.rho_logit -= shift  # with one object, log w(1) - log w(0) moves with rho's logit

    @tf.function
    def follow():
        with tf.GradientTape() as tape:
            objective = tf.reduce_sum(model.bound(x, noise, 0).objective)
        bias.assign_add(0.5 * tape.gradient(objective, bias))

    for _ in range(400):
        follow()
    log_q = model.unroll(x, noise).q_count.logits_parameter().numpy()[0]
    assert log_q[1] - log_q[0] == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("bound", ["elbo", "marginal"])
def test_warm_start_of_k_samples_begins_with_the_mean_over_prefixes(sampled, small_images, bound):
    model, noise, log_weights, _ = sampled(importance_samples=SAMPLES, count_bound=bound)
    model.estimator.warm_start_steps = 10
    expected = np.mean(logsumexp(log_weights, axis=1) - np.log(SAMPLES), axis=-1)
    objective = model.bound(tf.constant(small_images), noise, 0).objective
    np.testing.assert_allclose(objective, expected, rtol=1e-4)


@pytest.fixture
def split(small_images):
    zeros = np.zeros((5, 2), np.int32)
    boxes, placements = np.zeros((5, 2, 4), np.float32), np.zeros((5, 2, 4), np.int32)
    return Split(np.uint8(small_images * 255), zeros[:, 0], zeros, boxes, placements)


@pytest.mark.slow
def test_chunks_do_not_change_what_is_estimated(small_model, split, monkeypatch):
    """One chunk of 4 images and 3 samples at a time, against all log weights by hand."""
    drawn = lambda *shape: random.normal(size=(6, 12, *shape)).astype(np.float32)  # noqa: E731
    table = Noise([{"where": drawn(3), "what": drawn(4)} for _ in range(2)], drawn(2), {}, drawn())

    def noise_of(size, step, replica):
        """The same whether it is compiled or not."""
        assert replica == evaluation.BOUND_REPLICA
        return tf.nest.map_structure(lambda part: tf.gather(part, step)[:size], table)

    monkeypatch.setattr(small_model, "sample_noise", noise_of)
    monkeypatch.setattr(evaluation, "CHUNK", (4, 3))
    bounds = evaluation.importance_bounds(small_model, split, 7, show_progress=False)
    rows, step = [], 0
    for images in (split[:4], split[4:]):
        x = tf.constant(images.float_images())
        weights = []
        for samples in (3, 3, 1):
            noise = noise_of(len(images) * samples, step, evaluation.BOUND_REPLICA)
            weights.append(np.stack(small_model.log_weights(x, noise, samples)))
            step += 1
        rows.append(logsumexp(np.concatenate(weights, axis=-1), axis=-1) - np.log(7))
    by_form = np.concatenate(rows, axis=-1)
    for form, values in zip(("summed", "sampled"), by_form):
        assert bounds[form]["bound"] == pytest.approx(values.mean(), rel=1e-5)
        error = values.std(ddof=1) / np.sqrt(5)
        assert bounds[form]["standard_error"] == pytest.approx(error, rel=1e-4)


def test_bounds_are_ordered(small_config, split):
    """ELBO < count summed out; more samples are tighter; both forms approach the same value.

    Each holds of expectations only, so by five standard errors of what is compared. They exist: q is
    wider than the prior, so the weights are bounded.
    """
    model, k = air_tf.AIR(replaced(small_config, pixel_scale=1.0, rho=0.2)), 2000
    encoder = model.objects.what_encoder.network.layers[-1]
    for mlp in (model.objects.where_head.network, encoder):
        bias = mlp.outputs.bias
        loc, scale = np.split(bias.numpy(), 2)
        bias.assign(np.concatenate([loc, np.full_like(scale, 0.7)]))  # softplus(0.7) = 1.1
    images = tf.constant(split.float_images())
    noise = model.sample_noise(len(images) * k, 0)
    log_weights = np.array(model.log_weights(images, noise, k), np.float64)
    log_weights = dict(zip(("summed", "sampled"), log_weights))  # (B, k) each
    elbo = np.stack([model.elbo(images, seed=seed)["elbo"] for seed in range(100)], axis=1)

    def mean_and_error(values):
        return values.mean(), np.sqrt(values.var(axis=1, ddof=1).sum() / values.shape[1]) / len(values)

    def z(first, second):
        return (first[0] - second[0]) / np.hypot(first[1], second[1])

    one = {form: mean_and_error(values) for form, values in log_weights.items()}
    assert abs(z(mean_and_error(elbo), one["sampled"])) < 5  # the same expectation
    difference, error = mean_and_error(log_weights["summed"] - log_weights["sampled"])
    assert difference > 5 * error
    bounds = evaluation.importance_bounds(model, split, k, show_progress=False)
    tight = {}
    for form, values in log_weights.items():
        weights = np.exp(values - values.max(axis=1, keepdims=True))
        relative = weights.std(axis=1, ddof=1) / weights.mean(axis=1)  # d log(w) = dw / w
        error = np.sqrt(np.sum(relative**2) / k) / len(values)
        tight[form] = bounds[form]["bound"], error
        by_hand = logsumexp(values, axis=1).mean() - np.log(k), error  # from other samples
        assert abs(z(tight[form], by_hand)) < 5
        assert z(tight[form], one[form]) > -5
    assert abs(z(*tight.values())) < 5


def test_one_image_has_no_standard_error(small_model, split):
    bounds = evaluation.importance_bounds(small_model, split[:1], 2, show_progress=False)
    assert bounds["summed"]["standard_error"] is None and np.isfinite(bounds["summed"]["bound"])


def test_no_samples_are_refused(small_model, split):
    with pytest.raises(ValueError, match="at least 1 importance sample. Received: 0"):
        evaluation.importance_bounds(small_model, split, 0)
