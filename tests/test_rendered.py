"""Solids as objects of the model: their classes summed out, their poses, and what they look like."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import air_tf
from air_tf import cli
from air_tf.config import Config, ModelConfig
from air_tf.estimators.bounds import enumerated_terms
from air_tf.model.composition import Layer, Nearest
from air_tf.model.noise import no_noise
from air_tf.presets import TABLE_TOP
from air_tf.rendering import AnalyticSettings, analytic
from air_tf.rendering.black_box import with_finite_differences
from air_tf.rendering.camera import Camera, directions
from air_tf.serving.export import export
from tests.conftest import run_eagerly

SIDE, IMAGES = 24, 4
random = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    config = air_tf.replaced(
        TABLE_TOP.model, image_shape=(SIDE, SIDE, 3), max_objects=2, embedding_filters=(4, 4),
        embedding_units=8, lstm_units=8, hidden_units=8, attention_units=8,
    )  # fmt: skip
    model = air_tf.AIR(config)
    model.objects.class_head.outputs.bias.assign([1.0, 0.0, -1.0])
    return model


@pytest.fixture(scope="module")
def unrolled(model):
    x = tf.constant(np.random.default_rng(1).random((IMAGES, SIDE, SIDE, 3)), tf.float32)
    return model.unroll(x, model.sample_noise(IMAGES, 0))


def some_samples(number, classes):
    return {
        "class": tf.one_hot(classes, 3),
        "where": tf.constant(random.uniform(-0.7, 0.7, (number, 2)), tf.float32),
        "turn": tf.constant(random.normal(size=(number, 2)), tf.float32),
    }


def by_classes(unrolled, n):
    """log p(x | z, classes) and the probabilities under q of all classes of n objects, one by one."""
    shares = [step.latents["class"].q.probs_parameter().numpy() for step in unrolled.steps]
    for classes in itertools.product(range(3), repeat=n):
        layers = [Layer(*(part[k] for part in step.looks)) for step, k in zip(unrolled.steps, classes)]
        image = unrolled.composition.compose(unrolled.behind.layer, layers)
        share = np.prod([shares[i][:, k] for i, k in enumerate(classes)], axis=0)
        yield unrolled.likelihood.log_prob(unrolled.x, image).numpy(), share


def test_classes_are_summed_out_exactly(unrolled):
    expected, summed = unrolled.log_px().numpy(), unrolled.log_px_summed().numpy()
    assert expected.shape == summed.shape == (IMAGES, 3)
    for n in range(3):
        values, shares = map(np.stack, zip(*by_classes(unrolled, n)))
        assert len(values) == 3**n
        np.testing.assert_allclose(expected[:, n], (shares * values).sum(axis=0), rtol=1e-4)
        of_prior = np.logaddexp.reduce(values, axis=0) - n * np.log(3)
        np.testing.assert_allclose(summed[:, n], of_prior, rtol=1e-4)
    # otherwise the order of classes, or q itself, would not be tested
    assert np.ptp(shares) > 0.01 and (np.ptp(values, axis=0) > 1).all()


def test_q_of_the_class_is_fitted_to_the_responsibilities(model, unrolled):
    """Of one object: the gradient of log sum_c p(c) p(x | c) by the logits of q is r(c) - q(c)."""
    logits = tf.Variable(random.normal(size=(IMAGES, 3)), dtype=tf.float32)
    values, _ = map(np.stack, zip(*by_classes(unrolled, 1)))  # (K, B)
    responsibilities = np.exp(values - np.logaddexp.reduce(values, axis=0)).T
    with tf.GradientTape() as tape:
        q = tfp.distributions.OneHotCategorical(logits=logits)
        first = unrolled.steps[0]
        latents = first.latents | {"class": first.latents["class"]._replace(q=q)}
        steps = [first._replace(latents=latents), *unrolled.steps[1:]]
        summed = unrolled._replace(steps=steps).log_px_summed()[:, 1]
    np.testing.assert_allclose(summed, unrolled.log_px_summed()[:, 1], rtol=1e-6)
    expected = responsibilities - tf.nn.softmax(logits).numpy()
    np.testing.assert_allclose(tape.gradient(summed, logits), expected, atol=1e-4)
    assert abs(expected).max() > 0.1


def test_the_bound_with_expected_classes_lies_below_that_with_summed_ones(unrolled):
    """By Jensen: E_q log p(x | c) - KL(q(c) || p(c)) <= log sum over c of p(c) p(x | c)."""
    kl = np.cumsum(unrolled.kl_objects()["class"].numpy(), axis=1)
    bound = unrolled.log_px().numpy() - np.pad(kl, [(0, 0), (1, 0)])
    slack = 1e-5 * abs(bound)  # rounding
    assert (bound <= unrolled.log_px_summed().numpy() + slack).all()


def test_one_class_for_certain_is_drawn_by_the_renderer(model):
    classes = [0, 1, 2, 1]
    samples = some_samples(4, classes)
    layer, looks = model.objects.draw_looks(samples)
    angles = model.objects.angles(samples["turn"]).numpy()
    for i, k in enumerate(classes):
        solid = model.objects.solids[k]
        pose = samples["where"][i : i + 1], tf.constant(angles[i : i + 1, k]), tf.ones(1)
        alone = analytic.draw(solid, Camera().rays(SIDE), *pose, SIDE, SIDE)
        for part, of_looks, of_solid in zip(layer, looks, alone):
            np.testing.assert_allclose(of_looks[k, i], of_solid[0], atol=1e-5)
            inside = np.asarray(alone.alpha[0] > 1e-3).repeat(part.shape[-1], axis=-1)
            np.testing.assert_allclose(part[i][inside], of_solid[0][inside], atol=1e-4)
    doubtful, _ = model.objects.draw_looks(samples | {"class": tf.fill((4, 3), 1 / 3)})
    np.testing.assert_allclose(doubtful.colour, tf.reduce_mean(looks.colour, axis=0), atol=1e-5)


def test_an_angle_does_not_tear_where_a_turn_ends(model):
    below, above = np.pi - 1e-3, -np.pi + 1e-3  # the same turn, but for 2e-3
    turns = np.float32([[np.cos(angle), np.sin(angle)] for angle in (below, above)])
    cube, ball, can = model.objects.angles(tf.constant(turns)).numpy().T
    assert (ball == 0).all()  # it looks the same from everywhere
    np.testing.assert_allclose(can, [below, above], atol=1e-6)
    assert cube[0] - cube[1] == pytest.approx(np.pi / 2, abs=2e-3)
    samples = some_samples(2, [0, 0]) | {"where": tf.zeros((2, 2)), "turn": tf.constant(turns)}
    images = model.objects.draw(samples).colour.numpy()
    np.testing.assert_allclose(images[0], images[1], atol=0.01)
    quarter = tf.constant([[1.0, 0.0], [-1.0, 1e-6]])
    other = model.objects.draw(samples | {"turn": quarter}).colour.numpy()
    assert abs(other[0] - other[1]).max() > 0.1  # an eighth of a turn shows


def test_what_is_seen_in_a_pixel_lies_on_its_ray():
    rays = Camera().rays(SIDE)
    pixels = tf.constant(random.uniform(-SIDE / 2, SIDE / 2, (30, 2)), tf.float32)
    points = rays.at_height(pixels, 0.3)
    points = tf.concat([points, tf.fill((30, 1), 0.3)], axis=-1)
    np.testing.assert_allclose(rays.seen(points), pixels, atol=1e-3)
    x, y, z = (part.numpy() for part in directions(rays, SIDE, SIDE))
    row, column = 3, 17
    along = rays.eye.numpy() + 2.5 * np.array([part[row, column] for part in (x, y, z)])
    middle = (SIDE - 1) / 2
    np.testing.assert_allclose(
        rays.seen(tf.constant(along[None], tf.float32))[0], [column - middle, row - middle], atol=1e-3
    )


@pytest.mark.parametrize("kind", range(3))
def test_a_window_holds_what_is_drawn(model, kind):
    samples = some_samples(20, [kind] * 20)
    alpha = model.objects.draw(samples).alpha.numpy()[..., 0]
    windows = model.objects.windows(samples).numpy() * SIDE
    areas = []
    for mask, (ymin, xmin, ymax, xmax) in zip(alpha > 0.5, windows):
        rows, columns = np.nonzero(mask)
        assert ymin <= rows.min() + 0.5 and rows.max() + 0.5 <= ymax
        assert xmin <= columns.min() + 0.5 and columns.max() + 0.5 <= xmax
        ink = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        areas.append((ymax - ymin) * (xmax - xmin) / ink)
    assert np.median(areas) < 4  # not just the whole image


def test_of_objects_with_sharp_edges_the_depth_buffer_is_the_composition():
    background = Layer(tf.constant(random.random((2, 5, 4, 3)), tf.float32))
    layers = []
    for _ in range(3):
        alpha = random.random((2, 5, 4, 1)) < 0.5
        parts = alpha * random.random((2, 5, 4, 3)), alpha, random.random((2, 5, 4, 1))
        layers.append(Layer(*(tf.constant(part, tf.float32) for part in parts)))
    nearest, canvas, images = Nearest(), background, [background.colour]
    for layer in layers:
        canvas = nearest.add(canvas, layer)
        images.append(canvas.colour)
    np.testing.assert_allclose(images, nearest.canvases(background, layers), atol=1e-6)


@pytest.mark.slow
def test_it_infers_decodes_and_is_saved(model, tmp_path):
    model = air_tf.AIR(air_tf.replaced(model.config, max_objects=1))  # an export traces each renderer
    images = random.random((2, SIDE, SIDE, 3), np.float32)
    with run_eagerly():
        scene = model.infer(images)
        latents = {f"z_{name}": values for name, values in scene.latents.items()}
        drawn = model.decode(scene.counts, **latents)
    np.testing.assert_allclose(drawn, scene.reconstructions, atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(scene.latents["class"], axis=-1), 1, atol=1e-5)
    classes, turns = scene.readings["classes"].numpy(), scene.latents["turn"].numpy()
    np.testing.assert_array_equal(classes, np.argmax(scene.latents["class"], axis=-1))
    angles = np.arctan2(turns[..., 1], turns[..., 0]) * np.array([1 / 4, 0, 1])[classes]
    np.testing.assert_allclose(scene.readings["angles"], angles, atol=1e-5)
    np.testing.assert_array_equal(scene.readings["positions"], scene.latents["where"])

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images).latents["where"], scene.latents["where"], atol=1e-5)
    served = air_tf.load(export(model, tmp_path / "exports"))
    assert {*scene.readings} == {"classes", "positions", "angles"}
    for name, values in served.infer(images).readings.items():
        np.testing.assert_allclose(values, scene.readings[name], atol=1e-4)


def test_glimpses_of_tables_and_solids_of_digits_are_refused():
    with pytest.raises(ValueError, match="objects rendered for dataset table_top.*'glimpse'"):
        air_tf.replaced(Config(), dataset="table_top")
    with pytest.raises(ValueError, match="objects glimpse for dataset multi_mnist.*'rendered'"):
        air_tf.replaced(Config(), objects="rendered", composition="nearest")
    refused = ("--scale-prior", "1", "glimpse"), ("--where", "rotated", "glimpse")
    for flag, value, owner in (*refused, ("--pose-gradient", "exact", "rendered")):
        other = Config() if owner == "rendered" else TABLE_TOP
        with pytest.raises(ValueError, match=rf"only with --objects {owner}\. Received: {flag}"):
            cli.parse(Config, [flag, value], other)
    with pytest.raises(ValueError, match="Expected pose_gradient only with objects rendered"):
        air_tf.replaced(Config(), pose_gradient="exact")
    with pytest.raises(ValueError, match="view fixed to train with.*'jittered'"):
        air_tf.replaced(TABLE_TOP, view="jittered")
    with pytest.raises(ValueError, match="composition nearest for objects rendered.*'over'"):
        air_tf.replaced(TABLE_TOP, composition="over")
    with pytest.raises(ValueError, match="composition nearest for objects rendered.*'glimpse'"):
        air_tf.replaced(Config(), composition="nearest")


def test_more_objects_than_can_be_summed_over_are_refused():
    assert TABLE_TOP.model.images_of_classes() == 2 + 8 + 26 and ModelConfig().images_of_classes() == 0
    with pytest.raises(
        ValueError, match=r"at most 2,000 images to sum over\. Received: max_objects=7\."
    ):
        air_tf.replaced(TABLE_TOP, max_objects=7)


@pytest.mark.parametrize("name", ["solids", "table_ware"])
def test_finite_differences_are_near_the_exact_gradient(name):
    """But for kinks, where a pixel begins to be covered or is covered wholly: hence the median."""
    poses = np.c_[random.uniform(-0.7, 0.7, (40, 2)), random.uniform(0, 7, 40)]
    poses = tf.constant(poses, tf.float32)
    weights = [tf.constant(random.normal(size=(40, SIDE, SIDE, c)), tf.float32) for c in (3, 1)]
    for which in range(3):
        found = []
        for way in "exact", "finite_differences":
            renderer = AnalyticSettings(pose_gradient=way).make(name, (SIDE, SIDE, 3))
            with tf.GradientTape() as tape:
                tape.watch(poses)
                layer = renderer.draw(which, poses)
                values = sum(tf.reduce_sum(w * part, axis=[1, 2, 3]) for w, part in zip(weights, layer))
            found.append((values.numpy(), tape.gradient(values, poses).numpy()))
        (values, exact), (same, differences) = found
        np.testing.assert_array_equal(values, same)
        error = np.median(abs(differences - exact), axis=0) / np.median(abs(exact), axis=0)
        turns = renderer.solids[which].symmetry > 0
        # steps are a tenth of a pixel, in which as many of an outline's pixels have their kink; a factor
        # of 2 would be an error of 1 or 0.5
        assert (error[: 2 + turns] < 0.4).all()
        assert turns or np.median(abs(differences[:, 2])) < 0.05 * np.median(abs(exact[:, :2]))


def test_finite_differences_by_hand():
    """A black box that NumPy computes: layers that are quadratic in the pose."""
    calls = []

    def render(poses):
        def in_numpy(poses):
            calls.append(len(poses))
            x, y, angle = poses.T[..., None, None, None]
            colour = np.broadcast_to(x**2 + 3 * y, (len(poses), 2, 2, 3))
            alpha = np.broadcast_to(x * angle, (len(poses), 2, 2, 1))
            return [part.astype(np.float32) for part in (colour, alpha, alpha)]

        parts = tf.numpy_function(in_numpy, [poses], [tf.float32] * 3)
        return Layer(*(tf.ensure_shape(p, (2, 2, 2, c)) for p, c in zip(parts, (3, 1, 1))))

    poses = tf.constant([[0.5, -1.0, 2.0], [-2.0, 0.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(poses)
        layer = with_finite_differences(render, poses)
        value = tf.reduce_sum(layer.colour) + 2 * tf.reduce_sum(layer.alpha)
    # of 12 colours and 4 alphas: 12 (2 x) + 8 angle, 12 * 3, 8 x
    expected = [[12 + 16, 36, 4], [-48 + 8, 36, -16]]
    np.testing.assert_allclose(tape.gradient(value, poses), expected, rtol=1e-3)
    assert len(calls) == 1 + 2 * 3


@pytest.mark.parametrize("presence", ["enumerate", "nvil", "concrete"])
def test_a_class_is_summed_out_sampled_or_relaxed(presence):
    estimator = air_tf.replaced(air_tf.ModelConfig(), presence=presence).estimator.make()
    number = 4000
    probabilities = np.float32([0.6, 0.3, 0.1])
    q = tfp.distributions.OneHotCategorical(probs=tf.tile(probabilities[None], (number, 1)))
    noise = tf.constant(np.random.default_rng(0).normal(size=(number, 3)), tf.float32)
    chosen = estimator.choose(q, noise).numpy()
    np.testing.assert_allclose(chosen.sum(axis=1), 1, atol=1e-5)
    # four standard errors of a share
    error = 4 * np.sqrt(probabilities * (1 - probabilities) / number)
    assert (abs(np.eye(3)[chosen.argmax(axis=1)].mean(axis=0) - probabilities) < error).all() == (
        presence != "enumerate"
    )
    certain = (chosen.max(axis=1) == 1).mean()
    assert certain == (1 if presence == "nvil" else 0)
    at_mean = estimator.choose(q, tf.zeros((number, 3))).numpy()
    assert (at_mean.argmax(axis=1) == 0).all()


@pytest.mark.slow
def test_the_score_functions_mean_gradient_of_the_class_is_the_exact_one():
    """Of one object at its mean pose, within four standard errors over draws of class and count."""
    small = air_tf.replaced(
        TABLE_TOP.model, image_shape=(SIDE, SIDE, 3), max_objects=1, embedding_filters=(4, 4),
        embedding_units=8, lstm_units=8, hidden_units=8, attention_units=8, presence="nvil",
        signal_normalisation=False,
    )  # fmt: skip
    sampled = air_tf.AIR(small)
    own = np.random.default_rng(0)
    x = tf.constant(own.random((1, SIDE, SIDE, 3)), tf.float32)

    def noise_of(number):
        noise = no_noise(sampled.sizes, number)
        classes = tf.constant(own.normal(size=(number, 3)), tf.float32)
        presence = tf.constant(own.logistic(size=(number, 1)), tf.float32)
        return noise._replace(objects=[noise.objects[0] | {"class": classes}], presence=presence)

    bias = sampled.objects.class_head.outputs.bias
    with tf.GradientTape() as tape:
        terms = enumerated_terms(unrolled := sampled.unroll(x, noise_of(1)), unrolled.log_px())
    exact = tape.gradient(terms["elbo"], bias).numpy()
    sampled.estimator.signal_mean.assign(terms["elbo"][0])  # as training would: less noise, no bias
    parts = []
    for _ in range(20):
        with tf.GradientTape() as tape:
            estimate = sampled.bound(tf.repeat(x, 50, axis=0), noise_of(50), 0)
            objective = tf.reduce_mean(estimate.objective)
        parts.append(tape.gradient(objective, bias).numpy())
    error = np.std(parts, axis=0, ddof=1) / np.sqrt(len(parts))
    assert (abs(np.mean(parts, axis=0) - exact) < 4 * error).all()
    assert (abs(exact) > 5 * error).any()
