"""Rossler 1976 (Phys. Lett. A 57:397), a 0.2, b 0.2, c 5.7: one step ahead, then on in a closed loop.

Generated, so there is nothing to download and nobody's licence. Counts are 0.001. The largest exponent is 0.0714
(Sprott 2003): a Lyapunov time is 140 steps of 0.1, and 2.4 turns.
"""

import numpy as np

from lnp_edge.datasets import _chaos as chaos
from lnp_edge.task.dataset import Dataset

A, B, C = 0.2, 0.2, 5.7
LYAPUNOV = 0.0714  # 1/s
DT = 0.1  # s
SEED = 1976


def field(state: np.ndarray) -> np.ndarray:
    """d(state)/dt, [3, ...] of [3, ...]."""
    x, y, z = state
    return np.stack([-y - z, x + A * y, B + z * (x - C)])


def load(root=None) -> Dataset:
    """30 recordings to train on and 100 to test on, each 20 s and 15 Lyapunov times long. root is not used."""
    return chaos.dataset(
        "rossler", field, LYAPUNOV, DT, near=(1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0),
        transient=100.0, warm_up=200, recordings=(30, 100), seed=SEED,
    )  # fmt: skip
