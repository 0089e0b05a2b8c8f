import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import air_tf
from air_tf import replaced
from air_tf.image_files import as_png


def test_infer_says_what_its_parts_say(served_model, small_images):
    scene = served_model.infer(small_images).numpy()
    np.testing.assert_array_equal(scene.counts, scene.count_probs.argmax(-1))
    np.testing.assert_allclose(scene.count_probs.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(scene.scores[:, 0], 1 - scene.count_probs[:, 0], rtol=1e-4)
    assert scene.counts.dtype == np.int32
    present = np.arange(2) < scene.counts[:, None]
    assert (scene.boxes[~present] == 0).all()
    assert (scene.boxes >= 0).all() and (scene.boxes <= 1).all()
    decoded = served_model.decode(scene.counts, z_what=scene.z_what, z_where=scene.z_where)
    np.testing.assert_allclose(decoded, scene.reconstructions, atol=1e-5)


@pytest.mark.parametrize("logit, count", [(-30.0, 0), (30.0, 2)])
def test_counts_follow_the_presence(small_model, small_images, logit, count):
    small_model.inference.pres_head.outputs.bias.assign([logit])
    scene = small_model.infer(small_images)
    np.testing.assert_array_equal(scene.counts, [count] * 5)
    assert (scene.boxes.numpy() != 0).any() == (count > 0)
    assert (scene.reconstructions.numpy() != 0).any() == (count > 0)


def test_infer_is_deterministic_and_independent_of_the_batch(served_model, small_images):
    whole = served_model.infer(small_images)
    for i in range(5):
        one = served_model.infer(small_images[i : i + 1])
        np.testing.assert_allclose(one.reconstructions[0], whole.reconstructions[i], atol=1e-6)


@pytest.mark.parametrize("shape", [(17, 12, 3), (12, 17, 1)])
def test_other_sizes_and_channels(shape):
    model = air_tf.AIR(replaced(air_tf.ModelConfig(), image_shape=shape, glimpse_size=8, max_objects=1))
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    assert model.infer(images).reconstructions.shape == (2, *shape)
    assert np.isfinite(model.elbo(images)["elbo"]).all()


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((2, 12, 10), np.float32), r"shape \(batch, 12, 10, 1\).*\(2, 12, 10\)"),
        (np.zeros((2, 10, 12, 1), np.float32), r"Received: shape=\(2, 10, 12, 1\)"),
        (np.zeros((0, 12, 10, 1), np.float32), r"Received: shape=\(0, 12, 10, 1\)"),
        (np.zeros((2, 12, 10, 1), np.uint8), "Received: dtype=uint8"),
        (np.full((2, 12, 10, 1), 1.5, np.float32), "pixels from 1.5 to 1.5"),
        (np.full((2, 12, 10, 1), np.nan, np.float32), "pixels from nan to nan"),
    ],
)
def test_infer_refuses(served_model, images, message):
    with pytest.raises(ValueError, match=message):
        served_model.infer(images)


def test_generate_draws_from_the_prior(small_model):
    images = small_model.generate(400, seed=1).numpy()
    assert images.shape == (400, 12, 10, 1)
    np.testing.assert_array_equal(images, small_model.generate(400, seed=1))
    assert (images != small_model.generate(400, seed=2).numpy()).any()
    empty = (images.max(axis=(1, 2, 3)) == 0).mean()  # p(n = 0) = 1 - rho; 1 in 10,000 is off the image
    assert empty == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(400))  # five standard errors


def test_noise_is_a_function_of_seed_step_and_replica(small_config):
    model, same, other = (air_tf.AIR(small_config, seed=seed) for seed in (0, 0, 1))

    def draw(model, step=0, replica=0):
        noise = model.sample_noise(3, step, replica)
        return np.concatenate([np.ravel(part) for part in tf.nest.flatten(noise[:3])])

    np.testing.assert_array_equal(draw(model), draw(same))
    everything = np.stack([draw(model), draw(other), draw(model, step=1), draw(model, replica=1)])
    assert len(np.unique(everything)) == everything.size


def test_xla_equals_no_xla(small_model, small_images):
    x = tf.constant(small_images)
    noise = small_model.sample_noise(5, 3)
    plain = tf.function(small_model.bound)(x, noise, 3)
    compiled = tf.function(small_model.bound, jit_compile=True)(x, noise, 3)
    np.testing.assert_allclose(plain.objective, compiled.objective, rtol=1e-5)
    np.testing.assert_allclose(plain.terms["elbo"], compiled.terms["elbo"], rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fits_in_plain_keras(small_model, small_images, jit_compile):
    data = tf.data.Dataset.from_tensors((small_images, np.array([0, 1, 2, 1, 0]))).repeat(30)
    small_model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=jit_compile)
    before = small_model.evaluate(data.take(1), verbose=0, return_dict=True)
    history = small_model.fit(data, epochs=2, shuffle=False, verbose=0).history
    after = small_model.evaluate(data.take(1), verbose=0, return_dict=True)
    assert {"elbo", "log_px", "kl_count", "kl_where", "kl_what"} <= set(history)
    assert after["elbo"] > before["elbo"] + 1
    right = small_model.infer(small_images).counts.numpy() == [0, 1, 2, 1, 0]
    assert after["count_accuracy"] == pytest.approx(right.mean())


