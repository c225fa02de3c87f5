"""The sparse simulation against the equations of a network and its neurons as they are written, with dense matrices."""

from dataclasses import replace

import numpy as np
import pytest
from nets import EQUATIONS, NETWORKS, tiny_layers, tiny_network
from scipy import sparse

from lnp_edge.network.simulate import Simulation, filtered


def simulated(net, x):
    """Spikes [T, B, N] and the last states, by neurons' equations, dense: x [T, B, C]."""
    w, parts = net.w_rec.toarray(), net.parts()
    states = [{name: np.zeros((x.shape[1], p.n)) for name in p.module.STATE} for p, _ in parts]
    z, found = np.zeros((x.shape[1], net.n)), []
    for now in x:
        for (p, at), s in zip(parts, states, strict=True):
            z[:, at] = EQUATIONS[p.neuron][1](s, z @ w[:, at] + now @ net.w_in[:, at], p.params, net.dt)
        found.append(z.copy())
    return np.array(found), states


@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if kind in EQUATIONS or kind == "layers"])
def test_steps_are_the_equations_of_neurons_and_network(kind):
    net = NETWORKS[kind]()
    x = np.random.default_rng(1).normal(0, 0.5, (300, 4, 3))
    z, states = simulated(net, x)
    run = Simulation(net, 4)
    for now, expected in zip(x, z, strict=True):
        np.testing.assert_array_equal(run.step(now), expected)
    for (p, _), state, expected in zip(net.parts(), run.state, states, strict=True):
        for found, name in zip(state, p.module.STATE, strict=True):
            np.testing.assert_allclose(found, expected[name], atol=1e-10)  # other orders of summation
    assert all(0.005 < z[..., at].mean() < 0.5 for _, at in net.parts())


def test_a_layer_reads_the_spikes_of_this_step_of_the_layer_before_and_its_own_of_the_step_before():
    """One neuron each, without leak: an input above the threshold reaches the second in the same step, the third is
    its own echo."""
    net = tiny_layers(sizes=(2, 2), neurons=("cuba_lif",), c=1)
    w = np.zeros((4, 4))
    w[0, 2] = w[2, 3] = 9.0
    slow = {"tau_mem": np.full(2, 1e-6), "tau_syn": np.full(2, 1e-6), "bias": np.zeros(2)}
    populations = tuple(replace(p, params=p.params | slow) for p in net.populations)
    net = replace(net, populations=populations, w_rec=sparse.csr_array(w), w_in=np.array([[9.0, 0, 0, 0]]))
    run = Simulation(net, 1)
    assert run.step(np.ones((1, 1)))[0].tolist() == [True, False, True, False]
    assert run.step(np.zeros((1, 1)))[0].tolist() == [False, False, False, True]
    assert not run.step(np.zeros((1, 1))).any()


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_fires_at_a_moderate_rate_and_follows_its_input(kind):
    net = NETWORKS[kind]()
    x = np.random.default_rng(2).normal(0, 0.5, (400, 8, 3)).clip(-2, 2)
    runs = [Simulation(net, 8), Simulation(net, 8)]
    z = np.array([[run.step(now).copy() for run, now in zip(runs, (a, 0 * a), strict=True)] for a in x])
    assert (z[:, 0] != z[:, 1]).any()
    assert all(0.01 < z[100:, 0, :, at].mean() < 0.4 for _, at in net.parts())


def binary(seed):
    """Weights, bias and decays that are multiples of powers of two: float sums are then exact in any order."""
    net, rng = tiny_network(seed, n=30, dt=1.0), np.random.default_rng(seed)
    w = rng.integers(-40, 60, (30, 30)) * (rng.random((30, 30)) < 0.3) / 64
    halves = np.full(30, 1 / np.log(2))  # exp(-dt / tau) = 1/2, but for a last bit
    net = net.with_params(bias=rng.integers(0, 16, 30) / 64, tau_mem=halves, tau_syn=halves)
    return replace(net, w_rec=sparse.csr_array(w), w_in=rng.integers(-64, 64, (3, 30)) / 64)


@pytest.mark.parametrize("seed", range(3))
def test_of_sums_that_are_exact_every_spike_is_that_of_the_equations(seed):
    net = binary(seed)
    x = np.random.default_rng(seed).integers(-64, 64, (50, 4, 3)) / 64
    z, _ = simulated(net, x)
    run = Simulation(net, 4)
    for now, expected in zip(x, z, strict=True):
        np.testing.assert_array_equal(run.step(now), expected)
    assert 0.02 < z.mean() < 0.9


def test_filtered_rates_are_in_spikes_a_step():
    net = tiny_network(n=5).with_params(bias=np.array([1e6, 0, 0, 0, 0]))
    net = replace(net, w_rec=sparse.csr_array((5, 5)), w_in=np.zeros((3, 5)))
    *_, last = filtered(net, np.zeros((2, 4000, 3)), tau=10 * net.dt)
    np.testing.assert_allclose(last[:, 0], 1.0)  # fires in every step
    assert (last[:, 1:] == 0).all()
