import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import chi2

import air_tf
from air_tf import replaced
from air_tf.estimators.base import Estimate

GROUPS, GROUP_SIZE = 400, 50


@pytest.fixture
def twins(small_config):
    """The same weights under nvil, whose baseline and running mean do something, and enumerate."""
    config = replaced(small_config, rho=0.2, warm_start_steps=0)
    nvil = air_tf.AIR(replaced(config, presence="nvil", signal_normalisation=False))
    exact = air_tf.AIR(config)
    for ours, theirs in zip(nvil.variable_groups[0], exact.trainable_variables):
        theirs.assign(ours)
    nvil.estimator.signal_mean.assign(-3.0)
    nvil.estimator.baseline.mlp.outputs.bias.assign([20.0])
    return nvil, exact


def gradient_of(model, variables):
    def gradient(x, noise):
        with tf.GradientTape() as tape:
            objective = tf.reduce_mean(model.bound(x, noise, 0).objective)
        gradients = tape.gradient(objective, variables, unconnected_gradients="zero")
        return tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)

    return gradient


def test_mean_gradient_over_many_samples_is_the_exact_one(twins, small_images):
    """With z_where and z_what held, and the presences sampled."""
    nvil, exact = twins
    x, fixed = tf.constant(small_images[:2]), exact.sample_noise(2, 0)
    expected = gradient_of(exact, exact.trainable_variables)(x, fixed).numpy()

    repeat = lambda values: tf.tile(values, [GROUP_SIZE] + [1] * (values.shape.rank - 1))  # noqa: E731
    many, gradient = repeat(x), tf.function(gradient_of(nvil, nvil.variable_groups[0]))
    gradients = []
    for group in range(GROUPS):
        sampled = nvil.sample_noise(2 * GROUP_SIZE, group)
        noise = sampled._replace(objects=tf.nest.map_structure(repeat, fixed.objects))
        gradients.append(gradient(many, noise).numpy())
    gradients = np.array(gradients, np.float64)  # (GROUPS, weights)

    error = gradients.mean(axis=0) - expected
    standard_error = gradients.std(axis=0, ddof=1) / np.sqrt(GROUPS)
    floor = 1e-4 * np.abs(expected).max()  # what float32 may be off, where nothing is random
    assert (np.abs(error) < 5 * standard_error + floor).all()
    assert (standard_error > 10 * floor).sum() > 100

    # The noise has two degrees of freedom an image. Along each the errors are independent: chi-square.
    directions, scale, _ = np.linalg.svd((gradients - gradients.mean(axis=0)).T, full_matrices=False)
    rank = int((scale > 1e-3 * scale[0]).sum())
    assert rank == 4
    z = directions[:, :rank].T @ error / (scale[:rank] / GROUPS)
    assert 1e-5 < chi2(rank).cdf(np.sum(z**2)) < 1 - 1e-5
    rest = error - directions[:, :rank] @ (directions[:, :rank].T @ error)
    assert np.abs(rest).max() < floor


def test_expected_gradient_over_all_counts_is_the_exact_one(twins, small_images):
    """Each count forced in turn and weighted with q(n): no sampling, so the two are equal."""
    nvil, exact = twins
    gradient = gradient_of(nvil, nvil.variable_groups[0])
    exact_gradient = gradient_of(exact, exact.trainable_variables)
    for image in small_images[:2, None]:
        x, noise = tf.constant(image), exact.sample_noise(1, 0)
        probabilities = nvil.unroll(x, noise).q_count.probs_parameter()[0].numpy()
        total = 0.0
        for count, probability in enumerate(probabilities):
            force = [100.0 if i < count else -100.0 for i in range(2)]
            forced = noise._replace(presence=tf.constant([force]))
            total += probability * gradient(x, forced).numpy()
        expected = exact_gradient(x, noise).numpy()
        np.testing.assert_allclose(total, expected, atol=1e-4 * np.abs(expected).max())


