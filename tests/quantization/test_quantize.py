"""Quantisation: no overflow by proof, the finest scale the proof allows, refusals that name the neuron."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lnp_edge.runtime.reference import Reference
from naive import Naive
from naive import leak as naive_leak
from nets import task, tiny_network
from scipy import sparse
from tiny import tiny_model

from lnp_edge.base.errors import ConfigError, ModelError, NetworkError
from lnp_edge.neurons import cuba_lif
from lnp_edge.quantization.quantize import fit_scale, quantize, to_integers
from lnp_edge.spec.kinds import leak_factors
from lnp_edge.spec.model import INT32_MAX

LEAKS = st.integers(1, 32768) | st.sampled_from([1, 2, 3, 32767, 32768])


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


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_worst_input_found_by_greedy_search_stays_within_the_bounds(seed):
    """An adversary who sees everything drives one neuron as far down as it can."""
    model = tiny_model(seed, n=24)
    bounds, readout_bounds = model.neuron_bounds(), model.readout_bounds()
    naive = Naive(model)
    gain, target = model.encoder_params["gain"], int(np.argmax(bounds))
    away = np.array([-np.sign(row[target] * g) for row, g in zip(naive.w_in, gain, strict=True)])
    worst = [0] * model.n
    for _ in range(300):
        naive.step([32767 if sign > 0 else -32768 if sign < 0 else 0 for sign in away])
        worst = [max(w, abs(a), abs(b)) for w, a, b in zip(worst, naive.i_syn, naive.v, strict=True)]
        assert all(w <= b for w, b in zip(worst, bounds, strict=True))
        assert all(abs(y) <= b for y, b in zip(naive.y, readout_bounds, strict=True))
    assert worst[target] > 0.2 * bounds[target]  # the search is no pushover: recurrence may not help it


def test_the_bound_of_a_readout_is_that_of_the_specification():
    model = tiny_model()
    received = [2**model.shift_out * sum(abs(w) for w in column) for column in model.w_out.dense().T.tolist()]
    facts = zip(received, model.bias_out.tolist(), model.c_out.tolist(), strict=True)
    assert model.readout_bounds() == [-(-(a + abs(bias) + 1) * 65536 // c) for a, bias, c in facts]


def test_a_model_beyond_the_bounds_is_refused_with_the_neuron():
    model = tiny_model()
    slow = model.params["c_mem"].copy()
    slow[17] = 1
    with pytest.raises(ModelError, match=r"^neuron 17 may reach [0-9 ]+, beyond int32"):
        replace(model, params=model.params | {"c_mem": slow, "c_syn": np.where(slow == 1, 1, 32768)}).check()


def test_a_readout_beyond_the_bounds_is_refused_with_its_number():
    model = tiny_model()
    with pytest.raises(ModelError, match=r"^read-out 2 may reach"):
        replace(model, c_out=np.array([9000, 9000, 1, 9000], np.int32), shift_out=10).check()


# ---- the scale


@pytest.mark.parametrize("n", [40, 160])
def test_the_shifts_are_the_largest_that_can_be_proved(n):
    """Twice the scale, thresholds and biases with it, breaks the proof."""
    model = quantize(tiny_network(n=n), task())
    assert 0 < model.shift_in < model.shift_rec < 16
    assert max(model.neuron_bounds()) <= INT32_MAX
    doubled = {k: 2 * v.astype(np.int64) - (k == "v_th") for k, v in model.params.items() if k in ("v_th", "bias")}
    finer = replace(model, shift_in=model.shift_in + 1, shift_rec=model.shift_rec + 1, params=model.params | doubled)
    assert max(finer.neuron_bounds()) > INT32_MAX
    finer = replace(model, shift_out=model.shift_out + 1, bias_out=2 * model.bias_out)
    assert model.shift_out == 16 or max(finer.readout_bounds()) > INT32_MAX


def test_every_neuron_uses_its_eight_bits():
    model = quantize(tiny_network(), task())
    largest = np.maximum(np.abs(model.w_in.dense()).max(0), np.abs(model.w_rec.dense()).max(0))
    assert largest.tolist() == [127] * model.n


@pytest.mark.parametrize("factor", [2.0**-20, 0.5, 4.0, 2.0**20])
def test_the_unit_of_a_neurons_state_does_not_matter(factor):
    net = tiny_network()
    scale = np.ones(net.n)
    scale[3] = factor
    other = replace(
        net,
        w_in=net.w_in * scale,
        w_rec=sparse.csr_array(net.w_rec @ sparse.diags_array(scale)),
        bias=net.bias * scale,
        v_th=net.v_th * scale,
    )
    assert quantize(other, task()).fingerprint == quantize(net, task()).fingerprint


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
    assert model.shift_rec >= plain.shift_rec
    moved = model.shift_rec - plain.shift_rec
    assert model.w_rec.dense()[:, others].tolist() == plain.w_rec.dense()[:, others].tolist()
    ratio = model.params["v_th"][others] / plain.params["v_th"][others]
    np.testing.assert_allclose(ratio, 2.0**moved, rtol=1e-4)  # v_th is rounded to a whole number
    assert model.neuron_bounds()[3] - model.params["v_th"][3] < model.params["v_th"][3]  # it cannot fire


def test_a_network_without_synapses_is_possible():
    net = tiny_network()
    empty = replace(
        net, w_in=0 * net.w_in, w_rec=sparse.csr_array(net.w_rec.shape), w_out=0 * net.w_out, bias_out=0 * net.bias_out
    )
    model = quantize(empty, task())
    assert (model.w_in.nnz, model.w_rec.nnz, model.w_out.nnz) == (0, 0, 0)
    assert (model.params["v_th"] == np.round(1024 * net.v_th)).all()


# ---- fewer bits


@pytest.mark.parametrize(("bits", "most"), [(2, 1), (3, 3), (4, 7), (7, 63), (8, 127)])
def test_weights_keep_to_their_bits_and_use_them(bits, most):
    model = quantize(tiny_network(), task(), bits=bits)
    for w in (model.w_in, model.w_rec, model.w_out):
        assert np.abs(w.data).max() == most


@pytest.mark.parametrize(("bits", "better"), [(2, 0.9), (3, 0.9), (4, 0.98), (7, 1.0)])
def test_clipping_makes_the_error_smaller_than_the_largest_weight_s_scale_does(bits, better):
    """Of input weights with a heavy tail, each neuron by itself: none may be worse, together they are better."""
    tail = np.random.default_rng(1).lognormal(0, 1, (40, 40))
    net = replace(tiny_network(c=40), w_in=tail * tiny_network(c=40).w_in, w_rec=sparse.csr_array((40, 40)))
    scale, most = fit_scale(net, task(c=40), "cuba_lif", bits), 2 ** (bits - 1) - 1

    def error(gain):
        step = 64 * 2.0**scale.shift_in / gain
        return np.square(np.clip(np.round(net.w_in / step), -most, most) * step - net.w_in).sum(0)

    plain = most * 64 * 2.0**scale.shift_in / np.abs(net.w_in).max(0)
    assert (error(scale.gain) <= error(plain) + 1e-12).all()
    assert error(scale.gain).sum() <= better * error(plain).sum()


def test_a_learned_scale_is_taken_as_it_is():
    net = tiny_network()
    scale = fit_scale(net, task(), "cuba_lif", 4)
    learned = replace(scale, gain=scale.gain * np.linspace(0.7, 1.0, net.n), level_out=1.1 * scale.level_out)
    model = quantize(net, task(), bits=4, scale=learned)
    wanted = np.clip(np.round(net.w_in / 64 * learned.gain / 2.0**learned.shift_in), -7, 7)
    assert (model.w_in.dense() == wanted).all()
    assert (model.w_out.dense() == np.clip(np.round(net.w_out * learned.level_out), -7, 7)).all()
    assert (model.params["v_th"] == np.round(learned.gain * net.v_th)).all()


def test_a_learned_scale_beyond_the_proof_is_halved_where_it_must_be():
    net = tiny_network()
    scale = fit_scale(net, task(), "cuba_lif", 8)
    finer = replace(scale, shift_in=scale.shift_in + 2, shift_rec=scale.shift_rec + 2, gain=4 * scale.gain)
    model, used = to_integers(net, task(), "cuba_lif", finer)
    model.check()
    ratio = finer.gain / used.gain
    assert set(ratio.tolist()) <= {1.0, 2.0, 4.0} and ratio.max() > 1 and ratio.min() == 1


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 16])
def test_other_bits_are_refused(bits):
    with pytest.raises(ConfigError, match=f"^{bits} bits a weight"):
        quantize(tiny_network(), task(), bits=bits)


# ---- what is refused


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e31])
@pytest.mark.parametrize("name", ["w_in", "w_out", "bias", "bias_out", "v_th", "w_rec"])
def test_what_is_not_finite_or_absurd_is_refused_by_name(name, value):
    net = tiny_network()
    if name == "w_rec":
        bad = net.w_rec.copy()
        bad.data[5] = value
    else:
        bad = getattr(net, name).copy()
        bad.flat[1] = value
    with pytest.raises(NetworkError, match=f"^{name} of the trained network is not finite"):
        quantize(replace(net, **{name: bad}), task())


@pytest.mark.parametrize("name", ["tau_mem", "tau_syn", "tau_out"])
@pytest.mark.parametrize("steps", [1.44, 65_537 * 2, 0.0, -1.0, np.nan, np.inf])
def test_a_time_constant_out_of_range_is_refused_with_its_neuron(name, steps):
    net = tiny_network()
    tau = getattr(net, name).copy()
    tau[2] = steps * net.dt
    with pytest.raises(NetworkError, match=rf"^{name}\[2\] is ") as e:
        quantize(replace(net, **{name: tau}), task())
    assert "choose it from 0.02885 s" in e.value.try_next


def test_leaks_of_known_time_constants():
    tau = np.array([1.4427, 10.0, 1000.0, 65536.0])
    assert leak_factors("tau", tau, 1.0).tolist() == [32768, 6237, 66, 1]


def test_a_network_that_cannot_be_proved_at_any_scale_is_refused_with_the_neuron():
    net = tiny_network()
    slow = net.tau_mem.copy(), net.tau_syn.copy()
    for tau in slow:
        tau[5] = 60_000 * net.dt
    with pytest.raises(NetworkError, match=r"^neuron 5 may reach"):
        quantize(replace(net, tau_mem=slow[0], tau_syn=slow[1]), task())


# ---- float and integers


def float_run(net, x):
    """y [T, O] and spikes [T, N] of the float network of lnp_edge/network.py. x : [T, C], the encoder's integers."""
    alpha, beta, gamma = (np.exp(-net.dt / tau) for tau in (net.tau_syn, net.tau_mem, net.tau_out))
    i_syn, v, z, y = np.zeros(net.n), np.zeros(net.n), np.zeros(net.n), np.zeros(len(net.tau_out))
    ys, zs = [], []
    for row in x / 64:
        i_syn = alpha * i_syn + z @ net.w_rec + row @ net.w_in + net.bias
        v = beta * v + i_syn
        z = (v > net.v_th).astype(float)
        v -= net.v_th * z
        y = gamma * y + z @ net.w_out + net.bias_out
        ys.append(y)
        zs.append(z)
    return np.array(ys), np.array(zs)


