"""The adding problem (Hochreiter & Schmidhuber 1997, Neural Computation 9:1735), as classes.

Of LENGTH values in [0, 1], one in each half is marked. The class is the quartile of the sum of the
two marked values.
"""

from __future__ import annotations

import numpy as np

from lnp_edge.datasets import _symbols as symbols
from lnp_edge.task.dataset import Dataset

LENGTH = 8  # symbols
EDGES = 0.5**0.5, 1.0, 2 - 0.5**0.5  # the quartiles of the sum of two values
CLASSES = "below 0.71", "0.71 to 1", "1 to 1.29", "above 1.29"
SEED = 1997


def load(root=None) -> Dataset:
    """Trials of LENGTH symbols, each a value and its mark. root is not used."""
    return symbols.dataset("symbol_adding", ("value", "marked"), CLASSES, _drawn, SEED)


def _drawn(rng: np.random.Generator, trials: int) -> tuple[np.ndarray, np.ndarray]:
    value, mark = rng.random((trials, LENGTH)), np.zeros((trials, LENGTH))
    for half in range(2):
        mark[np.arange(trials), half * LENGTH // 2 + rng.integers(0, LENGTH // 2, trials)] = 1.0
    return 2 * np.stack([value, mark], axis=-1) - 1, np.digitize((value * mark).sum(1), EDGES)
