"""Parts of C text that rivals share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 110


def array(name: str, values: NDArray) -> str:
    """A const table; its C type is that of the array, flattened."""
    found = np.asarray(values)
    lines, line = [], "   "
    for value in map(_literal, found.ravel().tolist()):
        if len(line) + len(value) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return f"static const {found.dtype.name}_t {name}[{found.size}] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def _literal(value: int) -> str:
    """In C, 2147483648 and 9223372036854775808 are no constants of the types whose minimum they negate."""
    if value in (-(2**31), -(2**63)):
        return f"({value + 1} - 1)"
    return str(value)
