"""The proof that nothing overflows: it holds for what an adversary can do, wastes nothing, and refuses one more."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Naive
from naive import leak as naive_leak
from nets import stacked, task
from quantized import ALL, STORED, changed, with_tables
from tiny import MODELS, tiny_model

from lnp_edge.base.errors import ModelError
from lnp_edge.neurons import cuba_lif
from lnp_edge.quantization.quantize import quantize
from lnp_edge.spec.model import CSR, INPUT, INT32_MAX

LEAKS = st.integers(1, 65535) | st.sampled_from([1, 2, 3, 32768, 65535])


@settings(max_examples=200)
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
