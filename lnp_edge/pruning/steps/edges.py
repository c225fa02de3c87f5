"""Step 1 of Lyapunov noise pruning: noise pruning of synapses.

MC     (Moore & Chaudhuri 2020, arXiv:2011.07334) keeps synapse j -> i with probability
       p = K |w_ij| (C_ii + C_jj - 2 sgn(w_ij) C_ij), where C is the stationary covariance of the
       linear rate model, and divides the kept weights by p.
LNP    replaces w_ij by the Lyapunov matrix l_ij, as we recall it; `score` chooses.
ours   probabilities and samples of the exact size, the exponent and cap of the rescaling, the
       estimate by probes in networks too large for C, and the score of synapses from the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from lnp_edge.base.errors import NetworkError
from lnp_edge.base.jit import cached
from lnp_edge.config import NoiseSettings
from lnp_edge.dynamics import covariance, lyapunov
from lnp_edge.dynamics.rate_model import X_STD, RateModel, network_abscissa, rate_model
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Index, Mask, Progress, abscissa_limit, endpoints, hold_abscissa, with_synapses
from lnp_edge.pruning.steps.blocks import arranged, blocks_of
from lnp_edge.spec.parameters import SHORTEST

EXACT_TO = 1500  # neurons; for more, variances are estimated by probes, in seconds and not minutes
SPECTRUM = 48  # exponents that are computed; the sum of the others is known


@dataclass(frozen=True)
class Thinned:
    """The result of an edge step.

    kept, p : which synapses were kept, and the probability of each, [nnz before]
    """

    network: Network
    kept: Mask
    p: Floats


def prune_edges(
    network: Network, score: Floats, count: int, rng: np.random.Generator, options: NoiseSettings = NoiseSettings(),
    block: int = 1,
) -> Thinned:  # fmt: skip
    """Keep exactly `count` synapses, each with the probability p = min(1, K score) of its block.

    Kept weights are multiplied by min(p**-alpha, cap).
    """
    blocks = blocks_of(network, block)
    of_blocks = keep_probabilities(blocks.sums(score), count, blocks.size)
    kept = sample(of_blocks, rng) if block == 1 else blocks.sample(of_blocks, rng)
    p = of_blocks[blocks.of]
    thinner = with_synapses(network, kept, rescaling(p, options.alpha, options.cap))
    if options.diagonal == "match":
        thinner = with_matched_leak(network, thinner)
    return Thinned(thinner, kept, p)


def prune_by_score(
    network: Network, score: Floats, count: int, seed: int, options: NoiseSettings, block: int = 1
) -> Network:
    """The edge step alone, with the stability guard, for methods with their own score [nnz]."""
    rng = np.random.default_rng(seed)
    network, score = arranged(network, score, count, block, rng)
    thinner = prune_edges(network, score, count, rng, options, block).network
    return hold_abscissa(thinner, abscissa_limit(network, network_abscissa(network)))[0]


def synapse_scores(
    network: Network,
    model: RateModel,
    rng: np.random.Generator,
    options: NoiseSettings = NoiseSettings(),
    tell: Progress = lambda done, what: None,
) -> Floats:
    """The score of each synapse: a factor times the variance of r_pre - sgn(w) r_post, [nnz].

    model : the rate model of the network, stable

    The factor is |w| (score = "w", MC), |l| ("l", LNP) or |w l| ("wl", ours); l is the Lyapunov
    matrix.
    """
    w = network.w_rec.data
    first = 0.5 if "l" in options.score else 1.0  # the spectrum takes the rest
    found = noise(network, model, rng, lambda done: tell(first * done, "covariance by probes"))
    if "l" in options.score:
        k = min(SPECTRUM, lyapunov.dimension(network))
        spectrum = lyapunov.of_network(network, k=k, progress=lambda done, what: tell(first + (1 - first) * done, what))
        found = found * np.abs(lyapunov_matrix(network, spectrum.per_neuron))
    return found * np.abs(w) if "w" in options.score else found


def noise(
    network: Network, model: RateModel, rng: np.random.Generator, progress: Callable[[float], None] = lambda done: None
) -> Floats:
    """Variance of r_pre - sgn(w) r_post of each synapse, [nnz]."""
    return _variance(model, np.sign(network.w_rec.data), *endpoints(network), rng, progress)


def _variance(
    model: RateModel, sign: Floats, pre: Index, post: Index, rng: np.random.Generator,
    progress: Callable[[float], None] = lambda done: None,
) -> Floats:  # fmt: skip
    if model.m.shape[0] > EXACT_TO:
        return covariance.probed_pair_variance(model, sign, pre, post, rng, progress=progress)
    return covariance.pair_variance(covariance.stationary_covariance(model.a(), model.q()), sign, pre, post)


def input_scores(network: Network, model: RateModel, rng: np.random.Generator) -> Floats:
    """The score of each synapse from the input: |w| times a variance, as between neurons, [C, N]. Ours.

    It is the variance of x - sgn(w) r, each in units of its own standard deviation, where x is the
    input behind the filter of the rate model. With the model's Q, Cov(x, r) solves
    Cov (I - tau A)' = X_STD shared'.
    """
    n, every = network.n, np.arange(network.n)
    own = _variance(model, -np.ones(n), every, every, rng) / 4
    system = sparse.csc_array((1 + model.leak) * sparse.eye_array(n) - model.m)
    across = X_STD * splu(system).solve(model.shared).T
    deviations = X_STD * np.sqrt(0.5 * np.maximum(own, np.finfo(float).tiny))
    return np.abs(network.w_in) * (1 - np.sign(network.w_in) * np.clip(across / deviations, -1, 1))


def in_random_order(score: Floats, rng: np.random.Generator) -> Floats:
    """Scores whose largest are a random sample without replacement, with probabilities that follow `score`.

    Efraimidis & Spirakis 2006, Inf. Process. Lett. 97:181.
    """
    return np.log(1 - rng.random(score.shape)) / np.maximum(score, 1e-6 * score.mean())


def lyapunov_matrix(network: Network, exponents: Floats) -> Floats:
    """Harmonic mean of |exponents| [N] over all neighbours of a synapse's two ends, [nnz].

    As in LNP, l = n / sum_k 1 / |lambda_k| over the n neighbours k of either end, in and out; a
    neighbour of both ends counts once. Ours are the absolute values, because exponents can be
    positive, and the floor of a millionth of the mean, so that a tiny exponent does not dominate.
    """
    size = np.abs(exponents)
    inverse = 1 / np.maximum(size, 1e-6 * size.mean())
    joined = network.w_rec != 0
    joined = sparse.csr_array(joined + joined.T)
    joined.sort_indices()
    # Of one type, whatever SciPy chose: each other would be compiled for.
    ends = (np.ascontiguousarray(a, np.intp) for a in (joined.indptr, joined.indices, *endpoints(network)))
    indptr, indices, pre, post = ends
    return _harmonic_means(indptr, indices, inverse, pre, post)


@cached
def _harmonic_means(indptr, indices, inverse, pre, post):
    """Harmonic mean of 1 / inverse over the union of two neurons' sorted neighbours, per pair."""
    found = np.empty(len(pre))
    for e in range(len(pre)):
        a, end_a = indptr[pre[e]], indptr[pre[e] + 1]
        b, end_b = indptr[post[e]], indptr[post[e] + 1]
        number, total = 0, 0.0
        while a < end_a or b < end_b:
            j = indices[a] if a < end_a else indices[b]
            if b < end_b and indices[b] < j:
                j = indices[b]
            if a < end_a and indices[a] == j:
                a += 1
            if b < end_b and indices[b] == j:
                b += 1
            number += 1
            total += inverse[j]
        found[e] = number / total
    return found


