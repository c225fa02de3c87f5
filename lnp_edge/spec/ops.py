"""The integer operations: the only arithmetic that a neuron, an encoder or a front end may use.

Each operation exists here (Python and Numba), in firmware_gen/csrc/lnp_ops.h (C) and in
interchange/onnx_file.py (ONNX nodes); tests compare the three over all pairs of edge values. Every
operand and result is an int32. spec/floats.py has the float versions; `bind` runs a neuron's step
with either. QuantizedModel.check proves for each model that no operation overflows, so nothing
saturates or wraps silently.
"""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np
from numba import config, njit

from lnp_edge.base.errors import LnpError

if config.DISABLE_JIT:  # type: ignore[attr-defined]  # Python instead: a hundred times slower, and its integers have no width
    raise LnpError(
        "Numba is told to compile nothing, and lnp computes with what it compiles", "unset NUMBA_DISABLE_JIT"
    )


@njit
def add(a, b):
    """a + b, without overflow."""
    return a + b


@njit
def sub(a, b):
    """a - b, without overflow."""
    return a - b


@njit
def mul(a, b):
    """a * b, without overflow."""
    return a * b


@njit
def leak(x, c):
    """x moved towards zero by (c * |x| + 65535 + [x < 0]) >> 16, which is at least 1 if x != 0.

    x any int32; c in 1..65535, the leak over one step in units of 2**-16.
    """
    return x + ((-c * x) >> 16) + (x < 0)


@njit
def greater(a, b):
    """1 if a > b else 0."""
    return 1 if a > b else 0


@njit
def gate(z, x):
    """x if z is 1, 0 if z is 0."""
    return x if z else 0


@njit
def shift_round(x, k):
    """floor((x + 2**(k-1)) / 2**k), for |x| <= 2**30 and k in 1..15."""
    return (x + (1 << (k - 1))) >> k


@njit
def clamp(x, low, high):
    """x limited to low..high."""
    return low if x < low else (high if x > high else x)


@njit
def absolute(x):
    """|x|"""
    return abs(x)


@njit
def choose(z, a, b):
    """a if z is 1, b if z is 0."""
    return a if z else b


@njit
def log2(x):
    """The binary logarithm of x in units of 1/64, by straight lines between powers of 2; 0 if x < 1.

    64 * e + floor(64 * (x - 2**e) / 2**e) with e = floor(log2(x)). At most 5.5 below 64 * log2(x).
    """
    if x < 1:
        return 0
    e = 0
    for half in (16, 8, 4, 2, 1):
        if x >> (e + half) > 0:
            e += half
    return 64 * e + ((64 * (x - (1 << e))) >> e)


OPS = ("add", "clamp", "gate", "greater", "leak", "mul", "shift_round", "sub")  # of neurons and encoders
FRONT_END_OPS = (*OPS, "absolute", "choose", "log2")


def _log2_of_arrays(x):
    mantissa, e = np.frexp(np.maximum(x, 1))  # exact: x = mantissa * 2**e, 1/2 <= mantissa < 1
    return 64 * (e.astype(np.int64) - 1) + np.floor(64 * (2 * mantissa - 1)).astype(np.int64)


# For arrays of int64.
OVER_ARRAYS: dict[str, Callable] = {
    "absolute": np.abs,
    "add": np.add,
    "choose": np.where,
    "clamp": np.clip,
    "gate": lambda z, x: np.where(z, x, 0),
    "greater": lambda a, b: np.greater(a, b).astype(np.int64),
    "leak": lambda x, c: x + ((-c * x) >> 16) + (x < 0),
    "log2": _log2_of_arrays,
    "mul": np.multiply,
    "shift_round": lambda x, k: (x + (1 << (k - 1))) >> k,
    "sub": np.subtract,
}


def bind(function: Any, meaning: Mapping[str, Callable]) -> FunctionType:
    """The function with other versions of the operations that it calls, for example floats.PLAIN.

    function : a neuron's step, an encoder's encode, or a kernel
    meaning  : all global names that the function uses
    """
    plain = getattr(function, "py_func", function)
    return FunctionType(plain.__code__, dict(meaning), plain.__name__)
