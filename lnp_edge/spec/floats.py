"""What each operation of spec/ops.py means in floats, where nothing is rounded.

Numbers stand for themselves, with two exceptions. The second operand of `leak` is the share that stays, where the
integer operation has the share that goes in units of 2**-16: see Stored.constant in spec/parameters.py. And a spike is
1.0. training/layer.py has the same table with gradients, dynamics/tangent.py with tangents; tests compare them.
"""

from __future__ import annotations

import numpy as np

# Of Python numbers, of NumPy arrays, and inside Numba functions.
PLAIN = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "leak": lambda x, stays: x * stays,
    "greater": lambda a, b: (a > b) * 1.0,
    "gate": lambda z, x: z * x,
    "shift_round": lambda x, k: x / 2.0**k,
    "clamp": lambda x, low, high: np.minimum(np.maximum(x, low), high),
}