def integer_run(model, counts):
    naive, ys, zs = Naive(model), [], []
    for row in counts:
        naive.step(row)
        ys.append(list(naive.y))
        zs.append(list(naive.z))
    return np.array(ys), np.array(zs)


def test_float_and_integer_network_agree_but_for_rounding():
    """Weights are rounded to 1 / 254 of a neuron's largest, so membrane potentials differ by under 1 %: a spike may
    come a step later or not at all. Without recurrence such a slip stays alone: under 1 % of spikes may differ."""
    net = tiny_network()
    net = replace(net, w_rec=sparse.csr_array(net.w_rec.shape))
    model = quantize(net, task())
    counts = np.random.default_rng(2).integers(-127, 128, (300, 3)).astype(np.int16)
    (y, z), (yq, zq) = float_run(net, counts.astype(float)), integer_run(model, counts)
    assert z.sum() > 400
    assert (z != zq).sum() < 0.01 * z.size
    gain = 127 * 2.0**model.shift_out / np.abs(net.w_out).max()
    assert np.abs(yq / gain - y).max() < 0.05 * np.abs(y).max()


def test_exact_weights_give_exactly_the_float_states_but_for_the_leaks_rounding():
    """Without recurrence i_syn is linear: a step adds under 2 units, and 2**-17 of the value as c is rounded."""
    net = tiny_network()
    exact = np.round(net.w_in / np.abs(net.w_in).max(0) * 127) / 127
    net = replace(net, w_in=exact, w_rec=sparse.csr_array(net.w_rec.shape), bias=0 * net.bias)
    model = quantize(net, task())
    counts = np.random.default_rng(3).integers(-127, 128, (60, 3)).astype(np.int16)
    reference = Reference(model)
    reference.steps(counts)
    i_syn, largest = np.zeros(net.n), 0.0
    for row in counts / 64:
        largest = max(largest, np.abs(i_syn).max())
        i_syn = np.exp(-net.dt / net.tau_syn) * i_syn + row @ net.w_in
    gain = 127 * 64 * 2.0**model.shift_in
    found = reference.state()[: net.n].view(np.int32) / gain
    assert np.abs(found - i_syn).max() < 60 * (2 / gain + largest / 2**17)
    assert largest > 3


def test_one_very_slow_neuron_gets_a_smaller_gain_and_the_others_keep_theirs():
    net = tiny_network()
    slow = net.tau_mem.copy(), net.tau_syn.copy()
    slow[0][5], slow[1][5] = 20_000 * net.dt, 400 * net.dt
    model = quantize(replace(net, tau_mem=slow[0], tau_syn=slow[1]), task())
    largest = np.maximum(model.w_in.column_max(), model.w_rec.column_max())
    assert max(model.neuron_bounds()) < 2**31
    assert 0 < largest[5] < 127 and np.delete(largest, 5).max() == 127
    assert (model.shift_in, model.shift_rec) == (0, 0)


def test_a_threshold_that_is_not_positive_is_refused_with_its_neuron():
    net = tiny_network()
    v_th = net.v_th.copy()
    v_th[3] = 0.0
    with pytest.raises(NetworkError, match=r"^v_th\[3\] is 0"):
        quantize(replace(net, v_th=v_th), task())
