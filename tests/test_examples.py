"""The worked examples of docs/extending.md: each part does what its seam promises."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import laplace

import air_tf
from air_tf import replaced
from air_tf.data.split import Split
from air_tf.evaluation import report
from air_tf.evaluation.evaluate import evaluate_fully
from air_tf.serving.export import export
from air_tf.training.loop import train
from examples.bars import BarConfig
from examples.fixed_scale import FixedScaleConfig, FixedScaleSettings
from examples.laplace import LaplaceConfig, LaplaceSettings
from examples.leave_one_out import LeaveOneOutConfig
from examples.squares import SquaresConfig, SquaresSettings

SMALL = {
    "image_shape": (12, 10, 1), "max_objects": 2, "embedding_units": 32, "lstm_units": 16,
    "hidden_units": 16,
}  # fmt: skip
GLIMPSES = {"glimpse_size": 6, "z_what_size": 4}


def bars(**changes):
    return replaced(BarConfig(), warm_start_steps=0, **SMALL | changes)


def images_of(rows, model):
    """One bar in each image, `(n, 12, 10, 1)`."""
    return model.objects.draw({"row": np.float32(rows)[:, None]}).colour.numpy()


def test_bars_are_found_by_training_alone():
    """The inferred middle follows the true one, in a model that knows no glimpse and no z_where."""
    random = np.random.default_rng(0)
    model = air_tf.AIR(replaced(bars(), max_objects=1, warm_start_steps=150))
    images = images_of(random.uniform(-0.8, 0.8, 640), model)
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(images, batch_size=32, epochs=20, shuffle=False, verbose=0)
    rows = random.uniform(-0.8, 0.8, 50)
    scene = model.infer(images_of(rows, model))
    assert np.mean(scene.counts.numpy() == 1) > 0.9
    assert np.abs(scene.latents["row"][:, 0, 0] - rows).mean() < 0.1


@pytest.mark.parametrize("presence", ["enumerate", "nvil", "concrete"])
def test_every_estimator_trains_objects_without_glimpses(small_images, presence):
    model = air_tf.AIR(replaced(BarConfig(), presence=presence, **SMALL))
    gradients, estimate = model.gradients(tf.constant(small_images), 5)
    assert list(estimate.terms) == ["elbo", "log_px", "kl_count", "kl_row"]
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients[0])


def test_objects_without_glimpses_are_served_evaluated_and_shown(small_images, tmp_path):
    model = air_tf.AIR(bars())
    model.inference.pres_head.outputs.bias.assign([1.0])
    served = air_tf.load(export(model, tmp_path))
    scene = served.infer(small_images).numpy()
    assert list(scene.latents) == ["row"] and served.endpoints == model.endpoints
    decoded = served.decode(scene.counts, z_row=scene.latents["row"])
    np.testing.assert_allclose(decoded, scene.reconstructions, atol=1e-5)
    with pytest.raises(ValueError, match="Expected counts, z_row for decode. Received: counts, z_what"):
        served.decode(scene.counts, z_what=scene.latents["row"])

    boxes = np.tile(np.float32([0, 0, 1, 1]), (5, 2, 1))
    split = Split.of(np.uint8(255 * small_images), scene.counts, boxes)
    halves = np.tile(np.repeat([1, 2], 6)[:, None], (5, 1, 10))
    metrics = evaluate_fully(served, split, lambda part: halves, show_progress=False).metrics
    assert metrics["count_accuracy"] == 1 and metrics["foreground_ari"] is not None
    figures = report.make_figures(served, scene, split, [])
    assert {"progress", "where", "traversal"} <= set(figures)
    assert model.generate(3, counts=[0, 1, 2]).shape == (3, 12, 10, 1)


def test_the_laplace_likelihood_equals_scipy(small_images):
    canvas = np.random.default_rng(0).random((3, 5, 12, 10, 1)).astype(np.float32)
    expected = laplace(canvas, 0.3).logpdf(small_images).sum(axis=(-3, -2, -1))
    found = LaplaceSettings(pixel_width=0.3).make(1).log_prob(small_images, canvas)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    model = air_tf.AIR(replaced(LaplaceConfig(), **SMALL, **GLIMPSES))
    gradients, _ = model.gradients(tf.constant(small_images), 5)
    assert all(np.isfinite(gradient).all() for gradient in gradients[0])


def test_a_fixed_scale_is_that_of_every_window(small_images):
    model = air_tf.AIR(replaced(FixedScaleConfig(), fixed_scale=2.5, **SMALL, **GLIMPSES))
    scene = model.infer(small_images).numpy()
    assert scene.latents["where"].shape == (5, 2, 2)
    corners = np.asarray(model.layers_of(scene).corners)
    np.testing.assert_allclose((corners[..., 2, 0] - corners[..., 0, 0]) * 12, 11 / 2.5, rtol=1e-4)
    where, place = FixedScaleSettings().make(), np.float32([[0.2, -0.4]])
    window = where.windows(where.centred(np.zeros((1, 2), np.float32), place), (11, 21, 1))[0].numpy()
    middle = (window[:2] + window[2:]) / 2 * (11, 21) - 0.5  # pixels, y and x
    np.testing.assert_allclose(middle, [(-0.4 + 1) / 2 * 10, (0.2 + 1) / 2 * 20], atol=1e-4)


@pytest.mark.slow
def test_the_mean_gradient_of_leaving_one_out_is_the_exact_one(small_images):
    """Over many draws of the counts, along every direction in which they vary, by its standard error."""
    keras.utils.set_random_seed(0)
    config = replaced(LeaveOneOutConfig(), **SMALL, **GLIMPSES)
    sampled = air_tf.AIR(config)
    exact = air_tf.AIR(replaced(config, presence="enumerate", warm_start_steps=0))
    for ours, theirs in zip(exact.weights, sampled.weights, strict=True):
        ours.assign(theirs)
    x, noise = tf.constant(small_images[:1]), sampled.sample_noise(1, 0)

    def gradient(model, noise):
        with tf.GradientTape() as tape:
            objective = tf.reduce_mean(model.bound(x, noise, 0).objective)
        gradients = tape.gradient(objective, model.trainable_variables)
        return tf.concat([tf.reshape(each, [-1]) for each in gradients], axis=0)

    draw = tf.function(lambda seed: gradient(sampled, noise._replace(seed=seed)))
    draws = np.array([draw(tf.constant([1, i])) for i in range(2000)], np.float64)
    expected = gradient(exact, noise).numpy()
    error = draws.mean(axis=0) - expected
    standard_error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    floor = 1e-4 * np.abs(expected).max()  # what float32 may be off
    assert (np.abs(error) < 5 * standard_error + floor).all()
    assert (standard_error > floor).sum() > 100


@pytest.mark.usefixtures("eagerly")
def test_squares_are_trained_on_evaluated_and_resumed(tmp_path):
    data = SquaresSettings(squares_images=80, cache_dir=str(tmp_path / "cache"))
    dataset = data.load()
    train_split, again = dataset.splits["train"], data.load().splits["train"]
    np.testing.assert_array_equal(train_split.images, again.images)  # from the cache
    for image, boxes, count in zip(train_split.images, train_split.boxes, train_split.counts):
        ink = np.zeros((20, 20), bool)
        for ymin, xmin, ymax, xmax in np.round(boxes[:count] * 20).astype(int):
            ink[ymin:ymax, xmin:xmax] = True
        np.testing.assert_array_equal(image[..., 0] > 0, ink)

    sizes = {name: value for name, value in SMALL.items() if name != "image_shape"}
    config = replaced(
        SquaresConfig(data=data), steps=2, batch_size=8, runs_dir=str(tmp_path / "runs"), **sizes,
        **GLIMPSES,
    )  # fmt: skip
    folder, metrics = train(config)
    assert folder.name == "squares-seed0" and metrics["dataset"] == "squares"
    saved = json.loads((folder / "config.json").read_text())
    assert saved["data"] == json.loads(json.dumps(dataclasses.asdict(data)))
