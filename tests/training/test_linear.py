"""The linear path of a forecast from a regression."""

from dataclasses import replace

import numpy as np
import pytest

from lnp_edge import config
from lnp_edge.stages import pipeline
from lnp_edge.task.split import load_data, split
from lnp_edge.task.task import encoded
from lnp_edge.training.linear import fitted
from lnp_edge.training.loop import read_out


@pytest.fixture(scope="module", params=["li", "mean"])
def drawn(request):
    """A small network for wind whose spikes reach the read-out, and its data."""
    c = config.named("wind")
    c = replace(c, data=replace(c.data, limit=200), network=replace(c.network, neurons=12, readout=request.param))
    data = split(c, load_data(c))
    return pipeline.new_network(c, data), data


def error(network, data) -> float:
    """Mean square error of the forecasts of the training windows, in units of the read-out."""
    windows, forecast = data.train_windows, data.task.forecast
    now = windows.counts[:, -1, list(forecast.target)]
    change = (windows.wanted[:, 0] - now) / np.array(forecast.unit)
    return float(np.square(read_out(network, encoded(data.task, windows.counts)) - change).mean())


def test_no_other_linear_path_forecasts_the_training_windows_better(drawn):
    network, data = drawn
    network = replace(network, w_out=network.w_out * 30)  # so that what the spikes add matters
    found = fitted(network, data)
    least = error(found, data)
    assert least < 0.9 * error(network, data)
    x = encoded(data.task, data.train_windows.counts).std((0, 1))
    size = (1 - found.gamma[0]) or 1 / data.task.steps
    for c in (0, 5, 13):
        for sign in (-1, 1):
            w = found.w_skip.copy()
            # Large beside the regression's shrinking, which has the weight of one window of hundreds.
            w[c] += sign * size / x[c]
            assert error(replace(found, w_skip=w), data) > least, data.task.inputs[c]
    for sign in (-1, 1):
        assert error(replace(found, bias_out=found.bias_out + sign * size / 10), data) > least


def test_nothing_but_the_linear_path_changes(drawn):
    network, data = drawn
    found = fitted(network, data)
    assert replace(found, w_skip=network.w_skip, bias_out=network.bias_out).identity() == network.identity()
