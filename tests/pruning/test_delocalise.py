"""Step III of Lyapunov noise pruning: new synapses, and what they do to the eigenvectors."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import tiny_network
from scipy import linalg, sparse

from lnp_edge import pruning
from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.dynamics.rate_model import network_abscissa, rate_model
from lnp_edge.pruning.steps import delocalise as _delocalise
from lnp_edge.pruning.steps.delocalise import (
    RULES,
    add_synapses,
    candidates,
    delocalise,
    inverse_participation_ratios,
    localisation,
    slowest_eigenvectors,
)

NO_LIMIT = np.inf


def rng(seed=0):
    return np.random.default_rng(seed)


def slow(net):
    return slowest_eigenvectors(rate_model(net).m)


def new_pairs(before, after):
    return np.nonzero((after.w_rec != 0).toarray() & ~(before.w_rec != 0).toarray())


# Inverse participation ratio


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0, 4), st.booleans())
def test_the_ratio_lies_between_even_and_one_neuron(seed, n, spread, is_complex):
    r = rng(seed)
    u = r.normal(size=(n, 5)) * r.lognormal(0, spread, (n, 5)) + (1j * r.normal(size=(n, 5)) if is_complex else 0)
    ratios = inverse_participation_ratios(u / linalg.norm(u, axis=0))
    assert ratios.shape == (5,)
    assert ratios.min() >= 1 / n - 1e-12 and ratios.max() <= 1 + 1e-12


def test_the_ratio_of_one_neuron_is_1_and_of_all_alike_1_in_n():
    u = np.column_stack([np.eye(8)[2], np.ones(8), np.repeat([1j, 0], 4)])
    np.testing.assert_allclose(inverse_participation_ratios(u), [1, 1 / 8, 1 / 4], rtol=1e-14)


def test_localisation_tells_all_the_slowest_and_the_leading_apart():
    """Two neurons apart, the slowest first; below them four that share everything."""
    m = linalg.block_diag(np.diag([0.9, 0.8]), linalg.circulant([0, 0.1, 0, 0]))
    np.testing.assert_allclose(localisation(m, 2), [(1 + 1 + 4 / 4) / 6, 1, 1], rtol=1e-12)
    np.testing.assert_allclose(localisation(sparse.csr_array(m), 3), [0.5, (1 + 1 + 1 / 4) / 3, 1], rtol=1e-12)
    np.testing.assert_allclose(localisation(m), [0.5, 1, 1], rtol=1e-12)


def test_a_large_matrix_is_measured_by_its_slowest_only(monkeypatch):
    m = rate_model(tiny_network(n=100)).m
    every, slowest, leading = localisation(m)
    assert every == pytest.approx(inverse_participation_ratios(linalg.eig(m.toarray())[1]).mean())
    monkeypatch.setattr(_delocalise, "DENSE_TO", 50)
    by_arnoldi = localisation(m)
    assert np.isnan(by_arnoldi[0])
    np.testing.assert_allclose(by_arnoldi[1:], [slowest, leading], rtol=0.02)  # eigs stops at a residual of 1e-3
    assert slow(tiny_network(n=100)).shape == (100, 5)


def test_a_large_network_in_which_no_gain_is_left_gets_its_synapses_anywhere(monkeypatch):
    monkeypatch.setattr(_delocalise, "DENSE_TO", 50)
    silent = tiny_network(n=100)
    silent = replace(silent.with_params(bias=np.full(100, -9.0)), w_in=0 * silent.w_in)
    np.testing.assert_allclose(localisation(rate_model(silent).m)[1:], 1 / 100)
    assert delocalise(silent, 50, "targeted", NO_LIMIT, rng()).w_rec.nnz == silent.w_rec.nnz + 50


# Which pairs


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("density", [0.1, 0.6])
def test_candidates_are_distinct_new_and_off_the_diagonal(rule, density):
    net = tiny_network(density=density)
    pre, post = candidates(net, 400, rule, rng(), slow(net))
    assert len(set(zip(pre.tolist(), post.tolist(), strict=True))) == len(pre) == 400
    assert not (pre == post).any() and not (net.w_rec.toarray()[pre, post] != 0).any()


@pytest.mark.parametrize("rule", RULES)
def test_the_last_free_pair_is_found_and_no_more(rule):
    net = tiny_network(n=20)
    vectors = np.eye(20)[:, :1]  # targeted has one target only
    free = 20 * 19 - net.w_rec.nnz
    pre, post = candidates(net, free, rule, rng(), vectors)
    full = net.w_rec.toarray() != 0
    full[pre, post] = True
    assert full.sum() == 20 * 19
    with pytest.raises(NetworkError, match=f"{free} pairs are free"):
        candidates(net, free + 1, rule, rng(), vectors)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match="hubs"):
        candidates(tiny_network(), 1, "hubs", rng())


def counts_of_pairs(net, rule, vectors=None, draws=4000):
    """How often each pair is the first drawn."""
    r, often = rng(1), np.zeros((net.n, net.n))
    for _ in range(draws):
        pre, post = candidates(net, 1, rule, r, vectors)
        often[pre, post] += 1
    return often


def assert_drawn_in_proportion(often, weight):
    expected = weight / weight.sum() * often.sum()
    assert (often[weight == 0] == 0).all()
    z = (often - expected)[weight > 0] / np.sqrt(expected[weight > 0])
    assert np.abs(z).max() < 4.5 and 0.7 < z.std() < 1.3


def test_each_rule_draws_in_proportion_to_what_it_says():
    w = np.zeros((8, 8))
    w[0, 1:6] = w[6, 0] = w[2, 0] = w[3, 3] = 1.0
    net = replace(tiny_network(n=8), w_rec=sparse.csr_array(w))
    free = (w == 0) & ~np.eye(8, dtype=bool)
    degree = w.sum(0) + w.sum(1)
    assert_drawn_in_proportion(counts_of_pairs(net, "random"), free * 1.0)
    assert_drawn_in_proportion(counts_of_pairs(net, "hub"), free * (degree[:, None] + degree))
    u = linalg.qr(rng(2).normal(size=(8, 2)), mode="economic")[0]
    weight = (u**4).sum(0)[0] * u[:, 0] ** 2 + (u**4).sum(0)[1] * u[:, 1] ** 2
    assert_drawn_in_proportion(counts_of_pairs(net, "targeted", u), free * weight)


# Their weights


def test_a_new_weight_has_the_size_of_another_into_the_same_neuron():
    net = tiny_network(density=0.1)
    pre, post = candidates(net, 300, "random", rng())
    after = add_synapses(net, pre, post, rng()).w_rec.toarray()
    old = np.abs(net.w_rec.toarray())
    for i, j in zip(pre, post, strict=True):
        same = old[net.sign == net.sign[i], j]
        choices = next(c for c in (same, old[:, j], old) if c.any())
        assert np.abs(after[i, j]) in choices[choices > 0]


def test_a_neuron_that_had_no_synapse_gets_a_weight_of_any():
    w = np.zeros((4, 4))
    w[0, 1], w[0, 2] = 0.5, 0.25
    net = replace(tiny_network(n=4), w_rec=sparse.csr_array(w), sign=np.array([1, 1, -1, 1], np.int8))
    drawn = [add_synapses(net, np.array([2]), np.array([3]), rng(s)).w_rec.toarray()[2, 3] for s in range(30)]
    assert set(drawn) == {-0.5, -0.25}


def test_without_any_synapse_there_is_no_weight_to_take():
    with pytest.raises(NetworkError, match="no synapse to take"):
        add_synapses(tiny_network(density=0.0), np.array([0]), np.array([1]), rng())


# Step III


@pytest.mark.parametrize("rule", RULES)
def test_exactly_so_many_are_new_and_the_others_stay_as_they_were(rule):
    net = tiny_network(density=0.1)
    after = delocalise(net, 37, rule, NO_LIMIT, rng())
    assert after.w_rec.nnz == net.w_rec.nnz + 37
    pre, post = net.w_rec.nonzero()
    np.testing.assert_array_equal(after.w_rec.toarray()[pre, post], net.w_rec.data)
    pre, post = new_pairs(net, after)
    assert len(pre) == 37 and not (pre == post).any()
    assert (np.sign(after.w_rec.toarray()[pre, post]) == net.sign[pre]).all()
    assert after.w_rec.format == "csr" and after.w_rec.has_canonical_format
    assert all(getattr(after, f.name) is getattr(net, f.name) for f in fields(net) if f.name != "w_rec")


@pytest.mark.parametrize("rule", RULES)
def test_the_same_seed_gives_the_same_synapses_and_another_others(rule):
    a, b, c = (delocalise(tiny_network(density=0.1), 30, rule, NO_LIMIT, rng(s)).w_rec for s in (5, 5, 6))
    np.testing.assert_array_equal(a.toarray(), b.toarray())
    assert (a != c).nnz > 0


def test_none_asked_for_changes_nothing():
    net = tiny_network()
    assert delocalise(net, 0, "hub", -np.inf, rng()) is net


@pytest.mark.parametrize("rule", RULES)
def test_the_guard_holds_the_limit_and_lets_some_pass(rule):
    net = pruning.scaled(tiny_network(n=60, density=0.1), 2.0)
    limit = network_abscissa(net) + 0.005
    assert network_abscissa(delocalise(net, 160, rule, NO_LIMIT, rng())) > limit  # else it had nothing to do
    after = delocalise(net, 160, rule, limit, rng())
    assert network_abscissa(after) <= limit
    assert net.w_rec.nnz < after.w_rec.nnz <= net.w_rec.nnz + 160


def test_a_guard_that_refuses_everything_leaves_the_network_and_gives_up_soon(monkeypatch):
    net, asked = tiny_network(density=0.1), []
    monkeypatch.setattr(_delocalise, "network_abscissa", lambda trial: asked.append(trial) or 1.0)
    assert delocalise(net, 64, "random", 0.0, rng()) is net
    assert len(asked) == 31  # 1 + 2 + 4 + 8 + 16 batches, and no second round


def test_what_the_guard_refused_is_drawn_anew(monkeypatch):
    net, asked = tiny_network(density=0.1), []

    def refuses_at_first(trial):
        asked.append(trial)
        return 1.0 if len(asked) <= 4 else -1.0  # 64, 32, 16 and 8 new ones

    monkeypatch.setattr(_delocalise, "network_abscissa", refuses_at_first)
    monkeypatch.setattr(_delocalise, "PARTS", 8)
    after = delocalise(net, 64, "random", 0.0, rng())
    assert after.w_rec.nnz == net.w_rec.nnz + 64
    assert [trial.w_rec.nnz - net.w_rec.nnz for trial in asked] == [64, 32, 16, 8, 8, 24, 56, 64]


def test_new_synapses_spread_the_eigenvectors_of_lonely_pairs():
    """Twenty pairs that do not know of each other: each slow mode sits in one pair until synapses join them."""
    w = np.kron(np.eye(20), [[0, 1], [1, 0]]) * (1 + 0.02 * np.arange(40)[:, None])
    net = replace(tiny_network(n=40), w_rec=sparse.csr_array(w), sign=np.ones(40, np.int8))
    joined = add_synapses(net, *candidates(net, 200, "random", rng()), rng())
    assert localisation(net.w_rec)[1] > 0.45
    assert localisation(joined.w_rec)[1] < 0.2
