"""Blocks of four neighbouring targets, of spikes, with weights of 4 bits: four of them in a halfword.

Blocks, their order and their indices are those of blocks.py. A block takes 3 bytes, where one of 8 bits takes 5, and
gaps.py 1.25 for each synapse.
"""

import numpy as np

from lnp_edge.layouts import blocks

ENCODES = False
WORTH = 1
BITS = 4
AT = BITS * np.arange(blocks.TOGETHER)  # of each weight, in its halfword

spread, turns_back = blocks.spread, blocks.turns_back


def serves(model, p):
    return blocks.serves(model, p) and p.bits <= BITS


def tables(model, p):
    found = blocks.tables(model, p)
    weights = found.pop("weights").reshape(-1, blocks.TOGETHER).astype(np.int64)
    return found | {"nibbles": ((weights & 15) << AT).sum(1).astype(np.uint16)}


def synapses(p, part, k, entry):
    if part == "starts":
        return blocks.synapses(p, part, k, entry)
    found = blocks.synapses(p, "blocks", k, entry)
    if part == "blocks":
        return found
    weights = (entry >> AT & 15 ^ 8) - 8
    return [(pre, post, int(weights[post % blocks.TOGETHER])) for pre, post, _ in found]


def turn(p):
    return p.shift - BITS  # its loop has 16 times the weights


def by_hand(model, p, turn=0):
    return blocks.loop(model, p, "lnp_nibbles_t", turn)


def body(model, p, table, x):
    found = tables(model, p)
    add = f"add_nibbles_u{8 * found['blocks'].itemsize}"
    return blocks.adding(p, table, found, bool(by_hand(model, p)), add, 1)
