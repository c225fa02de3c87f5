"""Weights past the neurons, from the input to the read-out."""

from dataclasses import replace

import numpy as np
import pytest
from nets import STRUCTURES, float_run, stacked, task, tiny_network, without_recurrence
from quantized import CLOSE, STORED, finer, integer_run, unit_of_y

from lnp_edge.base.errors import NetworkError
from lnp_edge.encoders import encode
from lnp_edge.quantization.quantize import fit_scale, quantize, to_integers
from lnp_edge.spec.model import INPUT, INT32_MAX, LARGEST, MAX_SHIFT, Forecast


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
