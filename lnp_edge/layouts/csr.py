"""A row of synapses for each presynaptic unit: indices of the targets, and weights.

Only the rows of inputs that are not 0, and of neurons that fired, are read.
"""

import numpy as np

from lnp_edge.spec.layout import smallest, weight_type
from lnp_edge.spec.model import INPUT

ENCODES = True
WORTH = 1
MOST_SHIFT = 14  # of which the scale is a halfword
WIDE = 256  # sources, of which all weights of a target have a sum of 16 bits: csrc/lnp_helium.h


def serves(model, p):
    return True


def tables(model, p):
    return {
        "indptr": p.w.indptr.astype(smallest(max(p.w.nnz, 256))),
        "indices": p.w.indices.astype(smallest(p.w.shape[1] - 1)),
        "data": p.w.data.astype(weight_type(p.bits)),
    }


def synapses(p, part, k, entry):
    if part == "indptr":
        return [(min(k, p.w.shape[0] - 1), None, None)]  # the last entry ends the last row
    return [(int(p.w.rows()[k]), int(p.w.indices[k]), entry if part == "data" else None)]


def turns_back(p):
    return False


def turn(p):
    return p.shift


def by_hand(model, p, turn=0):
    if p.source == INPUT or p.bits > 8 or p.shift > MOST_SHIFT:
        return ""
    found = list(tables(model, p).values())[:2]
    if [array.dtype for array in found] == [np.uint16, np.uint8] and p.w.shape[0] <= WIDE:
        return f"LNP_WIDE_ROWS(rows_of_{p.name}, {p.w.shape[1]}, {p.shift}, {turn > 0:d})"
    types = (f"{array.dtype.name}_t" for array in found)
    return f"LNP_ROWS_LOOP(rows_of_{p.name}, {', '.join(types)}, {p.shift}, {turn > 0:d})"


def body(model, p, table, x):
    parts = tables(model, p)
    indices, data = (8 * parts[part].itemsize for part in ("indices", "data"))
    pointers = "".join(
        f"    const LNP_FLASH {array.dtype.name}_t *{part} = {table}_{part};\n    LNP_OPAQUE({part});\n"
        for part, array in parts.items()
    )

    spikes = p.source != INPUT and p.bits <= 8 and p.shift <= MOST_SHIFT
    add = f"{'add_events' if spikes else 'add_row'}_u{indices}_i{data}"

    def row(pre, scale):
        return f"""        const uint32_t first = indptr[{pre}];
        const uint32_t count = indptr[{pre} + 1u] - first;
        {add}(sums, indices + first, data + first, count, {scale});"""

    if p.source == INPUT:
        return f"""{pointers}    for (uint32_t k = 0; k < {p.w.shape[0]}u; k++) {{
        const int32_t x = {x};
        if (x == 0) {{
            continue;
        }}
{row("k", f"x * {1 << p.shift}")}
    }}"""
    words, done = model.population(p.source).z_words, ""
    if by_hand(model, p):
        done = f"    if (rows_of_{p.name}(sums, indptr, indices, data, z, {words}u)) {{\n        return;\n    }}\n"
    return f"""{pointers}{done}    LNP_EACH_SPIKE(j, z, {words}u)
    {{
{row("j", f"{1 << p.shift}")}
    }}"""
