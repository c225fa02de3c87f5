"""The covariance against its defining identities, the rate model against simulated spikes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import NETWORKS, tiny_layers
from scipy import linalg, sparse, stats
from scipy.sparse.linalg import LinearOperator

from lnp_edge.base.errors import NetworkError
from lnp_edge.dynamics import covariance, rate_model
from lnp_edge.network.draw import random_network
from lnp_edge.spec.floats import PLAIN
from lnp_edge.spec.ops import bind

SEEDS = st.integers(0, 2**32 - 1)


def stable_matrix(seed, n=30):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, n)) / np.sqrt(n)
    return a - (np.linalg.eigvals(a).real.max() + 0.3) * np.eye(n)


def positive_matrix(seed, n=30):
    root = np.random.default_rng(seed).normal(size=(n, n))
    return root @ root.T / n


def weighted_graph(n, seed):
    """Symmetric positive weights, connected by a ring."""
    rng = np.random.default_rng(seed)
    w = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.2), 1)
    w[np.arange(n - 1), np.arange(1, n)] = 1.0
    return w + w.T


def network(n=60, seed=3):
    return random_network(n, 3, 2, 0.04, 0.3, np.random.default_rng(seed), "cuba_lif")


@settings(max_examples=25)
@given(SEEDS)
def test_the_covariance_solves_the_lyapunov_equation(seed):
    a, q = stable_matrix(seed), positive_matrix(seed + 1)
    c = covariance.stationary_covariance(a, q)
    assert np.linalg.norm(a @ c + c @ a.T + q) < 1e-10 * np.linalg.norm(q)
    assert np.trace(a @ c) == pytest.approx(-np.trace(q) / 2, rel=1e-10)
    assert (c == c.T).all()
    assert np.linalg.eigvalsh(c).min() > 0


def test_one_leaky_rate_has_variance_q_over_twice_the_leak():
    assert covariance.stationary_covariance(np.array([[-2.0]]), np.array([[4.0]])) == pytest.approx(1.0)


def test_the_covariance_of_a_network_twice_as_fast_is_half():
    a, q = stable_matrix(5), positive_matrix(6)
    slow, fast = (covariance.stationary_covariance(speed * a, q) for speed in (1, 2))
    np.testing.assert_allclose(fast, slow / 2, rtol=1e-10)


def test_on_a_laplacian_the_pair_variance_is_half_the_effective_resistance():
    n = 60
    w = weighted_graph(n, seed=4)
    laplacian = np.diag(w.sum(0)) - w
    c = covariance.stationary_covariance(-laplacian - 1e-7 * np.eye(n), np.eye(n))
    i, j = np.nonzero(np.triu(w))
    resistance = 2 * covariance.pair_variance(c, np.ones(len(i)), i, j)
    inverse = np.linalg.pinv(laplacian)
    # 1e-7 of slack keeps the uniform mode finite; it costs about as much relative accuracy.
    np.testing.assert_allclose(resistance, inverse[i, i] + inverse[j, j] - 2 * inverse[i, j], rtol=1e-5)
    assert (w[i, j] * resistance).sum() == pytest.approx(n - 1, rel=1e-5)  # Foster's theorem


def test_diagonally_dominant_symmetric_scores_sum_to_half_the_neurons():
    n = 50
    w = weighted_graph(n, seed=7) * np.where(np.random.default_rng(8).random((n, n)) < 0.3, -1, 1)
    w = np.triu(w) + np.triu(w).T
    c = covariance.stationary_covariance(w - np.diag(np.abs(w).sum(0)), np.eye(n))
    i, j = np.nonzero(np.triu(w))
    assert (np.abs(w[i, j]) * covariance.pair_variance(c, np.sign(w[i, j]), i, j)).sum() == pytest.approx(n / 2)


def test_pair_variance_subtracts_for_excitation_and_adds_for_inhibition():
    c = np.array([[2.0, 1.0], [1.0, 3.0]])
    i, j = np.array([0, 1]), np.array([1, 0])
    assert covariance.pair_variance(c, np.array([1.0, -1.0]), i, j).tolist() == [3, 7]


def test_the_abscissa_is_the_largest_real_part():
    assert rate_model.rightmost(sparse.csr_array([[-3.0, 9.0], [0.0, -0.5]])) == pytest.approx(-0.5)
    assert rate_model.rightmost(sparse.csr_array([[-1.0, 5.0], [-5.0, -1.0]])) == pytest.approx(-1.0)


def test_a_large_network_in_which_no_gain_is_left_has_the_abscissa_of_its_read_out(monkeypatch):
    monkeypatch.setattr(rate_model, "DENSE_TO", 50)
    silent = network().with_params(bias=np.full(60, -9.0))
    assert rate_model.network_abscissa(silent) == pytest.approx(-1 / 4.0)
    assert rate_model.outermost(sparse.csr_array((60, 60))) == 0


def parts(rng, shuffled):
    """Two random networks of which the first excites the second, a pair, a chain and neurons that excite themselves."""
    blocks = [rng.normal(0, 0.3, (30, 30)), rng.normal(0, 0.2, (80, 80)), np.array([[0, 0.9], [0.4, 0]])]
    a = linalg.block_diag(*blocks, np.diag(np.full(39, 0.7), 1), np.diag([0.2, -2.5, 0.0]))
    a[30:110, :30] = rng.normal(0, 1, (80, 30))
    order = rng.permutation(len(a)) if shuffled else np.arange(len(a))
    return a[order][:, order]


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_outermost_of_a_large_network_are_those_of_its_parts(monkeypatch, shuffled):
    a = parts(np.random.default_rng(3), shuffled)
    values = linalg.eigvals(a)
    monkeypatch.setattr(rate_model, "DENSE_TO", 50)
    monkeypatch.setattr(rate_model, "COMPONENT_TO", 50)
    assert rate_model.rightmost(sparse.csr_array(a)) == pytest.approx(values.real.max(), rel=1e-4)
    assert rate_model.outermost(sparse.csr_array(a)) == pytest.approx(np.abs(values).max(), rel=1e-4)


def test_a_chain_has_no_loop_and_so_no_eigenvalue(monkeypatch):
    """Its computed eigenvalues are rounding errors to the power 1 / N, near the circle of its weights."""
    monkeypatch.setattr(rate_model, "DENSE_TO", 50)
    chain = sparse.csr_array(np.diag(np.full(99, 0.7), 1))
    assert rate_model.rightmost(chain) == rate_model.outermost(chain) == 0
    silent = sparse.csr_array((np.zeros(100), np.roll(np.arange(100), 1), np.arange(101)), (100, 100))
    assert rate_model.outermost(silent) == 0


def test_without_recurrence_only_the_read_out_leak_is_left():
    alone = replace(network(), w_rec=sparse.csr_array((60, 60)))
    assert rate_model.network_abscissa(alone) == pytest.approx(-1 / 4.0)


def test_a_synapse_enters_the_row_of_its_target():
    two = network(2)
    two = replace(two, w_rec=sparse.csr_array(np.array([[0.0, 0.1], [0.0, 0.0]])))
    a = rate_model.rate_model(two, rate_model.OperatingPoint(np.full(2, 0.1), np.full(2, 0.5))).a()
    expected = 0.5 / (1 - np.exp(-0.04 / two.params["tau_syn"][1])) * 0.1 / 4.0
    np.testing.assert_allclose(a, [[-0.25, 0], [expected, -0.25]])


def test_an_integrator_fires_its_current_over_its_threshold():
    """With hardly any leak every v_th of current is one spike, so the rate is i / v_th."""
    one = network(4).with_params(
        tau_mem=np.full(4, 1e6),
        tau_syn=np.full(4, 0.1),
        v_th=np.array([1.0, 2.0, 1.0, 1.0]),
        bias=0.2 * (1 - np.exp(-0.4)) * np.array([1, 1, 2, 0]),
    )
    one = replace(one, w_rec=sparse.csr_array((4, 4)), w_in=np.zeros((3, 4)))
    point = rate_model.operating_point(one, steps=1500, batch=1)
    np.testing.assert_allclose(point.rate, [0.2, 0.1, 0.4, 0.0], atol=0.002)
    # The shadow with less current never fires in neuron 3, hence half.
    np.testing.assert_allclose(point.gain, [1, 0.5, 1, 0.5], atol=0.03)


def test_the_operating_point_follows_the_neurons_when_they_change_places():
    start, order = network(), np.random.default_rng(1).permutation(60)
    here, there = rate_model.operating_point(start), rate_model.operating_point(start.keep_neurons(order))
    np.testing.assert_array_equal(there.rate, here.rate[order])
    np.testing.assert_array_equal(there.gain, here.gain[order])


def in_another_unit(net):
    """A potential of 1 is called 4."""
    return net.with_params(bias=4 * net.params["bias"], v_th=4 * net.params["v_th"])


def test_the_unit_of_the_potential_changes_nothing():
    start = network()
    scaled = replace(in_another_unit(start), w_in=4 * start.w_in, w_rec=4 * start.w_rec)
    here, there = (rate_model.rate_model(n) for n in (start, scaled))
    np.testing.assert_array_equal(here.a(), there.a())
    np.testing.assert_array_equal(here.q(), there.q())


def filtered_rates(net, steps, batch, tau, seed):
    """The network's equations as they are written; leaky filter of the spikes, [samples, N]."""
    rng, p = np.random.default_rng(seed), net.params
    alpha, beta, gamma = (np.exp(-net.dt / t) for t in (p["tau_syn"], p["tau_mem"], tau))
    w_rec = net.w_rec.toarray()
    i_syn, v, z, r = np.zeros((4, batch, net.n))
    seen = []
    for t in range(steps):
        i_syn = alpha * i_syn + z @ w_rec + rng.normal(0, 0.5, (batch, len(net.w_in))) @ net.w_in + p["bias"]
        v = beta * v + i_syn
        z = (v > p["v_th"]) * 1.0
        v = v - p["v_th"] * z
        r = gamma * r + (1 - gamma) * z
        if t > steps // 5:
            seen.append(r)
    return np.concatenate(seen)


