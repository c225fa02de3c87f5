"""The front ends of lnp_edge/frontends, each read and checked before anything runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ConfigError
from lnp_edge.spec import ops, plugins
from lnp_edge.spec.trace import INT32_MAX, Statement, Trace

PACKAGE = "lnp_edge.frontends"
STACK = "stack"  # the front end without arithmetic: its features are the counts themselves
GROUP = "front"  # what the state variables of front ends begin with; no population has this name
MAX_FRAME = 1024
COUNTS = -32768, 32767
Range = tuple[int, int]


@dataclass(frozen=True)
class FrontEnd:
    """What turns the samples of one step into features.

    kind  : a file of lnp_edge/frontends
    frame : samples of each channel that one step takes
    """

    kind: str = STACK
    frame: int = 1

    @property
    def module(self) -> ModuleType:
        return plugins.get(PACKAGE, self.kind)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features of a channel."""
        return tuple(self.module.features(self.frame))

    @property
    def state(self) -> dict[str, int]:
        """The state variables of a channel, with the largest |value| of each."""
        return dict(self.module.state(self.frame))

    @property
    def stacks(self) -> bool:
        """Whether the features of a step are its counts, in their order."""
        return self.kind == STACK

    @property
    def trace(self) -> Trace:
        """Its operations. Arguments: first, the samples, the state; returns the features, then the state."""
        return _traced(self)

    def check(self) -> FrontEnd:
        """Return self. Raises ConfigError for an unknown kind, a wrong frame and a wrong file."""
        if not 1 <= self.frame <= MAX_FRAME:
            raise ConfigError(f"a step of {self.frame} samples", f"choose [data] frame from 1 to {MAX_FRAME}")
        _checked(self)
        _traced(self)
        return self

    def run(self, counts: NDArray[np.int16]) -> NDArray[np.int64]:
        """The features of windows, int64 [..., T / frame, features * C], each from a reset.

        counts : int16 [..., T, C], T a multiple of the frame. Feature f of channel c is at f * C + c.
        """
        *before, length, channels = counts.shape
        steps = length // self.frame
        x = counts.reshape(*before, steps, self.frame, channels).astype(np.int64)
        if self.stacks:
            return x.reshape(*before, steps, self.frame * channels)
        state = [np.zeros((*before, channels), np.int64) for _ in self.state]
        found = np.empty((*before, steps, len(self.features), channels), np.int64)
        op = SimpleNamespace(**ops.OVER_ARRAYS)
        for t in range(steps):
            samples = [x[..., t, k, :] for k in range(self.frame)]
            made, new = self.module.run(op, int(t == 0), samples, *state)
            state = list(new)
            for f, values in enumerate(made):
                found[..., t, f, :] = values
        return found.reshape(*before, steps, -1)


RAW = FrontEnd()  # one sample a step, as it is


def inputs(front: FrontEnd, channels: Sequence[str]) -> tuple[str, ...]:
    """The name of each input of the network, such as "accX lag 4"."""
    return tuple(f"{channel} {feature}".strip() for feature in front.features for channel in channels)


def _run(front: FrontEnd, op: Any, first: Any, samples: list, state: list) -> tuple[list, list]:
    """The features and the new state; raises ConfigError if the file gives other numbers of them."""
    found, new = front.module.run(op, first, samples, *state)
    if (len(found), len(new)) != (len(front.features), len(state)):
        raise ConfigError(
            f"front end {front.kind} gives {len(found)} features and {len(new)} state variables",
            f"its file says {len(front.features)} and {len(state)}",
        )
    return list(found), list(new)


@lru_cache
def _traced(front: FrontEnd) -> Trace:
    statements: list[Statement] = []

    def operation(name: str) -> Callable:
        def record(*args: str | int) -> str:
            statements.append(Statement(f"r{len(statements)}", name, args))
            return statements[-1].target

        return record

    op = SimpleNamespace(**{name: operation(name) for name in ops.FRONT_END_OPS})
    samples, state = [f"x{k}" for k in range(front.frame)], list(front.state)
    found, new = _run(front, op, "first", samples, state)
    if not all(isinstance(value, str) for value in (*found, *new)):
        raise ConfigError(f"front end {front.kind} gives a constant", "compute every feature from the samples")
    return Trace(("first", *samples, *state), tuple(statements), (*found, *new))


@lru_cache
def _checked(front: FrontEnd) -> None:
    """Raise ConfigError unless every value stays in its range, whatever the samples."""
    most = front.state
    op = SimpleNamespace(**{name: _bounded(front, name) for name in ops.FRONT_END_OPS})
    found, new = _run(front, op, (0, 1), [COUNTS] * front.frame, [(-limit, limit) for limit in most.values()])
    limits = [(f"feature {name!r}", COUNTS) for name in front.features]
    limits += [(f"state {name!r}", (-limit, limit)) for name, limit in most.items()]
    for (what, (low, high)), got in zip(limits, [*found, *new], strict=True):
        smallest, largest = _range(got)
        if not (low <= smallest and largest <= high):
            raise ConfigError(
                f"{what} of front end {front.kind} may reach {smallest}..{largest}",
                f"its range is {low}..{high}: clamp or shift it in lnp_edge/frontends/{front.kind}.py",
            )


def _range(value: Range | int) -> Range:
    return value if isinstance(value, tuple) else (value, value)


def _bounded(front: FrontEnd, name: str) -> Callable:
    """An operation on ranges (low, high) that contain its operands."""

    def run(*args: Range | int) -> Range:
        low, high = _RANGES[name](*map(_range, args))
        if max(-low, high) > INT32_MAX or (name == "shift_round" and max(map(abs, _range(args[0]))) > 2**30):
            raise ConfigError(f"{name} in front end {front.kind} may overflow: {low}..{high}", "shift or clamp before")
        return low, high

    return run


def _products(a: Range, b: Range) -> Range:
    found = [p * q for p in a for q in b]
    return min(found), max(found)


def _absolute(x: Range) -> Range:
    return (0 if x[0] <= 0 <= x[1] else min(map(abs, x))), max(map(abs, x))


def _each(function: Callable) -> Callable[..., Range]:
    """Of an operation that grows with its first operand and whose others are constants."""
    return lambda x, *others: tuple(function(end, *(other[0] for other in others)) for end in x)  # type: ignore[return-value]


_RANGES: dict[str, Callable[..., Range]] = {
    "absolute": _absolute,
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "choose": lambda z, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    "clamp": _each(ops.clamp.py_func),
    "gate": lambda z, x: (min(0, x[0]), max(0, x[1])),
    "greater": lambda a, b: (0, 1),
    "leak": lambda x, c: (min(0, x[0]), max(0, x[1])),
    "log2": _each(ops.log2.py_func),
    "mul": _products,
    "shift_round": _each(ops.shift_round.py_func),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
}
