import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

import air_tf
from air_tf import replaced
from air_tf.model.count import RHO_PRESETS, CountSettings


def logit_at(step, **config):
    return float(CountSettings(**config).schedule()(step))


@pytest.mark.parametrize(
    "name, step, logit",
    [
        # 1 to 1e-5 in 100,000 steps, linear: half way (1 + 1e-5) / 2
        ("paper", 50_000, np.log(0.500005 / 0.499995)),
        ("paper", 100_000, np.log(1e-5 / (1 - 1e-5))),
        ("paper", 500_000, np.log(1e-5 / (1 - 1e-5))),
        # 1 - 1e-15 held for 1,000 steps, and up to the first division of 10,000
        ("sonnet", 0, np.log((1 - 1e-15) / 1e-15)),
        ("sonnet", 10_999, np.log((1 - 1e-15) / 1e-15)),
        # then 1e-7 to the power of the share of the ten divisions
        ("sonnet", 11_000, np.log(1e-7**0.1 / (1 - 1e-7**0.1))),
        ("sonnet", 61_000, np.log(1e-7**0.6 / (1 - 1e-7**0.6))),
        ("sonnet", 200_000, np.log(1e-7 / (1 - 1e-7))),
        # odds 1e4, a tenth every 3,000 steps, down to 1e-9
        ("concrete", 0, np.log(1e4)),
        ("concrete", 3_000, np.log(1e3)),
        ("concrete", 4_500, np.log(10**2.5)),
        ("concrete", 39_000, np.log(1e-9)),
        ("concrete", 90_000, np.log(1e-9)),
    ],
)
def test_presets_are_the_published_schedules(name, step, logit):
    assert name in RHO_PRESETS
    assert logit_at(step, rho_schedule=name) == pytest.approx(logit, rel=1e-3, abs=1e-4)


def test_the_own_schedule_goes_from_start_to_rho():
    own = {
        "rho_schedule": "exponential",
        "rho_start": 0.8,
        "rho": 0.01,
        "rho_steps": 100,
        "rho_hold": 10,
    }
    half_way = np.sqrt(0.8 * 0.01)
    for step, rho in ((0, 0.8), (10, 0.8), (60, half_way), (110, 0.01), (999, 0.01)):
        assert expit(logit_at(step, **own)) == pytest.approx(rho, rel=1e-4)


def test_outside_of_training_rho_is_the_configs():
    prior = CountSettings(rho=0.2, rho_schedule="paper").make(3)
    np.testing.assert_allclose(prior.at().probs_parameter()[0], 0.8, rtol=1e-5)
    assert prior.at(0).probs_parameter()[0] < 1e-6
    fixed = CountSettings(rho=0.2).make(3)
    np.testing.assert_allclose(fixed.at(0).probs_parameter(), fixed.at().probs_parameter())


def test_every_schedule_gives_a_finite_bound_from_the_first_step_on(small_config, small_images):
    x = tf.constant(small_images)
    for name in RHO_PRESETS:
        model = air_tf.AIR(replaced(small_config, rho_schedule=name))
        for step in (0, 500, 10**6):
            [gradients, _], estimate = model.gradients(x, step)
            assert np.isfinite(estimate.objective).all()
            assert all(np.isfinite(g).all() for g in gradients)


def test_learned_rho_finds_a_half_for_equally_many_0_1_and_2():
    """With q(n) certain, and as many images of each count; rho begins far off."""
    prior = CountSettings(rho=0.05, rho_schedule="learned", rho_hold=10).make(3)
    optimizer = keras.optimizers.Adam(0.1)

    def step(train_step):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(prior.at(train_step).log_prob([0, 1, 2]))
        optimizer.apply(tape.gradient(loss, prior.trainable_variables), prior.trainable_variables)

    for train_step in range(10):
        step(train_step)
    assert expit(float(prior.logit_at())) == pytest.approx(0.05, rel=1e-5)  # held
    for train_step in range(10, 300):
        step(train_step)
    assert expit(float(prior.logit_at())) == pytest.approx(0.5, abs=1e-3)


def test_the_model_tells_its_rho(small_config):
    annealed = air_tf.AIR(replaced(small_config, rho=0.1, rho_schedule="concrete"))
    assert annealed.rho() == 0.1
    assert annealed.rho(12_000) == pytest.approx(0.5, rel=1e-3)  # odds of 1e4 * 1e-4
    learned = air_tf.AIR(replaced(small_config, rho=0.1, rho_schedule="learned"))
    learned.count_prior.rho_logit.assign(0.0)
    assert learned.rho() == 0.5


def test_learned_rho_gets_its_gradient_from_every_estimator(small_config, small_images):
    for presence in ("enumerate", "nvil", "concrete"):
        model = air_tf.AIR(replaced(small_config, presence=presence, rho_schedule="learned"))
        gradients, _ = model.gradients(tf.constant(small_images), 5)
        names = [v.name for v in model.variable_groups[0]]
        assert float(gradients[0][names.index("rho_logit")]) != 0
