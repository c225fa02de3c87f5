"""Step II of Lyapunov noise pruning: which neurons go."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import tiny_network
from scipy import sparse

from lnp_edge.network import Network
from lnp_edge.pruning.steps import nodes as _nodes
from lnp_edge.pruning.steps.nodes import betweenness, centrality, degree_product, reach, surviving_neurons

SEEDS = st.integers(0, 2**32 - 1)


def graph(w, w_in=None, w_out=None) -> Network:
    """A network with these recurrent weights; every neuron hears the input and feeds the read-out."""
    n = len(w)
    return replace(
        tiny_network(n=n, c=1, o=1, density=0.0),
        w_rec=sparse.csr_array(np.asarray(w, float)),
        w_in=np.ones((1, n)) if w_in is None else w_in,
        w_out=np.ones((n, 1)) if w_out is None else w_out,
    )


def random_graph(seed, n, density, ports, c=2, o=3) -> Network:
    """Self-loops included; a share `ports` of the neurons hears each input, and feeds each read-out."""
    rng = np.random.default_rng(seed)
    sparse_ = lambda shape, share: rng.normal(size=shape) * (rng.random(shape) < share)  # noqa: E731
    return graph(sparse_((n, n), density), sparse_((c, n), ports), sparse_((n, o), ports))


# Betweenness


def betweenness_by_pairs(w):
    """Sum over pairs (s, t) of the share of their shortest paths that pass v, by counting walks."""
    n = len(w)
    step = (w != 0).astype(int)
    np.fill_diagonal(step, 0)
    distance, count = np.full((n, n), 10**6), np.zeros((n, n), int)
    walks = np.eye(n, dtype=int)
    for d in range(n):
        new = (walks > 0) & (distance == 10**6)
        distance[new], count[new] = d, walks[new]
        walks = walks @ step
    total = np.zeros(n)
    for s in range(n):
        for t in range(n):
            for v in range(n):
                on_the_way = distance[s, t] < 10**6 and distance[s, v] + distance[v, t] == distance[s, t]
                if len({s, t, v}) == 3 and on_the_way:
                    total[v] += count[s, v] * count[v, t] / count[s, t]
    return total


def test_betweenness_of_a_chain_and_of_two_equal_ways():
    chain = np.diag(np.ones(3), 1)
    assert betweenness(graph(chain)).tolist() == [0, 2, 2, 0]
    diamond = np.zeros((4, 4))
    diamond[0, [1, 2]] = diamond[[1, 2], 3] = 1
    assert betweenness(graph(diamond)).tolist() == [0, 0.5, 0.5, 0]


@pytest.mark.parametrize("density", [0.0, 0.05, 0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_betweenness_equals_counting_all_pairs(seed, density):
    net = random_graph(seed, 16, density, 1.0)
    np.testing.assert_allclose(betweenness(net), betweenness_by_pairs(net.w_rec.toarray()), rtol=1e-12)


def test_a_self_loop_does_not_count():
    net = random_graph(0, 16, 0.2, 1.0)
    w = net.w_rec.toarray()
    np.fill_diagonal(w, 0)
    looped = betweenness(graph(w + np.eye(16)))
    np.testing.assert_array_equal(looped, betweenness(graph(w)))


def test_pivots_with_all_sources_are_exact():
    net = random_graph(1, 30, 0.1, 1.0)
    np.testing.assert_array_equal(betweenness(net, 30, np.random.default_rng(0)), betweenness(net))


def test_pivots_are_unbiased():
    net = random_graph(1, 20, 0.15, 1.0)
    rng = np.random.default_rng(0)
    draws = np.array([betweenness(net, 5, rng) for _ in range(4000)])
    exact = betweenness(net)
    moving = draws.std(0) > 0
    z = (draws.mean(0) - exact)[moving] / (draws.std(0)[moving] / np.sqrt(4000))
    # Twenty neurons share the draws: no z beyond 4 in a thousand such trials.
    assert moving.sum() > 15 and np.abs(z).max() < 4
    np.testing.assert_allclose(draws.mean(0)[~moving], exact[~moving], rtol=1e-12)


def test_the_degree_product_counts_in_and_out():
    w = np.zeros((4, 4))
    w[0, [1, 2, 3]] = w[[1, 2], 0] = -1.0
    assert degree_product(graph(w)).tolist() == [6, 1, 1, 0]


def test_the_degree_product_follows_betweenness_on_a_random_graph():
    net = random_graph(0, 400, 0.06, 1.0)
    assert np.corrcoef(degree_product(net), betweenness(net))[0, 1] > 0.9


def test_centrality_is_exact_then_sampled_then_the_degree_product(monkeypatch):
    net = tiny_network(n=200, density=0.1)
    m = net.w_rec.nnz
    exact = betweenness(net)
    np.testing.assert_array_equal(centrality(net, np.random.default_rng(0)), exact)
    monkeypatch.setattr(_nodes, "WORK", 199 * m)
    monkeypatch.setattr(_nodes, "SAMPLED", 100 * m)
    sampled = centrality(net, np.random.default_rng(0))
    np.testing.assert_array_equal(sampled, betweenness(net, 100, np.random.default_rng(0)))
    assert (sampled != exact).any() and np.corrcoef(sampled, exact)[0, 1] > 0.8
    monkeypatch.setattr(_nodes, "SAMPLED", 10 * m)
    few = centrality(net, np.random.default_rng(0))
    np.testing.assert_array_equal(few, betweenness(net, 50, np.random.default_rng(0)))
    monkeypatch.setattr(_nodes, "WORK", 49 * m)
    np.testing.assert_array_equal(centrality(net, np.random.default_rng(0)), degree_product(net))


# Which neurons stay


def reach_by_powers(network):
    """[C, O], by following all synapses N times."""
    step = network.w_rec.toarray() != 0
    heard = network.w_in != 0
    for _ in range(network.n):
        heard = heard | (heard.astype(int) @ step > 0)
    return heard.astype(int) @ (network.w_out != 0) > 0


def survivors_by_trial(network, most, count):
    """Every candidate is removed from the network, and the network that is left is looked at."""
    paths = reach_by_powers(network)
    w = network.w_rec.toarray() != 0
    between = betweenness_by_pairs(w).round(9)
    alive = np.ones(network.n, bool)
    for neuron in sorted(range(network.n), key=lambda i: (between[i], w[i].sum() + w[:, i].sum(), i)):
        if alive.sum() == network.n - most:
            break
        if alive.sum() == 1:
            break
        alive[neuron] = False
        smaller = network.keep_neurons(np.flatnonzero(alive))
        alive[neuron] = smaller.w_rec.nnz < count or (reach_by_powers(smaller) != paths).any()
    return np.flatnonzero(alive)


@settings(max_examples=150)
@given(SEEDS, st.integers(1, 14), st.floats(0, 0.4), st.floats(0, 0.5))
def test_reach_equals_following_every_synapse(seed, n, density, ports):
    net = random_graph(seed, n, density, ports)
    np.testing.assert_array_equal(reach(net), reach_by_powers(net))


@settings(max_examples=80)
@given(SEEDS, st.integers(1, 12), st.floats(0, 0.4), st.floats(0, 0.5), st.floats(0, 1), st.floats(0, 1))
def test_the_same_neurons_stay_as_when_every_removal_is_tried(seed, n, density, ports, going, needed):
    net = random_graph(seed, n, density, ports)
    most, count = round(going * n), round(needed * net.w_rec.nnz)
    np.testing.assert_array_equal(surviving_neurons(net, most, count), survivors_by_trial(net, most, count))


def test_the_neurons_of_lowest_betweenness_go():
    net = tiny_network()
    alive = surviving_neurons(net, 4, 1)
    gone = np.setdiff1d(np.arange(40), alive)
    between = betweenness(net)
    assert len(gone) == 4 and between[gone].max() <= between[alive].min()


def test_of_equals_the_sparser_go_first():
    """A ring each way and a pair of its own: none is between any two by more than another of its kind."""
    w = np.zeros((5, 5))
    w[0, 1] = w[1, 0] = w[2, 3] = w[3, 4] = w[4, 2] = w[2, 4] = w[4, 3] = w[3, 2] = 1.0
    assert betweenness(graph(w)).tolist() == [0] * 5
    assert surviving_neurons(graph(w), 2, 0).tolist() == [2, 3, 4]


def test_the_only_way_from_input_to_read_out_stays():
    """0 -> 1 -> 2 is that way, its ends of betweenness 0; 3, 4 and 5 lead nowhere."""
    w = np.zeros((6, 6))
    w[0, 1] = w[1, 2] = w[3, 4] = w[4, 5] = w[5, 3] = 1.0
    net = graph(w, w_in=np.eye(6)[:1], w_out=np.eye(6)[:, [2]])
    assert reach(net).tolist() == [[True]]
    assert surviving_neurons(net, 6, 0).tolist() == [0, 1, 2]
    assert reach(net.keep_neurons(np.array([0, 2]))).tolist() == [[False]]


def test_of_several_ways_the_last_stays():
    """Each neuron is a way of its own; then each of three pairs 0 -> 3, 1 -> 4, 2 -> 5 is."""
    assert surviving_neurons(graph(np.zeros((4, 4))), 4, 0).tolist() == [3]
    w = np.diag(np.ones(3), 3)
    net = graph(w, w_in=np.repeat([[1.0, 0.0]], 3, axis=1), w_out=np.repeat([[0.0], [1.0]], 3, axis=0))
    assert surviving_neurons(net, 6, 0).tolist() == [2, 5]


def test_a_neuron_whose_synapses_the_budget_needs_stays():
    net = tiny_network()
    assert len(surviving_neurons(net, 4, net.w_rec.nnz)) == 40


def test_a_synapse_between_two_that_go_is_lost_once():
    """0 and 1 share a synapse, and a self-loop is one too: 3 of 5 are lost with both."""
    w = np.zeros((5, 5))
    w[0, 1] = w[0, 0] = w[1, 1] = w[2, 3] = w[3, 4] = 1.0
    net = graph(w, w_in=np.ones((1, 5)), w_out=np.eye(5)[:, [3, 4]])
    assert surviving_neurons(net, 2, 2).tolist() == survivors_by_trial(net, 2, 2).tolist()
