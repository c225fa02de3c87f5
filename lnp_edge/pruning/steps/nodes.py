"""Step II of Lyapunov noise pruning: the neurons of lowest betweenness go.

LNP    (arXiv:2403.03409) after the synapses, the neurons of lowest betweenness centrality in the pruned graph.
ours   how many go, that a budget of synapses stays, that every input channel still reaches every read-out it reached,
       that each population loses about the same share and none all, and what stands in for betweenness where that takes
       too long (centrality).

The graph is directed and unweighted; its edges are the stored entries of w_rec. A layer without recurrence has neurons
between hardly any others: hence neurons are compared within their population.
"""

from __future__ import annotations

import numpy as np

from lnp_edge.base.jit import cached
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Index, Mask, population_of

WORK = 2e9  # sources * synapses that betweenness may take: 2 to 14 s at 1 ns (dense) to 7 ns each, N to 10,000
SAMPLED = 1e9  # and its estimate: of N = 100,000 the working memory exceeds a core's cache, 8 to 20 ns
PIVOTS = 50  # fewest sources worth their noise


def surviving_neurons(network: Network, most: int, count: int, rng: np.random.Generator | None = None) -> Index:
    """Indices of the neurons that stay when up to `most` of lowest centrality go; of equals, the sparser.

    A neuron stays if without it fewer than `count` synapses would remain, its population would be empty, or an input
    channel would lose its last path through neurons to a read-out (w_skip is none of these). rng serves `centrality`,
    by default one of seed 0.
    """
    w = network.w_rec
    incoming = w.tocsc()
    degree = np.diff(w.indptr) + np.diff(incoming.indptr)
    # Single precision, so that equals are equal whatever the order of their sum.
    between = centrality(network, rng or np.random.default_rng(0)).astype(np.float32)
    order, place = np.lexsort((degree, between)), np.empty(network.n)
    for p, at in network.parts():
        own = order[(order >= at.start) & (order < at.stop)]
        place[own] = np.arange(p.n) / p.n
    order = order[np.argsort(place[order], kind="stable")]
    hears, feeds = _ports(network)
    number = population_of(network)
    alive = _thin(w.indptr, w.indices, incoming.indptr, incoming.indices, hears, feeds, number, order, most, count)
    return np.flatnonzero(alive)


def reach(network: Network) -> Mask:
    """[C, O]: is there a path from this input channel through the neurons to this read-out?"""
    w, (hears, feeds) = network.w_rec, _ports(network)
    alive, wanted = np.ones(network.n, bool), np.ones(feeds.shape[1], bool)
    paths = [_path(w.indptr, w.indices, heard, feeds, alive, wanted)[0] for heard in hears]
    return np.array(paths, bool).reshape(len(hears), feeds.shape[1])


def _ports(network: Network) -> tuple[Mask, Mask]:
    """Neurons that get each input [C, N], and that feed each read-out [N, O]; of one layout, as each compiles anew."""
    return np.ascontiguousarray(network.w_in != 0), np.ascontiguousarray(network.w_out != 0)


def centrality(network: Network, rng: np.random.Generator) -> Floats:
    """What ranks the neurons, [N]: the best of three that takes less than about half a minute, m synapses.

    N * m up to WORK      : betweenness, exact, the paper's
    PIVOTS * m up to WORK : betweenness estimated from SAMPLED / m sources, at least PIVOTS
    above                 : the degree product

    Neither of the last two is sure to find the lowest 5 %. On evenly thinned graphs of N = 3000 and degree 50, one of
    each, 200 sources found 40 % of them on a small world and 17 % on a random graph, the degree product 22 % and 88 %.
    """
    m = network.w_rec.nnz
    if network.n * m <= WORK:
        return betweenness(network)
    if PIVOTS * m <= WORK:
        return betweenness(network, min(network.n, max(PIVOTS, int(SAMPLED / m))), rng)
    return degree_product(network)


def betweenness(network: Network, pivots: int | None = None, rng: np.random.Generator | None = None) -> Floats:
    """Sum over all ordered pairs of other neurons of the share of their shortest paths through each, [N].

    pivots : None, or a number of sources up to N, drawn by rng without repetition, in the place of all; their sum
             times N / pivots has the exact one as its mean.

    Brandes 2001, J. Math. Sociol. 25:163; pivots: Brandes & Pich 2007, Int. J. Bifurcation Chaos 17:2303.
    """
    n = network.n
    sources = np.arange(n)
    if pivots is not None:
        assert rng is not None
        sources = np.sort(rng.choice(n, pivots, replace=False))
    through = _through(network.w_rec.indptr, network.w_rec.indices, sources)
    return through * (n / max(1, len(sources)))


def degree_product(network: Network) -> Floats:
    """In-degree times out-degree, [N]: nearly free. Ours, not the paper's.

    Its rank correlation with betweenness, measured once each for N = 400 to 10,000: 0.99 on a random graph; on small
    worlds 0.8 to 0.9 where the smallest weights went, 0.5 to 0.9 where synapses were thinned evenly, 0.6 before.
    """
    w = network.w_rec
    return np.bincount(w.indices, minlength=network.n) * np.diff(w.indptr).astype(float)


