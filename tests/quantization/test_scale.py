"""The finest scale that the proof allows, of every network, neuron and number of bits."""

from dataclasses import replace

import numpy as np
import pytest
from nets import STRUCTURES, stacked, task, tiny_network
from quantized import ALL, STORED, changed, finer, of_population, received, slow_neuron
from scipy import sparse

from lnp_edge.base.errors import ConfigError
from lnp_edge.config import BITS
from lnp_edge.quantization.quantize import fit_scale, quantize, to_integers
from lnp_edge.spec.model import INT32_MAX, LARGEST, MAX_SHIFT


@pytest.mark.parametrize("n", [40, 160])
def test_the_shifts_are_the_largest_that_can_be_proved(n):
    """Twice the scale breaks the proof."""
    model = quantize(tiny_network(n=n), task())
    assert 0 < model.projection("in").shift < model.projection("rec").shift < MAX_SHIFT
    for population in model.populations:
        assert max(model.bounds(population)) <= INT32_MAX
        twice, doubled = finer(model, population)
        largest = max(p.shift for p in model.into(population))
        assert largest == MAX_SHIFT or max(twice.bounds(doubled)) > INT32_MAX


@ALL
@pytest.mark.parametrize("bits", STORED)
def test_each_population_has_the_largest_shifts_that_can_be_proved(network, bits):
    model = quantize(network, task(), bits=bits)
    proved = []
    for population in model.populations:
        twice, doubled = finer(model, population)
        if max(p.shift for p in model.into(population)) < MAX_SHIFT:
            assert max(twice.bounds(doubled)) > INT32_MAX, population.name
            proved.append(population.name)
    assert bits < 16 or len(proved) == len(model.populations)  # MAX_SHIFT is less than is possible of small weights


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_gain_is_halved_from_the_first_value_beyond_int32_on(beyond):
    """The bound of neuron 3 is 2**31 - 1, and then 2**31, by its threshold."""
    net = tiny_network()
    scale = replace(fit_scale(net, task(), 8), gain=np.full(net.n, 2.0**15))
    model, used = to_integers(net, task(), scale)
    assert (used.gain == scale.gain).all()
    rest = model.bounds(model.populations[0])[3] - int(model.populations[0].params["v_th"][3])
    v_th = changed(net.params["v_th"], 3, (INT32_MAX - rest + beyond) / 2.0**15)
    model, used = to_integers(net.with_params(v_th=v_th), task(), scale)
    assert (scale.gain / used.gain).tolist() == [2.0 if beyond and i == 3 else 1.0 for i in range(net.n)]
    assert beyond or max(model.bounds(model.populations[0])) == INT32_MAX


@pytest.mark.parametrize("beyond", [0, 1])
def test_the_read_out_has_a_finer_scale_up_to_all_of_int32(beyond):
    """With a leak of 1/2 the bound of read-out 1 is 2**31 - 2 at shift 8, and then 2**31, by its bias."""
    net = tiny_network()
    net = replace(net, tau_out=np.full(4, net.dt / np.log(2)))
    scale = replace(fit_scale(net, task(), 8), level_out=128.0)
    shift, gain = 8, 128.0 * 2**8
    w_out = np.clip(np.round(128.0 * net.w_out), -127, 127)
    bias = 2**30 - 2 - 2**shift * np.abs(w_out).sum(0)[1]
    biases = changed(net.bias_out, 1, (bias + beyond) / gain)
    model, _ = to_integers(replace(net, bias_out=biases), task(), scale)
    assert model.projection("out").shift == shift - beyond
    assert beyond or model.bounds(model.readout)[1] == INT32_MAX - 1


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_population_has_a_finer_scale_up_to_all_of_int32(beyond):
    """The bound of one neuron is 2**31 - 1, and then 2**31, by its threshold: of the neuron that decides the shifts."""
    net = tiny_network()
    scale, hidden = fit_scale(net, task(), 8), quantize(net, task()).populations[0]
    bounds = quantize(net, task()).bounds(hidden)
    i = int(np.argmax(bounds))
    rest = bounds[i] - int(hidden.params["v_th"][i])
    v_th = changed(net.params["v_th"], i, (INT32_MAX - rest + beyond) / scale.gain[i])
    found = fit_scale(net.with_params(v_th=v_th), task(), 8)
    assert found.shift_in[0] == scale.shift_in[0] - beyond and found.shift_rec[0] == scale.shift_rec[0] - beyond


@pytest.mark.parametrize(("exponent", "apart"), [(2.6, 3), (2.4, 2), (-2.6, -3), (-2.4, -2), (0.4, 0), (-0.6, -1)])
def test_the_shifts_make_up_for_the_different_size_of_weights_to_the_nearest_power_of_two(exponent, apart):
    """Of every neuron, the largest weight of a neuron is 2**exponent times the largest of the input."""
    net = tiny_network()
    largest_in, largest_rec = np.abs(net.w_in / 64).max(0), abs(net.w_rec).max(0).toarray().ravel()
    assert (largest_rec > 0).all()
    factor = 2.0**exponent * largest_in / largest_rec
    scale = fit_scale(replace(net, w_rec=sparse.csr_array(net.w_rec @ sparse.diags_array(factor))), task(), 8)
    assert scale.shift_rec[0] - scale.shift_in[0] == apart


