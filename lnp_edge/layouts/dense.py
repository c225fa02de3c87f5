"""All weights from the input, also those of 0, for four targets at a time: their weights of one input lie together.

An input is read once for four products, which need no index: a product takes some 2.5 instructions and a byte,
where csr.py takes 6 and 2 or 3. But nothing is passed over, so inputs that are mostly 0 are not for it.
"""

import numpy as np

from lnp_edge.spec.layout import weight_type
from lnp_edge.spec.model import INPUT

ENCODES = False
TOGETHER = 4


def serves(model, p):
    """At least half of the inputs have more values than -1, 0 and 1, and are not the events of a front end."""
    if p.source != INPUT or model.front.events:
        return False
    return 2 * np.count_nonzero(model.limits > 1) >= len(model.limits)


def tables(model, p):
    n_pre, n_post = p.w.shape
    padded = np.zeros((n_pre, TOGETHER * _blocks(p)), weight_type(p.bits))
    padded[:, :n_post] = p.w.dense()
    return {"rows": padded.reshape(n_pre, -1, TOGETHER).swapaxes(0, 1).ravel()}


def place(p, part, k):
    block, within = divmod(k, TOGETHER * p.w.shape[0])
    pre, post = within // TOGETHER, TOGETHER * block + within % TOGETHER
    return (pre, post) if post < p.w.shape[1] else (None, None)


def body(model, p, table, x):
    bits = 8 * np.dtype(weight_type(p.bits)).itemsize
    return f"    add_dense_i{bits}(drive, {table}_rows, input, {_blocks(p)}u, {p.w.shape[0]}u, 1 << {p.shift});"


def _blocks(p):
    return -(-p.w.shape[1] // TOGETHER)