@cached
def _through(indptr, indices, sources):
    """Brandes: per source, shortest paths counted outwards, their shares summed inwards, level by level.

    Both inner loops touch one random number a synapse and have no branch: all else waits for memory.
    """
    n = len(indptr) - 1
    total = np.zeros(n)
    arrived, share = np.zeros(n), np.zeros(n)
    queue, paths = np.empty(n + 1, np.int32), np.empty(n)  # in the order they are found
    first = np.empty(n + 2, np.int64)  # place of each level
    for source in sources:
        arrived[:] = 0
        arrived[source], queue[0], paths[0] = 1, source, 1
        depth, tail = 0, 1
        first[0], first[1] = 0, 1
        # Where all are found the last level need not be walked: that is most synapses of a dense graph.
        while first[depth] < first[depth + 1] and tail < n:
            for place in range(first[depth], first[depth + 1]):
                pre = queue[place]
                for k in range(indptr[pre], indptr[pre + 1]):
                    post = indices[k]
                    queue[tail] = post
                    tail += arrived[post] == 0
                    arrived[post] += paths[place]  # too much for those of this level and before: theirs are in paths
            depth += 1
            first[depth + 1] = tail
            for place in range(first[depth], tail):
                paths[place] = arrived[queue[place]]
        share[:] = 0
        for place in range(first[depth], tail):
            share[queue[place]] = 1 / paths[place]
        # share is 0 but for the level outside, so that the sum need not ask for levels.
        for d in range(depth - 1, 0, -1):
            for place in range(first[d], first[d + 1]):
                pre = queue[place]
                part = 0.0
                for k in range(indptr[pre], indptr[pre + 1]):
                    part += share[indices[k]]
                arrived[pre] = part
            for place in range(first[d + 1], first[d + 2]):
                share[queue[place]] = 0
            for place in range(first[d], first[d + 1]):
                pre = queue[place]
                share[pre] = arrived[pre] + 1 / paths[place]
                total[pre] += arrived[pre] * paths[place]
    return total


@cached
def _path(indptr, indices, heard, feeds, alive, wanted):
    """Shortest ways from one input to its read-outs, through neurons that are alive.

    Returns the mask of read-outs found [O] and the mask of neurons on the ways found [N]. The search ends when every
    wanted read-out is found, which in a network with dense ports is at the first neuron.
    """
    n, outputs = feeds.shape
    found, on_way = np.zeros(outputs, np.bool_), np.zeros(n, np.bool_)
    parent, queue = np.full(n, -2, np.int32), np.empty(n, np.int32)
    missing = wanted.sum()
    tail = 0
    for neuron in range(n):
        if heard[neuron] and alive[neuron]:
            parent[neuron], queue[tail] = -1, neuron
            tail += 1
    head = 0
    while head < tail and missing > 0:
        pre = queue[head]
        head += 1
        for o in range(outputs):
            if feeds[pre, o] and wanted[o] and not found[o]:
                found[o] = True
                missing -= 1
                back = pre
                while back >= 0 and not on_way[back]:
                    on_way[back] = True
                    back = parent[back]
        for k in range(indptr[pre], indptr[pre + 1]):
            post = indices[k]
            if parent[post] == -2 and alive[post]:
                parent[post], queue[tail] = pre, post
                tail += 1
    return found, on_way


@cached
def _thin(indptr, indices, indptr_in, indices_in, hears, feeds, number, order, most, count):
    """Mask [N] of the neurons that stay.

    Each input keeps one known way to each of its read-outs. Only a neuron on such a way can cut it, and only then is
    another looked for.
    """
    n = len(order)
    channels, outputs = len(hears), feeds.shape[1]
    alive = np.ones(n, np.bool_)
    reached, on_way = np.zeros((channels, outputs), np.bool_), np.zeros((channels, n), np.bool_)
    everything = np.ones(outputs, np.bool_)
    for c in range(channels):
        reached[c], on_way[c] = _path(indptr, indices, hears[c], feeds, alive, everything)
    left, gone = len(indices), 0
    of_its_kind = np.bincount(number)
    for neuron in order:
        if gone == most:
            break
        lost = 0
        for k in range(indptr[neuron], indptr[neuron + 1]):
            lost += alive[indices[k]]
        for k in range(indptr_in[neuron], indptr_in[neuron + 1]):
            lost += alive[indices_in[k]] and indices_in[k] != neuron
        if left - lost < count or of_its_kind[number[neuron]] == 1:
            continue
        alive[neuron] = False
        for c in range(channels):
            if on_way[c, neuron]:
                found, ways = _path(indptr, indices, hears[c], feeds, alive, reached[c])
                if (found != reached[c]).any():
                    alive[neuron] = True
                    break
                on_way[c] = ways  # as good as the old ones, even if the neuron stays for another input
        if not alive[neuron]:
            left -= lost
            gone += 1
            of_its_kind[number[neuron]] -= 1
    return alive
