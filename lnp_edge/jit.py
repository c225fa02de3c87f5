"""Numba with a cache on disk where there is a place for one."""

from collections.abc import Callable

from numba import njit


def cached(function: Callable) -> Callable:
    """Compiled once a machine; once a process where neither the package nor the home folder can be written."""
    try:
        return njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba: no locator available
        return njit(error_model="numpy")(function)
