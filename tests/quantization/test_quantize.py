"""Quantisation: no overflow by proof, the finest scale the proof allows, refusals that name the neuron.

Networks of one layer and of several, of any neuron and of any bits: STRUCTURES of nets.py.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive
from naive import leak as naive_leak
from nets import STRUCTURES, float_run, stacked, task, tiny_network, without_recurrence
from scipy import sparse
from tiny import MODELS, tiny_model

from lnp_edge.base.errors import ConfigError, ModelError, NetworkError
from lnp_edge.config import BITS
from lnp_edge.encoders import encode
from lnp_edge.neurons import cuba_lif
from lnp_edge.quantization.quantize import fit_scale, quantize, to_integers
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.model import CSR, INPUT, INT32_MAX, LARGEST, MAX_SHIFT, Forecast
from lnp_edge.spec.parameters import leak_factors

STORED = sorted(LARGEST)  # bits
ALL = pytest.mark.parametrize("network", [pytest.param(make(), id=name) for name, make in STRUCTURES.items()])
LEAKS = st.integers(1, 65535) | st.sampled_from([1, 2, 3, 32768, 65535])


# ---- the proof


@settings(max_examples=500)
@given(LEAKS, LEAKS, st.integers(0, 2**20), st.integers(-(2**20), 2**20), st.integers(1, 2**30), st.data())
def test_no_step_leaves_the_bounds_of_a_neuron(c_syn, c_mem, drive, bias, v_th, data):
    """By induction: from any state within the bounds, any drive leads to a state within them."""
    most = cuba_lif.bound(drive, c_syn, c_mem, v_th, bias)
    s = -(-(drive + abs(bias) + 1) * 65536 // c_syn)
    v = most - v_th
    i_before = data.draw(st.integers(-s, s) | st.sampled_from([-s, s]))
    v_before = data.draw(st.integers(-v, v) | st.sampled_from([-v, v]))
    now = data.draw(st.integers(-drive, drive) | st.sampled_from([-drive, drive]))
    i_after = naive_leak(i_before, c_syn) + now + bias
    assert abs(i_after) <= s
    v_after = naive_leak(v_before, c_mem) + i_after
    assert abs(v_after) <= v
    assert abs(v_after - v_th) <= most


def test_the_bound_is_tight():
    """The largest drive for ever comes within 1 % of it: the proof does not waste range."""
    drive, c_syn, c_mem, v_th, bias = 10_000, 600, 300, 50, -77
    i_syn = v = 0
    for _ in range(4000):
        i_syn = naive_leak(i_syn, c_syn) - drive + bias
        v = naive_leak(v, c_mem) + i_syn
    most = cuba_lif.bound(drive, c_syn, c_mem, v_th, bias)
    assert most == 240_470_858
    assert 0.99 * most < -v <= most


def largest_states(model, inputs):
    """The largest |state| of each neuron on these counts, {population: [n]}; each step is compared with the bounds."""
    naive, worst = Naive(model), {p.name: np.zeros(p.n, np.int64) for p in model.populations}
    bounds = {p.name: np.array(model.bounds(p)) for p in model.populations}
    for row in inputs:
        naive.step(row)
        for population, state in zip(model.populations, naive.s, strict=True):
            now = np.abs(np.array(list(state.values()))).max(0)
            worst[population.name] = np.maximum(worst[population.name], now)
            assert (now <= bounds[population.name]).all(), population.name
    return worst


def driving_down(model, population):
    """Counts [C] that drive one neuron of a population as far down as they can, and which: the one of largest bound."""
    target = int(np.argmax(model.bounds(population)))
    w = sum(p.w.dense()[:, target] << p.shift for p in model.into(population) if p.source == INPUT)
    away = -np.sign(w * model.encoder_params["gain"])
    return np.where(away > 0, 32767, np.where(away < 0, -32768, 0)), target


def adversaries(model, steps):
    """Counts of an adversary who sees everything, [T, C]: for each population that has inputs, then at random."""
    rng = np.random.default_rng(1)
    for population in model.populations:
        if any(p.source == INPUT for p in model.into(population)):
            yield np.tile(driving_down(model, population)[0], (steps, 1))
    yield np.repeat(rng.choice([-32768, 32767], (steps // 20, model.n_in)), 20, axis=0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_worst_input_found_by_greedy_search_stays_within_the_bounds(kind, seed):
    model = MODELS[kind](seed)
    for counts in adversaries(model, 200):
        largest_states(model, counts)
    first = model.populations[0]
    counts, target = driving_down(model, first)
    worst = largest_states(model, np.tile(counts, (300, 1)))
    assert worst[first.name][target] > 0.2 * model.bounds(first)[target]  # the search is no pushover


@ALL
@pytest.mark.parametrize("bits", STORED)
def test_a_quantised_network_stays_within_its_bounds_on_the_worst_inputs(network, bits):
    model = quantize(network, task(), bits=bits)
    assert max(max(model.bounds(p)) for p in model.populations) <= INT32_MAX
    for counts in adversaries(model, 60):
        largest_states(model, counts)


def test_the_proof_wastes_nothing_over_projections():
    """All weights positive, all inputs at their limit, every neuron fires at every step: what each population and the
    read-out receive is what the proof counts with, over shifts, steps and a skip. 1 % is left for the slowest."""
    model = quantize(stacked({"neurons": 20}, {"neurons": 12}, dt=0.05, skip=True), task())
    projections = tuple(replace(p, w=CSR.from_dense(np.abs(p.w.dense()))) for p in model.projections)
    *inner, readout = model.populations
    quick = {"bias": 1, "v_th": 1, "c_syn": 15000, "c_mem": 15000}
    populations = tuple(
        replace(p, params={name: np.full(p.n, quick[name], np.int32) for name in p.params}) for p in inner
    )
    out = {"c": np.full(4, 900, np.int32), "bias": np.abs(readout.params["bias"])}
    model = replace(model, populations=(*populations, replace(readout, params=out)), projections=projections).check()
    worst = largest_states(model, np.full((900, 3), 32767))
    for p in model.populations:
        assert (worst[p.name] > 0.99 * np.array(model.bounds(p))).all()


def test_the_bound_of_a_readout_is_that_of_the_specification():
    model = tiny_model()
    w_out, out = model.projection("out"), model.readout.params
    received = [2**w_out.shift * sum(abs(w) for w in column) for column in w_out.w.dense().T.tolist()]
    facts = zip(received, out["bias"].tolist(), out["c"].tolist(), strict=True)
    assert model.bounds(model.readout) == [-(-(a + abs(bias) + 1) * 65536 // c) for a, bias, c in facts]


def with_tables(model, name, **tables):
    """The model with other tables of a population."""
    tables = {table: np.asarray(values, np.int32) for table, values in tables.items()}
    populations = (replace(p, params=p.params | tables) if p.name == name else p for p in model.populations)
    return replace(model, populations=tuple(populations))


def changed(values, at, value):
    values = values.copy()
    values[at] = value
    return values


@pytest.mark.parametrize(("beyond", "refused"), [(0, False), (1, True)])
def test_a_neuron_may_reach_all_of_int32_and_not_one_more(beyond, refused):
    model = tiny_model()
    hidden = model.populations[0]
    rest = model.bounds(hidden)[7] - int(hidden.params["v_th"][7])
    model = with_tables(model, "hidden", v_th=changed(hidden.params["v_th"], 7, 2**31 - 1 - rest + beyond))
    assert model.bounds(model.populations[0])[7] == 2**31 - 1 + beyond
    if refused:
        with pytest.raises(ModelError, match=r"^neuron 7 of hidden may reach 2 147 483 648, beyond int32"):
            model.check()
    else:
        model.check()


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_readout_may_not_reach_one_more_than_int32(beyond):
    """With a leak of 1/2 its bound is twice what it receives, and 2: 2**31 - 2, then 2**31."""
    model = tiny_model()
    of_neurons = model.drive_bounds(model.readout)[2]
    bias = changed(model.readout.params["bias"], 2, -(2**30 - 2 - of_neurons + beyond))
    model = with_tables(model, "out", c=changed(model.readout.params["c"], 2, 32768), bias=bias)
    assert model.bounds(model.readout)[2] == 2**31 - 2 + 2 * beyond
    if beyond:
        with pytest.raises(ModelError, match=r"^read-out 2 may reach 2 147 483 648, beyond int32"):
            model.check()
    else:
        model.check()


def test_a_model_beyond_the_bounds_is_refused_with_the_neuron():
    model = tiny_model()
    slow = changed(model.populations[0].params["c_mem"], 17, 1)
    with pytest.raises(ModelError, match=r"^neuron 17 of hidden may reach [0-9 ]+, beyond int32"):
        with_tables(model, "hidden", c_mem=slow, c_syn=np.where(slow == 1, 1, 32768)).check()


def test_every_population_of_a_stack_is_proved():
    model = MODELS["stack"]()
    for population in model.populations[:-1]:
        most = changed(population.params["v_th"], 5, 2**31 - 1)
        with pytest.raises(ModelError, match=rf"^neuron 5 of {population.name} may reach"):
            with_tables(model, population.name, v_th=most).check()


def test_a_readout_beyond_the_bounds_is_refused_with_its_number():
    model = tiny_model()
    with pytest.raises(ModelError, match=r"^read-out 2 may reach"):
        with_shift(with_tables(model, "out", c=[9000, 9000, 1, 9000]), "out", 10).check()


def with_shift(model, name, shift):
    projections = (replace(p, shift=shift) if p.name == name else p for p in model.projections)
    return replace(model, projections=tuple(projections))


# ---- the scale


def finer(model, population):
    """The model with twice the scale of a population: all that it receives, thresholds and biases.

    A threshold of twice the scale may be rounded to one less than twice its value, and so may others.
    """
    states = [name for name, stored in population.module.TABLES.items() if stored.form == "state"]
    doubled = {name: 2 * population.params[name].astype(np.int64) for name in states}
    tables = population.params | {name: values - np.sign(values) for name, values in doubled.items()}
    projections = (replace(p, shift=p.shift + (p.target == population.name)) for p in model.projections)
    doubled = replace(population, params=tables)
    populations = tuple(doubled if p.name == population.name else p for p in model.populations)
    return replace(model, populations=populations, projections=tuple(projections)), doubled


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


def received(model, population):
    """The largest |weight| of each neuron of a population, in levels."""
    return np.max([np.abs(p.w.dense()).max(0) for p in model.into(population)], 0)


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


# ---- what is refused


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


def of_population(network, k, name, at, value):
    """The network with another value of a parameter of a neuron."""
    part = network.populations[k]
    part = replace(part, params=part.params | {name: changed(part.params[name], at, value)})
    return replace(network, populations=(*network.populations[:k], part, *network.populations[k + 1 :]))


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


def slow_neuron(net, tau_mem, tau_syn):
    """The network with other time constants of neuron 5, in steps."""
    slow = {"tau_mem": tau_mem, "tau_syn": tau_syn}
    return net.with_params(**{name: changed(net.params[name], 5, steps * net.dt) for name, steps in slow.items()})


def test_a_network_that_cannot_be_proved_at_any_scale_is_refused_with_the_neuron():
    with pytest.raises(NetworkError, match=r"^neuron 5 of hidden may reach"):
        quantize(slow_neuron(tiny_network(), 60_000, 60_000), task())


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_threshold_that_is_not_positive_is_refused_with_its_neuron(k):
    with pytest.raises(NetworkError, match=rf"^v_th\[3\] of layer{k + 1} is 0"):
        quantize(of_population(STRUCTURES["mixed"](), k, "v_th", 3, 0.0), task())


# ---- float and integers


def integer_run(model, counts):
    """y [T, O] and spikes [T, N] of a model on the oracle."""
    naive, ys, zs = Naive(model), [], []
    for row in counts:
        naive.step(row)
        ys.append(list(naive.y))
        zs.append([z for p in model.populations[:-1] for z in naive.z[p.name]])
    return np.array(ys), np.array(zs)


def unit_of_y(network, bits, of=None):
    """Integer units of the read-out per float unit: the unit of a forecast of 1 says it."""
    forecasting = replace(of or task(), forecast=Forecast((0, 1, 2, 0), 1, (1.0,) * 4))
    return 1 / quantize(network, forecasting, bits=bits).forecast.unit[0]


# Of spikes, of steps and neurons, that may differ; and of the largest |y|, by how much y may. A level of a weight is
# 1/14, 1/254 and 1/65534 of the largest of its neuron: potentials differ by about as much, and a spike comes a step
# early or late where a potential is that near its threshold. The leak of the read-out, 327 of 65536 to within a half,
# leaves 2e-4 of y.
CLOSE = {4: (0.1, 0.5), 8: (0.03, 0.12), 16: (0.0, 3e-4)}


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


# ---- the way past the neurons


def test_weights_past_the_neurons_are_rounded_on_a_scale_of_their_own():
    net = STRUCTURES["skip"]()
    for bits in STORED:
        model, unit = quantize(net, task(), bits=bits), unit_of_y(net, bits)
        skip, most = model.projection("input_out"), LARGEST[bits]
        assert (skip.source, skip.target, skip.bits) == (INPUT, "out", bits)
        wanted = net.w_skip / 64 * unit / 2.0**skip.shift
        assert (skip.w.dense() == np.round(wanted)).all()
        assert np.abs(wanted).max() <= most and (skip.shift == 0 or 2 * np.abs(wanted).max() > most)


def test_weights_past_the_neurons_make_up_for_each_others_errors():
    """Channels that go together, as pixels do: rounded each for itself, what is wrong of y would be larger."""
    rng = np.random.default_rng(1)
    x = rng.normal(0, 30, (2000, 1)) + rng.normal(0, 3, (2000, 24))
    of_pixels = replace(task(c=24), products=x.T @ x / len(x))
    net = stacked({"neurons": 20}, c=24, skip=True)

    def error(task):
        skip = quantize(net, task, bits=4).projection("input_out")
        step = 2.0**skip.shift * 64 / unit_of_y(net, 4, task)
        return np.square(x @ (skip.w.dense() * step - net.w_skip)).mean()

    assert error(of_pixels) < error(task(c=24)) / 3


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4, 1e9])
def test_large_weights_past_the_neurons_leave_those_of_the_neurons_what_the_proof_leaves(size):
    net = STRUCTURES["skip"]()
    large = replace(net, w_skip=size * net.w_skip / np.abs(net.w_skip).max() * 64 * np.abs(net.w_out).max())
    model = quantize(large, task()).check()
    skip, out = model.projection("input_out"), model.projection("out")
    assert 63 < np.abs(skip.w.data).max() <= 127
    twice, _ = finer(model, model.readout)
    largest = np.abs(out.w.data).max(initial=0)
    assert largest == 127 or out.shift == 0
    assert skip.shift == MAX_SHIFT or max(twice.bounds(twice.readout)) > INT32_MAX
    assert (size <= 30) == (largest == 127)


@pytest.mark.parametrize("size", [1e15, 1e25])
def test_weights_past_the_neurons_that_no_scale_fits_are_named(size):
    """Before, the file was said to be damaged, or time constants to be too long."""
    net = STRUCTURES["skip"]()
    with pytest.raises(NetworkError, match=r"w_skip is [0-9.]+e\+\d+ times that of w_out") as e:
        quantize(replace(net, w_skip=size * net.w_skip), task())
    assert "skip = false" in e.value.try_next


def test_weights_past_the_neurons_have_no_shift_that_a_model_has_not():
    """Seven levels with a leak of nearly 1/2 could be proved at a larger one."""
    net = STRUCTURES["skip"]()
    net = replace(net, w_skip=1e9 * net.w_skip, tau_out=np.full(4, 1.45 * net.dt))
    model = quantize(net, task(), bits=4)
    assert model.projection("input_out").shift == MAX_SHIFT and max(model.bounds(model.readout)) < INT32_MAX / 2


def test_the_level_of_a_read_out_is_halved_where_no_shift_is_small_enough():
    """600 neurons of 16 bits each, for 2000 steps."""
    net = tiny_network(n=600, density=0.01)
    slow = replace(net, tau_out=np.full(4, 2000 * net.dt))
    model = quantize(slow, task(), bits=16)
    out = model.projection("out")
    assert out.shift == 0 and 1000 < np.abs(out.w.data).max() <= 32767 // 2
    assert 2**30 < max(model.bounds(model.readout)) <= INT32_MAX
    _, used = to_integers(slow, task(), fit_scale(slow, task(), 16))
    assert (out.w.dense() == np.round(slow.w_out * used.level_out)).all()


@pytest.mark.parametrize("name", ["skip", "mixed"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_forecast_with_a_way_past_the_neurons_is_that_of_the_floats(name, bits):
    net = without_recurrence(STRUCTURES[name]())
    forecasting = replace(task(), forecast=Forecast((0, 1, 2, 0), 1, (3.0, 1.0, 2.0, 5.0)))
    model = quantize(net, forecasting, bits=bits)
    counts = np.random.default_rng(2).integers(-127, 128, (100, 3)).astype(np.int16)
    y, _ = float_run(net, encode("affine", counts, model.encoder_params).astype(float))
    found = model.forecast.of(counts, integer_run(model, counts)[0]) - counts[:, [0, 1, 2, 0]]
    wanted = forecasting.forecast.of(counts, y) - counts[:, [0, 1, 2, 0]]
    assert np.abs(found - wanted).max() < CLOSE[bits][1] * np.abs(wanted).max()


# ---- one layer, whose bits stay


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
