"""Numba compilation with an on-disk cache where one can be written."""

import hashlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.typing import Signature
from numba.extending import intrinsic

NOT_FROM_C: dict[str, Any] = {"no_cfunc_wrapper": True}  # options that Numba's types do not have
INNER = NOT_FROM_C | {"no_cpython_wrapper": True}


def cached(function: Callable, *inlined: ModuleType | str, name: str = "") -> Callable:
    """Compile a function once per machine.

    Compiles once per process if neither the package nor the home folder is writable, or the disk is full. A file of the
    cache that is damaged, as by a power cut, is made anew.

    inlined : other modules whose code goes into the function, or the text that it is made from. Numba's cache
        keys a function by its name and its own file, so the name includes a hash of these: no stale kernel is loaded.
    name    : of one of several functions that share their code, such as the step of each neuron
    """
    _name(function, inlined, name)
    try:
        compiled = njit(cache=True, error_model="numpy", **NOT_FROM_C)(function)
    except RuntimeError:  # numba found no folder for its cache
        return njit(error_model="numpy", **NOT_FROM_C)(function)
    load, keep = compiled._cache.load_overload, compiled._cache.save_overload

    def load_what_is_whole(*what: Any) -> Any:
        try:
            return load(*what)
        except Exception:  # bytes that are no pickle raise any
            with suppress(OSError):
                compiled._cache.flush()
            return None

    def keep_if_there_is_room(*what: Any) -> None:
        with suppress(OSError):
            keep(*what)

    compiled._cache.load_overload = load_what_is_whole
    compiled._cache.save_overload = keep_if_there_is_room
    return compiled


def pointed_to(signature: Signature, function: Callable, *inlined: ModuleType | str, name: str = "") -> Any:
    """Compile a function for one signature, once per machine as `cached` does; `caller` calls its .address.

    What calls it need not be compiled anew for every function that it may call.
    """
    _name(function, inlined, name)
    try:
        return cfunc(signature, cache=True, error_model="numpy", forceinline=True)(function)
    except Exception:  # a full disk, no folder for the cache, or a damaged file; the function's own error comes again
        with suppress(OSError, RuntimeError):
            FunctionCache(function).flush()
        return cfunc(signature, error_model="numpy", forceinline=True)(function)


def caller(signature: Signature) -> Callable:
    """call(address, (arguments)) for compiled code: calls a function of `pointed_to` with this signature."""

    @intrinsic
    def call(typing, address, arguments):
        def emit(context, builder, sig, args):
            kinds = [context.get_value_type(kind) for kind in signature.args]
            kind = ir.FunctionType(context.get_value_type(signature.return_type), kinds)
            function = builder.inttoptr(args[0], kind.as_pointer())
            return builder.call(function, cgutils.unpack_tuple(builder, args[1]))

        return signature.return_type(types.uint64, types.Tuple(signature.args)), emit

    return call


def _name(function: Callable, inlined: tuple[ModuleType | str, ...], name: str) -> None:
    function.__qualname__ = name or function.__qualname__
    if inlined:
        sources = "".join(one if isinstance(one, str) else inspect.getsource(one) for one in inlined)
        function.__qualname__ += f"_{hashlib.sha256(sources.encode()).hexdigest()[:12]}"


def inner(function: Callable, **options: Any) -> Callable:
    """Compile a function that only compiled functions call.

    Without entries for Python and C a kernel compiles in two thirds of the time. Called from Python
    it crashes the interpreter.
    """
    return njit(**INNER, **options)(function)


def within(function: Callable) -> Callable:
    """As inner, and the machine code of the function becomes part of that of its callers."""
    return inner(function, forceinline=True)


def tuple_of(arguments: str, cell: str, width: int) -> Callable:
    """A compiled function that returns the tuple of `cell` for {s} = 0, 1, ..., width - 1.

    cell : for example "a[{s}, i]"

    Numba knows the length of a tuple; a slice of an array would have no known length and would
    count references.
    """
    cells = "".join(f"{cell.format(s=s)}, " for s in range(width))
    scope: dict = {}
    exec(f"def read({arguments}):\n    return ({cells})", scope)
    return inner(scope["read"])
