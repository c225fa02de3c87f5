"""A model's tables and sizes as C text."""

from __future__ import annotations

import textwrap

from numpy.typing import NDArray

from lnp_edge.spec import layout
from lnp_edge.spec.model import Projection, QuantizedModel

WIDTH = 110


def c_type(array: NDArray) -> str:
    return f"{array.dtype.name}_t"


def wrap(values: list[str]) -> str:
    """The values with commas, as many per line as fit."""
    lines, line = [], "       "
    for value in values:
        if len(line) + len(value) + 2 > WIDTH:
            lines.append(line)
            line = "       "
        line += f" {value},"
    return "\n".join([*lines, line])


def assigned(left: str, right: str) -> str:
    """`left = right;` in one line, or in as many as it takes."""
    whole = f"{left} = {right};"
    if len(whole) <= WIDTH:
        return whole
    indent = left[: len(left) - len(left.lstrip())] + "    "
    return "\n".join([f"{left} =", *(f"{indent}{line}" for line in textwrap.wrap(f"{right};", WIDTH - len(indent)))])


def listed(left: str, items: list[str], right: str) -> str:
    """`left`, the items with commas, and `right`, in one line or in as many as it takes."""
    lines = [left]
    for k, item in enumerate(items):
        item += right if k == len(items) - 1 else ","
        if len(lines[-1]) + 1 + len(item) > WIDTH:
            lines.append(" " * (len(left) - 1))
        lines[-1] += item if lines == [left] else f" {item}"
    return "\n".join(lines)


def _count(array: NDArray) -> int:
    # C has no empty arrays: an empty table gets a 0 that nothing reads.
    return max(1, len(array))


def _aligned(array: NDArray) -> str:
    at = layout.alignment(array)
    return f"_Alignas({at}) " if at > array.itemsize else ""


def header(model: QuantizedModel, name: str) -> str:
    """The type of the tables: one struct, so that one register can address several of them."""
    members = "\n".join(
        f"    {_aligned(array)}{c_type(array)} {table}[{_count(array)}];"
        for table, array in layout.tables(model).items()
    )
    up = name.upper()
    return f"""typedef struct {{
{members}
}} lnp_{name}_tables_t;

// Not defined in the file that reads it: the compiler cannot fold a table into instructions, so the
// network runs on the tables in flash, which the link checks.
extern const LNP_FLASH lnp_{name}_tables_t lnp_{name}_tables;

#if LNP_{up}_FINGERPRINT != 0x{model.fingerprint:08X}u
#error "lnp_{name}.h belongs to another model: run lnp generate again"
#endif
"""


def definition(model: QuantizedModel, name: str) -> str:
    """All tables in the order of layout.tables, with a comment before each matrix."""
    parts = [f"const LNP_FLASH lnp_{name}_tables_t lnp_{name}_tables = {{"]
    firsts = {f"w_{p.name}_{next(iter(layout.of(model, p).tables(model, p)))}": p for p in model.projections}
    for table, array in layout.tables(model).items():
        if table in firsts:
            parts.append(_matrix_comment(firsts[table]))
        values = [str(v) for v in array.tolist()] or ["0"]
        parts.append(f"    .{table} = {{\n{wrap(values)}\n    }},")
    return "\n".join([*parts, "};\n"])


def _matrix_comment(p: Projection) -> str:
    w = p.w
    density = 100 * w.nnz / (w.shape[0] * w.shape[1])
    return f"    // w_{p.name}: {w.shape[0]} x {w.shape[1]}, {w.nnz} synapses ({density:.1f} %)"


def directory(model: QuantizedModel, name: str) -> str:
    """The list of tables that the link serves with `tables` and `read`."""
    rows = [f"    {{&lnp_{name}_tables.{table}[0], {array.nbytes}u}}," for table, array in layout.tables(model).items()]
    return "\n".join([f"const lnp_table_t lnp_{name}_directory[LNP_{name.upper()}_TABLES] = {{", *rows, "};\n"])


def sizes(model: QuantizedModel) -> dict[str, int]:
    """The compile-time constants of the public header, LNP_<NAME>_<key>."""
    return {
        "CHANNELS": len(model.channels),
        "FRAME": model.front.frame,
        "N_IN": model.n_in,
        "N": model.n,
        "N_OUT": model.n_out,
        "WINDOW": model.window,
        "HOP": model.hop,
        "STATE_WORDS": model.state_words,
        "SAVE_BYTES": 4 * (3 + model.state_words + 1),
        "TABLES": len(layout.tables(model)),
    }
