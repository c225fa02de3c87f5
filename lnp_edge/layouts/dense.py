"""All weights, also those of 0, for four targets at a time: from the input, and of spikes to few targets.

Neither needs an index. An input is read once for four products: a product takes 1 instruction where a core multiplies
halfwords in pairs, 2.5 elsewhere, and a byte, where csr.py takes 6 and 2 or 3. But nothing is passed over, so inputs
that are mostly 0 are not for it. Of spikes the rows of those that fired are added, at 1 to 2 instructions a weight;
for each eight targets they are looked for anew, so more than FEW targets are not for it.

Weights from the input of 8 bits are stored two in a halfword, 256 * b + a for the targets a and b = a + 1: one
product gives 256 * b * x + a * x, one with its lower byte a * x, and the difference of the sums is 256 times that
of b.
"""

import numpy as np

from lnp_edge.spec.layout import weight_type
from lnp_edge.spec.model import INPUT, INT32_MAX, LARGEST

ENCODES = False
WORTH = 2  # times the bytes of csr.py that it may take
TOGETHER = 4
MOST_TWOS = 32  # pairs of inputs whose products stand one after the other in a loop by hand
FEW = 32


def serves(model, p):
    """Spikes to few targets; inputs if half have more values than -1, 0 and 1 and none is the event of a front end."""
    if p.source != INPUT:
        return p.w.shape[1] <= FEW
    if model.front.events:
        return False
    return 2 * np.count_nonzero(model.limits > 1) >= len(model.limits)


def tables(model, p):
    n_pre, n_post = p.w.shape
    padded = np.zeros((n_pre + n_pre % 2, TOGETHER * _fours(p)), np.int64)
    padded[:n_pre, :n_post] = p.w.dense()
    if not _in_pairs(model, p):
        rows = padded[:n_pre].reshape(n_pre, -1, TOGETHER).swapaxes(0, 1)
        return {"rows": rows.ravel().astype(weight_type(p.bits))}
    pairs = 256 * padded[:, 1::2] + padded[:, ::2]
    return {"pairs": pairs.reshape(-1, 2, _fours(p), 2).transpose(2, 0, 3, 1).ravel().astype(np.int16)}


def synapses(p, part, k, entry):
    n_pre, n_post = p.w.shape
    if part == "rows":
        block, within = divmod(k, TOGETHER * n_pre)
        found = [(within // TOGETHER, TOGETHER * block + within % TOGETHER, entry)]
    else:
        block, within = divmod(k, TOGETHER * ((n_pre + 1) // 2))
        pre, a = 2 * (within // 4) + within % 2, TOGETHER * block + within % 4 // 2 * 2
        low = (entry + 128) % 256 - 128
        found = [(pre, a, low), (pre, a + 1, (entry - low) // 256)]
    return [one for one in found if one[0] < n_pre and one[1] < n_post]


def turns_back(p):
    return p.source == INPUT


def turn(p):
    return 0


def by_hand(model, p, turn=0):
    if not _in_pairs(model, p) or _twos(p) > MOST_TWOS:
        return ""
    return f"LNP_PAIRS_LOOP(pairs_of_{p.name}, {_twos(p)}, {p.shift}, {turn > 0:d}, {turn})"


def body(model, p, table, x):
    n_pre, n_post = p.w.shape
    if _in_pairs(model, p):
        pairs, first, done = f"{table}_pairs", "0", ""
        if by_hand(model, p):
            first, done = "done", f"    const uint32_t done = pairs_of_{p.name}(sums, {pairs}, input, {n_post}u);\n"
        return f"{done}    add_pairs(sums, {pairs}, input, {first}, {n_post}u, {_twos(p)}u, {p.shift}u);"
    bits = 8 * np.dtype(weight_type(p.bits)).itemsize
    if p.source != INPUT:
        words = model.population(p.source).z_words
        return f"    add_spikes_i{bits}(sums, {table}_rows, z, {n_post}u, {n_pre}u, {words}u, {1 << p.shift});"
    return f"    add_dense_i{bits}(sums, {table}_rows, input, {n_post}u, {n_pre}u, {1 << p.shift});"


def _in_pairs(model, p):
    """Whether no sum of 256 b x + a x leaves int32, whatever the weights: with up to 518 inputs."""
    return p.source == INPUT and p.bits <= 8 and 257 * LARGEST[8] * int(model.limits.sum()) <= INT32_MAX


def _twos(p):
    return (p.w.shape[0] + 1) // 2


def _fours(p):
    return -(-p.w.shape[1] // TOGETHER)
