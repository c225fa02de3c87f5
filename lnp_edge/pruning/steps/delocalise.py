"""Step 3 of Lyapunov noise pruning: adds synapses, so that the eigenvectors stay spread out.

LNP    (arXiv:2403.03409) adds edges after removing neurons, so that eigenvectors do not localise.
       According to a reviewer it does so "to maximize degree heterogeneity within local
       neighborhoods". We could not read its formula.
ours   the three rules that draw pairs, of which "hub" follows the reviewer's words; the weight of a
       new synapse; the guard; the inverse participation ratio as the measure
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.dynamics.rate_model import DENSE_TO, network_abscissa, rate_model
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Index, endpoints, population_of

RULES = ("hub", "random", "targeted")
SLOWEST = 0.05  # fraction of the eigenvectors that are measured
MOST = 50  # eigenvectors measured in a network too large to compute all
TURNS = 20  # draws by the rule; later draws are uniform
PARTS = 16  # the guard splits a batch down to 1 / PARTS of it
ROUNDS = 3  # the first draw, and draws to replace what the guard refused


def inverse_participation_ratios(vectors: NDArray) -> Floats:
    """Sum over i of |u_ik|**4 for each column k, normalised to unit length, [k].

    It is 1 for a vector in one neuron and 1 / N for an even one. This is the usual measure of
    localisation; its use here is ours.
    """
    share = np.abs(vectors) ** 2
    return ((share / share.sum(0)) ** 2).sum(0)


def localisation(m: sparse.csr_array | Floats, slowest: int | None = None) -> tuple[float, float, float]:
    """Inverse participation ratio of the right eigenvectors of m [N, N].

    slowest : number of slowest eigenvectors, which have eigenvalues of largest real part; by
        default 5 % of N, at least one

    Returns the mean over all, the mean over the slowest, and the value of the leading eigenvector.
    Above DENSE_TO neurons only the slowest, at most MOST, are computed: the mean over all is nan.
    """
    values, vectors = _eigenvectors(m, slowest)
    ratios = inverse_participation_ratios(vectors)[np.argsort(-values.real, kind="stable")]
    every = float(ratios.mean()) if len(ratios) == m.shape[0] else math.nan
    return every, float(ratios[: _number(m.shape[0], slowest)].mean()), float(ratios[0])


def slowest_eigenvectors(m: sparse.csr_array | Floats, slowest: int | None = None) -> NDArray:
    """The slowest right eigenvectors of m, [N, k]; see localisation."""
    values, vectors = _eigenvectors(m, slowest)
    return vectors[:, np.argsort(-values.real, kind="stable")[: _number(m.shape[0], slowest)]]


def _number(n: int, slowest: int | None) -> int:
    return max(1, math.ceil(SLOWEST * n)) if slowest is None else slowest


def _eigenvectors(m: sparse.csr_array | Floats, slowest: int | None) -> tuple[NDArray, NDArray]:
    """Eigenvalues and right eigenvectors; of a large m, the slowest that Arnoldi finds."""
    n = m.shape[0]
    if n <= DENSE_TO:
        return linalg.eig(m.toarray() if isinstance(m, sparse.csr_array) else m)
    if np.abs(m).max() == 0:  # every vector is an eigenvector, and Arnoldi iteration fails
        return np.zeros(1), np.ones((n, 1))
    start = np.random.default_rng(0).standard_normal(n)
    try:
        return eigs(m, k=min(MOST, _number(n, slowest)), which="LR", v0=start, tol=1e-3, maxiter=100)
    except ArpackNoConvergence as stopped:
        if len(stopped.eigenvalues) == 0:
            raise
        return stopped.eigenvalues, stopped.eigenvectors


def candidates(
    network: Network, count: int, rule: str, rng: np.random.Generator, vectors: NDArray | None = None
) -> tuple[Index, Index]:
    """Draw `count` distinct pairs (pre, post) of different neurons without a synapse.

    rule    : the probability of a pair
        "hub"      proportional to degree(pre) + degree(post), in- plus out-degree
        "random"   uniform
        "targeted" proportional, for post, to the sum over k of IPR_k |u_ik|**2
    vectors : u [N, k], the slowest eigenvectors, for "targeted"

    Only populations that are already connected get new synapses: no layer becomes recurrent and
    none is skipped. Existing pairs are drawn again. After TURNS draws the rule has run out of
    pairs, and the rest is drawn uniformly. Raises ConfigError for an unknown rule, and NetworkError
    if fewer than `count` pairs are free.
    """
    if rule not in RULES:
        raise ConfigError(f"no rule for new synapses is called {rule!r}", f"available: {', '.join(RULES)}")
    n = network.n
    pre, post = endpoints(network)
    taken = pre * np.int64(n) + post  # ascending, as w_rec is sorted
    number, size = population_of(network), np.array([p.n for p in network.populations])
    joined = np.zeros((len(size), len(size)), bool)
    joined[number[pre], number[post]] = True
    joined |= len(size) == 1
    room = int(size @ joined @ size - size @ np.diag(joined)) - int((pre != post).sum())
    if count > room:
        raise NetworkError(
            f"{count} new synapses do not fit among {n} neurons: {room} pairs are free",
            "lower [prune.noise] added or nodes, or keep fewer synapses",
        )
    weight = _weights(network, rule, vectors)
    new = np.zeros(0, np.int64)
    turn = 0
    while (missing := count - len(new)) > 0:
        draws = min(math.ceil(1.2 * missing * n * n / (room - len(new))) + 16, 2**22)
        drawn = _pairs(n, draws, rule if turn < TURNS else "random", weight, rng)
        turn += 1
        pre, post = drawn // n, drawn % n
        drawn = np.concatenate([new, drawn[(pre != post) & joined[number[pre], number[post]] & ~_among(taken, drawn)]])
        _, place = np.unique(drawn, return_index=True)
        new = drawn[np.sort(place)[:count]]
    return new // n, new % n


def _among(ascending: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """A mask of the values that are in an ascending array."""
    place = np.searchsorted(ascending, values)
    return np.append(ascending, -1)[place] == values


def _weights(network: Network, rule: str, vectors: NDArray | None) -> Floats:
    """The weight of each neuron in the draws of a rule, [N]."""
    if rule == "targeted":
        assert vectors is not None
        return (np.abs(vectors) ** 2) @ inverse_participation_ratios(vectors)
    if rule == "hub" and network.w_rec.nnz:
        degree = np.diff(network.w_rec.indptr) + np.bincount(network.w_rec.indices, minlength=network.n)
        return degree.astype(float)
    return np.ones(network.n)


def _pairs(n: int, draws: int, rule: str, weight: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pairs pre * n + post drawn by a rule, free or not."""
    pre, post = rng.integers(0, n, (2, draws))
    if rule != "random":
        weighted = np.searchsorted(np.cumsum(weight), rng.random(draws) * weight.sum(), side="right")
        weighted = np.minimum(weighted, n - 1)
        if rule == "targeted":
            post = weighted
        else:  # one end by degree, the other uniform: proportional to the sum of both degrees
            first = rng.random(draws) < 0.5
            pre, post = np.where(first, weighted, pre), np.where(first, post, weighted)
    return pre * n + post


