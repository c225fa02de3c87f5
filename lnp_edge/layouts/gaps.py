"""Weights of 4 bits, for spikes: a byte for each synapse, 16 * weight + how far its target is from the one before.

The first target of a row counts from 0. Where the next is more than 15 away, bytes of weight 0 stand between. With a
tenth of the synapses that is every fifth byte, so a row takes 1.25 bytes a synapse, where csr.py takes 2, and 3
of more than 256 targets. Where targets are far apart csr.py is smaller, and is taken.
"""

import numpy as np

from lnp_edge.spec.layout import smallest
from lnp_edge.spec.model import INPUT

ENCODES = False
WORTH = 1
FAR = 15  # the largest distance in a byte
LEAST_SHIFT = 4  # of the loop by hand: a byte without its distance is 16 times the weight


def serves(model, p):
    return p.source != INPUT and p.bits <= 4


def tables(model, p):
    indptr, _, entries = _entries(p)
    return {"indptr": indptr.astype(smallest(max(len(entries), 256))), "entries": entries.astype(np.int8)}


def synapses(p, part, k, entry):
    indptr, targets, entries = _entries(p)
    pre = int(np.searchsorted(indptr, k, "right")) - 1
    if part == "indptr":
        return [(min(k, p.w.shape[0] - 1), None, None)]  # the last entry ends the last row
    if entry % 16 != entries[k] % 16:
        return [(pre, None, None)]  # all targets after it are others
    return [(pre, int(targets[k]), entry // 16)]


def turns_back(p):
    return False


def turn(p):
    return p.shift - 4


def by_hand(model, p, turn=0):
    if p.shift < LEAST_SHIFT:
        return ""
    indptr = tables(model, p)["indptr"].dtype.name
    return f"LNP_ROWS_LOOP(rows_of_{p.name}, {indptr}_t, lnp_gaps_t, {p.shift - 4}, {turn > 0:d})"


def body(model, p, table, x):
    words, done = model.population(p.source).z_words, ""
    indptr = tables(model, p)["indptr"].dtype.name
    if by_hand(model, p):
        done = f"    if (rows_of_{p.name}(sums, indptr, entries, entries, z, {words}u)) {{\n        return;\n    }}\n"
    return f"""    const LNP_FLASH {indptr}_t *indptr = {table}_indptr;
    LNP_OPAQUE(indptr);
    const LNP_FLASH int8_t *entries = {table}_entries;
    LNP_OPAQUE(entries);
{done}    LNP_EACH_SPIKE(j, z, {words}u)
    {{
        const uint32_t first = indptr[j];
        add_gaps(sums, entries + first, indptr[j + 1u] - first, {1 << p.shift});
    }}"""


def _entries(p):
    """Where each row's entries begin and end, and of each entry its target and its byte."""
    n_pre = p.w.shape[0]
    rows, targets = p.w.rows(), p.w.indices.astype(np.int64)
    first = np.r_[True, rows[1:] != rows[:-1]][: len(rows)]
    apart = np.where(first, targets, np.diff(targets, prepend=0))
    between = np.maximum(apart - 1, 0) // FAR  # entries of weight 0 before it
    last = np.cumsum(between + 1) - 1  # where its own entry is
    indptr = np.r_[0, np.cumsum(np.bincount(rows, between + 1, n_pre))].astype(np.int64)
    entries = np.full(indptr[-1], FAR, np.int64)
    entries[last] = 16 * p.w.data.astype(np.int64) + apart - FAR * between
    if not len(rows):
        return indptr, targets, entries
    distance = np.cumsum(entries % 16)
    row_of = np.repeat(np.arange(n_pre), np.diff(indptr))
    before = np.r_[0, distance][indptr[row_of]]
    return indptr, distance - before, entries
