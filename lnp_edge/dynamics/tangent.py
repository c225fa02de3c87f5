"""What each operation of spec/ops.py does to tangents, so that a neuron's own step carries them along.

spec/floats.py has the same table for values, training/layer.py with gradients; tests compare them. Where an operation
has no derivative it is that of a surrogate, or none:

    greater(a, b)   1.0 or 0.0; its tangent is that of s(a / b - 1) with ds(u)/du = 1 / (1 + SLOPE |u|)**2
    gate(z, x)      the tangent of z is dropped: a reset by it is detached. That of x passes where z is 1
    mul(z, x)       the product rule: what a spike adds by it depends on the spike
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec.floats import PLAIN

SLOPE = 10.0  # of the surrogate, as in SurrogateGradientFlossing; training's is wider, 5


class Dual(NamedTuple):
    """A value of n neurons, [n], and its derivative along k directions, [n, k]; None: it does not depend on them."""

    value: Any
    along: NDArray[np.float64] | None = None


def surrogate(a: Any, b: Any) -> Any:
    """d greater(a, b) / da: of psi(a / b), whatever unit both have."""
    return 1 / (b * (1 + SLOPE * np.abs(a / b - 1)) ** 2)


def _dual(a: Any) -> Dual:
    """Numbers that stand in a step are constants."""
    return a if isinstance(a, Dual) else Dual(a)


def _times(factor: Any, along: NDArray | None) -> NDArray | None:
    return None if along is None else np.asarray(factor)[..., None] * along


def _plus(*parts: NDArray | None) -> NDArray | None:
    found = [part for part in parts if part is not None]
    return sum(found[1:], found[0]) if found else None


def _minus(along: NDArray | None) -> NDArray | None:
    return None if along is None else -along


def _add(a, b):
    return Dual(PLAIN["add"](a.value, b.value), _plus(a.along, b.along))


def _sub(a, b):
    along = a.along - b.along if a.along is not None and b.along is not None else _plus(a.along, _minus(b.along))
    return Dual(PLAIN["sub"](a.value, b.value), along)


def _mul(a, b):
    return Dual(PLAIN["mul"](a.value, b.value), _plus(_times(b.value, a.along), _times(a.value, b.along)))


def _greater(a, b):
    slope = surrogate(a.value, b.value)
    along = _plus(_times(slope, a.along), _times(-slope * a.value / b.value, b.along))
    return Dual(PLAIN["greater"](a.value, b.value), along)


def _gate(z, x):
    return Dual(PLAIN["gate"](z.value, x.value), _times(z.value, x.along))


def _shift_round(x, k):
    return Dual(PLAIN["shift_round"](x.value, k.value), _times(0.5**k.value, x.along))


def _clamp(x, low, high):
    below, above = x.value < low.value, x.value > high.value
    parts = _times(~(below | above), x.along), _times(below, low.along), _times(above, high.along)
    return Dual(PLAIN["clamp"](x.value, low.value, high.value), _plus(*parts))


def _of_duals(meaning):
    return lambda *args: meaning(*map(_dual, args))


TANGENT = {
    name: _of_duals(meaning)
    for name, meaning in {
        "add": _add,
        "sub": _sub,
        "mul": _mul,
        "leak": _mul,  # its second operand is the share that stays
        "greater": _greater,
        "gate": _gate,
        "shift_round": _shift_round,
        "clamp": _clamp,
    }.items()
}
