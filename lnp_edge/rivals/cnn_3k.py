"""An int8 depthwise-separable convolutional network of about 3,000 parameters."""

from __future__ import annotations

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _cnn, _float
from lnp_edge.task.split import Split

TITLE = "int8 CNN, 3k parameters"
BLOCKS = ((16, 2), (24, 2), (32, 2), (24, 1))  # width and stride

suits = _float.suits


def fit(data: Split, seed: int, progress: Progress | None = None) -> _cnn.Cnn:
    return _cnn.train(data, BLOCKS, seed, progress)
