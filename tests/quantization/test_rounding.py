"""Float and integer networks agree but for rounding, and exactly where nothing is rounded."""

from dataclasses import replace

import numpy as np
import pytest
from nets import float_run, stacked, task, tiny_network, without_recurrence
from quantized import ALL, CLOSE, STORED, integer_run, unit_of_y
from scipy import sparse

from lnp_edge.quantization.quantize import quantize
from lnp_edge.runtime.reference import Reference


@ALL
@pytest.mark.parametrize("bits", STORED)
def test_integers_follow_the_floats_but_for_rounding(network, bits):
    """Without recurrence a spike that differs stays alone."""
    network = without_recurrence(network)
    model = quantize(network, task(), bits=bits)
    counts = np.random.default_rng(2).integers(-127, 128, (200, 3)).astype(np.int16)
    (y, z), (yq, zq) = float_run(network, counts.astype(float)), integer_run(model, counts)
    assert all(z[:, at].sum() > 50 for _, at in network.parts())
    spikes, error = CLOSE[bits]
    assert (z != zq).mean() <= spikes
    assert np.abs(yq / unit_of_y(network, bits) - y).max() < error * np.abs(y).max()


def test_float_and_integer_network_agree_but_for_rounding():
    """Weights are rounded to 1 / 254 of a neuron's largest, so membrane potentials differ by under 1 %: a spike may
    come a step later or not at all. Without recurrence such a slip stays alone: under 1 % of spikes may differ."""
    net = without_recurrence(tiny_network())
    model = quantize(net, task())
    counts = np.random.default_rng(2).integers(-127, 128, (300, 3)).astype(np.int16)
    (y, z), (yq, zq) = float_run(net, counts.astype(float)), integer_run(model, counts)
    assert z.sum() > 400
    assert (z != zq).sum() < 0.01 * z.size
    gain = 127 * 2.0 ** model.projection("out").shift / np.abs(net.w_out).max()
    assert np.abs(yq / gain - y).max() < 0.05 * np.abs(y).max()


def exact_network(neuron="cuba_lif"):
    """Two recurrent populations whose weights are whole numbers of up to 16 bits, each neuron with one of 32767, over
    2**20; leaks of 1/2 and 1/4, thresholds of 2**-4 and more."""
    rng = np.random.default_rng(1)
    net = stacked({"neurons": 24, "neuron": neuron}, {"neurons": 24})
    q_in, q_rec = (rng.integers(-32767, 32768, (size, net.n)) for size in (3, net.n))
    q_in[:, 24:] = 0
    q_rec = np.where(net.w_rec.toarray() != 0, np.clip(q_rec, -32766, 32766), 0)
    q_in[0, :24] = 32767
    for i in range(net.n):
        q_rec[np.flatnonzero(q_rec[:, i])[0], i] = 32767
    populations = []
    for p in net.populations:
        taus = [name for name in p.params if name.startswith("tau")]
        params = {name: net.dt / -np.log(rng.choice([0.5, 0.75], p.n)) for name in taus}
        params |= {"v_th": rng.integers(2**16, 2**17, p.n) / 2**20, "bias": rng.integers(0, 2**13, p.n) / 2**20}
        if neuron == p.neuron == "adlif":
            params |= {"pull": rng.choice([1 / 16, 1 / 8], p.n), "jump": rng.integers(0, 2**14, p.n) / 2**20}
        populations.append(replace(p, params=params))
    tau_out = np.full(4, net.dt / -np.log(0.75))
    w_rec = sparse.csr_array(q_rec / 2.0**20)
    w_out = np.where(np.arange(48)[:, None] < 24, 0, rng.integers(-32767, 32768, (48, 4))) / 2.0**20
    w_out[-1] = 32767 / 2.0**20
    return replace(net, populations=tuple(populations), w_in=q_in * 64 / 2.0**20, w_rec=w_rec, w_out=w_out,
                   tau_out=tau_out, bias_out=np.zeros(4))  # fmt: skip


@pytest.mark.parametrize("neuron", ["cuba_lif", "adlif"])
def test_with_16_bits_a_network_that_fits_keeps_every_spike(neuron):
    """All that is rounded is the state, by less than 2 units a step of thresholds of 65536 and more."""
    net = exact_network(neuron)
    counts = np.random.default_rng(4).integers(-4, 5, (200, 3)).astype(np.int16)
    y, z = float_run(net, counts.astype(float))
    assert all(0.05 < z[:, at].mean() < 0.6 for _, at in net.parts())
    yq, zq = integer_run(quantize(net, task(), bits=16), counts)
    assert (zq == z).all()
    unit = unit_of_y(net, 16)
    assert np.abs(yq - y * unit).max() < 2 * 4  # of a leak of 1/4
    assert (integer_run(quantize(net, task(), bits=8), counts)[1] != z).any()


def test_exact_weights_give_exactly_the_float_states_but_for_the_leaks_rounding():
    """Without recurrence i_syn is linear: a step adds under 2 units, and 2**-17 of the value as c is rounded."""
    net = tiny_network()
    exact = np.round(net.w_in / np.abs(net.w_in).max(0) * 127) / 127
    net = replace(without_recurrence(net), w_in=exact).with_params(bias=np.zeros(net.n))
    model = quantize(net, task())
    counts = np.random.default_rng(3).integers(-127, 128, (60, 3)).astype(np.int16)
    reference = Reference(model)
    reference.steps(counts)
    i_syn, largest = np.zeros(net.n), 0.0
    for row in counts / 64:
        largest = max(largest, np.abs(i_syn).max())
        i_syn = np.exp(-net.dt / net.params["tau_syn"]) * i_syn + row @ net.w_in
    gain = 127 * 64 * 2.0 ** model.projection("in").shift
    found = reference.state()[: net.n].view(np.int32) / gain
    assert np.abs(found - i_syn).max() < 60 * (2 / gain + largest / 2**17)
    assert largest > 3
