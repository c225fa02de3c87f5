"""An int8 depthwise-separable convolutional network of about 1,000 parameters."""

from __future__ import annotations

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _cnn, _float
from lnp_edge.task.split import Split

TITLE = "int8 CNN, 1k parameters"
BLOCKS = ((8, 2), (16, 2), (20, 2))  # width and stride

suits = _float.suits


def fit(data: Split, seed: int, progress: Progress | None = None) -> _cnn.Cnn:
    return _cnn.train(data, BLOCKS, seed, progress)
