import itertools

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import logit as logit_of

from air_tf.model.count import at_least, count_posterior, count_prior, tfd


def brute_force_posterior(logits):
    """q(n) by summing over all presence strings; after the first absence all are absent."""
    probabilities = np.zeros(len(logits) + 1)
    for string in itertools.product([0, 1], repeat=len(logits)):
        weight, present = 1.0, True
        for z_pres, logit in zip(string, logits):
            probability = expit(logit) if present else 0.0
            weight *= probability if z_pres else 1 - probability
            present = present and z_pres
        probabilities[sum(string)] += weight
    return probabilities


@pytest.mark.parametrize("logits", [[0.3], [1.0, -2.0, 0.5], [-0.1, 3.0, -1.0, 0.2]])
def test_posterior_equals_brute_force(logits):
    q_count = count_posterior(np.float32([logits]))
    expected = brute_force_posterior(logits)
    np.testing.assert_allclose(q_count.probs_parameter()[0], expected, rtol=1e-5)
    reversed_sum = np.cumsum(expected[::-1])[::-1]
    np.testing.assert_allclose(at_least(q_count)[0], reversed_sum[1:], rtol=1e-5)


@pytest.mark.parametrize("rho, size", [(0.5, 3), (0.01, 5), (0.99, 1)])
def test_prior_is_a_truncated_geometric(rho, size):
    expected = [rho**n * (1 - rho) for n in range(size)] + [rho**size]
    p_count = count_prior(logit_of(rho), size)
    np.testing.assert_allclose(p_count.probs_parameter(), expected, rtol=1e-5)
    np.testing.assert_allclose(tfd.kl_divergence(p_count, p_count), 0, atol=1e-6)


def test_best_rho_for_counts_of_mean_1_is_a_half():
    rhos = np.linspace(0.05, 0.95, 91)
    counts = np.array([0, 1, 2])
    likelihood = [np.mean(count_prior(logit_of(rho), 20).log_prob(counts)) for rho in rhos]
    assert rhos[np.argmax(likelihood)] == pytest.approx(0.5)


def test_extreme_logits_stay_finite():
    logits = np.float32([[30, 30, 30], [-30, 30, -30], [30, -30, 30]])
    q_count = count_posterior(logits)
    divergence = tfd.kl_divergence(q_count, count_prior(logit_of(0.01), 3)).numpy()
    assert np.isfinite(divergence).all()
    np.testing.assert_array_equal(np.argmax(q_count.logits_parameter(), -1), [3, 0, 1])
