"""Reads a neuron's step or an encoder's encode as a list of operations, to print as C and ONNX.

Such a function consists of lines `name = op(...)` with operations of lnp_edge.spec.ops, and a final
`return` of names. Anything else is refused with its line number.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from types import FunctionType
from typing import Any

from lnp_edge.base.errors import ConfigError
from lnp_edge.spec import ops

NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Statement:
    """target = op(*args); each argument is a name or an integer."""

    target: str
    op: str
    args: tuple[str | int, ...]

    def uses(self, names: Iterable[str]) -> bool:
        return not set(self.args).isdisjoint(names)


@dataclass(frozen=True)
class Trace:
    args: tuple[str, ...]
    statements: tuple[Statement, ...]
    returns: tuple[str, ...]

    def require(self, args: tuple[str, ...], returns: tuple[str, ...], name: str) -> None:
        """Raise ConfigError unless the function of plug-in `name` takes and returns these.

        The last value must be computed, so that it has a C variable; a spike must be computed too.
        """
        computed = self.returns[-1] in {statement.target for statement in self.statements}
        if self.args != args or self.returns != returns or not computed:
            raise ConfigError(
                f"{name}: its function takes ({', '.join(self.args)}) and returns ({', '.join(self.returns)})",
                f"it takes ({', '.join(args)}); a neuron returns its state in the same order, then its spike",
            )

    def only(self, name: str) -> Trace:
        """The operations that the value of this name depends on."""
        needed, kept = {name}, list[Statement]()
        for statement in reversed(self.statements):
            if statement.target in needed:
                kept.insert(0, statement)
                needed.update(arg for arg in statement.args if isinstance(arg, str))
        return replace(self, statements=tuple(kept), returns=(name,))


def trace(function: Callable) -> Trace:
    """The operations of a step or encode function.

    Raises ConfigError with file and line if the function has another form.
    """
    return _traced(getattr(function, "py_func", function))  # of a Numba function


@lru_cache(256)
def _traced(plain: Any) -> Trace:
    try:
        lines, first = inspect.getsourcelines(plain)
    except (OSError, TypeError):
        raise ConfigError(f"the source of {plain!r} is not available", "define it in a file") from None
    tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    return _Tracer(plain, first).trace(tree)


class _Tracer:
    def __init__(self, function: FunctionType, first_line: int):
        self.function, self.first_line = function, first_line
        self.known: set[str] = set()

    def refuse(self, node: ast.AST, what: str) -> ConfigError:
        line = self.first_line + getattr(node, "lineno", 1) - 1
        return ConfigError(
            f"{inspect.getsourcefile(self.function)}:{line}: {what}",
            f"write it as lines of name = op(...) with {', '.join(ops.OPS)}, then return names",
        )

    def trace(self, tree: ast.AST) -> Trace:
        if not isinstance(tree, ast.FunctionDef):
            raise self.refuse(tree, "not a function")
        args = self.arguments(tree)
        body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
        if not body or not isinstance(body[-1], ast.Return):
            raise self.refuse(tree, f"{tree.name} does not end with a return")
        statements = tuple(self.statement(node) for node in body[:-1])
        return Trace(args, statements, self.returns(body[-1]))

    def arguments(self, tree: ast.FunctionDef) -> tuple[str, ...]:
        a = tree.args
        if a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs or a.defaults:
            raise self.refuse(tree, "only positional arguments without defaults are allowed")
        names = tuple(self.target(arg, arg.arg) for arg in a.args)
        self.known.update(names)
        return names

    def target(self, node: ast.AST, name: str) -> str:
        if not NAME.fullmatch(name) or name in ops.OPS:
            raise self.refuse(node, f"{name[:40]!r} cannot name a value")
        return name

    def statement(self, node: ast.stmt) -> Statement:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
            raise self.refuse(node, "not of the form name = op(...)")
        call = node.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.keywords):
            raise self.refuse(node, "not of the form name = op(...)")
        op = self.operation(call.func)
        args = tuple(self.argument(arg) for arg in call.args)
        wanted = len(inspect.signature(getattr(ops, op).py_func).parameters)
        if len(args) != wanted:
            raise self.refuse(node, f"{op}: expected {wanted} arguments, got {len(args)}")
        target = self.target(node.targets[0], node.targets[0].id)
        self.known.add(target)
        return Statement(target, op, args)

    def operation(self, func: ast.Name) -> str:
        # The name must refer to our operation, and not to something imported as `add`.
        if func.id not in ops.OPS or self.function.__globals__.get(func.id) is not getattr(ops, func.id):
            raise self.refuse(func, f"{func.id!r} is not an operation of lnp_edge.spec.ops")
        return func.id

    def argument(self, node: ast.expr) -> str | int:
        if isinstance(node, ast.Name):
            if node.id not in self.known:
                raise self.refuse(node, f"{node.id!r} is used before it has a value")
            return node.id
        sign = -1 if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else 1
        literal = node.operand if sign < 0 else node  # type: ignore[attr-defined]
        if isinstance(literal, ast.Constant) and type(literal.value) is int and literal.value <= INT32_MAX:
            return sign * literal.value
        raise self.refuse(node, "an argument must be a name or an int32 constant")

    def returns(self, node: ast.Return) -> tuple[str, ...]:
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        names = [v.id for v in values if isinstance(v, ast.Name) and v.id in self.known]
        if len(names) != len(values):
            raise self.refuse(node, "only names can be returned")
        return tuple(names)
