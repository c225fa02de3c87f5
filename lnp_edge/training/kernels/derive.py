"""A neuron's code in the fused kernels, derived from the neuron's own step.

Forwards, each operation of the step becomes one on LANES values. Backwards, the operations are
walked in reverse order, as autograd does with training/layer.py, which is the definition; tests
compare the two. sparse.py and dense.py add the synapses.

Between the passes few values of each step are kept: the operand that `greater` compares with the
threshold (of cuba_lif v before the reset), and what the backward pass needs and cannot compute from
it (of adlif also w). In this order of preference, a state before a step is

    computed from the kept values of the step before              v: p - gate(p > v_th, v_th)
    the operand that is missing from a kept sum of that step      i_syn: p - leak(v, c_mem)
    kept itself                                                   w of adlif

A step can be derived if it adds the drive to something and the bias to the sum, and if its only
spike is the first operand of `gate` and `mul`. Other neurons train by the plain loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from lnp_edge.base.jit import cached, inner, within
from lnp_edge.spec import ops, trace
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.spec.ops import bind
from lnp_edge.spec.trace import Statement
from lnp_edge.training.kernels import lanes

_LANES = ("fma", "load", "magnitude", "minus", "over", "plus", "splat", "store", "times", "where", "which")
_FORWARD = {
    "add": "plus({}, {})",
    "sub": "minus({}, {})",
    "mul": "times({}, {})",
    "leak": "times({}, {})",  # the second operand is the fraction that stays
    "greater": "which({}, {})",  # spikes are one bit per lane
    "gate": "where({}, {}, ZERO)",
}
# Generated code has names with capitals; the variables of a step have none. A neuron's values of
# step T lie in row AT of KEPT, APART rows from one kept variable to the next, N rows from one step
# to the next; variable k of neuron I lies in row k * N + I of STATE, START, CARRY, TABLES and SUMS.
_PLACE = "KEPT, AT, APART, T, START, TABLES, N, I"


class Underivable(Exception):
    """The step has another form than the module's docstring asks for."""


@cache
def derived(neuron: str) -> Derived | None:
    """The code of a neuron, or None if it cannot be derived."""
    try:
        return Derived(neuron)
    except Underivable:
        return None


def trains_in_integers(neurons: list[str], skip: bool, readout: str, bits: int) -> bool:
    """Can training/integer.py train a network of these populations?

    It must be one layer without w_skip, with the read-out li, of a neuron that the fused kernels run
    and that compares its potential with one of its tables. At most 8 bits are supported.
    """
    found = derived(neurons[0])
    simple = len(neurons) == 1 and not skip and readout == "li" and bits <= 8
    return simple and found is not None and bool(found.threshold)