def add_synapses(network: Network, pre: Index, post: Index, rng: np.random.Generator) -> Network:
    """The network with one new synapse for each of these pairs, which have none yet.

    The size of a weight is that of a random existing synapse onto the same neuron from a neuron of
    the same sign, else from any neuron, else that of any synapse: fast and inhibitory neurons have
    larger weights. Its sign is that of the presynaptic neuron. This rule is ours.
    Raises NetworkError if the network has no synapse.
    """
    if len(pre) == 0:
        return network
    if network.w_rec.nnz == 0:
        raise NetworkError("the network has no synapse to take new weights from", "prune fewer synapses")
    old_pre, old_post = endpoints(network)
    positive = network.sign > 0
    alike = rng.integers(0, len(old_post), len(post))
    for old, new in ((old_post, post), (2 * old_post + positive[old_pre], 2 * post + positive[pre])):
        by_kind = np.argsort(old, kind="stable")
        first, last = (np.searchsorted(old[by_kind], new, side) for side in ("left", "right"))
        drawn = first + (rng.random(len(post)) * (last - first)).astype(np.intp)
        alike = np.where(first < last, by_kind[np.minimum(drawn, len(by_kind) - 1)], alike)
    data = network.sign[pre] * np.abs(network.w_rec.data[alike])
    ends = (np.concatenate([old_pre, pre]), np.concatenate([old_post, post]))
    w_rec = sparse.csr_array((np.concatenate([network.w_rec.data, data]), ends), shape=network.w_rec.shape)
    w_rec.sort_indices()
    return replace(network, w_rec=w_rec)


def delocalise(network: Network, count: int, rule: str, limit: float, rng: np.random.Generator) -> Network:
    """The network with up to `count` new synapses and an abscissa of at most `limit`, 1/s.

    rule : see candidates

    The guard is ours. It accepts a batch of new synapses if the abscissa of the network with it, at
    its own operating point, is at most `limit`. Else it tries each half, down to a size of
    max(1, count // PARTS). Synapses that fail at that size are dropped and drawn again, at most
    ROUNDS - 1 times and not after a round that added nothing. So there are fewer than `count` new
    synapses if the guard refuses some.

    Computes one abscissa if the guard accepts everything, and about 2 PARTS per round if it refuses
    everything.
    """
    vectors = slowest_eigenvectors(rate_model(network).m) if rule == "targeted" else None
    smallest = max(1, count // PARTS)
    missing = count
    for _ in range(ROUNDS):
        grown = _guarded(network, *candidates(network, missing, rule, rng, vectors), limit, smallest, rng)
        added = grown.w_rec.nnz - network.w_rec.nnz
        network, missing = grown, missing - added
        if missing == 0 or added == 0:
            break
    return network


def _guarded(
    network: Network, pre: Index, post: Index, limit: float, smallest: int, rng: np.random.Generator
) -> Network:
    """The network with the synapses that the guard accepts."""
    if len(pre) == 0:
        return network
    trial = add_synapses(network, pre, post, rng)
    if network_abscissa(trial) <= limit:
        return trial
    half = len(pre) // 2
    if half >= smallest:
        network = _guarded(network, pre[:half], post[:half], limit, smallest, rng)
        network = _guarded(network, pre[half:], post[half:], limit, smallest, rng)
    return network
