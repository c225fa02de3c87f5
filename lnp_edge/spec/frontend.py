"""The front ends of lnp_edge/frontends, each read and checked before anything runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType, SimpleNamespace

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
STATE_NAME = re.compile(r"[a-z][a-z0-9]{0,15}(_[a-z0-9]{1,16})?")
Range = tuple[int, int]


@dataclass(frozen=True)
class FrontEnd:
    """What turns the samples of one step into features.

    kind   : a file of lnp_edge/frontends
    frame  : samples of each channel that one step takes
    params : of each parameter of the file in its order, an integer for each channel; see `fit`
    """

    kind: str = STACK
    frame: int = 1
    params: tuple[tuple[int, ...], ...] = ()

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
    def ranges(self) -> dict[str, Range]:
        """The parameters of a channel, with the range of each."""
        return dict(getattr(self.module, "PARAMS", {}))

    @property
    def tables(self) -> dict[str, NDArray[np.int32]]:
        """The parameters of all channels, int32 [C] each."""
        return {name: np.array(values, np.int32) for name, values in zip(self.ranges, self.params, strict=True)}

    @property
    def plain(self) -> FrontEnd:
        """Without the values of its parameters, on which its operations do not depend."""
        return replace(self, params=())

    @property
    def stacks(self) -> bool:
        """Whether the features of a step are its counts, in their order."""
        return self.kind == STACK

    @property
    def events(self) -> bool:
        """Whether a feature of 0 means that nothing happened."""
        return getattr(self.module, "EVENTS", False)

    @property
    def spectral(self) -> bool:
        """Whether features are powers of frequencies."""
        return getattr(self.module, "SPECTRAL", False)

    @property
    def trace(self) -> Trace:
        """Its operations: from first, samples x0, ..., state s0, ..., parameters p0, ... to features and new state."""
        return _traced(self.plain)

    def check(self) -> FrontEnd:
        """Return self. Raises ConfigError for an unknown kind, a wrong frame and a wrong file."""
        if not 1 <= self.frame <= MAX_FRAME:
            raise ConfigError(f"a step of {self.frame} samples", f"choose [data] frame from 1 to {MAX_FRAME}")
        _checked(self.plain)
        return self

    def fit(self, counts: NDArray[np.int16], settings: Mapping[str, float] | None = None) -> FrontEnd:
        """With the parameters that its file finds in counts [S, C] of training; itself if it has none.

        settings : those of [data], by name; a missing one has its default

        Raises ConfigError for parameters that the file does not allow.
        """
        if not self.ranges:
            return self
        file = f"lnp_edge/frontends/{self.kind}.py"
        given = {name: value for name, (value, _, _) in settings_of(self.kind).items()} | dict(settings or {})
        try:
            found = self.module.fit(counts, **given)
            params = tuple(tuple(np.asarray(found[name]).tolist()) for name in self.ranges)
        except Exception as e:  # whatever the file does
            raise plugins.broken(file, e) from None
        for values, (name, (low, high)) in zip(params, self.ranges.items(), strict=True):
            fair = all(type(value) is int and low <= value <= high for value in values)
            if len(values) != counts.shape[-1] or not fair:
                what = f"fit of front end {self.kind} gives {name} {str(values)[:60]} for {counts.shape[-1]} channels"
                raise ConfigError(what, f"{file}: a number from {low} to {high} for each")
        return replace(self, params=params)

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
        params = [values.astype(np.int64) for values in self.tables.values()]
        found = np.empty((*before, steps, len(self.features), channels), np.int64)
        op = SimpleNamespace(**ops.OVER_ARRAYS)
        for t in range(steps):
            samples = [x[..., t, k, :] for k in range(self.frame)]
            made, new = self.module.run(op, int(t == 0), samples, *state, *params)
            state = list(new)
            for f, values in enumerate(made):
                found[..., t, f, :] = values
        return found.reshape(*before, steps, -1)


RAW = FrontEnd()  # one sample a step, as it is


def settings_of(kind: str) -> dict[str, tuple[float, float, float]]:
    """The settings that a front end adds to [data]: the default, the lowest and the highest value of each.

    Raises ConfigError for an unknown front end, and for a file that says it in another way.
    """
    found = getattr(plugins.get(PACKAGE, kind), "SETTINGS", {})
    try:
        sound = all(isinstance(name, str) and low <= value <= high for name, (value, low, high) in found.items())
    except Exception as e:  # whatever the file has
        raise plugins.broken(f"lnp_edge/frontends/{kind}.py", e) from None
    if not sound:
        raise ConfigError(f"front end {kind} has the settings {found!s:.60}",
                          f"lnp_edge/frontends/{kind}.py: of each its default, lowest and highest value")  # fmt: skip
    return dict(found)


def inputs(front: FrontEnd, channels: Sequence[str]) -> tuple[str, ...]:
    """The name of each input of the network, such as "accX lag 4"."""
    return tuple(f"{channel} {feature}".strip() for feature in front.features for channel in channels)


class _Symbol:
    """A value of which nothing is known but where it came from, or its range. It has no arithmetic.

    varies : whether it depends on a sample or a state, of which there is one for each channel
    """

    __slots__ = ("high", "low", "name", "varies")

    def __init__(self, name: str, low: int = 0, high: int = 0, varies: bool = True):
        self.name, self.low, self.high, self.varies = name, low, high, varies

    def _look(self, *_: object) -> bool:
        raise TypeError("it looks at a value: use op.choose, op.greater and op.clamp")

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _look  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class _Operations:
    """op.add(a, b) and so on: each calls `meaning` with the name and the operands, symbols and integers."""

    def __init__(self, meaning: Callable[..., _Symbol]):
        self._meaning = meaning

    def __getattr__(self, name: str) -> Callable[..., _Symbol]:
        if name not in ops.FRONT_END_OPS:
            raise AttributeError(f"no operation op.{name}; available: {', '.join(ops.FRONT_END_OPS)}")
        wanted = getattr(ops, name).py_func.__code__.co_argcount

        def operation(*args: _Symbol | int) -> _Symbol:
            if len(args) != wanted or not all(isinstance(arg, _Symbol) or type(arg) is int for arg in args):
                given = ", ".join(arg.name if isinstance(arg, _Symbol) else str(arg)[:20] for arg in args)
                raise TypeError(f"op.{name}({given}): it takes {wanted} values or integers")
            found = self._meaning(name, *args)
            found.varies = any(arg.varies for arg in args if isinstance(arg, _Symbol))
            return found

        return operation


def _run(front: FrontEnd, meaning: Callable, first: _Symbol, samples: list, state: list, params: list) -> list[_Symbol]:
    """The features, then the new state. Raises ConfigError for whatever the file does wrong."""
    file = f"lnp_edge/frontends/{front.kind}.py"
    try:
        found, new = front.module.run(_Operations(meaning), first, samples, *state, *params)
        made = [*found, *new]
        counts = len(found), len(new)
    except ConfigError:
        raise
    except Exception as e:  # whatever the file does
        raise plugins.broken(file, e) from None
    if counts != (len(front.features), len(state)):
        raise ConfigError(
            f"front end {front.kind} gives {counts[0]} features and {counts[1]} state variables",
            f"its file says {len(front.features)} and {len(state)}",
        )
    if not all(isinstance(value, _Symbol) and value.varies for value in made):
        raise ConfigError(f"front end {front.kind} gives a constant", "compute every feature from the samples")
    return made


@lru_cache
def _traced(front: FrontEnd) -> Trace:
    statements: list[Statement] = []

    def record(name: str, *args: _Symbol | int) -> _Symbol:
        operands = tuple(arg.name if isinstance(arg, _Symbol) else arg for arg in args)
        statements.append(Statement(f"r{len(statements)}", name, operands))
        return _Symbol(statements[-1].target)

    parts = [
        [_Symbol(f"{letter}{k}", varies=letter != "p") for k in range(count)]
        for letter, count in (("x", front.frame), ("s", len(front.state)), ("p", len(front.ranges)))
    ]
    made = _run(front, record, _Symbol("first", varies=False), *parts)
    names = ("first", *(symbol.name for part in parts for symbol in part))
    return Trace(names, tuple(statements), tuple(value.name for value in made))


@lru_cache
def _checked(front: FrontEnd) -> None:
    """Raise ConfigError unless the file is whole and every value stays in its range, whatever the samples."""
    file = f"lnp_edge/frontends/{front.kind}.py"
    for needed in ("NOISE", "features", "state", "run"):
        if not hasattr(front.module, needed):
            raise ConfigError(
                f"front end {front.kind} has no {needed}", f"{file}: __init__.py beside it says what it is"
            )
    for flag in ("NOISE", "EVENTS", "SPECTRAL"):
        if type(value := getattr(front.module, flag, False)) is not bool:
            raise ConfigError(f"{flag} of front end {front.kind} is {value!r:.40}", f"{file}: True or False")
    try:
        features, most = front.features, front.state
        sound = len({*features}) == len(features) > 0 and all(isinstance(name, str) for name in features)
        sound = sound and all(type(limit) is int and 0 < limit <= INT32_MAX for limit in most.values())
        ranges = front.ranges
        fair = all(type(low) is type(high) is int and -32768 <= low <= high <= 32767 for low, high in ranges.values())
        fair = fair and bool(ranges) == hasattr(front.module, "fit") >= bool(settings_of(front.kind))
    except ConfigError:
        raise
    except Exception as e:  # whatever the file does
        raise plugins.broken(file, e) from None
    if not sound:
        raise ConfigError(f"front end {front.kind} has features {features!s:.60} and state {most!s:.60}",
                          f"{file}: names of features, and of each state variable its largest |value|")  # fmt: skip
    if not fair:
        raise ConfigError(f"front end {front.kind} has the parameters {ranges!s:.60}",
                          f"{file}: of each its range within int16, and fit, which alone takes settings")  # fmt: skip
    for what, names in (("state variable", [*most]), ("parameter", [*ranges])):
        for name in names:  # z: packed spikes
            taken = what == "parameter" and name in most
            if not isinstance(name, str) or not STATE_NAME.fullmatch(name) or name == "z" or taken:
                called = f"a {what} of front end {front.kind} is called {str(name)[:40]!r}"
                raise ConfigError(called, "choose another lower-case word")

    def bounded(name: str, *args: _Symbol | int) -> _Symbol:
        return _Symbol(f"the result of op.{name}", *_range_of(front, name, *args))

    samples = [_Symbol(f"x{k}", *COUNTS) for k in range(front.frame)]
    state = [_Symbol(name, -limit, limit) for name, limit in most.items()]
    params = [_Symbol(name, low, high, varies=False) for name, (low, high) in ranges.items()]
    made = _run(front, bounded, _Symbol("first", 0, 1, varies=False), samples, state, params)
    limits = [(f"feature {name!r}", COUNTS) for name in features]
    limits += [(f"state {name!r}", (-limit, limit)) for name, limit in most.items()]
    for (what, (low, high)), got in zip(limits, made, strict=True):
        if not (low <= got.low and got.high <= high):
            raise ConfigError(
                f"{what} of front end {front.kind} may reach {got.low}..{got.high}",
                f"its range is {low}..{high}: clamp or shift it in {file}",
            )


def _range_of(front: FrontEnd, name: str, *args: _Symbol | int) -> Range:
    """A range that contains the result. Raises ConfigError for operands that C and Python read differently."""
    for constant, allowed in zip(args[1:], _CONSTANTS.get(name, ()), strict=False):
        if type(constant) is not int or constant not in allowed:
            said = constant.name if isinstance(constant, _Symbol) else constant
            what = f"{name} in front end {front.kind} has the operand {said}"
            raise ConfigError(what, f"write a number from {allowed[0]} to {allowed[-1]}")
    if name == "clamp" and args[1] > args[2]:  # type: ignore[operator]
        raise ConfigError(f"clamp in front end {front.kind} is empty: {args[1]} to {args[2]}", "swap them")
    if name in ("gate", "choose") and not (isinstance(args[0], _Symbol) and 0 <= args[0].low <= args[0].high <= 1):
        what = f"{name} in front end {front.kind} decides by {getattr(args[0], 'name', args[0])}"
        raise ConfigError(what, "decide by first or by op.greater")
    ranges = [(arg.low, arg.high) if isinstance(arg, _Symbol) else (arg, arg) for arg in args]
    low, high = _RANGES[name](*ranges)
    if max(-low, high) > INT32_MAX or (name == "shift_round" and max(map(abs, ranges[0])) > 2**30):
        raise ConfigError(f"{name} in front end {front.kind} may overflow: {low}..{high}", "shift or clamp before")
    return low, high


def _products(a: Range, b: Range) -> Range:
    found = [p * q for p in a for q in b]
    return min(found), max(found)


def _absolute(x: Range) -> Range:
    return (0 if x[0] <= 0 <= x[1] else min(map(abs, x))), max(map(abs, x))


def _each(function: Callable) -> Callable[..., Range]:
    """Of an operation that never falls as its first operand grows, and whose others are constants."""
    return lambda x, *others: tuple(function(end, *(other[0] for other in others)) for end in x)  # type: ignore[return-value]


_INT32 = range(-INT32_MAX, INT32_MAX + 1)
# The operands after the first that must be numbers, and which.
_CONSTANTS = {"clamp": (_INT32, _INT32), "leak": (range(1, 65536),), "shift_round": (range(1, 16),)}
_RANGES: dict[str, Callable[..., Range]] = {
    "absolute": _absolute,
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "choose": lambda z, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    "clamp": _each(ops.clamp.py_func),
    "gate": lambda z, x: (min(0, x[0]), max(0, x[1])),
    "greater": lambda a, b: (0, 1),
    "leak": _each(ops.leak.py_func),
    "log2": _each(ops.log2.py_func),
    "mul": _products,
    "shift_round": _each(ops.shift_round.py_func),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
}
