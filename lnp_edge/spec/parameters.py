"""A neuron's parameters: meaning, distribution, training, and storage on a device.

A neuron's file has two tables. PARAMETERS gives the meaning, unit, range, default and distribution
of each float parameter, and whether it is trained. TABLES lists the integers that a device stores,
each computed from one parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ModelError

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, float], Floats]  # (rng, n, mean) -> [n]
Scale = Callable[[float, dict[str, Any]], Any]  # (dt, parameters drawn before this one) -> [n]

SHAPE = 3.0  # of the gamma distributions of time constants
SHORTEST = 1.5  # steps, of a time constant that is drawn or pruned
LONGEST = 65536  # steps, of a time constant whose 16-bit leak is not 0
SHORTEST_TRAINED = 0.25  # steps: 1.8 % of a state stays; a 16-bit leak can store 0.085 steps or more


def constant(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """The mean for every neuron. Draws nothing from rng."""
    return np.full(n, mean)


def gamma(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """Values from a gamma distribution of shape SHAPE: positive, with a long tail."""
    return rng.gamma(SHAPE, mean / SHAPE, n)


def uniform(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """Values from a uniform distribution between 0 and twice the mean."""
    return rng.uniform(0.0, 2 * mean, n)


@dataclass(frozen=True)
class Parameter:
    """One float parameter of a neuron, with a value per neuron of a population.

    meaning, unit : documentation; "" means dimensionless
    default   : mean of the draw, in units of `scale`; [network] <name> replaces it
    draw      : the distribution
    scale     : the parameter's natural size, given dt and the parameters before it in the file;
                None means 1. Drawn values are multiplied by it; training steps are in units of it.
    low, high : range of the values, in training too. A time constant is drawn
                from SHORTEST to LONGEST steps, and trained to SHORTEST_TRAINED or more.
    trains    : whether training changes it
    is_time   : whether it is a time constant in s; these are trained by their logarithm, and their
                means differ between `clusters`
    in_config : whether [network] may set its mean
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
    """A time constant in s, drawn from a gamma distribution with mean `default`."""
    return Parameter(meaning, "s", default, gamma, is_time=True, low=0.0)


@dataclass(frozen=True)
class Stored:
    """One table of a device.

    source    : the parameter it is computed from
    low, high : the allowed integers
    ctype     : the type in C, without _t
    form      : how a float becomes an integer, and which value a step in floats receives instead
        "leak"  a time constant: round((1 - exp(-dt / tau)) * 2**16); in floats exp(-dt / tau)
        "share" a fraction s: round(s * 2**16), at least 1; in floats 1 - s
        "state" a value in units of the neuron's state: round(gain * x); in floats x
    """

    source: str
    low: int
    high: int
    ctype: str
    form: str

    def constant(self, values: Any, dt: float, exp: Callable = np.exp) -> Any:
        """The values that a step in floats receives, [n].

        values : [n], an array, or a tensor if exp is the tensor library's
        """
        if self.form == "leak":
            return exp(-dt / values)
        return 1 - values if self.form == "share" else values

    def integers(self, values: Floats, dt: float, gain: Floats) -> NDArray[np.int32]:
        """The integers that a device stores, [n].

        gain : [n], integer units of the neuron's state per float unit

        Raises ModelError, naming the neuron, if the leak of a time constant is out of range.
        """
        if self.form == "leak":
            return leak_factors(self.source, values, dt)
        units = values * (2.0**16 if self.form == "share" else gain)
        return np.clip(np.round(units), self.low, self.high).astype(np.int32)

    def table(self, values: NDArray[np.int32]) -> NDArray:
        """The integers as a device holds them: of a fraction that a step removes, 2**16 times what it leaves."""
        return (values if self.form == "state" else 2**16 - values).astype(self.ctype)

    def floats(self, integers: NDArray[np.int32], gain: Floats) -> Floats:
        """The values that a step in floats receives for these integers, [n]: the inverse of `integers`."""
        return integers / gain if self.form == "state" else 1 - integers / 2.0**16


def LEAK(source: str) -> Stored:
    """A 16-bit decay table: the leak of the time constant `source`."""
    return Stored(source, 1, 65535, "uint16", "leak")


def SHARE(source: str) -> Stored:
    """A 16-bit decay table of `source`, the fraction that one step removes, below 1."""
    return Stored(source, 1, 65535, "uint16", "share")


def SCALED(source: str) -> Stored:
    """A table of `source` in integer units of the neuron's state, rounded."""
    return Stored(source, -(2**31) + 1, 2**31 - 1, "int32", "state")


def THRESHOLD(source: str) -> Stored:
    """As SCALED, but positive, so that subtracting it at a spike moves towards zero."""
    return Stored(source, 1, 2**31 - 1, "int32", "state")


def leak_factors(name: str, tau: Floats, dt: float) -> NDArray[np.int32]:
    """Per-neuron leak over one step, in units of 2**-16.

    name : what errors call tau
    tau  : float [N], s
    dt   : float, s

    Returns int32 [N], round((1 - exp(-dt / tau)) * 2**16), each within 1..65535.
    Raises ModelError, naming the neuron, if tau is under 0.085 steps or over 65,536 steps.

    Exact while the input is constant within a step: Rotter & Diesmann 1999, Biol. Cybern. 81:381.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        c = np.round(-np.expm1(-dt / tau) * 2.0**16)
    bad = ~((tau > 0) & (tau <= LONGEST * dt) & (c <= 65535))
    if bad.any():
        i = int(np.argmax(bad))
        raise ModelError(
            f"{name}[{i}] is {tau[i]:.6g} s at dt = {dt:g} s: a leak of {c[i]:g} / 65536",
            f"choose it from {0.085 * dt:.4g} s (0.085 steps) to {LONGEST * dt:.4g} s ({LONGEST:,} steps)",
        )
    return c.astype(np.int32)
