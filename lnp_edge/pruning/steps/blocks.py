"""Blocks of synapses, which stay or go together: [prune] block.

A block is the synapses from one neuron to `block` neighbouring neurons of a population: its neurons
0 to 3, 4 to 7, and so on. A core with four weights in a word then reads one index for four synapses.
The last block of a population whose size is no multiple is short, and a block has no synapse where
the network has none. So blocks hold up to `block` synapses; their score is the sum over these. With
block = 1 a block is a synapse. All of this file is ours; methods choose among blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.base.jit import cached
from lnp_edge.network import Floats, Network

ARRANGED_TO = 1500  # neurons; more stay in their order, as a dense matrix of scores grows too large
SWEEPS, TRIES = 20, 20  # of `arranged`: most rounds, and swaps that are tried for a neuron in each
ENOUGH = 1e-3  # a round that raises what the best blocks hold by a smaller share is the last


@dataclass(frozen=True)
class Blocks:
    """of : the block of each synapse, [nnz];  size : the synapses of each block, [B]"""

    of: NDArray[np.intp]
    size: NDArray[np.intp]

    def sums(self, score: Floats) -> Floats:
        """The score of each block, [B]. score : of each synapse, [nnz]"""
        return np.bincount(self.of, score, len(self.size)).astype(float, copy=False)

    def first(self, order: NDArray[np.intp], count: int, score: Floats | None = None) -> NDArray[np.bool_]:
        """A mask [nnz] of exactly `count` synapses: of the blocks in this order.

        Of the last block only the synapses of largest score [nnz] may stay; without a score its first.
        """
        rank = np.empty(len(order), np.intp)
        rank[order] = np.arange(len(order))
        keys = (rank[self.of],) if score is None else (-score, rank[self.of])
        kept = np.zeros(len(self.of), bool)
        kept[np.lexsort(keys)[:count]] = True
        return kept

    def sample(self, p: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
        """A mask [nnz] of exactly sum(p * size) synapses, those of each block with its probability p [B].

        All synapses of a block stay or go, but for one block, of which the rest of the budget stays, at
        random. Pivotal method in random order (Deville & Tille 1998, Biometrika 85:89): of two blocks one
        takes from the other until it is certain, so that the sum of p * size and each mean stay.
        """
        count = round(float(p @ self.size))
        order = rng.permutation(np.flatnonzero(p < 1))
        p = p.copy()
        left = int(_decide(p, self.size, order, rng.random(len(order))))
        kept = (p == 1)[self.of]
        if left >= 0 and (more := count - int(kept.sum())):
            kept[rng.permutation(np.flatnonzero(self.of == left))[:more]] = True
        return kept


def blocks_of(network: Network, block: int) -> Blocks:
    """The blocks of a network's synapses."""
    if block == 1:
        return Blocks(np.arange(network.w_rec.nnz), np.ones(network.w_rec.nnz, np.intp))
    w = network.w_rec
    group = _groups(network, block)
    key = np.repeat(np.arange(network.n), np.diff(w.indptr)) * (group[-1] + 1) + group[w.indices]
    _, of, size = np.unique(key, return_inverse=True, return_counts=True)
    return Blocks(of, size)


def arranged(
    network: Network, score: Floats, count: int, block: int, rng: np.random.Generator
) -> tuple[Network, Floats]:
    """The network with its neurons in an order in which the best blocks hold more, and its scores [nnz].

    count : synapses that will stay: the best blocks are as many as these fill

    It is the same network: neurons of a population change places, with all that is theirs. Random pairs
    are swapped where that raises what the best blocks hold. They never hold less than in the given
    order. With block = 1, and beyond ARRANGED_TO neurons, nothing changes.
    """
    if block == 1 or network.n > ARRANGED_TO:
        return network, score
    w, most = network.w_rec, -(-count // block)
    into = np.ascontiguousarray(sparse.csr_array((score, w.indices, w.indptr), w.shape).toarray().T)
    group = _groups(network, block)
    sums = np.zeros((group[-1] + 1, network.n))
    np.add.at(sums, group, into)
    best, hold, threshold = group.copy(), *_best(sums, most)
    for _ in range(SWEEPS):
        for p, at in network.parts():
            pairs = at.start + rng.integers(0, p.n, (TRIES * p.n, 2))
            _swap(into, sums, group, pairs, threshold)
        now, threshold = _best(sums, most)
        if now <= hold * (1 + ENOUGH):
            break
        best, hold = group.copy(), now
    order = np.argsort(best, kind="stable")
    place = sparse.csr_array((np.arange(w.nnz), w.indices, w.indptr), w.shape)[order][:, order]
    place.sort_indices()
    return network.keep_neurons(order), score[place.data]


def _groups(network: Network, block: int) -> NDArray[np.intp]:
    """The number of each neuron's group of `block` neighbours within its population, [N], ascending."""
    found = np.zeros(network.n, np.intp)
    for p, at in network.parts():
        found[at] = np.arange(p.n) % block == 0
    return np.cumsum(found) - 1


def _best(sums: Floats, most: int) -> tuple[float, float]:
    """What the `most` best blocks hold together, and what the last of them holds."""
    falling = np.sort(sums, axis=None)[::-1][:most]
    return float(falling.sum()), float(falling[-1])


@cached
def _swap(into, sums, group, pairs, threshold):
    """Swaps each pair of neurons if that raises what blocks hold above the threshold.

    into : score of each synapse by its target, [N, N];  sums : of each block, [groups, N]
    """
    for k in range(len(pairs)):
        a, b = pairs[k]
        g, h = group[a], group[b]
        gain = 0.0
        for pre in range(into.shape[1]):
            more = into[b, pre] - into[a, pre]
            here, there = sums[g, pre], sums[h, pre]
            gain += max(here + more, threshold) - max(here, threshold)
            gain += max(there - more, threshold) - max(there, threshold)
        if gain > 1e-9 * threshold:  # more than rounding
            for pre in range(into.shape[1]):
                more = into[b, pre] - into[a, pre]
                sums[g, pre] += more
                sums[h, pre] -= more
            group[a], group[b] = h, g


@cached
def _decide(p, size, order, u):
    """Sets p to 0 or 1, of all blocks but one at most, whose number it returns, or -1."""
    a = -1
    for k in range(len(order)):
        b = order[k]
        if a < 0:
            a = b
            continue
        both, ratio = size[a] * p[a] + size[b] * p[b], size[b] / size[a]
        up, down = min(1 - p[a], p[b] * ratio), min(p[a], (1 - p[b]) * ratio)
        if u[k] * (up + down) < down:
            if 1 - p[a] <= p[b] * ratio:
                p[a], p[b] = 1, (both - size[a]) / size[b]
            else:
                p[a], p[b] = both / size[a], 0
        elif p[a] <= (1 - p[b]) * ratio:
            p[a], p[b] = 0, both / size[b]
        else:
            p[a], p[b] = (both - size[b]) / size[a], 1
        for c in (a, b):
            if p[c] < 1e-12:
                p[c] = 0
            elif p[c] > 1 - 1e-12:
                p[c] = 1
        if p[a] == 0 or p[a] == 1:
            a = b if 0 < p[b] < 1 else -1
    return a
