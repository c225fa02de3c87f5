"""Step IV: time constants from other gamma distributions, closer to a wanted spectrum."""

import numpy as np
import pytest
from nets import tiny_network

from lnp_edge.base.errors import LnpError
from lnp_edge.dynamics import lyapunov
from lnp_edge.pruning.steps import timescales as _timescales
from lnp_edge.pruning.steps.timescales import distance, optimise_timescales, with_taus


def spectrum(net):
    return lyapunov.of_network(net, k=_timescales.EXPONENTS).exponents


def test_slow_neurons_that_lost_their_speed_get_it_back():
    """The network wanted is the same with time constants of half the mean: the search must come nearer to it."""
    net = tiny_network(n=40)
    wanted = spectrum(with_taus(net, net.tau_mem / 2, net.tau_syn / 2))
    found = optimise_timescales(net, wanted, trials=14, seed=1)
    assert distance(spectrum(found), wanted) < 0.5 * distance(spectrum(net), wanted)
    assert found.tau_mem.mean() < 0.8 * net.tau_mem.mean()
    np.testing.assert_array_equal(np.argsort(found.tau_mem), np.argsort(net.tau_mem))  # each keeps its quantile
    again = optimise_timescales(net, wanted, trials=14, seed=1)
    np.testing.assert_array_equal(again.tau_mem, found.tau_mem)


def test_nothing_better_leaves_the_network_alone():
    net = tiny_network(n=20)
    found = optimise_timescales(net, lyapunov.of_network(net, k=32).exponents, trials=2, seed=0)
    np.testing.assert_array_equal(found.tau_mem, net.tau_mem)


def test_other_time_constants_leave_the_gain_of_a_constant_input():
    net = tiny_network(n=20)
    other = with_taus(net, 3 * net.tau_mem, 0.5 * net.tau_syn)

    def gain(n):
        return n.w_in / ((1 - np.exp(-n.dt / n.tau_syn)) * (1 - np.exp(-n.dt / n.tau_mem)))

    np.testing.assert_allclose(gain(other), gain(net), rtol=1e-12)
    assert (np.sign(other.w_rec.data) == np.sign(net.w_rec.data)).all()
    assert other.tau_syn.min() >= 1.5 * net.dt


def test_the_distance_of_spectra_is_wasserstein_and_dear_above_the_wanted_maximum():
    assert distance(np.array([-2.0, -1.0]), np.array([-1.5, -1.0])) == pytest.approx(0.25)
    assert distance(np.array([-1.0, 0.5]), np.array([-1.0, 0.0])) == pytest.approx(0.25 + 5)


def test_without_optuna_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("lnp_edge.base.install.find_spec", lambda name: None if name == "optuna" else True)
    with pytest.raises(LnpError, match="optuna"):
        optimise_timescales(tiny_network(n=10), np.zeros(4), 3, 0)
