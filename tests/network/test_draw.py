"""Random networks: parameters as the neuron's file says, synapses within and between layers, ports."""

from dataclasses import replace

import numpy as np
import pytest
from nets import SPIKING, tiny_layers, tiny_network

from lnp_edge.base.errors import ConfigError
from lnp_edge.config import LayerSettings, NetworkSettings
from lnp_edge.network import draw
from lnp_edge.network.draw import drawn, random_network, with_ports
from lnp_edge.spec.parameters import leak_factors
from lnp_edge.spec.plugins import get


def network(n=400, neuron="cuba_lif", seed=1, dt=0.02, **more):
    return random_network(n, 3, 2, dt, 0.05, np.random.default_rng(seed), neuron, **more)


@pytest.mark.parametrize("neuron", SPIKING)
def test_parameters_are_drawn_with_their_means_and_kept_in_their_ranges(neuron):
    net = network(4000, neuron, dt=1e-4, heterogeneous=True)
    for name, p in get("lnp_edge.neurons", neuron).PARAMETERS.items():
        values = net.params[name]
        assert ((values >= p.low) & (values <= p.high)).all() and np.isfinite(values).all()
        unit = p.scale(net.dt, net.params) if p.scale else 1.0
        # The mean of 4000 draws of a gamma distribution of shape 3, or of a uniform one, scatters by 1 % or less.
        assert (values / unit).mean() == pytest.approx(p.default, rel=0.05), name
    alike = network(50, neuron, heterogeneous=False)
    for name, p in get("lnp_edge.neurons", neuron).PARAMETERS.items():
        unit = p.scale(alike.dt, alike.params) if p.scale else 1.0
        np.testing.assert_allclose(alike.params[name] / unit, p.default, rtol=1e-12)


def test_means_that_are_given_move_the_distribution_and_a_strange_name_is_refused():
    plain, slow = network(), network(tau_mem=2.0)
    np.testing.assert_allclose(slow.params["tau_mem"][plain.params["tau_mem"] > 0.04],
                               10 * plain.params["tau_mem"][plain.params["tau_mem"] > 0.04], rtol=1e-12)  # fmt: skip
    np.testing.assert_array_equal(slow.params["tau_syn"], plain.params["tau_syn"])
    with pytest.raises(ConfigError, match="no parameter 'tau_ad'"):
        network(tau_ad=1.0)


def test_no_time_constant_is_shorter_than_a_step_and_a_half():
    net = network(dt=0.2)
    for name in ("tau_mem", "tau_syn"):
        assert net.params[name].min() == 1.5 * 0.2


def test_a_time_constant_that_no_device_can_hold_is_refused_before_it_is_trained():
    step = 0.02
    for name in ("tau_mem", "tau_syn", "tau_out"):
        with pytest.raises(
            ConfigError, match=f"{name} is 6.6e\\+04 steps: .* at most 65,536\n  choose a shorter {name}"
        ):
            network(dt=step, **{name: 66000 * step})
    # Draws around a mean that is just allowed are limited, so that all can be stored.
    slow = network(dt=step, tau_mem=65000 * step, tau_out=65536 * step)
    leaks = [leak_factors("tau", tau, step) for tau in (slow.params["tau_mem"], slow.tau_out)]
    assert min(int(leak.min()) for leak in leaks) == 1
    sums = replace(slow, readout="mean")  # it has no leak
    assert with_ports(sums, 3, 2, step, 1e9, np.random.default_rng(1)).tau_out[0] == 1e9


def blocks(net):
    """Stored synapses between each two populations."""
    places = [at for _, at in net.parts()]
    return [[net.w_rec[a, b].nnz for b in places] for a in places]


def test_layers_have_their_share_of_synapses_within_and_from_the_layer_before():
    sizes = (30, 20, 10)
    layers = (LayerSettings(30, density=0.2), LayerSettings(20, density=0.5, recurrent=False), LayerSettings(10))
    net = drawn(NetworkSettings(layer=layers), 3, 2, 0.04, np.random.default_rng(1))
    assert [p.name for p in net.populations] == ["layer1", "layer2", "layer3"]
    assert blocks(net) == [[round(0.2 * 30 * 29), 300, 0], [0, 0, 60], [0, 0, round(0.3 * 10 * 9)]]
    assert net.w_rec.has_canonical_format and (np.sign(net.w_rec.data) == net.sign[net.w_rec.nonzero()[0]]).all()
    hears, feeds = (net.w_in != 0).any(0), (net.w_out != 0).any(1)
    assert hears.tolist() == [True] * 30 + [False] * 30 and feeds.tolist() == [False] * 50 + [True] * 10
    assert [(p.n, p.hears, p.feeds) for p in net.populations] == [
        (sizes[0], True, False), (sizes[1], False, False), (sizes[2], False, True)]  # fmt: skip
    assert net.w_skip is None and tiny_layers().w_skip.shape == (3, 4)


def rates(net):
    return draw._rates(net, 600, 8)


@pytest.mark.parametrize("neuron", SPIKING)
@pytest.mark.parametrize("dt", [0.04, 0.02])
@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("layers", [2, 3])
def test_every_layer_fires_as_often_as_the_first(neuron, dt, recurrent, layers):
    layer = (LayerSettings(60, neuron, recurrent=recurrent),) * layers
    found = rates(drawn(NetworkSettings(layer=layer), 8, 2, dt, np.random.default_rng(1)))
    # Within 5 % where it was measured, on fewer steps of another length.
    assert found == pytest.approx(found[0], rel=0.25) and 0.01 < found[0] < 0.4


def test_a_layer_that_nothing_makes_fire_ends_the_search():
    settings = NetworkSettings(layer=(LayerSettings(20), LayerSettings(20)))
    net = drawn(settings, 3, 2, 0.04, np.random.default_rng(1))
    quiet = replace(net.populations[1], params=net.populations[1].params | {"bias": np.full(20, -1e9)})
    found = draw._match_first_rate(replace(net, populations=(net.populations[0], quiet)), 1)
    assert np.isfinite(found.w_rec.data).all() and abs(found.w_rec).max() <= 4096 * abs(net.w_rec).max()


@pytest.mark.parametrize("net", [tiny_network(), tiny_layers()], ids=["one", "layers"])
def test_new_ports_leave_the_network_the_same_in_steps(net):
    other = with_ports(net, 8, 8, 0.5, 2.0, np.random.default_rng(3))
    assert other.dt == 0.5 and other.w_in.shape == (8, net.n) and other.w_out.shape == (net.n, 8)
    assert (other.w_skip is None) == (net.w_skip is None)
    for p, q in zip(net.populations, other.populations, strict=True):
        for a, b in zip(p.constants(net.dt), q.constants(0.5), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_array_equal(other.w_rec.data, net.w_rec.data)
    assert ((other.w_in == 0) == np.all(net.w_in == 0, axis=0)).all()


def test_each_neuron_receives_as_many_inputs_as_configured_with_an_undiminished_drive():
    settings = NetworkSettings(neurons=400, inputs=6)
    found = drawn(settings, 24, 3, 0.04, np.random.default_rng(1))
    every = drawn(replace(settings, inputs=0), 24, 3, 0.04, np.random.default_rng(1))
    assert ((found.w_in != 0).sum(0) == 6).all() and ((found.w_in != 0).sum(1) > 60).all()
    assert np.square(found.w_in).sum() == pytest.approx(np.square(every.w_in).sum(), rel=0.1)  # 2,400 random weights
    assert (found.w_rec != every.w_rec).nnz == 0
