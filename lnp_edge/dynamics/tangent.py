"""The operations of spec/ops.py on values with tangents, to run a neuron's step on both.

A dual number is a pair (value, tangent); a plain number is a constant. spec/floats.py has the same
table for values and training/layer.py with gradients; tests compare them. Spikes need conventions:

    greater(a, b)   is 1.0 or 0.0; its tangent is that of s(a / b - 1), where s is a surrogate with
                    ds(u)/du = 1 / (1 + SLOPE |u|)**2
    gate(z, x)      drops the tangent of z, which detaches a reset; keeps that of x where z is 1
    mul(z, x)       follows the product rule, so it keeps the tangent of the spike
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from lnp_edge.base.jit import cached, inner, tuple_of
from lnp_edge.spec import floats
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.spec.ops import bind
from lnp_edge.spec.trace import trace

SLOPE = 10.0  # of the surrogate, as in SurrogateGradientFlossing; training uses 5


def value(a):
    return a[0] if isinstance(a, tuple) else a


def tangent(a):
    return a[1] if isinstance(a, tuple) else 0.0


@overload(value)
def _value(a):
    return (lambda a: a[0]) if isinstance(a, types.BaseTuple) else (lambda a: a)


@overload(tangent)
def _tangent(a):
    return (lambda a: a[1]) if isinstance(a, types.BaseTuple) else (lambda a: 0.0)


@register_jitable
def surrogate(a, b):
    """d greater(a, b) / da."""
    return 1 / (b * (1 + SLOPE * np.abs(a / b - 1)) ** 2)


def _times(a, b):
    return value(a) * value(b), value(a) * tangent(b) + value(b) * tangent(a)


def _greater(a, b):
    a, da, b, db = value(a), tangent(a), value(b), tangent(b)
    return (a > b) * 1.0, surrogate(a, b) * (da - a / b * db)


def _clamp(x, low, high):
    below, above = (value(x) < value(low)) * 1.0, (value(x) > value(high)) * 1.0
    moved = (1 - below - above) * tangent(x) + below * tangent(low) + above * tangent(high)
    return np.minimum(np.maximum(value(x), value(low)), value(high)), moved


# For numbers, for NumPy arrays, and inside Numba functions.
TANGENT: dict[str, Any] = {
    "add": lambda a, b: (value(a) + value(b), tangent(a) + tangent(b)),
    "sub": lambda a, b: (value(a) - value(b), tangent(a) - tangent(b)),
    "mul": _times,
    "leak": _times,  # the second operand is the fraction that stays
    "greater": _greater,
    "gate": lambda z, x: (value(z) * value(x), value(z) * tangent(x)),
    "shift_round": lambda x, k: (value(x) / 2.0**k, tangent(x) / 2.0**k),
    "clamp": _clamp,
}


@cache
def kernel(neuron: str) -> Callable:
    """The compiled advance(state, drive, constants, q, from_spikes, dz) of a neuron.

    It propagates k tangents through one step of each neuron of a population and does not change the
    state.

    state       : [S, n] before the step
    drive       : [n]
    constants   : [K, n], Population.constants
    q           : [S, n, k], tangents of the state, the last variable first; updated in place
    from_spikes : [n, k], tangents of the drive
    dz          : [n, k], receives the tangents of the spikes

    Compiled once per neuron and cached on disk.
    """
    module: Any = neuron_module(neuron)
    size = len(module.STATE)
    step: Any = bind(module.step, {name: inner(meaning) for name, meaning in TANGENT.items()})
    scope = globals() | {
        "neuron_step": inner(step),
        "values_of": tuple_of("a, i", "a[{s}, i]", size),
        "duals_of": tuple_of("values, q, i, j", f"(values[{{s}}], q[{size - 1} - {{s}}, i, j])", size),
        "constants_of": tuple_of("a, i", "a[{s}, i]", len(module.TABLES)),
        "N_VARS": size,
    }
    return cached(bind(_advance, scope), floats, str(trace(module.step)), name=f"tangents_{neuron}")


def _unbound(*_: Any) -> Any:
    """Placeholder for what kernel binds to a neuron."""
    raise NotImplementedError


neuron_step = values_of = duals_of = constants_of = _unbound
N_VARS = 0


def _advance(state, drive, constants, q, from_spikes, dz):
    for i in range(dz.shape[0]):
        # Read once: the compiler cannot know that q and dz do not alias these.
        values, fixed, arrived = values_of(state, i), constants_of(constants, i), drive[i]
        for j in range(dz.shape[1]):
            after = neuron_step(*duals_of(values, q, i, j), (arrived, from_spikes[i, j]), *fixed)
            for s in range(N_VARS):
                q[N_VARS - 1 - s, i, j] = after[s][1]
            dz[i, j] = after[N_VARS][1]
