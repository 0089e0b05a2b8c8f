import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import xlog1py, xlogy
from scipy.stats import norm

import air_tf
from air_tf import cli, replaced
from air_tf.model.likelihood import LEAST_SCALE, MARGIN, BernoulliSettings, NormalSettings
from air_tf.training.loop import train

random = np.random.default_rng(0)


def test_normal_equals_scipy_for_one_and_for_many_canvases():
    x, canvas = random.random((2, 5, 4, 3, 1)).astype(np.float32)
    likelihood = NormalSettings(pixel_scale=0.7).make(1)
    expected = norm(canvas, 0.7).logpdf(x).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(likelihood.log_prob(x, canvas), expected, rtol=1e-5)
    both = likelihood.log_prob(x, np.stack([canvas, x]))
    np.testing.assert_allclose(both[0], expected, rtol=1e-5)
    assert (both[1] > both[0]).numpy().all()


def test_a_learned_scale_begins_at_the_first_one_and_grows_towards_the_error():
    """The best standard deviation of pixels that are 0.3 off is 0.3, so the gradient leads there."""
    x, canvas = np.full((1, 4, 4, 3), 0.5, np.float32), np.full((1, 4, 4, 3), 0.8, np.float32)
    for scales, shape in ("learned", ()), ("per_channel", (3,)):
        for first, sign in (0.1, 1), (0.6, -1), (0.3, 0):
            likelihood = NormalSettings(pixel_scale=first, pixel_scales=scales).make(3)
            expected = norm(canvas, first).logpdf(x).sum(axis=(1, 2, 3))
            np.testing.assert_allclose(likelihood.log_prob(x, canvas), expected, rtol=1e-5)
            with tf.GradientTape() as tape:
                log_px = likelihood.log_prob(x, canvas)
            (gradient,) = tape.gradient(log_px, likelihood.trainable_variables)
            assert gradient.shape == shape
            np.testing.assert_array_equal(np.sign(np.round(gradient, 3)), np.full(shape, sign))
    likelihood.log_ratio.assign([-100.0, 0.0, 1.0])
    optimizer = keras.optimizers.SGD(0.0)
    optimizer.apply([tf.ones(3)], likelihood.trainable_variables)
    expected = [0.3 * LEAST_SCALE, 0.3, 0.3 * np.e]
    np.testing.assert_allclose(likelihood.pixel_scale, expected, rtol=1e-6)
    with tf.GradientTape() as tape:
        scale = likelihood.pixel_scale
    (gradient,) = tape.gradient(scale, likelihood.trainable_variables)
    assert (gradient.numpy() > 0).all()  # it can grow again


def test_bernoulli_equals_numpy_and_is_finite_on_any_canvas():
    x = random.integers(0, 2, (5, 4, 3, 1)).astype(np.float32)
    canvas = random.random((5, 4, 3, 1)).astype(np.float32) * 1.5
    canvas[0] = 0.0
    p = np.minimum(MARGIN + (1 - 2 * MARGIN) * canvas.astype(np.float64), 1 - MARGIN)
    expected = (xlogy(x, p) + xlog1py(1 - x, -p)).sum(axis=(1, 2, 3))
    with tf.GradientTape() as tape:
        black = tf.zeros_like(canvas)
        tape.watch(black)
        of_white = BernoulliSettings().make(1).log_prob(tf.ones_like(x), black)
    assert (tape.gradient(of_white, black).numpy() > 0).all()  # white that is missed can be found
    np.testing.assert_allclose(BernoulliSettings().make(1).log_prob(x, canvas), expected, rtol=1e-4)


def test_only_images_in_black_and_white_are_bernoullis():
    likelihood, images = BernoulliSettings().make(1), np.zeros((4, 10, 10, 1), np.uint8)
    pixels = images.reshape(-1)
    likelihood.check(images)
    pixels[:90], pixels[90:100] = 255, 128  # a tenth of what is not black
    for ground in images, 255 - images, images.clip(20, 240):  # white and black, if not fully so
        likelihood.check(ground)
    pixels[100] = 128
    for ground in images, 255 - images:
        with pytest.raises(ValueError, match=r"black and white .* Received: 2\.8% grey pixels"):
            likelihood.check(ground)
    NormalSettings().make(1).check(images)


def test_a_bernoulli_run_on_grey_digits_is_refused_before_anything_is_written(tmp_path, cache_dir):
    flags = ["--digits", "embedded", "--train-images", "40", "--test-images", "40"]
    flags += ["--likelihood", "bernoulli", "--cache-dir", str(cache_dir), "--runs-dir", str(tmp_path)]
    with pytest.raises(ValueError, match="Expected images in black and white"):
        train(cli.parse_run(flags))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("presence", ["enumerate", "nvil", "concrete"])
def test_every_estimator_takes_a_bernoulli_likelihood(small_config, small_images, presence):
    """Its bound is the Bernoulli's where all objects are certain to be there, or not to be."""
    model = air_tf.AIR(replaced(small_config, likelihood="bernoulli", presence=presence))
    x = tf.constant(np.round(small_images))
    gradients, estimate = model.gradients(x, 10**6)
    assert all(np.isfinite(gradient).all() for gradient in gradients[0])
    unrolled = model.unroll(x, model.sample_noise(5, 10**6))
    probs = unrolled.q_count.probs_parameter().numpy()
    if presence == "enumerate":
        expected = np.sum(probs * unrolled.log_px().numpy(), axis=-1)
        np.testing.assert_allclose(estimate.terms["log_px"], expected, rtol=1e-4)
    empty = np.sum(np.where(x.numpy() > 0.5, np.log(MARGIN), np.log1p(-MARGIN)), axis=(1, 2, 3))
    np.testing.assert_allclose(unrolled.log_px()[:, 0], empty, rtol=1e-4)
