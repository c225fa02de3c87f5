"""The network of cnn_1k through CMSIS-NN, where bakenn is installed."""

from __future__ import annotations

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _cmsis
from lnp_edge.rivals.cnn_1k import BLOCKS
from lnp_edge.task.split import Split

TITLE = "CMSIS-NN CNN, 1k"

suits = _cmsis.suits


def fit(data: Split, seed: int, progress: Progress | None = None) -> _cmsis.Cmsis:
    return _cmsis.train(data, BLOCKS, seed, progress)
