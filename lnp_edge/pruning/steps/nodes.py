"""Step 2 of Lyapunov noise pruning: removes the neurons of lowest betweenness.

LNP    (arXiv:2403.03409) removes, after the synapses, the neurons of lowest betweenness centrality
       in the pruned graph.
ours   the number of removed neurons; the conditions that the budget of synapses remains, that every
       input channel still reaches every read-out it reached, and that each population loses about
       the same fraction and never all; the substitutes for betweenness in large networks
       (centrality).

The graph is directed and unweighted; its edges are the stored entries of w_rec. Neurons are
compared within their population, because few shortest paths pass through a layer without
recurrence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.base.jit import cached, inner
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Index, Mask, population_of

WORK = 2e9  # most sources * synapses for betweenness: 2 to 14 s, at 1 to 7 ns each
SAMPLED = 1e9  # the same for its estimate: 8 to 20 ns each for N = 100,000, beyond the cache
PIVOTS = 50  # fewest sources of an estimate


def surviving_neurons(network: Network, most: int, count: int, rng: np.random.Generator | None = None) -> Index:
    """Indices of the neurons that stay when up to `most` neurons of lowest centrality are removed.

    Ties remove the neuron of lower degree first. A neuron stays if its removal would leave fewer
    than `count` synapses, empty its population, or cut the last path through neurons from an input
    channel to a read-out (w_skip does not count).

    rng : for `centrality`; by default with seed 0
    """
    w = network.w_rec
    incoming = w.tocsc()
    degree = np.diff(w.indptr) + np.diff(incoming.indptr)
    # Single precision, so that ties do not depend on the order of summation.
    between = centrality(network, rng or np.random.default_rng(0)).astype(np.float32)
    order, place = np.lexsort((degree, between)), np.empty(network.n)
    for p, at in network.parts():
        own = order[(order >= at.start) & (order < at.stop)]
        place[own] = np.arange(p.n) / p.n
    order = order[np.argsort(place[order], kind="stable")]
    hears, feeds = _ports(network)
    number, alive = population_of(network), np.ones(network.n, bool)
    left = np.bincount(number)  # neurons of each population
    _thin(*_graph(w), *_graph(incoming), hears, feeds, number, left, order, most, count, alive)
    return np.flatnonzero(alive)


def reach(network: Network) -> Mask:
    """Whether a path leads from each input channel through neurons to each read-out, [C, O]."""
    w, (hears, feeds) = network.w_rec, _ports(network)
    alive, wanted = np.ones(network.n, bool), np.ones(feeds.shape[1], bool)
    paths = [_path(*_graph(w), entry, feeds, alive, wanted)[0] for entry in hears]
    return np.array(paths, bool).reshape(len(hears), feeds.shape[1])


def _graph(w: sparse.csr_array | sparse.csc_array) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """indptr and indices as int32: Numba compiles for each type, and those of a loaded network are int64."""
    return w.indptr.astype(np.int32, copy=False), w.indices.astype(np.int32, copy=False)


def _ports(network: Network) -> tuple[Mask, Mask]:
    """Masks of the neurons that receive each input, [C, N], and feed each read-out, [N, O].

    Both are C-contiguous, so that Numba compiles once.
    """
    return np.ascontiguousarray(network.w_in != 0), np.ascontiguousarray(network.w_out != 0)


def centrality(network: Network, rng: np.random.Generator) -> Floats:
    """The score that ranks the neurons, [N]: the best of three that takes under half a minute.

    For a graph of m synapses:

    N * m <= WORK      : exact betweenness, as in the paper
    PIVOTS * m <= WORK : betweenness estimated from SAMPLED / m sources, at least PIVOTS
    otherwise          : the degree product

    The last two find only some of the lowest 5 %. Fractions found on uniformly thinned graphs of
    N = 3000 and degree 50, one of each kind:

                        small world   random graph
    200 sources            40 %          17 %
    degree product         22 %          88 %
    """
    m = network.w_rec.nnz
    if network.n * m <= WORK:
        return betweenness(network)
    if PIVOTS * m <= WORK:
        return betweenness(network, min(network.n, max(PIVOTS, int(SAMPLED / m))), rng)
    return degree_product(network)


def betweenness(network: Network, pivots: int | None = None, rng: np.random.Generator | None = None) -> Floats:
    """Betweenness of each neuron, [N].

    It is the sum over all ordered pairs of other neurons of the fraction of their shortest paths
    that pass through the neuron.

    pivots : None for all sources, or a number of sources that rng draws without repetition. Their
             sum is scaled by N / pivots, which makes the estimate unbiased.

    Brandes 2001, J. Math. Sociol. 25:163; pivots: Brandes & Pich 2007, Int. J. Bifurcation Chaos
    17:2303.
    """
    n = network.n
    sources = np.arange(n)
    if pivots is not None:
        assert rng is not None
        sources = np.sort(rng.choice(n, pivots, replace=False))
    through = _through(*_graph(network.w_rec), sources)
    return through * (n / max(1, len(sources)))


def degree_product(network: Network) -> Floats:
    """In-degree times out-degree, [N], a cheap substitute for betweenness. Ours, not the paper's.

    Rank correlation with betweenness, measured once each for N = 400 to 10,000:

    random graph                                  0.99
    small world, unpruned                         0.6
    small world without its smallest weights      0.8 to 0.9
    small world, uniformly thinned                0.5 to 0.9
    """
    w = network.w_rec
    return np.bincount(w.indices, minlength=network.n) * np.diff(w.indptr).astype(float)


@cached
def _through(indptr, indices, sources):
    """Brandes' algorithm: per source, counts shortest paths outwards and sums their shares inwards.

    Both inner loops make one random memory access per synapse and have no branch, because memory
    access dominates the time.
    """
    n = len(indptr) - 1
    total = np.zeros(n)
    arrived, share = np.zeros(n), np.zeros(n)
    queue, paths = np.empty(n + 1, np.int32), np.empty(n)  # in the order of discovery
    first = np.empty(n + 2, np.int64)  # where each level starts in the queue
    for source in sources:
        arrived[:] = 0
        arrived[source], queue[0], paths[0] = 1, source, 1
        depth, tail = 0, 1
        first[0], first[1] = 0, 1
        # When all neurons are found, skip the last level: it has most synapses of a dense graph.
        while first[depth] < first[depth + 1] and tail < n:
            for place in range(first[depth], first[depth + 1]):
                pre = queue[place]
                for k in range(indptr[pre], indptr[pre + 1]):
                    post = indices[k]
                    queue[tail] = post
                    tail += arrived[post] == 0
                    # Wrong for this level and those before, whose counts are already in paths.
                    arrived[post] += paths[place]
            depth += 1
            first[depth + 1] = tail
            for place in range(first[depth], tail):
                paths[place] = arrived[queue[place]]
        share[:] = 0
        for place in range(first[depth], tail):
            share[queue[place]] = 1 / paths[place]
        # share is 0 except in the next level outwards, so the sum needs no test of the level.
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
def _path(indptr, indices, entry, feeds, alive, wanted):
    """Shortest paths from one input to its read-outs, through neurons that are alive.

    Returns the mask of read-outs found [O] and the mask of neurons on their paths [N]. The search
    ends when every wanted read-out is found; with dense input and output that is at the first
    neuron.
    """
    n, outputs = feeds.shape
    found, on_way = np.zeros(outputs, np.bool_), np.zeros(n, np.bool_)
    parent, queue = np.full(n, -2, np.int32), np.empty(n, np.int32)
    missing = wanted.sum()
    tail = 0
    for neuron in range(n):
        if entry[neuron] and alive[neuron]:
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


@inner
def _copy(values, into):
    """into[:] = values, by a loop: of slices, Numba compiles what to say of other shapes, 1 s."""
    for k in range(len(into)):
        into[k] = values[k]


@inner
def _differ(a, b):
    """(a != b).any(), by a loop for the same reason."""
    number = 0
    for k in range(len(a)):
        number += a[k] != b[k]
    return number > 0


@cached
def _thin(indptr, indices, indptr_in, indices_in, hears, feeds, number, of_its_kind, order, most, count, alive):
    """Clear the neurons that go in alive [N], and count down those that are left in of_its_kind [populations].

    One path from each input to each of its read-outs is known. Another one is searched only if a
    neuron on a known path is removed.
    """
    n = len(order)
    channels, outputs = len(hears), feeds.shape[1]
    reached, on_way = np.empty((channels, outputs), np.bool_), np.empty((channels, n), np.bool_)
    everything = np.full(outputs, True)
    for c in range(channels):
        found, ways = _path(indptr, indices, hears[c], feeds, alive, everything)
        _copy(found, reached[c])
        _copy(ways, on_way[c])
    left, gone = len(indices), 0
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
                if _differ(found, reached[c]):
                    alive[neuron] = True
                    break
                _copy(ways, on_way[c])  # still valid if the neuron stays for another input
        if not alive[neuron]:
            left -= lost
            gone += 1
            of_its_kind[number[neuron]] -= 1
