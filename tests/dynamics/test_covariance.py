"""The solvers of the Lyapunov equation against each other, and the probes that never form the covariance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from test_rate_model import network, positive_matrix, stable_matrix

from lnp_edge.base.errors import LnpError
from lnp_edge.dynamics import covariance
from lnp_edge.dynamics.rate_model import RateModel, rate_model
from lnp_edge.pruning import endpoints

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=20)
@given(SEEDS, st.sampled_from([1e-3, 1.0, 1e3]))
def test_the_matrix_sign_solves_what_the_schur_form_solves(seed, speed):
    a, q = speed * stable_matrix(seed), positive_matrix(seed + 1)
    c = covariance.by_sign(a, q)
    np.testing.assert_allclose(c, covariance.by_schur(a, q), rtol=1e-9, atol=1e-12 * np.abs(c).max())
    assert np.linalg.norm(a @ c + c @ a.T + q) < 1e-10 * np.linalg.norm(q)


def test_large_networks_take_the_matrix_sign():
    n = covariance.SIGN_FROM
    a, q = stable_matrix(3, n), positive_matrix(4, n)
    np.testing.assert_array_equal(covariance.by_sign(a, q), covariance.by_sign(a, q))
    c = covariance.stationary_covariance(a, q)
    assert np.linalg.norm(a @ c + c @ a.T + q) < 1e-10 * np.linalg.norm(q)


@pytest.mark.parametrize("abscissa", [0.5, 0.0])
def test_an_unstable_matrix_has_no_covariance(abscissa):
    a = np.diag(np.linspace(-1, abscissa, 20))
    with pytest.raises(LnpError, match="not stable"):
        covariance.by_sign(a, np.eye(20))


@pytest.mark.parametrize("n", [399, 400])
def test_a_covariance_beyond_floating_point_is_refused(n):
    """A chain of gain 3 is stable, its last covariance some 9**n: SciPy's solution is nearly 0."""
    a = np.diag(np.full(n - 1, 3.0), -1) - np.eye(n)
    with pytest.raises(LnpError, match="nearly unstable"):
        covariance.stationary_covariance(a, np.eye(n))


def exact_and_pairs(net):
    model, (pre, post), sign = rate_model(net), endpoints(net), np.sign(net.w_rec.data)
    c = covariance.stationary_covariance(model.a(), model.q())
    return model, sign, pre, post, covariance.pair_variance(c, sign, pre, post)


def test_probes_are_unbiased_and_scatter_as_their_number_says():
    """A quadratic form of k signs has a relative deviation of at most sqrt(2 / k); here 1.1 to 1.3 / sqrt(k)."""
    model, sign, pre, post, exact = exact_and_pairs(network(80))
    for k, draws in ((8, 60), (32, 60)):
        ratio = np.array([
            covariance.probed_pair_variance(model, sign, pre, post, np.random.default_rng(d), k) / exact
            for d in range(draws)
        ])  # fmt: skip
        assert ratio.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / k / draws))
        assert 0.8 * np.sqrt(1 / k) < ratio.std(0).mean() < np.sqrt(2 / k)


def test_very_many_probes_find_the_exact_variances():
    model, sign, pre, post, exact = exact_and_pairs(network(40))
    found = covariance.probed_pair_variance(model, sign, pre, post, np.random.default_rng(0), 20_000)
    # TOLERANCE, and sqrt(2 / 20000) at 4 deviations of 470 pairs
    np.testing.assert_allclose(found, exact, rtol=0.04)


def test_probes_of_a_model_that_is_not_normal_and_nearly_unstable():
    rng = np.random.default_rng(5)
    w = np.triu(rng.normal(size=(30, 30)), 1) + 0.3 * rng.normal(size=(30, 30))
    w *= 0.98 / np.linalg.eigvals(w).real.max()
    model = RateModel(sparse.csr_array(w), 1.0, np.ones(30), np.zeros((30, 1)))
    pre, post = np.nonzero(rng.random((30, 30)) < 0.3)
    c = covariance.stationary_covariance(model.a(), model.q())
    exact = covariance.pair_variance(c, np.ones(len(pre)), pre, post)
    found = covariance.probed_pair_variance(model, np.ones(len(pre)), pre, post, np.random.default_rng(0), 4000)
    np.testing.assert_allclose(found, exact, rtol=0.1)


def test_probes_refuse_an_unstable_model():
    model = RateModel(sparse.csr_array(1.1 * np.eye(5)), 1.0, np.ones(5), np.zeros((5, 1)))
    with pytest.raises(LnpError, match="not stable"):
        covariance.probed_pair_variance(model, np.ones(1), np.array([0]), np.array([1]), np.random.default_rng(0))


@pytest.mark.parametrize("private", [0.0, 0.2])
def test_a_network_without_gains_has_the_noise_of_its_neurons_alone(private):
    """M = 0, so that the first shift is exact; and silent neurons have no noise at all."""
    model = RateModel(sparse.csr_array((20, 20)), 4.0, np.full(20, private), np.zeros((20, 1)))
    found = covariance.probed_pair_variance(
        model, np.ones(190), *np.triu_indices(20, 1), np.random.default_rng(0), progress=lambda done: None
    )
    assert found.mean() == pytest.approx(private, rel=0.1)
