import keras
import numpy as np
import pytest
import tensorflow as tf

from air_tf import AIR, load, replaced
from air_tf.estimators.bounds import log_prefix_weights
from air_tf.model.background import LOGITS, MeanBackgroundSettings, VAEBackgroundSettings
from air_tf.serving.export import SERVED_BATCHES, export
from tests.prediction_server import Version

random = np.random.default_rng(0)


def test_a_mean_background_is_the_same_for_all_and_learns_the_mean_image():
    """Its gradient leads from grey towards each pixel's mean."""
    mean = MeanBackgroundSettings().make((4, 3, 2))
    x = random.random((5, 4, 3, 2)).astype(np.float32)
    with tf.GradientTape() as tape:
        behind = mean.infer(x, {})
        loss = tf.reduce_sum((behind.layer.colour - x) ** 2)
    assert behind.latents == {} and mean.sizes == {}
    np.testing.assert_allclose(behind.layer.colour, 0.5)
    (gradient,) = tape.gradient(loss, mean.trainable_variables)
    np.testing.assert_array_equal(np.sign(-gradient), np.sign(x.mean(axis=0) - 0.5))
    mean.logits.assign(random.normal(size=(4, 3, 2)))
    expected = 1 / (1 + np.exp(-LOGITS * mean.logits.numpy()))
    np.testing.assert_allclose(mean.draw({}, 2).colour, [expected, expected], rtol=1e-5)


def test_backgrounds_begin_with_the_median_of_what_they_are_adapted_to():
    """Whatever single images show: here, one pixel of each is white."""
    ground = random.uniform(0.1, 0.9, (1, 6, 6, 3)).astype(np.float32)
    images = np.repeat(ground, 36, axis=0)
    images.reshape(36, 36, 3)[np.arange(36), np.arange(36)] = 1.0
    mean = MeanBackgroundSettings().make((6, 6, 3))
    mean.adapt(images)
    np.testing.assert_allclose(mean.draw({}, 1).colour, ground, rtol=1e-4)
    vae = VAEBackgroundSettings(background_resolution=2).make((6, 6, 3))
    vae.adapt(np.repeat(ground, 3, axis=0))
    blocks = ground.reshape(2, 3, 2, 3, 3).mean(axis=(1, 3))
    drawn = 1 / (1 + np.exp(-LOGITS * vae.logits.numpy()))
    np.testing.assert_allclose(drawn, blocks, rtol=1e-4)
    for part in mean, vae:
        part.adapt(np.zeros((2, 6, 6, 3), np.float32))
        assert np.isfinite(part.logits.numpy()).all()


def test_a_checkpoint_restores_how_a_background_was_adapted(tmp_path):
    """Training goes on, and `load_model` predicts, with the pixels normalised as before."""
    x = random.uniform(0.4, 0.6, (5, 6, 6, 3)).astype(np.float32)
    noise = {"background": tf.zeros((5, 8))}
    vae, restored = (VAEBackgroundSettings().make((6, 6, 3)) for _ in range(2))
    vae.adapt(x)
    expected = vae.infer(x, noise)
    path = tf.train.Checkpoint(model=vae).save(tmp_path / "checkpoint")
    restored.infer(x, noise)  # builds it, as a new model is built before its checkpoint is read
    tf.train.Checkpoint(model=restored).restore(path).assert_consumed()
    latent = restored.infer(x, noise).latents["background"]
    np.testing.assert_allclose(latent.sample, expected.latents["background"].sample, rtol=1e-5)
    seen = (x - x.mean()) / x.std()
    np.testing.assert_allclose(latent.q.mean(), restored.encoder(seen)[0], rtol=1e-3, atol=1e-5)


