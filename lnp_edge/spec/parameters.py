"""A neuron's parameters: what each means, how it is drawn and trained in floats, and how a device stores it.

A neuron's file has two tables. PARAMETERS says of each float parameter its meaning, unit, range, default, how it is
drawn and whether it trains. TABLES says which integers the device holds, each made from one parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ModelError

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, float], Floats]  # of n values, given the mean that is asked for
Scale = Callable[[float, dict[str, Any]], Any]  # [n] of the step dt, s, and the parameters that were drawn before

SHAPE = 3.0  # of the gamma distributions of time constants
SHORTEST = 1.5  # steps; a leak of 16 bits holds down to 1.44


def constant(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """The mean for every neuron; draws nothing."""
    return np.full(n, mean)


def gamma(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """A gamma distribution of shape SHAPE: positive, with a long tail of slow neurons."""
    return rng.gamma(SHAPE, mean / SHAPE, n)


def uniform(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """Uniform from 0 to twice the mean."""
    return rng.uniform(0.0, 2 * mean, n)


@dataclass(frozen=True)
class Parameter:
    """One float parameter of a neuron, a value for each neuron of a population.

    meaning, unit : for people; a unit of "" has no dimension
    default : the mean of what is drawn, in `scale`s; [network] <name> of a configuration sets another
    draw    : the distribution
    scale   : its natural size given dt and the parameters before it in the file; None: 1. What is drawn is times
              this, and training steps in units of this.
    low, high : range of the values; training keeps to it. A time constant is SHORTEST steps at least.
    trains  : does training change it?
    is_time : a time constant in s: trained by its logarithm, and shared out by `clusters`
    in_config : may [network] set its default?
    """

    meaning: str
    unit: str
    default: float
    draw: Draw = constant
    scale: Scale | None = None
    low: float = -np.inf
    high: float = np.inf
    trains: bool = True
    is_time: bool = False
    in_config: bool = True


def time_constant(meaning: str, default: float) -> Parameter:
    """A time constant, s, of a gamma distribution with the mean `default`."""
    return Parameter(meaning, "s", default, gamma, is_time=True, low=0.0)


@dataclass(frozen=True)
class Stored:
    """One table of a device. source : the parameter it is made from; low..high : allowed integers; ctype : in C.

    form : how a float becomes the integer and what a step in floats sees instead
        "leak"  of a time constant: round((1 - exp(-dt / tau)) * 2**16); in floats exp(-dt / tau), what stays
        "share" of a number s: round(s * 2**16), at least 1; in floats 1 - s, what stays
        "state" in units of the neuron's state: round(gain * x); in floats x
    """

    source: str
    low: int
    high: int
    ctype: str
    form: str

    @property
    def is_leak(self) -> bool:
        """Is it the second operand of a leak: a decay table of 16 bits?"""
        return self.form in ("leak", "share")

    def constant(self, values: Any, dt: float, exp: Callable = np.exp) -> Any:
        """What a step in floats sees. values : [n], an array or a tensor of whose kind exp is."""
        if self.form == "leak":
            return exp(-dt / values)
        return 1 - values if self.form == "share" else values

    def integers(self, values: Floats, dt: float, gain: Floats) -> NDArray[np.int32]:
        """What the device holds, [n]. gain : [n], integer units of the neuron's state per float unit.

        Raises ModelError, naming the neuron, where a time constant has no leak in range.
        """
        if self.form == "leak":
            return leak_factors(self.source, values, dt)
        units = values * (2.0**16 if self.form == "share" else gain)
        return np.clip(np.round(units), self.low, self.high).astype(np.int32)


def LEAK(source: str) -> Stored:
    """The leak of the time constant `source`, a decay table of 16 bits."""
    return Stored(source, 1, 32768, "uint16", "leak")


def SHARE(source: str) -> Stored:
    """`source`, a share of up to 0.5 that a step takes, as a leak of 16 bits."""
    return Stored(source, 1, 32768, "uint16", "share")


def SCALED(source: str) -> Stored:
    """`source` in units of the neuron's own weight scale, rounded."""
    return Stored(source, -(2**31) + 1, 2**31 - 1, "int32", "state")


def THRESHOLD(source: str) -> Stored:
    """As SCALED, and positive: subtracting it at a spike moves towards zero."""
    return Stored(source, 1, 2**31 - 1, "int32", "state")


def leak_factors(name: str, tau: Floats, dt: float) -> NDArray[np.int32]:
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
