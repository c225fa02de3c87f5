"""The neurons of lnp_edge/neurons, each checked before anything runs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from lnp_edge.base.errors import ConfigError
from lnp_edge.spec import floats, ops, plugins
from lnp_edge.spec.parameters import SHORTEST, Parameter, Stored
from lnp_edge.spec.trace import trace

PACKAGE = "lnp_edge.neurons"
HINT = "correct lnp_edge/neurons/{}.py: __init__.py beside it says what it must be, cuba_lif.py is an example"
KINDS: dict[str, Any] = {"STATE": tuple, "PARAMETERS": dict, "TABLES": dict, "step": Callable, "bound": Callable}
DT, DRIVE, GAIN, LONGEST = 0.01, 1000, 4000.0, 1000  # of the step that _run tries; LONGEST in steps


def neuron_module(name: str) -> ModuleType:
    """The neuron called `name`. Raises ConfigError if there is none, or if its file is wrong."""
    module = plugins.get(PACKAGE, name)
    hint = HINT.format(name)
    for needed, kind in KINDS.items():
        if not hasattr(module, needed):
            raise ConfigError(f"neuron {name} has no {needed}", hint)
        if not isinstance(getattr(module, needed), kind):
            raise ConfigError(f"neuron {name}: {needed} is a {type(getattr(module, needed)).__name__}", hint)
    functions = [getattr(module, function, None) for function in ("step", "bound", "drive_for", "limits", "reachable")]
    _check(name, module, tuple(module.STATE), tuple(module.TABLES), *functions)
    return module


@lru_cache
def _check(
    name: str,
    module: ModuleType,
    state: tuple[str, ...],
    tables: tuple[str, ...],
    step: Callable,
    bound: Callable,
    drive_for: Callable | None,
    limits: Callable | None,
    reachable: Callable | None,
) -> None:
    """Arguments are passed by position: in another order, another neuron would run in silence."""
    hint = HINT.format(name)
    if "z" in state:
        raise ConfigError(f"neuron {name}: a state variable is called 'z', like the spikes", "rename it")
    found = trace(step)
    spike = found.returns[len(state) :][:1]
    found.require((*state, "drive", *tables), (*state, *spike), name)
    made = {statement.target: statement.op for statement in found.statements}  # the last one of each name
    if spike and made[spike[0]] != "greater":  # kernels store a bit of it, the ONNX graph its value
        raise ConfigError(f"{name}: the spike {spike[0]} is made by {made[spike[0]]}", "make it 0 or 1, with greater")
    for function in (bound, reachable) if reachable else (bound,):
        wanted, taken = ("drive", *tables), tuple(inspect.signature(function).parameters)
        if taken != wanted:
            what = f"{name}: {function.__name__} takes ({', '.join(taken)})"
            raise ConfigError(what, f"it takes ({', '.join(wanted)})")
    if reachable and len(state) != 2:
        raise ConfigError(f"{name}: reachable is for two state variables, not {len(state)}", hint)
    if limits and (trace(limits).args != ("most", *tables) or len(trace(limits).returns) != len(state)):
        form = f"it takes ({', '.join(('most', *tables))}) and returns one of each of {', '.join(state)}"
        raise ConfigError(f"{name}: limits takes or returns something else", form)
    if bool(spike) != bool(drive_for):
        what = "spikes, but has no drive_for" if spike else "has drive_for, but its step returns no spike"
        raise ConfigError(f"neuron {name} {what}", hint)
    for key, values, kind in (("PARAMETERS", module.PARAMETERS, Parameter), ("TABLES", module.TABLES, Stored)):
        for of, value in values.items():
            if not isinstance(value, kind):
                raise ConfigError(f"neuron {name}: {of} of {key} is no {kind.__name__}", hint)
    needed = {stored.source for stored in module.TABLES.values()} | ({"v_th", "bias"} if spike else set())
    if needed - set(module.PARAMETERS):
        raise ConfigError(f"neuron {name}: PARAMETERS lacks {sorted(needed - set(module.PARAMETERS))[0]!r}", hint)
    try:
        wrong = _run(module)
    except Exception as e:  # whatever the file does
        raise plugins.broken(module.__file__ or name, e) from None
    if wrong:
        raise ConfigError(f"neuron {name}: {wrong}", hint)


def _run(module: ModuleType) -> str:
    """Draw the parameters of two neurons and run a step of them in integers and in floats: what is wrong, or ""."""
    rng, drawn = np.random.default_rng(1), dict[str, np.ndarray]()
    for name, p in module.PARAMETERS.items():
        values = p.draw(rng, 2, p.default)
        values = np.clip(values, SHORTEST * DT, LONGEST * DT) if p.is_time else values
        values = np.clip(values * (p.scale(DT, drawn) if p.scale else 1.0), p.low, p.high)
        if np.shape(values) != (2,) or not np.isfinite(values).all():
            return f"two values of {name} are drawn as {values!s:.60}"
        drawn[name] = values
    if hasattr(module, "drive_for"):
        drives = module.drive_for(DT, drawn)
        if not isinstance(drives, tuple) or [np.shape(drive) for drive in drives] != [(2,), (2,)]:
            return f"drive_for gives {drives!s:.60} for two neurons"
    stored = module.TABLES.values()
    tables = [int(table.integers(drawn[table.source], DT, np.full(2, GAIN))[0]) for table in stored]
    most = module.bound(DRIVE, *tables)
    if type(most) is not int:
        return f"bound gives {most!s:.60}, of type {type(most).__name__}"
    plain: dict[str, Callable] = {op: getattr(ops, op).py_func for op in ops.OPS}
    rest = [0] * len(module.STATE)
    after = np.atleast_1d(ops.bind(module.step, plain)(*rest, DRIVE, *tables))
    if max(abs(after)) > most:
        return f"bound gives {most} for a drive of {DRIVE}, but a step from rest reaches {max(abs(after))}"
    constants = [table.constant(drawn[table.source], DT) for table in stored]
    ops.bind(module.step, floats.PLAIN)(*np.zeros((len(rest), 2)), np.ones(2), *constants)
    return ""


def leaks_or_sums(module: ModuleType) -> bool:
    """Whether a read-out is y[t] = c * y[t-1] + drive + bias in floats, c being 1 without that table.

    Float networks run this in place of its step.
    """
    return _leaks_or_sums(tuple(module.STATE), tuple(module.TABLES.items()), module.step)


@lru_cache
def _leaks_or_sums(state: tuple[str, ...], tables: tuple[tuple[str, Stored], ...], step: Callable) -> bool:
    forms = {name: stored.form for name, stored in tables}
    if len(state) != 1 or forms not in ({"bias": "state"}, {"c": "leak", "bias": "state"}):
        return False
    y, drive, c, bias = np.random.default_rng(1).normal(size=(4, 100))
    given = {"c": c, "bias": bias}
    found = ops.bind(step, floats.PLAIN)(y, drive, *(given[name] for name in forms))
    # Sums in another order differ in the last bits.
    return bool(np.allclose(found, (c if "c" in forms else 1) * y + drive + bias, rtol=0, atol=1e-12))