def keep_probabilities(score: Floats, count: int, size: Index | None = None) -> Floats:
    """p = min(1, K score), where K is such that the sum of p * size is `count` exactly.

    size : the synapses that each score is for; None: one

    Scores are at least a millionth of their mean, so that every synapse has a chance.
    """
    size = np.ones(len(score), np.intp) if size is None else size
    if count >= size.sum():
        return np.ones(len(score))
    score = np.maximum(score, 1e-6 * score.mean()) if score.any() else np.ones(len(score))
    order = np.argsort(score)[::-1]
    falling, size = score[order], size[order]
    tail = np.cumsum((falling * size)[::-1])[::-1]
    # If the m largest have p = 1, K = (count - their synapses) / tail[m]. Take the smallest m that keeps p <= 1.
    left = count - (np.cumsum(size) - size)
    m = int(np.argmax(left * falling <= tail))
    return np.minimum(score * (left[m] / tail[m]), 1.0)


def sample(p: Floats, rng: np.random.Generator) -> Mask:
    """A mask with exactly sum(p) members, each with its own probability p.

    Systematic sampling in random order (Madow 1949, Ann. Math. Stat. 20:333): the p are laid end to
    end and marked at unit intervals from a random start.
    """
    taken = p > 1 - 1e-9
    order = rng.permutation(np.flatnonzero(~taken))
    if len(order):
        ends = np.cumsum(p[order])
        ends[-1] = round(ends[-1])
        taken[order] = np.diff(np.floor(ends + rng.random()), prepend=0) > 0
    return taken


def rescaling(p: Floats, alpha: float, cap: float) -> Floats:
    """The factor of each kept weight, [nnz]; cap = 0 means none.

    alpha = 1 without a cap keeps the expected weight: E[S] = W.
    """
    factor = p**-alpha
    return np.minimum(factor, cap) if cap else factor


def matched_diagonal(a: Floats, sparser: Floats) -> Floats:
    """MC's alternative diagonal: `sparser` [N, N] with S_ii = A_ii - sum_j (|S_ij| - |A_ij|).

    Row sums of A_ii + sum_j |A_ij| do not change.
    """
    off = [np.abs(x).sum(1) - np.abs(np.diag(x)) for x in (a, sparser)]
    found = sparser.copy()
    np.fill_diagonal(found, np.diag(a) - (off[1] - off[0]))
    return found


def with_matched_leak(network: Network, thinner: Network) -> Network:
    """matched_diagonal for a network: the diagonal is the leak, so tau_mem changes.

    A neuron that lost input weight gets a slower membrane. The leak is multiplied by at least 0.1,
    and tau_mem is at least SHORTEST steps. Raises NetworkError for a neuron without tau_mem.
    """
    for p in network.populations:
        if "tau_mem" not in p.params:
            what = f'[prune.noise] diagonal = "match" changes tau_mem, which {p.neuron} does not have'
            raise NetworkError(what, 'choose diagonal = "keep"')
    model = rate_model(network)
    gain = np.divide(model.m.data, network.w_rec.T.tocsr().data)
    before = np.abs(model.m).sum(1)
    m = thinner.w_rec.T.tocsr()
    per_target = np.zeros(network.n)
    per_target[np.repeat(np.arange(network.n), np.diff(model.m.indptr))] = gain
    more = np.abs(m).sum(1) * per_target - before
    leak = (1 - np.exp(-network.dt / network.all("tau_mem"))) * np.maximum(1 + more, 0.1)
    tau_mem = -network.dt / np.log1p(-np.minimum(leak, 1 - np.exp(-1 / SHORTEST)))
    matched = tuple(replace(p, params=p.params | {"tau_mem": tau_mem[at]}) for p, at in thinner.parts())
    return replace(thinner, populations=matched)