@ALL
@pytest.mark.parametrize("bits", [8, 16])
def test_every_neuron_uses_its_bits(network, bits):
    model = quantize(network, task(), bits=bits)
    for population in model.populations[:-1]:
        assert received(model, population).tolist() == [LARGEST[bits]] * population.n
    assert max(received(model, model.readout)) == LARGEST[bits]


@pytest.mark.parametrize("factor", [2.0**-20, 0.5, 4.0, 2.0**20])
def test_the_unit_of_a_neurons_state_does_not_matter(factor):
    net = tiny_network()
    scale = np.ones(net.n)
    scale[3] = factor
    other = in_other_units(net, scale)
    assert quantize(other, task()).fingerprint == quantize(net, task()).fingerprint


def in_other_units(network, scale):
    """The same network with the state of each neuron in other units, [N]: also its thresholds, biases and jumps."""
    populations = []
    for p, at in network.parts():
        states = {stored.source for stored in p.module.TABLES.values() if stored.form == "state"}
        params = {name: a * scale[at] if name in states else a for name, a in p.params.items()}
        populations.append(replace(p, params=params))
    w_rec = sparse.csr_array(network.w_rec @ sparse.diags_array(scale))
    return replace(network, populations=tuple(populations), w_in=network.w_in * scale, w_rec=w_rec)


@ALL
@pytest.mark.parametrize("bits", STORED)
def test_neither_the_unit_of_any_state_nor_that_of_the_readouts_matters(network, bits):
    scale = 2.0 ** np.random.default_rng(1).integers(-20, 20, network.n)
    other = in_other_units(network, scale)
    skip = None if network.w_skip is None else 8 * network.w_skip
    other = replace(other, w_out=8 * network.w_out, bias_out=8 * network.bias_out, w_skip=skip)
    assert quantize(other, task(), bits=bits).fingerprint == quantize(network, task(), bits=bits).fingerprint


def test_the_unit_of_the_readouts_does_not_matter():
    net = tiny_network()
    other = replace(net, w_out=net.w_out * 8, bias_out=net.bias_out * 8)
    assert quantize(other, task()).fingerprint == quantize(net, task()).fingerprint


@pytest.mark.parametrize("size", [1e-9, 1e-29, 1e-300])
def test_a_neuron_of_tiny_weights_spoils_nothing_for_the_others(size):
    """Training may shrink all a neuron receives to nothing: it then never fires, and the rest keep their scale."""
    net = tiny_network()
    scale = np.ones(net.n)
    scale[3] = size
    plain = quantize(net, task())
    model = quantize(
        replace(net, w_in=net.w_in * scale, w_rec=sparse.csr_array(net.w_rec @ sparse.diags_array(scale))), task()
    )
    others = np.arange(net.n) != 3
    moved = model.projection("rec").shift - plain.projection("rec").shift
    assert moved >= 0
    dense = [m.projection("rec").w.dense()[:, others].tolist() for m in (model, plain)]
    assert dense[0] == dense[1]
    v_th, plain_v_th = (m.populations[0].params["v_th"] for m in (model, plain))
    np.testing.assert_allclose(v_th[others] / plain_v_th[others], 2.0**moved, rtol=1e-4)  # v_th is whole
    assert model.bounds(model.populations[0])[3] - v_th[3] < v_th[3]  # it cannot fire


def test_a_network_without_synapses_is_possible():
    net = tiny_network()
    empty = replace(
        net, w_in=0 * net.w_in, w_rec=sparse.csr_array(net.w_rec.shape), w_out=0 * net.w_out, bias_out=0 * net.bias_out
    )
    model = quantize(empty, task())
    assert {p.name: p.w.nnz for p in model.projections} == {"in": 0, "rec": 0, "out": 0}
    assert (model.populations[0].params["v_th"] == np.round(1024 * net.params["v_th"])).all()


def test_populations_that_nothing_joins_have_no_projection():
    net = stacked({"neurons": 20, "recurrent": False}, {"neurons": 20, "recurrent": False})
    model = quantize(net, task())
    assert [p.name for p in model.projections] == ["input_layer1", "layer1_layer2", "layer2_out"]
    model = quantize(replace(net, w_rec=sparse.csr_array(net.w_rec.shape)), task())
    assert [p.name for p in model.projections] == ["input_layer1", "layer2_out"]


# ---- fewer bits


@pytest.mark.parametrize(
    ("bits", "most", "stored"), [(2, 1, 4), (3, 3, 4), (4, 7, 4), (5, 15, 8), (7, 63, 8), (8, 127, 8), (16, 32767, 16)]
)
def test_weights_keep_to_their_bits_and_use_them(bits, most, stored):
    model = quantize(tiny_network(), task(), bits=bits)
    for p in model.projections:
        assert np.abs(p.w.data).max() == most and p.bits == stored


