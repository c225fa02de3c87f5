"""Step IV: time constants from other gamma distributions, closer to a wanted spectrum."""

import numpy as np
import pytest
from nets import NETWORKS, tiny_layers, tiny_network

from lnp_edge.base.errors import LnpError
from lnp_edge.config import NoiseSettings
from lnp_edge.dynamics import lyapunov
from lnp_edge.pruning import lnp
from lnp_edge.pruning.steps import timescales as _timescales
from lnp_edge.pruning.steps.timescales import distance, optimise_timescales, with_taus


def spectrum(net, k=_timescales.EXPONENTS):
    return lyapunov.of_network(net, k=k).exponents


def test_slow_neurons_that_lost_their_speed_get_it_back():
    """The network wanted is the same with time constants of half the mean: the search must come nearer to it."""
    net = tiny_network(n=40)
    wanted = spectrum(with_taus(net, [{name: net.params[name] / 2 for name in ("tau_mem", "tau_syn")}]))
    found = optimise_timescales(net, wanted, trials=12, seed=1)
    assert distance(spectrum(found), wanted) < 0.5 * distance(spectrum(net), wanted)
    tau, tuned = net.params["tau_mem"], found.params["tau_mem"]
    assert tuned.mean() < 0.8 * tau.mean()
    np.testing.assert_array_equal(np.argsort(tuned), np.argsort(tau))  # each keeps its quantile
    again = optimise_timescales(net, wanted, trials=12, seed=1)
    np.testing.assert_array_equal(again.params["tau_mem"], tuned)


def test_nothing_better_leaves_the_network_alone():
    net = tiny_network(n=20)
    found = optimise_timescales(net, lyapunov.of_network(net, k=32).exponents, trials=2, seed=0)
    np.testing.assert_array_equal(found.params["tau_mem"], net.params["tau_mem"])


@pytest.mark.parametrize("kind", NETWORKS)
def test_other_time_constants_leave_the_gain_of_a_constant_input(kind):
    net = NETWORKS[kind]()
    taus = [
        {name: (3.0, 0.5)[k % 2] * p.params[name] for k, name in enumerate(_timescales.times(p))}
        for p in net.populations
    ]
    other = with_taus(net, taus)

    def gains(n):
        unit = n.drive_for()[1]
        return n.w_in / unit, n.w_rec.data / unit[n.w_rec.indices]

    for a, b in zip(gains(other), gains(net), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    for p, q, given in zip(net.populations, other.populations, taus, strict=True):
        for name, meaning in p.module.PARAMETERS.items():
            if meaning.is_time:
                np.testing.assert_array_equal(q.params[name], np.maximum(given[name], 1.5 * net.dt))
            elif meaning.scale:
                in_scales = [a.params[name] / meaning.scale(net.dt, a.params) for a in (p, q)]
                free = (p.params[name] < meaning.high) & (q.params[name] < meaning.high)
                np.testing.assert_allclose(in_scales[1][free], in_scales[0][free], rtol=1e-12)
            else:
                np.testing.assert_array_equal(q.params[name], p.params[name])


def test_the_time_constants_of_every_layer_are_tuned():
    net = tiny_layers(sizes=(12, 10))
    slower = [{name: 3 * p.params[name] for name in _timescales.times(p)} for p in net.populations]
    wanted = lyapunov.of_network(with_taus(net, slower), k=_timescales.EXPONENTS).exponents
    found = optimise_timescales(net, wanted, trials=12, seed=1)
    assert distance(spectrum(found), wanted) < distance(spectrum(net), wanted)
    for p, q in zip(net.populations, found.populations, strict=True):
        for name in _timescales.times(p):
            assert (q.params[name] != p.params[name]).any()


@pytest.mark.parametrize(("n", "k"), [(40, 32), (5, 10)])
def test_the_objective_compares_the_32_largest_exponents_or_all(n, k):
    net, told = tiny_network(n=n), []
    wanted = lyapunov.of_network(net, k=k, seed=1).exponents - np.linspace(0, 3, k)
    optimise_timescales(net, wanted, trials=0, seed=0, tried=told.extend)
    scale = net.params["tau_mem"].mean() + net.params["tau_syn"].mean()
    assert told == [distance(lyapunov.of_network(net, k=k).exponents, wanted) * scale]


def test_the_distance_of_spectra_is_wasserstein_and_dear_above_the_wanted_maximum():
    assert distance(np.array([-2.0, -1.0]), np.array([-1.5, -1.0])) == pytest.approx(0.25)
    assert distance(np.array([-1.0, 0.5]), np.array([-1.0, 0.0])) == pytest.approx(0.25 + 5)


def test_without_optuna_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("lnp_edge.base.install.find_spec", lambda name: None if name == "optuna" else True)
    with pytest.raises(LnpError, match="optuna"):
        optimise_timescales(tiny_network(n=10), np.zeros(4), 3, 0)


def test_pruning_wants_the_spectrum_of_the_network_before_it(monkeypatch):
    net, wanted = tiny_network(n=12), []
    monkeypatch.setattr(lnp, "optimise_timescales", lambda pruned, spectrum, *more: wanted.append(spectrum) or pruned)
    lnp.prune(net, 0.3, 1, None, NoiseSettings(rounds=1, timescales=1))
    np.testing.assert_array_equal(wanted, [spectrum(net, k=lyapunov.dimension(net))])
