"""A model's tables and sizes as C text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec import layout, protocol
from lnp_edge.spec.model import QuantizedModel

WIDTH = 110


def c_type(array: NDArray) -> str:
    return f"{array.dtype.name}_t"


def table(name: str, array: NDArray) -> str:
    """One static const array. An empty one gets a 0 that nothing reads: C has no array of no elements."""
    values = [str(v) for v in array.tolist()] or ["0"]
    return f"static const {c_type(array)} {name}[{len(values)}] = {{\n{wrap(values)}\n}};\n"


def wrap(values: list[str]) -> str:
    """Values with commas, as many a line as fit."""
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return "\n".join([*lines, line])


def all_tables(model: QuantizedModel) -> str:
    """Every table in the order of layout.tables, with a comment before each matrix."""
    parts = []
    for name, array in layout.tables(model).items():
        if name.endswith("_indptr"):
            parts.append(_matrix_comment(model, name.removesuffix("_indptr")))
        parts.append(table(name, array))
    return "\n".join(parts)


def _matrix_comment(model: QuantizedModel, name: str) -> str:
    w = getattr(model, name)
    density = 100 * w.nnz / (w.shape[0] * w.shape[1])
    return f"// {name}: {w.shape[0]} x {w.shape[1]}, {w.nnz} synapses ({density:.1f} %), a row per sender"


def directory(model: QuantizedModel, name: str) -> str:
    """What the link serves as `tables` and `read`."""
    rows = []
    for table_name, array in layout.tables(model).items():
        size = f"sizeof {table_name}" if array.size else "0"
        rows.append(f"    {{{table_name}, {size}}},")
    found = "\n".join(rows)
    return f"const lnp_table_t lnp_{name}_tables[LNP_{name.upper()}_TABLES] = {{\n{found}\n}};\n"


def sizes(model: QuantizedModel) -> dict[str, int]:
    """Compile-time constants of the public header, LNP_<NAME>_<key>."""
    return {
        "N_IN": model.n_in,
        "N": model.n,
        "N_OUT": model.n_out,
        "Z_WORDS": model.z_words,
        "STATE_WORDS": model.state_words,
        "SAVE_BYTES": 4 * (3 + model.state_words + 1),
        "TABLES": len(layout.tables(model)),
    }


REQUEST_HEAD = protocol.REQUESTS["steps"].struct.size
REPLY_HEAD = protocol.REPLIES["steps"].struct.size


def max_payload(model: QuantizedModel) -> int:
    """Bytes of the largest payload: 512, or what one step's request or reply needs."""
    return max(protocol.MIN_PAYLOAD, REQUEST_HEAD + 2 * model.n_in, REPLY_HEAD + 4 * (model.n_out + 1))


def max_steps(model: QuantizedModel) -> int:
    """Steps that one request and its reply can carry."""
    room = max_payload(model)
    return min((room - REQUEST_HEAD) // (2 * model.n_in), (room - REPLY_HEAD) // 4 - model.n_out)


def state_bytes(model: QuantizedModel) -> int:
    """RAM of one lnp_<name>_t: its state and the sums that a step gathers."""
    return layout.state_bytes(model) + 4 * model.n


def link_bytes(model: QuantizedModel) -> int:
    """RAM of the link beside the state: two frames and the counts of one step."""
    frame = protocol.HEADER.size + max_payload(model) + protocol.CRC_BYTES
    return 2 * frame + 2 * model.n_in


def input_type(model: QuantizedModel) -> str:
    """C type of the index of a neuron in w_in and w_rec."""
    return f"{np.dtype(layout.smallest(model.n - 1)).name}_t"