def test_fit_takes_images_without_counts(small_model, small_images):
    small_model.compile(optimizer="adam", run_eagerly=True)
    small_model.fit(small_images, verbose=0, batch_size=5)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("presence", ["enumerate", "nvil"])
def test_fitting_on_from_a_keras_file_equals_an_uninterrupted_fit(
    small_config, small_images, tmp_path, presence
):
    """Weights, running averages, and the state and settings of all optimizers are restored."""
    keras.utils.set_random_seed(0)
    model = air_tf.AIR(replaced(small_config, presence=presence))
    model.compile(keras.optimizers.RMSprop(0.003), run_eagerly=True)
    options = {"verbose": 0, "batch_size": 2, "shuffle": False}
    model.fit(small_images, **options)
    model.save(tmp_path / "air.keras")
    loaded = keras.saving.load_model(tmp_path / "air.keras")
    for each in (model, loaded):
        each.fit(small_images, **options)
    states = [[each.weights, each.optimizer.variables] for each in (model, loaded)]
    if presence == "nvil":
        for state, each in zip(states, (model, loaded)):
            state.append(each.estimator.optimizer.variables)
    for ours, theirs in zip(*states, strict=True):
        for value, same in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(value, same, err_msg=value.path)


def test_an_uncompiled_model_is_saved_uncompiled(small_model, tmp_path):
    small_model.save(tmp_path / "air.keras")
    assert not keras.saving.load_model(tmp_path / "air.keras").compiled


def test_many_models_in_one_process_are_not_warned_of(small_model, small_images):
    """TensorFlow logs a warning if five functions are traced from the same line in ten calls."""
    logged = []
    handler = logging.Handler()
    handler.emit = logged.append
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    try:
        for _ in range(5):
            small_model._compiled.cache_clear()  # as another model would: the lines count
            small_model.infer(small_images)
    finally:
        logger.removeHandler(handler)
    assert not [record.getMessage() for record in logged]


def test_batches_beyond_what_endpoints_take_are_inferred_in_chunks(
    small_model, small_images, monkeypatch
):
    files = [as_png(np.uint8(255 * np.repeat(image, 3, axis=-1))) for image in small_images]
    whole = small_model.infer(small_images)
    of_files, prepared = small_model.infer_encoded(files), small_model.prepare(files)
    monkeypatch.setattr(small_model, "chunk", 2)
    decoded = small_model.decode(whole.counts, z_what=whole.z_what, z_where=whole.z_where)
    chunked = (
        small_model.infer(small_images),
        small_model.infer_encoded(files),
        small_model.prepare(files),
    )
    tf.nest.map_structure(
        lambda values, expected: np.testing.assert_allclose(values, expected, atol=1e-6),
        (*chunked, decoded),
        (whole, of_files, prepared, whole.reconstructions),
    )  # fmt: skip


@pytest.mark.parametrize(
    "image_bytes, message",
    [
        ([], "Expected from 1 to 4,096 images, as many in each input. Received: 0"),
        (b"", r"Expected image_bytes of string \(None,\). Received: the shape \(\)."),
        ([1, 2], r"Received: \[1, 2\]."),
        ([b"\xff\xd8\xff"], "Expected a PNG or JPEG picture. Received: Invalid JPEG data, size 3"),
        ([b"GIF89a"], "Expected a PNG or JPEG picture. Received: a file of another kind.*: 6"),
    ],
)
def test_infer_encoded_refuses(served_model, image_bytes, message):
    with pytest.raises(ValueError, match=f"^{'' if message[0] == 'E' else '.*'}{message}$"):
        served_model.infer_encoded(image_bytes)


def test_keras_file_round_trip(small_model, small_images, tmp_path):
    path = tmp_path / "air.keras"
    small_model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.config == small_model.config
    np.testing.assert_allclose(
        loaded.infer(small_images).reconstructions,
        small_model.infer(small_images).reconstructions,
        atol=1e-6,
    )


CONVOLUTIONS = {"embedding_filters": (2, 3), "embedding_kernels": (3, 2), "embedding_strides": (2, 1)}


@pytest.mark.parametrize(
    "fields",
    [
        {"difference": True, "attention_units": 4, **CONVOLUTIONS},
        {"presence": "nvil"}, {"what_components": 3}, {"rho_schedule": "learned"},
    ],
)  # fmt: skip
def test_every_weight_is_in_a_checkpoint(small_config, small_images, tmp_path, fields):
    config = replaced(small_config, **fields)
    model, other = air_tf.AIR(config), air_tf.AIR(config)
    for weight in model.weights:
        weight.assign(weight + 0.1)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    for weight, same in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, same, err_msg=weight.path)
    np.testing.assert_array_equal(model(small_images).z_what, other(small_images).z_what)