class Derived:
    """The kernels' functions of one neuron.

    states  : its state variables
    tables  : names of its TABLES without the bias, which is part of the drive
    trained : those that get a gradient, as training changes their parameters
    kept    : variables that are kept of each step; the first is compared with the threshold
    threshold : the table that the first of them is compared with; "" if it is computed
    carried : states whose gradient is carried back from step to step; that of a state whose leak
              receives the drive is the drive's
    source  : the code of
        neuron_start(STATE, TABLES, N, I, NOW) -> what the currents from spikes are added to
        neuron_advance(STATE, KEPT, AT, APART, TABLES, N, I, SUM) -> spikes, given that sum
        neuron_fired(_PLACE) -> spikes, from what is kept
        neuron_retreat(_PLACE, CARRY, SUMS, GRAD_Z, LATER, SLOPE) -> the gradient of the drive, given
            that of the spikes and, of the next step, that of the drive
    """

    def __init__(self, neuron: str):
        self.neuron, self.module = neuron, neuron_module(neuron)
        self.states = tuple(self.module.STATE)
        self.tables = tuple(name for name in self.module.TABLES if name != "bias")
        parameters, stored = self.module.PARAMETERS, self.module.TABLES
        self.trained = tuple(name for name in self.tables if parameters[stored[name].source].trains)
        self.original, returns = _numbered(trace.trace(self.module.step))
        self.after, self.spike = dict(zip(self.states, returns, strict=False)), returns[-1]
        self.statements = self._bias_in_drive()
        self.made = {s.target: s for s in self.statements}
        self._check(returns)
        self.entry = next(s for s in self.statements if "drive" in s.args)
        self.base = next(str(arg) for arg in self.entry.args if arg != "drive")
        self.leaking = self._leaking()
        self.carried = tuple(name for name in self.states if name != self.leaking)
        threshold = str(self.made[self.spike].args[1])
        self.threshold = threshold if threshold in self.tables else ""
        backward, read = _Backward(self).lines()
        self.kept = self._choose_kept(read)
        self.source = "\n".join([*self._befores(read), *self._forward(), *self._retreat(backward, read)])

    # Form of the step

    def _bias_in_drive(self) -> tuple[Statement, ...]:
        """The statements with one that adds a drive that includes the bias."""
        first = [s for s in self.original if "drive" in s.args]
        then = [s for s in self.original if "bias" in s.args]
        if not len(first) == len(then) == 1:
            raise Underivable
        (a,), (b,) = first, then
        uses = sum(s.args.count(a.target) for s in self.original) + list(self.after.values()).count(a.target)
        if not (a.op == b.op == "add" and a.args != ("drive", "drive") and a.target in b.args and uses == 1):
            raise Underivable
        return tuple(Statement(b.target, "add", a.args) if s == b else s for s in self.original if s != a)

    def _check(self, returns: tuple[str, ...]) -> None:
        known = all(s.op in _FORWARD and all(isinstance(arg, str) for arg in s.args) for s in self.statements)
        spikes = len(returns) == len(self.states) + 1 == len(set(returns)) and set(returns) <= self.made.keys()
        if not (known and spikes and [s.target for s in self.statements if s.op == "greater"] == [self.spike]):
            raise Underivable
        for s in self.statements:
            scales = s.op in ("gate", "mul") and s.args[0] == self.spike
            if self.spike in (s.args[1:] if scales else s.args) or (s.op == "gate" and not scales):
                raise Underivable
        if self.made[self.spike].args[0] not in self.made:
            raise Underivable

    def _uses(self, name: str) -> int:
        return sum(s.args.count(name) for s in self.statements) + list(self.after.values()).count(name)

    def _single_leak(self, name: str | int) -> bool:
        """Is this the result of a leak, with one use?"""
        return name in self.made and self.made[str(name)].op == "leak" and self._uses(str(name)) == 1

    def _leaking(self) -> str:
        """The state to whose leak the drive is added, if it has no other use."""
        if not self._single_leak(self.base):
            return ""
        state, constant = map(str, self.made[self.base].args)
        return state if state in self.states and self._uses(state) == 1 and constant in self.tables else ""

    # What is kept

    def _choose_kept(self, read: list[str]) -> tuple[str, ...]:
        kept = [str(self.made[self.spike].args[0])]
        kept += [name for name in read if "drive" in self._leaves(name, kept)]
        while True:
            needed = set[str]().union(*(self._leaves(name, kept) for name in read)) & set(self.states)
            found = {s for s in needed if self._follows(s, kept) or self._operand(s, kept)[0]}
            missing = [s for s in self.states if s in needed - found]
            if not missing:
                return tuple(kept)
            kept.append(self.after[missing[0]])

    def _leaves(self, name: str, given: list[str] | tuple[str, ...]) -> set[str]:
        """The states, and perhaps the drive, from which a value is computed, given some values."""
        if name in given or name in self.tables:
            return set()
        if name not in self.made:
            return {name}
        return set[str]().union(*(self._leaves(str(arg), given) for arg in self.made[name].args))

    def _follows(self, state: str, kept: list[str] | tuple[str, ...]) -> bool:
        """Does the state after a step follow from what is kept of this step?"""
        return not self._leaves(self.after[state], kept)

    def _operand(self, state: str, kept: list[str] | tuple[str, ...]) -> tuple[str, str]:
        """The kept sum of which the state after a step is an operand, and the other operand; ("", "") if none.

        The other operand follows from states that follow from what is kept.
        """
        for name in kept:
            s = self.made[name]
            if s.op == "add" and s.args.count(self.after[state]) == 1:
                other = str(s.args[1 - s.args.index(self.after[state])])
                leaves = self._leaves(other, kept)
                if leaves <= set(self.states) and all(self._follows(s, kept) for s in leaves):
                    return name, other
        return "", ""

    # Code

    def compute(self, names: list[str], leaves: Mapping[str, str]) -> list[str]:
        """Lines that compute these values.

        leaves : code of the values that need no computing; tables are added
        """
        tables = {name: f"constant(TABLES, {k} * N + I)" for k, name in enumerate(self.tables)}
        leaves, done, body = tables | dict(leaves), set[str](), list[Statement]()
        lines = []

        def visit(name: str) -> None:
            if name in done:
                return
            done.add(name)
            if name in leaves:
                lines.append(f"{name} = {leaves[name]}")
                return
            for arg in self.made[name].args:
                visit(str(arg))
            body.append(self.made[name])

        for name in names:
            visit(name)
        fused = {s.target: self._fused(s, set(names)) for s in body}
        inside = {part for _, part in fused.values()}
        return lines + [f"{s.target} = {fused[s.target][0]}" for s in body if s.target not in inside]

    def _fused(self, s: Statement, apart: set[str]) -> tuple[str, str]:
        """The code of a statement, and the leak that it includes: a leak and a sum are rounded once."""
        a, b = map(str, s.args)
        for leak, other in ((a, b), (b, a)):
            if s.op == "add" and self._single_leak(leak) and leak not in apart:
                return "fma({1}, {0}, {2})".format(*self.made[leak].args, other), leak
        if s.op == "sub" and self._single_leak(b) and b not in apart:
            return "fma(minus(ZERO, {1}), {0}, {2})".format(*self.made[b].args, a), b
        return _FORWARD["gate" if a == self.spike else s.op].format(a, b), ""

    def _forward(self) -> list[str]:
        state = {name: f"load(STATE, {k} * N + I)" for k, name in enumerate(self.states)}
        if self._single_leak(self.base):
            x, stays = map(str, self.made[self.base].args)
            start = [*self.compute([x, stays], state), f"return fma({stays}, {x}, NOW)"]
        else:
            start = [*self.compute([self.base], state), f"return plus({self.base}, NOW)"]
        wanted = list(dict.fromkeys([*self.after.values(), self.spike, *self.kept]))
        stores = [f"store(STATE, {k} * N + I, {name})" for k, name in enumerate(self.after.values())]
        stores += [f"store(KEPT, AT + {k} * APART, {name})" for k, name in enumerate(self.kept)]
        advance = [*self.compute(wanted, state | {self.entry.target: "SUM"}), *stores, f"return {self.spike}"]
        fired = [*self.compute([self.spike], self._from_kept()), f"return {self.spike}"]
        return [
            *_function("neuron_start(STATE, TABLES, N, I, NOW)", start),
            *_function("neuron_advance(STATE, KEPT, AT, APART, TABLES, N, I, SUM)", advance),
            *_function(f"neuron_fired({_PLACE})", fired),
        ]

    def _from_kept(self) -> dict[str, str]:
        """The code of kept values and of states before the step."""
        kept = {name: f"load(KEPT, AT + {k} * APART)" for k, name in enumerate(self.kept)}
        return kept | {name: f"before_{name}({_PLACE})" for name in self.states}

    def _befores(self, read: list[str]) -> list[str]:
        """Functions that return the state before a step."""
        lines = []
        for k, state in enumerate(self.states):
            found = self.after[state]
            if self._follows(state, self.kept):
                last = [*self.compute([found], self._from_kept()), f"S = {found}"]
            elif self._operand(state, self.kept)[0]:
                total, other = self._operand(state, self.kept)
                last = [*self.compute([total, other], self._from_kept()), f"S = minus({total}, {other})"]
            else:
                continue  # the backward pass does not read it
            branches = ["if T > 0:", "    T, AT = T - 1, AT - N", *(f"    {line}" for line in last), "else:"]
            branches += [f"    S = load(START, {k} * N + I)", "return S"]
            lines += _function(f"before_{state}({_PLACE})", branches)
        return lines

    def _retreat(self, backward: list[str], read: list[str]) -> list[str]:
        lines = [*self.compute(read, self._from_kept()), *backward]
        return _function(f"neuron_retreat({_PLACE}, CARRY, SUMS, GRAD_Z, LATER, SLOPE)", lines)

    def functions(self, constant: Callable) -> dict[str, Any]:
        """The compiled functions by name. constant : reads a row of TABLES as Lanes"""
        scope: dict[str, Any] = {name: getattr(lanes, name) for name in _LANES} | {"constant": constant, "np": np}
        exec(self.source, scope)
        made = [name for name in scope if name.startswith(("neuron_", "before_"))]
        for name in made:
            scope[name] = within(scope[name])
        return {name: scope[name] for name in made}

    def compile(self, kernel: Callable, scope: Mapping[str, Any], name: str) -> Callable:
        """A kernel compiled with values of its global names. name : differs between kernels"""
        included = lanes, ops, sys.modules[__name__], self.source, str(trace.trace(self.module.step))
        return cached(bind(kernel, scope), *included, name=f"{name}_{self.neuron}")

    def integers(self) -> Callable:
        """integers(*STATE, drive, *TABLES) -> (*STATE, z, *kept) of a step in integers."""
        arguments = ", ".join((*self.states, "drive", *self.module.TABLES))
        lines = [f"{s.target} = {s.op}({', '.join(map(str, s.args))})" for s in self.original]
        returned = ", ".join((*self.after.values(), self.spike, *self.kept))
        scope: dict[str, Any] = {name: getattr(ops, name) for name in ops.OPS}
        exec("\n".join(_function(f"integers({arguments})", [*lines, f"return {returned}"])), scope)
        return inner(scope["integers"])


