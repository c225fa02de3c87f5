"""The sparse simulation against network.py's equations as they are written, with dense matrices."""

from dataclasses import replace

import numpy as np
import pytest
from nets import tiny_network
from scipy import sparse

from lnp_edge.network.simulate import Simulation, filtered


def binary(seed):
    """Weights, bias and decays that are multiples of powers of two: float sums are then exact in any order."""
    net, rng = tiny_network(seed, n=30, dt=1.0), np.random.default_rng(seed)
    w = rng.integers(-40, 60, (30, 30)) * (rng.random((30, 30)) < 0.3) / 64
    halves = 1 / np.log(2)  # exp(-dt / tau) = 1/2, but for a last bit
    return replace(
        net, w_rec=sparse.csr_array(w), w_in=rng.integers(-64, 64, (3, 30)) / 64, bias=rng.integers(0, 16, 30) / 64,
        tau_mem=np.full(30, halves), tau_syn=np.full(30, halves),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_steps_are_the_networks_equations(seed):
    net = binary(seed)
    x = np.random.default_rng(seed).integers(-64, 64, (4, 50, 3)) / 64
    run = Simulation(net, 4)
    alpha, beta = np.exp(-net.dt / net.tau_syn), np.exp(-net.dt / net.tau_mem)
    i_syn, v, z = np.zeros((3, 4, 30))
    fired = 0
    for t in range(50):
        i_syn = alpha * i_syn + (z @ net.w_rec.toarray() + x[:, t] @ net.w_in + net.bias)
        v = beta * v + i_syn
        z = (v > net.v_th) * 1.0
        v = v - net.v_th * z
        np.testing.assert_array_equal(run.step(x[:, t]), z)
        np.testing.assert_allclose(run.v, v, atol=1e-12)
        fired += z.sum()
    assert 0.02 < fired / (4 * 50 * 30) < 0.9


def test_filtered_rates_are_in_spikes_a_step():
    net = replace(
        tiny_network(n=5), w_rec=sparse.csr_array((5, 5)), bias=np.array([1e6, 0, 0, 0, 0]), w_in=np.zeros((3, 5))
    )
    *_, last = filtered(net, np.zeros((2, 4000, 3)), tau=10 * net.dt)
    np.testing.assert_allclose(last[:, 0], 1.0)  # fires in every step
    assert (last[:, 1:] == 0).all()