@pytest.mark.parametrize(("bits", "better"), [(2, 0.9), (3, 0.9), (4, 0.98), (7, 1.0)])
def test_clipping_makes_the_error_smaller_than_the_largest_weight_s_scale_does(bits, better):
    """Of input weights with a heavy tail, each neuron by itself: none may be worse, together they are better."""
    tail = np.random.default_rng(1).lognormal(0, 1, (40, 40))
    net = replace(tiny_network(c=40), w_in=tail * tiny_network(c=40).w_in, w_rec=sparse.csr_array((40, 40)))
    scale, most = fit_scale(net, task(c=40), bits), 2 ** (bits - 1) - 1

    def error(gain):
        step = 64 * 2.0 ** scale.shift_in[0] / gain
        return np.square(np.clip(np.round(net.w_in / step), -most, most) * step - net.w_in).sum(0)

    plain = most * 64 * 2.0 ** scale.shift_in[0] / np.abs(net.w_in).max(0)
    assert (error(scale.gain) <= error(plain) + 1e-12).all()
    assert error(scale.gain).sum() <= better * error(plain).sum()


def test_clipping_weighs_errors_by_what_they_do_to_the_drive():
    """Inputs have a standard deviation of 32, neurons spike at a step in ten. Of the factors in eighths of an octave
    each neuron has the one of least square error of its drive."""
    net, most, bits = tiny_network(), 7, 4
    scale = fit_scale(net, task(), bits)
    step_in, step_rec = 64 * 2.0 ** scale.shift_in[0], 2.0 ** scale.shift_rec[0]
    w_rec = net.w_rec.toarray()
    plain = most / np.maximum(np.abs(net.w_in).max(0) / step_in, np.abs(w_rec).max(0) / step_rec)
    factors = 2.0 ** np.arange(0, 2.01, 0.125)

    def error(gain):
        found = 0.0
        for w, step, mean_square in ((net.w_in, step_in, (32 / 64) ** 2), (w_rec, step_rec, 0.1)):
            levels = np.clip(np.round(w * gain / step), -most, most)
            found += mean_square * np.square(levels * step / gain - w).sum(0)
        return found

    best = np.argmin([error(plain * factor) for factor in factors], 0)
    assert (scale.gain == plain * factors[best]).all()
    assert len(set(best.tolist())) > 3


def test_a_learned_scale_is_taken_as_it_is():
    net = tiny_network()
    scale = fit_scale(net, task(), 4)
    learned = replace(scale, gain=scale.gain * np.linspace(0.7, 1.0, net.n), level_out=1.1 * scale.level_out)
    model = quantize(net, task(), bits=4, scale=learned)
    wanted = np.clip(np.round(net.w_in / 64 * learned.gain / 2.0 ** learned.shift_in[0]), -7, 7)
    assert (model.projection("in").w.dense() == wanted).all()
    wanted = np.clip(np.round(net.w_out * learned.level_out), -7, 7)
    assert (model.projection("out").w.dense() == wanted).all()
    assert (model.populations[0].params["v_th"] == np.round(learned.gain * net.params["v_th"])).all()


def test_a_learned_scale_beyond_the_proof_is_halved_where_it_must_be():
    net = STRUCTURES["two recurrent"]()
    scale = fit_scale(net, task(), 8)
    shift_in, shift_rec = (tuple(shift + 2 for shift in shifts) for shifts in (scale.shift_in, scale.shift_rec))
    finer = replace(scale, shift_in=shift_in, shift_rec=shift_rec, gain=4 * scale.gain)
    model, used = to_integers(net, task(), finer)
    model.check()
    for _, at in net.parts():
        ratio = (finer.gain / used.gain)[at]
        assert set(ratio.tolist()) <= {1.0, 2.0, 4.0} and ratio.max() > 1 and ratio.min() == 1


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 15, 17])
def test_other_bits_are_refused(bits):
    assert bits not in BITS
    with pytest.raises(ConfigError, match=f"^{bits} bits per weight"):
        quantize(tiny_network(), task(), bits=bits)


def test_one_very_slow_neuron_gets_a_smaller_gain_and_the_others_keep_theirs():
    model = quantize(slow_neuron(tiny_network(), 20_000, 400), task())
    hidden = model.populations[0]
    largest = received(model, hidden)
    assert max(model.bounds(hidden)) < 2**31
    assert 0 < largest[5] < 127 and np.delete(largest, 5).max() == 127
    assert (model.projection("in").shift, model.projection("rec").shift) == (0, 0)


def test_a_very_slow_neuron_of_one_population_leaves_the_others_their_scale():
    net = STRUCTURES["two recurrent"]()
    plain = quantize(net, task())
    slow = of_population(of_population(net, 1, "tau_mem", 5, 20_000 * net.dt), 1, "tau_syn", 5, 400 * net.dt)
    model = quantize(slow, task())
    for name in ("input_layer1", "layer1_layer1"):
        assert model.projection(name).shift == plain.projection(name).shift > 0
        assert (model.projection(name).w.data == plain.projection(name).w.data).all()
    assert model.projection("layer2_layer2").shift == 0 < received(model, model.population("layer2"))[5] < 127
