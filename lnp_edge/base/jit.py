"""Numba with a cache on disk where there is a place for one."""

import hashlib
import inspect
from collections.abc import Callable
from types import ModuleType

from numba import njit


def cached(function: Callable, *inlined: ModuleType) -> Callable:
    """Compiled once a machine; once a process where neither the package nor the home folder can be written.

    inlined : other modules whose code goes into the function. Numba's cache knows a function by its name and its own
    file only, so the name carries a hash of theirs: it can never meet a stale kernel.
    """
    if inlined:
        sources = "".join(inspect.getsource(module) for module in inlined)
        function.__qualname__ += f"_{hashlib.sha256(sources.encode()).hexdigest()[:12]}"
    try:
        return njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba: no locator available
        return njit(error_model="numpy")(function)


def tuple_of(arguments: str, cell: str, width: int) -> Callable:
    """A compiled function of these arguments: the tuple of `cell` for {s} = 0, 1, ... Its width is known to Numba.

    cell : such as "a[{s}, i]". Slicing an array instead would count references, and have no known width.
    """
    cells = "".join(f"{cell.format(s=s)}, " for s in range(width))
    scope: dict = {}
    exec(f"def read({arguments}):\n    return ({cells})", scope)
    return njit(scope["read"])
