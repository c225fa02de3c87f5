"""The Rossler system, to forecast one step ahead and then in a closed loop.

Rossler 1976 (Phys. Lett. A 57:397) with a 0.2, b 0.2, c 5.7. The trajectories are generated, so
there is nothing to download and no licence. Counts are 0.001. The largest exponent is 0.0714
(Sprott 2003), so a Lyapunov time is 140 steps of 0.1, or 2.4 turns.
"""

import numpy as np

from lnp_edge.datasets import _chaos as chaos
from lnp_edge.task.dataset import Dataset

A, B, C = 0.2, 0.2, 5.7
LYAPUNOV = 0.0714  # 1/s
DT = 0.1  # s
SEED = 1976


def field(state: np.ndarray) -> np.ndarray:
    """d(state)/dt, [3, ...], of states [3, ...]."""
    x, y, z = state
    return np.array([-y - z, x + A * y, B + z * (x - C)])


def load(root=None) -> Dataset:
    """30 recordings for training and 100 for the test, of 20 s plus 15 Lyapunov times each.

    root is not used.
    """
    return chaos.dataset(
        "rossler", field, LYAPUNOV, DT, near=(1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0),
        transient=100.0, warm_up=200, recordings=(30, 100), seed=SEED,
    )  # fmt: skip