class _Backward:
    """The lines that go backwards through a step, and the forward values that they read."""

    def __init__(self, step: Derived):
        self.step, self.out, self.read = step, list[str](), dict[str, None]()
        self.gradient: dict[str, str] = {step.spike: "GRAD_Z"}
        self.pending: dict[str, tuple[str, str]] = {}  # gradients that are still a product
        for k, state in enumerate(step.carried):
            self.gradient[step.after[state]] = f"load(CARRY, {k + 1} * N + I)"
        if step.leaking:
            constant = str(step.made[step.base].args[1])
            self.pending[step.after[step.leaking]] = self.value(constant), "LATER"
        for k, name in enumerate(step.trained):
            self.gradient[name] = f"load(SUMS, {k} * N + I)"

    def value(self, name: str | int) -> str:
        """A value of the forward pass."""
        self.read[str(name)] = None
        return str(name)

    def new(self, code: str) -> str:
        self.out.append(f"G{len(self.out)} = {code}")
        return f"G{len(self.out) - 1}"

    def wanted(self, name: str) -> bool:
        tables = set(self.step.tables) - set(self.step.trained)
        return name not in tables and name != self.step.leaking and name != "drive"

    def add(self, name: str | int, plain: str, how: str = "plus") -> None:
        """Add to the gradient of a variable."""
        name = str(name)
        if not self.wanted(name):
            return
        if name in self.pending:
            plain = plain if how == "plus" else self.new(f"minus(ZERO, {plain})")
            self.gradient[name] = self.new("fma({}, {}, {})".format(*self.pending.pop(name), plain))
        elif name in self.gradient:
            self.gradient[name] = self.new(f"{how}({self.gradient[name]}, {plain})")
        else:
            self.gradient[name] = plain if how == "plus" else self.new(f"minus(ZERO, {plain})")

    def add_product(self, name: str | int, a: str, b: str | int) -> None:
        """Add the product of a gradient and a value of the forward pass."""
        name = str(name)
        if not self.wanted(name):
            return
        if name in self.gradient and name not in self.pending:
            self.gradient[name] = self.new(f"fma({a}, {self.value(b)}, {self.gradient[name]})")
        else:
            self.add(name, self.new(f"times({a}, {self.value(b)})"))

    def take(self, name: str) -> str:
        """The complete gradient of a variable; "" if nothing depends on it."""
        if name in self.pending:
            self.gradient[name] = self.new("times({}, {})".format(*self.pending.pop(name)))
        found = self.gradient.pop(name, "")
        return self.new(found) if "(" in found else found

    def lines(self) -> tuple[list[str], list[str]]:
        arrived = "ZERO"
        for s in reversed(self.step.statements):
            if grad := self.take(s.target):
                self.through(s, grad)
                arrived = grad if s == self.step.entry else arrived
        for k, state in enumerate(self.step.carried):
            self.out.append(f"store(CARRY, {k + 1} * N + I, {self.gradient.get(state, 'ZERO')})")
        for k, name in enumerate(self.step.trained):
            self.out.append(f"store(SUMS, {k} * N + I, {self.gradient[name]})")
        return [*self.out, f"return {arrived}"], list(self.read)

    def through(self, s: Statement, grad: str) -> None:
        """Add to the gradients of the operands of a statement."""
        a, b = s.args
        if s.op in ("add", "sub"):
            self.add(a, grad)
            self.add(b, grad, "plus" if s.op == "add" else "minus")
        elif s.op == "gate":  # passes no gradient to the spike
            if self.wanted(str(b)):
                self.add(b, self.new(f"where({self.value(a)}, {grad}, ZERO)"))
        elif s.op == "mul" and a == self.step.spike:
            self.add_product(a, grad, b)
            if self.wanted(str(b)):
                self.add(b, self.new(f"where({self.value(a)}, {grad}, ZERO)"))
        elif s.op in ("mul", "leak"):
            self.add_product(a, grad, b)
            self.add_product(b, grad, a)
        else:  # greater, by the surrogate of layer.Greater
            a, b = self.value(a), self.value(b)
            q = self.new(f"plus(ONE, times(SLOPE, magnitude(minus(over({a}, {b}), ONE))))")
            down = self.new(f"over({grad}, times(times({q}, {q}), {b}))")
            self.add(a, down)
            if self.wanted(b):
                self.add(b, self.new(f"over(times({down}, {a}), {b})"), "minus")


def _numbered(step: trace.Trace) -> tuple[tuple[Statement, ...], tuple[str, ...]]:
    """The statements, so that no name is assigned twice, and the names that are returned."""
    now, found = dict[str | int, str](), list[Statement]()
    for k, s in enumerate(step.statements):
        args = tuple(now.get(arg, arg) for arg in s.args)
        now[s.target] = f"{s.target}X{k}"
        found.append(Statement(now[s.target], s.op, args))
    return tuple(found), tuple(now.get(name, name) for name in step.returns)


def _function(head: str, lines: list[str]) -> list[str]:
    used = [(name, value) for name, value in (("ZERO", 0), ("ONE", 1)) if any(name in line for line in lines)]
    constants = [f"{name} = splat(np.float32({value}))" for name, value in used]
    return [f"def {head}:", *(f"    {line}" for line in [*constants, *lines])]
