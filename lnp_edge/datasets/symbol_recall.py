"""Recall: which symbols, +1 or -1, came 1, 3 and 5 symbols before the last.

The eight classes have a bit per delay. A network that remembers one delay is right in a quarter of
the trials, one that remembers two in half of them.
"""

from __future__ import annotations

import numpy as np

from lnp_edge.datasets import _symbols as symbols
from lnp_edge.task.dataset import Dataset

LENGTH = 10  # symbols
DELAYS = 1, 3, 5
SEED = 2001


def load(root=None) -> Dataset:
    """Trials of LENGTH symbols. root is not used."""
    return symbols.dataset("symbol_recall", ("symbol",), symbols.bits(len(DELAYS)), _drawn, SEED)


def _drawn(rng: np.random.Generator, trials: int) -> tuple[np.ndarray, np.ndarray]:
    u = rng.choice([-1.0, 1.0], (trials, LENGTH))
    return u[..., None], symbols.numbers(np.stack([u[:, -1 - k] > 0 for k in DELAYS], axis=1))
