"""The Lorenz system, to forecast one step ahead and then in a closed loop.

Lorenz 1963 (J. Atmos. Sci. 20:130) with sigma 10, rho 28, beta 8/3. The trajectories are generated,
so there is nothing to download and no licence. Counts are 0.001; z is shifted by 25, so that all
three use the range. The largest exponent is 0.9056 (Viswanath 1998), so a Lyapunov time is 221
steps of 0.005. Steps are short because spikes are noisy: the noise averages out over a Lyapunov
time.
"""

import numpy as np

from lnp_edge.datasets import _chaos as chaos
from lnp_edge.task.dataset import Dataset

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
LYAPUNOV = 0.9056  # 1/s
DT = 0.005  # s
SEED = 1963


def field(state: np.ndarray) -> np.ndarray:
    """d(state)/dt, [3, ...], of states [3, ...]."""
    x, y, z = state
    return np.array([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z])


def load(root=None) -> Dataset:
    """40 recordings for training and 100 for the test, of 1 s plus 15 Lyapunov times each.

    root is not used.
    """
    return chaos.dataset(
        "lorenz", field, LYAPUNOV, DT, near=(1.0, 1.0, 25.0), centre=(0.0, 0.0, 25.0),
        transient=5.0, warm_up=200, recordings=(40, 100), seed=SEED,
    )  # fmt: skip