def test_the_baseline_learns_and_sends_no_gradient_into_the_model(twins, small_images):
    nvil, _ = twins
    x, noise = tf.constant(small_images), nvil.sample_noise(5, 0)
    model_variables, baseline_variables = nvil.variable_groups
    assert {v.path for v in baseline_variables} == {v.path for v in nvil.estimator.trainable_variables}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(nvil.estimator.baseline(x, nvil.unroll(x, noise).samples()))
    assert all(g is None for g in tape.gradient(loss, model_variables))

    (_, before), _ = nvil.gradients(x, 0)
    assert max(np.abs(gradient).max() for gradient in before) > 0

    def squared_residual():
        residual = nvil.bound(x, noise, 0).signal.numpy()  # mean, variance
        return (residual[0] + 3.0) ** 2 + residual[1]  # about the running mean, -3

    first, optimizer = squared_residual(), keras.optimizers.Adam(0.1)

    @tf.function
    def learn():
        gradients, _ = nvil.gradients(x, 0)
        optimizer.apply(gradients[1], baseline_variables)

    for _ in range(30):
        learn()
    assert squared_residual() < 0.5 * first


def test_the_baseline_of_a_step_sees_only_what_came_before(twins, small_images):
    nvil, _ = twins
    latents = np.random.default_rng(0).normal(size=(5, 2, 7)).astype(np.float32)
    other = latents.copy()
    other[:, 1] += 1.0  # the last step's: no baseline may see them
    baseline = nvil.estimator.baseline
    np.testing.assert_array_equal(baseline(small_images, latents), baseline(small_images, other))
    other[:, 0] += 1.0
    changed = baseline(small_images, latents) != baseline(small_images, other)
    np.testing.assert_array_equal(changed, np.tile([False, True], (5, 1)))


def test_steps_after_the_first_absence_are_masked(twins, small_images):
    """With the first object absent, nothing depends on the second's presence."""
    nvil, _ = twins
    x, noise = tf.constant(small_images), nvil.sample_noise(5, 0)
    force = lambda second: noise._replace(presence=tf.constant([[-50.0, second]] * 5))  # noqa: E731
    absent, present = (nvil.bound(x, force(second), 0) for second in (-50.0, 50.0))
    np.testing.assert_array_equal(absent.objective, present.objective)
    np.testing.assert_array_equal(absent.signal, present.signal)


def test_centring_and_normalisation_use_the_running_averages(small_config, small_images):
    """Learning signal of a count of 0: (residual - mean) / max(1, sd), times log q's gradient."""
    x = tf.constant(small_images)

    def score_gradient(centring, normalisation, mean, variance):
        keras.utils.set_random_seed(0)
        model = air_tf.AIR(
            replaced(
                small_config, presence="nvil", max_objects=1,
                signal_centring=centring, signal_normalisation=normalisation,
            )
        )  # fmt: skip
        model.estimator.signal_mean.assign(mean)
        model.estimator.signal_variance.assign(variance)
        noise = model.sample_noise(5, 0)._replace(presence=tf.fill([5, 1], -50.0))
        bias = model.inference.pres_head.outputs.bias
        with tf.GradientTape() as tape:
            objective = tf.reduce_sum(model.bound(x, noise, 0).objective)
        pi = tf.sigmoid(model.unroll(x, noise).pres_logits).numpy()
        return float(tape.gradient(objective, bias)[0]), -float(pi.sum())  # d log(1 - pi) = -pi

    plain, weight = score_gradient(False, False, 7.0, 16.0)
    centred, _ = score_gradient(True, False, 7.0, 16.0)
    both, _ = score_gradient(True, True, 7.0, 16.0)
    small, _ = score_gradient(True, True, 7.0, 0.25)
    assert centred == pytest.approx(plain - 7.0 * weight, rel=1e-4)
    assert both == pytest.approx(centred / 4.0, rel=1e-4)
    assert small == pytest.approx(centred, rel=1e-4)


def test_running_averages_follow_the_signal(small_config):
    model = air_tf.AIR(replaced(small_config, presence="nvil", signal_decay=0.5))
    nothing = [tf.zeros_like(v) for v in model.estimator.trainable_variables]
    for value in ([4.0, 8.0], [2.0, 2.0]):
        model.estimator.update(nothing, Estimate(None, {}, tf.constant(value)))
    assert float(model.estimator.signal_mean) == pytest.approx(0.5 * 2.0 + 0.5 * 2.0)
    assert float(model.estimator.signal_variance) == pytest.approx(0.5 * 4.0 + 0.5 * 2.0)
