"""Predictions for the test windows in floats and integers: classes [W] or forecasts [W, F, O]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lnp_edge.config import Config
from lnp_edge.network import Network
from lnp_edge.runtime import host
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages.decide import in_floats, said
from lnp_edge.stages.pipeline import require_torch
from lnp_edge.task import streams
from lnp_edge.task.dataset import Windows
from lnp_edge.task.split import Split
from lnp_edge.task.task import encoded


def of_network(config: Config, data: Split, network: Network, windows: Windows | None = None) -> NDArray:
    """The predictions in floats for the test windows, or for others. Needs torch."""
    require_torch()
    from lnp_edge.training.loop import free_run, read_out

    if data.streaming:
        return _labelled(data, [y.argmax(1) for y in in_floats(network, data, data.test_streams)])
    counts = (windows or data.test_windows).counts
    if data.task.forecast and data.test.series and data.test.series.free_run:
        return free_run(network, counts, data.test.series.free_run, data.task)
    y = read_out(network, encoded(data.task, counts))
    if not data.task.forecast:
        return y.argmax(1)
    return data.task.forecast.of(counts[:, -1], y)[:, None]


def of_model(data: Split, model: QuantizedModel, progress: Callable[[], None] = lambda: None) -> NDArray:
    """The predictions in integers, on the reference. progress is called after each window."""
    if data.streaming:
        return _labelled(data, [s.label for s in said(model, data.test_streams)])
    runner, found = Reference(model), list[NDArray]()
    for rows, counts in zip(model.rows(data.test_windows.counts), data.test_windows.counts, strict=True):
        if model.forecast and data.test.series and data.test.series.free_run:
            found.append(host.free_run(runner, model, counts, data.test.series.free_run))
        elif model.forecast:
            y = host.classify(runner, rows)
            found.append(model.forecast.of(counts[-1], y)[None])
        else:
            found.append(np.array(host.classify(runner, rows).argmax()))
        progress()
    return np.array(found)


def _labelled(data: Split, found: list[NDArray]) -> NDArray:
    """The decisions on the test streams that have a label: those of data.test_windows."""
    wanted = [streams.labelled(s, data.task.window, data.task.hop) for s in data.test_streams]
    return np.concatenate([a[w != streams.UNLABELLED] for a, w in zip(found, wanted, strict=True)])