def own_rates(net, nudge=0.0, steps=300, batch=16):
    """Mean spikes a step of each neuron, by its own step in plain NumPy; nudge : current more, in v_th, for a copy of
    every neuron that receives the same spikes."""
    rng, w, parts = np.random.default_rng(0), net.w_rec.toarray(), net.parts()
    steps_of = [bind(p.module.step, PLAIN) for p, _ in parts]
    constants = [p.constants(net.dt) for p, _ in parts]
    more = nudge * net.all("v_th") * net.drive_for()[0]
    state, copy = ([[np.zeros((batch, p.n)) for _ in p.module.STATE] for p, _ in parts] for _ in range(2))
    z, z_copy, counts = np.zeros((batch, net.n)), np.zeros((batch, net.n)), np.zeros(net.n)
    for t in range(steps):
        x = np.clip(rng.normal(0, rate_model.X_STD, (batch, len(net.w_in))), -2, 2)
        for k, (_, at) in enumerate(parts):
            drive = z @ w[:, at] + x @ net.w_in[:, at]
            *state[k], z[:, at] = steps_of[k](*state[k], drive, *constants[k])
            *copy[k], z_copy[:, at] = steps_of[k](*copy[k], drive + more[at], *constants[k])
        if t >= steps // 5:
            counts += z_copy.sum(0)
    return counts / (batch * (steps - steps // 5))


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_operating_point_is_that_of_the_networks_own_neurons(kind):
    net = NETWORKS[kind]()
    point = rate_model.operating_point(net)
    # A spike or two of thousands may differ: drives are summed in another order.
    np.testing.assert_allclose(point.rate, own_rates(net), atol=1e-3)
    up, down = own_rates(net, 0.05), own_rates(net, -0.05)
    np.testing.assert_allclose(point.gain, np.maximum(up - down, 0) / (0.1 * net.all("v_th")), atol=2e-2)
    assert point.rate.max() > 0.02 and point.gain.max() > 0.05


def test_the_model_of_layers_is_made_of_blocks():
    net = tiny_layers(sizes=(20, 16))
    point = rate_model.operating_point(net)
    m = rate_model.rate_model(net, point).m.toarray()
    current = net.drive_for()[0]
    np.testing.assert_allclose(m, (point.gain / current)[:, None] * net.w_rec.toarray().T, rtol=1e-12)
    assert (m[:20, 20:] == 0).all() and (m[20:, :20] != 0).any() and (current[20:] == 1).all() and current[0] < 1
    own = [np.linalg.eigvals(m[at, at]).real.max() for at in (slice(0, 20), slice(20, 36))]
    assert rate_model.rightmost(sparse.csr_array(m)) == pytest.approx(max(own))  # what is forward closes no loop


def test_the_rate_model_ranks_the_simulated_pair_variances():
    net = network(80)
    net = replace(net, w_in=2 * net.w_in)  # input that the neurons share: private noise alone reaches 0.80 to 0.87
    model = rate_model.rate_model(net)
    c = covariance.stationary_covariance(model.a(), model.q())
    measured = np.cov(filtered_rates(net, steps=2000, batch=8, tau=0.2, seed=2).T)
    pre, post = net.w_rec.nonzero()
    sign = np.sign(net.w_rec.data)
    pairs = [covariance.pair_variance(m, sign, pre, post) for m in (c, measured)]
    assert stats.spearmanr(*pairs).statistic > 0.93  # 0.96 to 0.98 over six seeds


def test_a_large_ring_alone_is_refused_soon():
    """All its eigenvalues are outermost and do not converge; ARPACK's own limit would be 10 N restarts, a minute."""
    n, products = 2001, []

    def turned(x):
        products.append(1)
        return np.roll(x, 1)

    with pytest.raises(NetworkError, match="did not converge"):
        rate_model._arnoldi(LinearOperator((n, n), turned, dtype=float), "LR")
    assert len(products) < 300 * 40  # restarts, vectors of each at most


def test_a_large_ring_alone_is_found_and_refused():
    n = 2001
    ring = sparse.csr_array((np.ones(n), (np.arange(n), np.roll(np.arange(n), 1))), shape=(n, n))
    with pytest.raises(NetworkError, match="did not converge"):
        rate_model.rightmost(ring)
