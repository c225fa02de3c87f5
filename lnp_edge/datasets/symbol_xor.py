"""Temporal XOR: whether consecutive symbols, +1 or -1, differ 0, 2 and 4 before the last.

The eight classes have a bit per delay, as in symbol_recall. No linear filter of the input predicts
any of these bits.
"""

from __future__ import annotations

import numpy as np

from lnp_edge.datasets import _symbols as symbols
from lnp_edge.task.dataset import Dataset

LENGTH = 10  # symbols
DELAYS = 0, 2, 4
SEED = 2002


def load(root=None) -> Dataset:
    """Trials of LENGTH symbols. root is not used."""
    return symbols.dataset("symbol_xor", ("symbol",), symbols.bits(len(DELAYS)), _drawn, SEED)


def _drawn(rng: np.random.Generator, trials: int) -> tuple[np.ndarray, np.ndarray]:
    u = rng.choice([-1.0, 1.0], (trials, LENGTH))
    return u[..., None], symbols.numbers(np.stack([u[:, -1 - k] != u[:, -2 - k] for k in DELAYS], axis=1))
