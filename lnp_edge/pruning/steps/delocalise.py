"""Step III of Lyapunov noise pruning: new synapses, so that the eigenvectors stay spread out.

LNP    (arXiv:2403.03409) adds edges after the neurons are removed, so that eigenvectors do not localise; according to
       a reviewer "to maximize degree heterogeneity within local neighborhoods". Its formula was not readable.
ours   all of the form: the three rules by which pairs are drawn, of which "hub" follows the reviewer's words; the
       weight of a new synapse; the guard; the inverse participation ratio as the measure.
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
SLOWEST = 0.05  # share of the eigenvectors that are watched
MOST = 50  # of them in a network too large for all
TURNS = 20  # of drawing by the rule
PARTS = 16  # the guard splits a batch down to this share of it
ROUNDS = 3  # the first draw, and those in the place of what the guard refused


def inverse_participation_ratios(vectors: NDArray) -> Floats:
    """Sum of |u_ik|**4 over i for each column k, [k]: 1 if it sits in one neuron, 1 / N if it is even over all N.

    Columns count as of unit norm, whatever their length. The usual measure of localisation; ours in this place.
    """
    share = np.abs(vectors) ** 2
    return ((share / share.sum(0)) ** 2).sum(0)


def localisation(m: sparse.csr_array | Floats, slowest: int | None = None) -> tuple[float, float, float]:
    """Inverse participation ratio of the right eigenvectors of m [N, N]: mean of all, of the slowest, of the leading.

    slowest : how many those are, by default 5 % of N, at least one. The slowest have the largest real part.

    Above DENSE_TO neurons only the slowest are computed, at most MOST of them: the mean of all is nan.
    """
    values, vectors = _eigenvectors(m, slowest)
    ratios = inverse_participation_ratios(vectors)[np.argsort(-values.real, kind="stable")]
    every = float(ratios.mean()) if len(ratios) == m.shape[0] else math.nan
    return every, float(ratios[: _number(m.shape[0], slowest)].mean()), float(ratios[0])


def slowest_eigenvectors(m: sparse.csr_array | Floats, slowest: int | None = None) -> NDArray:
    """The right eigenvectors of m whose eigenvalues have the largest real part, [N, k]; see localisation."""
    values, vectors = _eigenvectors(m, slowest)
    return vectors[:, np.argsort(-values.real, kind="stable")[: _number(m.shape[0], slowest)]]


def _number(n: int, slowest: int | None) -> int:
    return max(1, math.ceil(SLOWEST * n)) if slowest is None else slowest


def _eigenvectors(m: sparse.csr_array | Floats, slowest: int | None) -> tuple[NDArray, NDArray]:
    """Eigenvalues and right eigenvectors: of a large m the slowest, as far as Arnoldi finds them."""
    n = m.shape[0]
    if n <= DENSE_TO:
        return linalg.eig(m.toarray() if isinstance(m, sparse.csr_array) else m)
    if np.abs(m).max() == 0:  # Arnoldi has nowhere to go, and every vector is one
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
    """`count` distinct pairs (pre, post) of different neurons that have no synapse yet.

    hub      : in proportion to degree(pre) + degree(post), in and out: the reviewer's degree heterogeneity
    random   : each pair alike
    targeted : post in proportion to the sum over k of IPR_k |u_ik|**2, `vectors` u [N, k] being the slowest; ours

    Only from a population to one that it projects to already: no layer becomes recurrent, none is skipped. Pairs are
    drawn one after the other, and again where they exist. After TURNS rounds of it the rest is drawn
    alike: the rule has run out of pairs. Raises ConfigError for an unknown rule, NetworkError where so many pairs are
    not free.
    """
    if rule not in RULES:
        raise ConfigError(f"no rule of new synapses is called {rule!r}", f"available: {', '.join(RULES)}")
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
    """Which values are in an ascending array."""
    place = np.searchsorted(ascending, values)
    return np.append(ascending, -1)[place] == values


def _weights(network: Network, rule: str, vectors: NDArray | None) -> Floats:
    """What a rule draws neurons in proportion to, [N]."""
    if rule == "targeted":
        assert vectors is not None
        return (np.abs(vectors) ** 2) @ inverse_participation_ratios(vectors)
    if rule == "hub" and network.w_rec.nnz:
        degree = np.diff(network.w_rec.indptr) + np.bincount(network.w_rec.indices, minlength=network.n)
        return degree.astype(float)
    return np.ones(network.n)


def _pairs(n: int, draws: int, rule: str, weight: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pairs pre * n + post by rule, whether free or not."""
    pre, post = rng.integers(0, n, (2, draws))
    if rule != "random":
        weighted = np.searchsorted(np.cumsum(weight), rng.random(draws) * weight.sum(), side="right")
        weighted = np.minimum(weighted, n - 1)
        if rule == "targeted":
            post = weighted
        else:  # one end by degree, the other alike, either way round: proportional to the sum of both degrees
            first = rng.random(draws) < 0.5
            pre, post = np.where(first, weighted, pre), np.where(first, post, weighted)
    return pre * n + post


def add_synapses(network: Network, pre: Index, post: Index, rng: np.random.Generator) -> Network:
    """The network with a synapse more for each of these pairs, which have none yet.

    A weight has the size of an existing synapse into the same neuron from one of the same sign, drawn alike (else of
    any sign, else of any synapse): fast and inhibitory neurons have the larger ones. Its sign is Dale's. Ours. Raises
    NetworkError if there is no synapse to take a weight from."""
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
    """The network with up to `count` synapses more, its abscissa within `limit` (1/s). Rules: candidates.

    The guard, ours as is all of the form: a batch of new synapses is accepted if the abscissa of the network with it,
    at its own operating point, is at most `limit`; else each half is tried, down to max(1, count // PARTS). What
    fails at that size is dropped and drawn anew, at most ROUNDS - 1 times and not after a round that added nothing.
    So fewer than `count` are new where the guard refuses; all of them where it never does.

    Costs one abscissa where the guard is silent, about 2 PARTS a round where it refuses everything.
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
    """The network with as many of these synapses as the guard lets pass."""
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