def test_a_background_of_low_resolution_sees_and_draws_no_detail():
    """Two images with the same means over its pixels have the same background, which is bilinear."""
    vae = VAEBackgroundSettings(background_size=3, background_resolution=2).make((9, 9, 1))
    smooth = np.full((1, 9, 9, 1), 0.5, np.float32)
    detailed = smooth.copy()
    detailed[0, 0:2, 0:2, 0] += [[0.3, -0.3], [-0.3, 0.3]]
    noise = {"background": random.normal(size=(1, 3)).astype(np.float32)}
    drawn = [vae.infer(x, noise).layer.colour.numpy() for x in (smooth, detailed)]
    np.testing.assert_allclose(*drawn, atol=1e-6)
    image = drawn[0][0, ..., 0]
    for axis in 0, 1:
        np.testing.assert_allclose(np.diff(image, n=2, axis=axis), 0, atol=1e-6)


@pytest.fixture
def model(small_config):
    keras.utils.set_random_seed(0)
    changes = {"background": "vae", "background_size": 3, "background_units": 8}
    return AIR(replaced(small_config, composition="over", **changes))


def test_the_kl_of_a_background_is_paid_once_per_image(model, small_images):
    x, steps = tf.constant(small_images), model.config.max_objects
    noise = model.sample_noise(len(x), 0)
    terms, unrolled = model.terms(x, noise), model.unroll(x, noise)
    latent = unrolled.behind.latents["background"]
    loc, scale = latent.q.mean().numpy(), latent.q.stddev().numpy()
    kl = np.sum((loc**2 + scale**2 - 1) / 2 - np.log(scale), axis=-1)
    np.testing.assert_allclose(terms["kl_background"], kl, rtol=1e-4)
    parts = sum(values for name, values in terms.items() if name.startswith("kl"))
    np.testing.assert_allclose(terms["elbo"], terms["log_px"] - parts, rtol=1e-5)
    ratio = latent.log_ratio().numpy()
    without = unrolled._replace(behind=unrolled.behind._replace(latents={}))
    log_px = unrolled.log_px()
    difference = log_prefix_weights(unrolled, log_px) - log_prefix_weights(without, log_px)
    np.testing.assert_allclose(difference, np.repeat(ratio[:, None], steps + 1, 1), atol=2e-3)


@pytest.mark.parametrize("presence", ["enumerate", "nvil", "concrete"])
@pytest.mark.parametrize("background", ["mean", "vae"])
def test_every_estimator_trains_a_background(small_config, small_images, presence, background):
    config = replaced(small_config, background=background, composition="over", presence=presence)
    model = AIR(config)
    gradients, estimate = model.gradients(tf.constant(small_images), 0)
    assert len(model.background.trainable_variables) > 0
    for variable, gradient in zip(model.variable_groups[0], gradients[0]):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
    assert np.isfinite(estimate.objective).all()


def test_a_background_is_served_drawn_and_saved(model, small_images, tmp_path):
    scene = model.infer(small_images).numpy()
    assert scene.backgrounds.shape == small_images.shape
    assert scene.latents["background"].shape == (len(small_images), 3)
    latents = {f"z_{name}": values for name, values in scene.latents.items()}
    drawn = model.decode(counts=scene.counts, **latents)
    np.testing.assert_allclose(drawn, scene.reconstructions, atol=1e-6)
    empty = model.decode(counts=np.zeros_like(scene.counts), **latents)
    np.testing.assert_allclose(empty, scene.backgrounds, atol=1e-6)
    version = export(model, tmp_path / "exports")
    assert Version(version).warmed_up == 5 * len(SERVED_BATCHES)
    served = load(version)
    again = served.infer(small_images).numpy()
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), scene, again)
    np.testing.assert_allclose(served.decode(counts=scene.counts, **latents), drawn, atol=1e-5)
    assert served.layers_of(again).masks.shape == (len(small_images), 2, *small_images.shape[1:3])
    with pytest.raises(ValueError, match="latents from -1e"):
        model.decode(counts=scene.counts, **latents | {"z_background": latents["z_background"] * np.nan})


def test_images_from_the_prior_have_backgrounds_of_their_own(model):
    nothing = model.generate(3, seed=0, counts=np.zeros(3, np.int32)).numpy()
    assert len({image.tobytes() for image in nothing}) == 3
    np.testing.assert_array_equal(nothing, model.generate(3, seed=0, counts=np.zeros(3, np.int32)))
