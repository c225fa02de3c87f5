"""The integer operations: the only arithmetic that a neuron or an encoder may use.

Each operation exists here (Python and Numba), in firmware_gen/csrc/lnp_ops.h (C) and in
interchange/onnx_file.py (ONNX nodes); tests compare the three over all pairs of edge values. Every
operand and result is an int32. spec/floats.py has the float versions; `bind` runs a neuron's step
with either. QuantizedModel.check proves for each model that no operation overflows, so nothing
saturates or wraps silently.
"""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from numba import njit


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

    x any int32; c in 1..32768, the leak over one step in units of 2**-16.
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


OPS = ("add", "clamp", "gate", "greater", "leak", "mul", "shift_round", "sub")


def bind(function: Any, meaning: Mapping[str, Callable]) -> FunctionType:
    """The function with other versions of the operations that it calls, for example floats.PLAIN.

    function : a neuron's step, an encoder's encode, or a kernel
    meaning  : all global names that the function uses
    """
    plain = getattr(function, "py_func", function)
    return FunctionType(plain.__code__, dict(meaning), plain.__name__)
