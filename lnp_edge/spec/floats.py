"""The float version of each operation of spec/ops.py. Nothing is rounded.

Two conventions differ. The second operand of `leak` is the fraction that stays; the integer
operation takes the fraction that is lost, in units of 2**-16 (Stored.constant in
spec/parameters.py). A spike is 1.0. training/layer.py has the same table with gradients and
dynamics/tangent.py with tangents; tests compare them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# For Python numbers, for NumPy arrays, and inside Numba functions.
PLAIN: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "leak": lambda x, stays: x * stays,
    "greater": lambda a, b: (a > b) * 1.0,
    "gate": lambda z, x: z * x,
    "shift_round": lambda x, k: x / 2.0**k,
    "clamp": lambda x, low, high: np.minimum(np.maximum(x, low), high),
}
