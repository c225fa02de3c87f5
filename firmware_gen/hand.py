"""What the loops by hand of csrc/lnp_armv7em.h and lnp_rv32im.h serve: a step or an encoder that, in whatever names,
is one of these. An encoder has none on RV32IM."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lnp_edge.firmware_gen.neuron import forms
from lnp_edge.spec import layout, plugins
from lnp_edge.spec.model import Population, Projection, QuantizedModel
from lnp_edge.spec.ops import add, clamp, gate, greater, leak, mul, shift_round, sub
from lnp_edge.spec.trace import Statement, trace


def leak_and_add(x, left, added):
    x = leak(x, left)
    x = add(x, added)
    return x


def fire_lif(v, i, left, v_th):
    v = leak(v, left)
    v = add(v, i)
    z = greater(v, v_th)
    kick = gate(z, v_th)
    v = sub(v, kick)
    return v, z


def fire_adlif(v, w, left, pull, v_th, jump):
    v = sub(v, w)
    z = greater(v, v_th)
    kick = gate(z, v_th)
    v = sub(v, kick)
    rest = leak(v, pull)
    pulled = sub(v, rest)
    jumped = mul(z, jump)
    w = leak(w, left)
    w = add(w, pulled)
    w = add(w, jumped)
    return v, w, z


def encode_affine(count, offset, gain, shift):
    x = sub(count, offset)
    x = mul(x, gain)
    x = shift_round(x, shift)
    x = clamp(x, -127, 127)
    return x


def encode(model: QuantizedModel, tables: str) -> str:
    """The call of the loop that encodes counts, or "0". It returns how many it encoded."""
    module = plugins.get("lnp_edge.encoders", model.encoder)
    known = _same(encode_affine, trace(module.encode).statements)
    if not known or set(known.values()) & {*module.PARAMS} != {*module.PARAMS} or not model.front.stacks:
        return "0"
    given = (tables + known[name] for name in ("offset", "gain", "shift"))
    return f"encode_affine(input, counts, {', '.join(given)}, {len(model.inputs)}u)"


def begin(population: Population, sums: str, tables: str, turn: int = 0) -> tuple[str, str]:
    """What defines the loop that begins the sums of a population, if it is its own, and its call; or "" and "".

    The call returns how many it began. turn : by how many bits they are turned
    """
    loop, names = _names(leak_and_add, layout.parts(population.module).begin, population)
    if not names:
        return "", ""
    defined, kind = "", "any" if loop.endswith("_any") else "half"
    if turn:
        loop = f"leak_and_turn_{population.name}"
        defined = f"LNP_LEAK_LOOP({loop}, {kind}, 1, {turn})\n"
    return defined, f"{loop}({sums}, {', '.join(tables + name for name in names[1:])}, {population.n}u)"


def turned(model: QuantizedModel, population: Population, joined: list[Projection]) -> Projection | None:
    """The projection into a population before which its sums are turned, or None. joined : all into it, in order

    Turned, an event takes 4.25 instructions, not 4.75, and a neuron 2.5 more. It pays if a tenth fires and neurons
    have more than 50 synapses each.
    """
    if population.n % 8 or not joined or not begin(population, "", "")[1]:
        return None
    first, *rest = joined
    if not (layout.of(model, first).turns_back(first) and layout.of(model, first).by_hand(model, first, 1)):
        return None
    found = [p for p in rest if turn(model, p) >= 1 and p.w.nnz > 50 * population.n]
    fast = [p for p in found if layout.of(model, p).by_hand(model, p, turn(model, p))]
    return max(fast, key=lambda p: p.w.nnz, default=None)


def turn(model: QuantizedModel, p: Projection | None) -> int:
    """By how many bits the sums are turned to which a projection is added, 0 for None."""
    return layout.of(model, p).turn(p) if p else 0


def finish(population: Population, state: str, tables: str) -> str:
    """The call of the loop that finishes the neurons of a population, or "". It returns how many it finished."""
    for step in (fire_lif, fire_adlif):
        loop, names = _names(step, layout.parts(population.module).finish, population)
        if names:
            given = [(tables if name in population.module.TABLES else state) + name for name in names]
            return f"{loop}({', '.join(given)}, {state}z, {population.n}u)"
    return ""


def _names(step: Callable, here: Iterable[Statement], population: Population) -> tuple[str, list[str]]:
    """The loop of a step, and what its arguments are called in statements that do the same; or "" and [].

    A loop takes leaks of up to 1/2. Its name with _any takes any leak for `left`.
    """
    module, own, statements = population.module, forms(population), list(here)
    known = _same(step, statements)
    if not known or known.get("z") not in (None, trace(module.step).returns[-1]):
        return "", []
    names = [known[argument] for argument in trace(step).args]
    leaks = {str(one.args[1]) for one in statements if one.op == "leak"}
    if not set(names) <= {*module.STATE, *module.TABLES} or leaks != {name for name in names if name in own}:
        return "", []
    if any(own[name] == "leak" for name in leaks - {known["left"]}):
        return "", []
    return step.__name__ + "_any" * (own[known["left"]] == "leak"), names


def _same(loop: Callable, here: Iterable[Statement]) -> dict[str, str]:
    """What each name of a loop is called in statements that do the same, or {}."""
    step, there, known = list(here), trace(loop).statements, dict[str, str]()
    if [one.op for one in step] != [other.op for other in there]:
        return {}
    for one, other in zip(step, there, strict=True):
        for name, of in zip((*one.args, one.target), (*other.args, other.target), strict=True):
            if isinstance(name, int) or isinstance(of, int):
                if name != of:
                    return {}
            elif known.setdefault(of, name) != name:
                return {}
    return known if len(set(known.values())) == len(known) else {}
