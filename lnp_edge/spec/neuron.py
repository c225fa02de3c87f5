"""The neurons of lnp_edge/neurons, each checked before anything runs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType

from lnp_edge.base.errors import ConfigError
from lnp_edge.spec import plugins
from lnp_edge.spec.trace import trace

PACKAGE = "lnp_edge.neurons"


def neuron_module(name: str) -> ModuleType:
    """The neuron called `name`. Raises ConfigError if there is none, or if its file is wrong."""
    module = plugins.get(PACKAGE, name)
    for needed in ("STATE", "PARAMETERS", "TABLES", "step", "bound"):
        if not hasattr(module, needed):
            raise ConfigError(f"neuron {name} has no {needed}", "see lnp_edge/neurons/cuba_lif.py for an example")
    _check(name, tuple(module.STATE), tuple(module.TABLES), module.step, module.bound)
    return module


@lru_cache
def _check(name: str, state: tuple[str, ...], tables: tuple[str, ...], step: Callable, bound: Callable) -> None:
    """Arguments are passed by position: in another order, another neuron would run in silence."""
    if "z" in state:
        raise ConfigError(f"neuron {name}: a state variable is called 'z', like the spikes", "rename it")
    found = trace(step)
    spike = found.returns[len(state) :][:1]
    found.require((*state, "drive", *tables), (*state, *spike), name)
    made = {statement.target: statement.op for statement in found.statements}  # the last one of each name
    if spike and made[spike[0]] != "greater":  # kernels store a bit of it, the ONNX graph its value
        raise ConfigError(f"{name}: the spike {spike[0]} is made by {made[spike[0]]}", "make it 0 or 1, with greater")
    wanted, taken = ("drive", *tables), tuple(inspect.signature(bound).parameters)
    if taken != wanted:
        raise ConfigError(f"{name}: bound takes ({', '.join(taken)})", f"it takes ({', '.join(wanted)})")
