"""The linear path of a forecast, from the input to the read-out, by regression instead of by gradients.

A regression finds the best linear path at once, and the gradients only what spikes add to it. From a
drawn path instead, wind's forecasts of unseen months are worse: docs/results.md has the figures.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lnp_edge.network import Network
from lnp_edge.task.baselines import regression
from lnp_edge.task.split import Split
from lnp_edge.task.task import encoded
from lnp_edge.training.loop import read_out

AT_ONCE = 4096  # windows


def fitted(network: Network, data: Split) -> Network:
    """The network with w_skip [C, O] and bias_out [O] from a ridge regression on the training windows.

    The regression forecasts what the spikes leave of the change, from the inputs x as the read-out sums
    them: sum over t of gamma**(T - 1 - t) * x[t].
    """
    assert data.task.forecast and network.w_skip is not None
    windows, target = data.train_windows, list(data.task.forecast.target)
    change = windows.wanted[:, 0].astype(float) - windows.counts[:, -1, target]
    spikes = replace(network, w_skip=np.zeros_like(network.w_skip), bias_out=np.zeros_like(network.bias_out))
    age = np.arange(data.task.steps)[::-1]
    weight = network.gamma ** age[:, None]  # [T, O]
    left, heard = change / np.array(data.task.forecast.unit), np.empty((len(change), *network.w_skip.shape))
    for k in range(0, len(change), AT_ONCE):
        part = slice(k, k + AT_ONCE)
        x = encoded(data.task, windows.counts[part])
        left[part] -= read_out(spikes, x)
        heard[part] = np.einsum("wtc,to->wco", x, weight)
    w_skip, bias = np.empty_like(network.w_skip), np.empty_like(network.bias_out)
    for o in range(len(bias)):
        found = regression(heard[:, :, o], left[:, o : o + 1])
        w_skip[:, o] = found.w[:, 0] / found.deviation
        bias[o] = (found.intercept[0] - found.mean @ w_skip[:, o]) / weight[:, o].sum()
    return replace(network, w_skip=w_skip, bias_out=bias)
