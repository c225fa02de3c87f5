"""A GRU of 12 units in integers."""

from __future__ import annotations

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _float, _gru
from lnp_edge.task.split import Split

TITLE = "int8 GRU, 12 units"
UNITS = 12

suits = _float.suits


def fit(data: Split, seed: int, progress: Progress | None = None) -> _gru.Gru:
    return _gru.train(data, UNITS, seed, progress)
