"""Blocks of four neighbouring targets: an index for four weights, of spikes.

A block is aligned: block b of a row has the targets 4 b to 4 b + 3, as many of them as there are. A synapse that a
block lacks has the weight 0. Of 8 bits a block takes 5 bytes, where csr.py takes 2 or 3 for each synapse, and its four
sums are loaded and stored at once: `[prune] block = 4` leaves such synapses. Only the rows of neurons that fired are
read.
"""

import numpy as np

from lnp_edge.spec import layout
from lnp_edge.spec.model import INPUT

ENCODES = False
WORTH = 1
TOGETHER = 4
ROWS = 32  # a group: the neurons of a word of z
MOST_SHIFT = 14  # of which the scale is a halfword


def serves(model, p):
    return p.source != INPUT


def tables(model, p):
    pre, block, of = _blocks(p)
    weights = np.zeros((len(pre), TOGETHER), np.int64)
    weights[of, p.w.indices % TOGETHER] = p.w.data
    rows = np.arange(_groups(p) * ROWS + 1)
    before = np.searchsorted(pre, rows)
    first = before[:-1:ROWS, None]
    starts = np.hstack([before[:-1].reshape(-1, ROWS), before[ROWS::ROWS, None]]) - first
    return {
        "starts": starts.ravel().astype(layout.smallest(max(int(starts.max()), 1))),
        "blocks": block.astype(layout.smallest((p.w.shape[1] - 1) // TOGETHER)),
        "weights": weights.ravel().astype(layout.weight_type(p.bits)),
    }


def synapses(p, part, k, entry):
    n_pre, n_post = p.w.shape
    if part == "starts":
        group, row = divmod(k, ROWS + 1)
        return [(min(ROWS * group + min(row, ROWS - 1), n_pre - 1), None, None)]  # the last entry ends the last row
    pre, block, _ = _blocks(p)
    at, lanes = (k, range(TOGETHER)) if part == "blocks" else (k // TOGETHER, [k % TOGETHER])
    posts = [TOGETHER * int(block[at]) + lane for lane in lanes]
    return [(int(pre[at]), post, entry if part == "weights" else None) for post in posts if post < n_post]


def spread(p, pre, post, nnz):
    """Where so many synapses are, or as many as go into blocks that are on average as full as those of p."""
    a_row, (of_p, *_) = -(-post // TOGETHER), _blocks(p)
    count = min(-(-nnz * len(of_p) // max(p.w.nnz, 1)), pre * a_row)
    row, block = np.divmod(np.arange(count) * (pre * a_row) // max(count, 1), a_row)
    posts = TOGETHER * block + np.arange(TOGETHER)[:, None]
    return np.sort((row * post + posts)[posts < post][:nnz])


def turns_back(p):
    return False


def turn(p):
    return p.shift


def by_hand(model, p, turn=0):
    return "" if p.bits > 8 or p.shift > MOST_SHIFT else loop(model, p, "int8_t", turn)


def loop(model, p, weight_t, turn):
    """What defines the loop by hand over blocks with such weights, or ""."""
    found = tables(model, p)
    starts, blocks = (found[part].dtype.name for part in ("starts", "blocks"))
    if starts == "uint32" or not _may_pass_the_end(model, p):
        return ""
    return f"LNP_BLOCKS_LOOP(blocks_of_{p.name}, {starts}_t, {blocks}_t, {weight_t}, {p.shift}, {turn > 0:d})"


def body(model, p, table, x):
    found = tables(model, p)
    add = f"add_blocks_u{8 * found['blocks'].itemsize}_i{8 * found['weights'].itemsize}"
    return adding(p, table, found, bool(by_hand(model, p)), add, TOGETHER)


def adding(p, table, found, by_hand, add, each):
    """The C that adds the blocks of all that fired. found : the tables; each : entries of the last of them, the
    weights, of a block; add : the function of a row"""
    weights, groups, done, times = list(found)[-1], _groups(p), "", f"{each}u * " * (each > 1)
    pointers = "".join(
        f"    const LNP_FLASH {array.dtype.name}_t *{part} = {table}_{part};\n    LNP_OPAQUE({part});\n"
        for part, array in found.items()
    )
    if by_hand:
        done = (
            f"    if (blocks_of_{p.name}(sums, starts, blocks, {weights}, z, {groups}u)) {{\n        return;\n    }}\n"
        )
    given = f"{weights} + {times}first, starts[j + 1u] - first, {p.w.shape[1]}u, {1 << p.shift}"
    return f"""{pointers}{done}    for (uint32_t group = 0; group < {groups}u; group++) {{
        LNP_EACH_SPIKE(j, z + group, 1u)
        {{
            const uint32_t first = starts[j];
            {add}(sums, blocks + first, {given});
        }}
        const uint32_t passed = starts[{ROWS}];
        blocks += passed;
        {weights} += {times}passed;
        starts += {ROWS + 1};
    }}"""


def _groups(p):
    return -(-p.w.shape[0] // ROWS)


def _blocks(p):
    """The row and the index of each block, and of each synapse in which block it is."""
    blocks = -(-p.w.shape[1] // TOGETHER)
    place = p.w.rows().astype(np.int64) * blocks + p.w.indices // TOGETHER
    is_first = np.diff(place, prepend=-1) != 0
    pre, block = np.divmod(place[is_first], blocks)
    return pre, block, np.cumsum(is_first) - 1


def _may_pass_the_end(model, p):
    """Whether a loop may add 0 to up to three words behind the sums: other state of the same network."""
    target = model.population(p.target)
    return p.w.shape[1] % TOGETHER == 0 or (target.spikes and layout.parts(target.module).into != layout.DRIVE)
