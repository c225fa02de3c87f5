"""Neurons and encoders as C, printed from the one Python function that defines each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lnp_edge.base.errors import ConfigError
from lnp_edge.spec import plugins
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.trace import NAME, Statement, Trace, trace

KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
        auto break case char const continue default do double else enum extern float for goto if inline int
        long register restrict return short signed sizeof static struct switch typedef union unsigned void
        volatile while asm typeof bool true false main
        """,
    )
)
# Fields of every state beside the neuron's own, and the arguments of the printed functions.
TAKEN = frozenset({"z", "y", "t", "digest", "drive", "s", "i", "k", "count"})


def neuron(model: QuantizedModel) -> str:
    """`update_neuron(s, i, drive)`: one step of neuron i, returns its spike."""
    module = plugins.get("lnp_edge.neurons", model.neuron)
    found = trace(module.step)
    _agree(
        found,
        (*module.STATE, "drive", *module.PARAMS),
        found.returns[:-1] == tuple(module.STATE),
        model.neuron,
    )
    for name in module.STATE:
        if name in TAKEN or name in module.PARAMS:
            raise ConfigError(f"neuron {model.neuron}: a state variable cannot be called {name!r}", "rename it")
    return "\n".join(
        [
            f"// The neuron, printed from lnp_edge/neurons/{model.neuron}.py. Returns its spike, 0 or 1.",
            "static inline int32_t update_neuron(LNP_MODEL(t) * s, uint32_t i, int32_t drive)",
            "{",
            *(f"    int32_t {name}_ = s->{name}[i];" for name in module.STATE),
            *_body(found, declared=(*module.STATE,), tables=dict.fromkeys(module.PARAMS, "i")),
            *(f"    s->{name}[i] = {name}_;" for name in module.STATE),
            f"    return {found.returns[-1]}_;",
            "}",
            "",
        ]
    )


def encoder(model: QuantizedModel) -> str:
    """`encode_channel(k, count)`: one sensor count of channel k as network input."""
    module = plugins.get("lnp_edge.encoders", model.encoder)
    found = trace(module.encode)
    _agree(found, ("count", *module.PARAMS), len(found.returns) == 1, model.encoder)
    tables = dict.fromkeys(module.PARAMS, "k")
    return "\n".join(
        [
            f"// The encoder, printed from lnp_edge/encoders/{model.encoder}.py: a count as network input.",
            "static inline int32_t encode_channel(uint32_t k, int32_t count)",
            "{",
            *_body(found, declared=(), tables=tables, prefix="encoder_"),
            f"    return {found.returns[0]}_;",
            "}",
            "",
        ]
    )


def _agree(found: Trace, args: tuple[str, ...], returns_right: bool, name: str) -> None:
    # A neuron's spike, or an encoder's result, must be computed: then it has a C variable to return.
    computed = found.returns[-1] in {s.target for s in found.statements}
    if found.args != args or not returns_right or not computed:
        raise ConfigError(
            f"{name}: its function takes ({', '.join(found.args)}) and returns ({', '.join(found.returns)})",
            f"it takes ({', '.join(args)}); a neuron returns its state in the same order, then the spike",
        )
    for word in found.args:
        if word in KEYWORDS or word.endswith("_t") or not NAME.fullmatch(word):
            raise ConfigError(f"{name}: {word!r} means something else in C", "choose another name")


def _body(found: Trace, declared: Sequence[str], tables: dict[str, str], prefix: str = "") -> list[str]:
    """One C line a statement. Locals end in _, so that no Python name can meet a C one."""
    local = set(declared)
    lines = []
    for statement in found.statements:
        right = _call(statement, local, tables, prefix)
        left = f"{statement.target}_" if statement.target in local else f"int32_t {statement.target}_"
        local.add(statement.target)
        lines.append(f"    {left} = {right};")
    return lines


def _call(statement: Statement, local: set[str], tables: dict[str, str], prefix: str) -> str:
    def value(arg: str | int) -> str:
        if isinstance(arg, int):
            return str(arg)
        if arg in local:
            return f"{arg}_"
        # The spec's ranges keep every parameter within int32.
        return f"LNP_MODEL(tables).{prefix}{arg}[{tables[arg]}]" if arg in tables else arg

    return f"lnp_{statement.op}({', '.join(value(arg) for arg in statement.args)})"
