"""Networks that cannot be quantised are refused with the neuron."""

from dataclasses import replace

import numpy as np
import pytest
from nets import STRUCTURES, task, tiny_network
from quantized import changed, of_population, slow_neuron

from lnp_edge.base.errors import NetworkError
from lnp_edge.quantization.quantize import quantize
from lnp_edge.spec.parameters import leak_factors

NAMES = ("w_in", "w_out", "w_skip", "bias_out", "w_rec", "bias", "v_th", "pull", "jump")  # the last four: of layer2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e31])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_or_absurd_is_refused_by_name(name, value):
    net = STRUCTURES["mixed"]()
    if name == "w_rec":
        net = replace(net, w_rec=net.w_rec.copy())
        net.w_rec.data[5] = value
    elif name in net.populations[1].params:
        net, name = of_population(net, 1, name, 1, value), f"{name} of layer2"
    else:
        bad = getattr(net, name).copy()
        bad.flat[1] = value
        net = replace(net, **{name: bad})
    with pytest.raises(NetworkError, match=f"^{name} of the trained network is not finite"):
        quantize(net, task())


TIMES = [(k, name) for k, p in enumerate(STRUCTURES["mixed"]().populations[:2]) for name in p.params if "tau" in name]


@pytest.mark.parametrize(("k", "name"), [*TIMES, (None, "tau_out")])
@pytest.mark.parametrize("steps", [0.0848, 65_537 * 2, 0.0, -1.0, np.nan, np.inf])
def test_a_time_constant_out_of_range_is_refused_with_its_neuron(k, name, steps):
    net = STRUCTURES["mixed"]()
    if k is None:
        bad, where = replace(net, tau_out=changed(net.tau_out, 2, steps * net.dt)), ""
    else:
        bad, where = of_population(net, k, name, 2, steps * net.dt), f"layer{k + 1}: "
    with pytest.raises(NetworkError, match=rf"^{where}{name}\[2\] is ") as e:
        quantize(bad, task())
    assert "choose it from 0.0017 s" in e.value.try_next


def test_leaks_of_known_time_constants():
    tau = np.array([0.085, 1.4427, 10.0, 1000.0, 65536.0])
    assert leak_factors("tau", tau, 1.0).tolist() == [65535, 32768, 6237, 66, 1]


def test_a_network_that_cannot_be_proved_at_any_scale_is_refused_with_the_neuron():
    with pytest.raises(NetworkError, match=r"^neuron 5 of hidden may reach"):
        quantize(slow_neuron(tiny_network(), 60_000, 60_000), task())


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_threshold_that_is_not_positive_is_refused_with_its_neuron(k):
    with pytest.raises(NetworkError, match=rf"^v_th\[3\] of layer{k + 1} is 0"):
        quantize(of_population(STRUCTURES["mixed"](), k, "v_th", 3, 0.0), task())
