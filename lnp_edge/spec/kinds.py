"""What a neuron's parameter is made of: where its integer comes from, and the range it must keep."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ModelError


@dataclass(frozen=True)
class Kind:
    """source: the field of the float Network; low..high: the allowed integers; ctype: how tables store it."""

    source: str
    low: int
    high: int
    ctype: str
    is_leak: bool = False


def LEAK(source: str) -> Kind:
    """The leak of the time constant `source`, a decay table of 16 bits."""
    return Kind(source, 1, 32768, "uint16", is_leak=True)


def SCALED(source: str) -> Kind:
    """`source` in units of the neuron's own weight scale, rounded."""
    return Kind(source, -(2**31) + 1, 2**31 - 1, "int32")


def THRESHOLD(source: str) -> Kind:
    """As SCALED, and positive: subtracting it at a spike moves towards zero."""
    return Kind(source, 1, 2**31 - 1, "int32")


def leak_factors(name: str, tau: NDArray[np.float64], dt: float) -> NDArray[np.int32]:
    """Per-neuron leak over one step, in units of 2**-16.

    name : what tau is called, for the error;  tau : float [N], s;  dt : float, s

    Returns int32 [N], round((1 - exp(-dt / tau)) * 2**16), each within 1..32768.
    Raises ModelError, naming the neuron, if tau is under 1.44 steps or over 65,536 steps.

    Exact while the input is constant within a step: Rotter & Diesmann 1999, Biol. Cybern. 81:381.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        c = np.round(-np.expm1(-dt / tau) * 2.0**16)
    bad = ~((tau > 0) & (tau <= 65536 * dt) & (c <= 32768))
    if bad.any():
        i = int(np.argmax(bad))
        raise ModelError(
            f"{name}[{i}] is {tau[i]:.6g} s at dt = {dt:g} s: a leak of {c[i]:g} / 65536",
            f"choose it from {1.4427 * dt:.4g} s (1.44 steps) to {65536 * dt:.4g} s (65,536 steps)",
        )
    return c.astype(np.int32)
