"""Step I, noise pruning of synapses: scores, keep probabilities to an exact budget, a sample, and the rescaling.

Moore & Chaudhuri 2020 (arXiv:2011.07334, MC): keep synapse j -> i with p = K |w_ij| (C_ii + C_jj - 2 sgn(w_ij) C_ij),
C the stationary covariance of the linear rate model, and divide what is kept by p. Lyapunov noise pruning (LNP) puts
the Lyapunov matrix l_ij in the place of w_ij, as we recall it; `score` chooses. Ours: probabilities and samples of
the exact size, the rescaling's exponent and cap, and pairs estimated by probes in networks too large for C."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from lnp_edge.base.errors import NetworkError
from lnp_edge.base.jit import cached
from lnp_edge.config import NoiseSettings
from lnp_edge.dynamics import covariance, lyapunov
from lnp_edge.dynamics.rate_model import RateModel, network_abscissa, rate_model
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Mask, Progress, abscissa_limit, endpoints, hold_abscissa, with_synapses
from lnp_edge.spec.parameters import SHORTEST

EXACT_TO = 1500  # neurons; above, the variances are estimated by probes, in seconds instead of minutes
SPECTRUM = 48  # exponents computed one by one; the sum rule gives the mean of the others


@dataclass(frozen=True)
class Thinned:
    """What an edge step leaves: the network, which synapses stayed and with what probability, [nnz before]."""

    network: Network
    kept: Mask
    p: Floats


def prune_edges(
    network: Network, score: Floats, count: int, rng: np.random.Generator, options: NoiseSettings = NoiseSettings()
) -> Thinned:
    """Exactly `count` synapses, each kept with p = min(1, K score); kept weights times min(p**-alpha, cap)."""
    p = keep_probabilities(score, count)
    kept = sample(p, rng)
    thinner = with_synapses(network, kept, rescaling(p, options.alpha, options.cap))
    if options.diagonal == "match":
        thinner = with_matched_leak(network, thinner)
    return Thinned(thinner, kept, p)


def prune_by_score(network: Network, score: Floats, count: int, seed: int, options: NoiseSettings) -> Network:
    """The edge step alone, under the stability guard: what rivals of lnp do with a score of their own."""
    thinner = prune_edges(network, score, count, np.random.default_rng(seed), options).network
    return hold_abscissa(thinner, abscissa_limit(network, network_abscissa(network)))[0]


def synapse_scores(
    network: Network,
    model: RateModel,
    rng: np.random.Generator,
    options: NoiseSettings = NoiseSettings(),
    tell: Progress = lambda done, what: None,
) -> Floats:
    """A factor times the variance of r_pre - sgn(w) r_post, [nnz]; model: of the network, stable.

    The factor is |w| (score = "w", MC), |l| ("l", LNP) or |w l| ("wl", ours), l the Lyapunov matrix.
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
    """Variance of r_pre - sgn(w) r_post of each synapse, [nnz]: what its two ends do not have in common."""
    pre, post = endpoints(network)
    sign = np.sign(network.w_rec.data)
    if network.n > EXACT_TO:
        return covariance.probed_pair_variance(model, sign, pre, post, rng, progress=progress)
    return covariance.pair_variance(covariance.stationary_covariance(model.a(), model.q()), sign, pre, post)


def lyapunov_matrix(network: Network, exponents: Floats) -> Floats:
    """Harmonic mean of the sizes of the exponents [N] of all neighbours of a synapse's two ends, [nnz].

    l = n / sum_k 1 / |lambda_k| over the neighbours k of either end, in and out, as LNP has it (a neuron next to both
    counts once). Ours: the sizes, where the exponents are meant to be negative and can be positive; and exponents
    below a millionth of the mean count as that, so that none alone decides.
    """
    size = np.abs(exponents)
    inverse = 1 / np.maximum(size, 1e-6 * size.mean())
    joined = network.w_rec != 0
    joined = sparse.csr_array(joined + joined.T)
    joined.sort_indices()
    return _harmonic_means(joined.indptr, joined.indices, inverse, *endpoints(network))


@cached
def _harmonic_means(indptr, indices, inverse, pre, post):
    """Over the union of two neurons' sorted neighbours, for each pair."""
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


def keep_probabilities(score: Floats, count: int) -> Floats:
    """p = min(1, K score) with sum p = count, exactly: K is found among the sorted scores.

    Scores below a millionth of their mean count as that, so that every synapse has a chance.
    """
    if count >= len(score):
        return np.ones(len(score))
    score = np.maximum(score, 1e-6 * score.mean()) if score.any() else np.ones(len(score))
    falling = np.sort(score)[::-1]
    tail = np.cumsum(falling[::-1])[::-1]
    # With the m largest certain, K = (count - m) / tail[m]. The smallest m for which the next is not above 1.
    left = count - np.arange(len(score))
    m = int(np.argmax(left * falling <= tail))
    return np.minimum(score * (left[m] / tail[m]), 1.0)


def sample(p: Floats, rng: np.random.Generator) -> Mask:
    """A mask of exactly sum p members, each in it with its own probability p.

    Systematic sampling in random order (Madow 1949, Ann. Math. Stat. 20:333): the p laid end to end, one mark
    a unit, the first at random.
    """
    taken = p > 1 - 1e-9
    order = rng.permutation(np.flatnonzero(~taken))
    if len(order):
        ends = np.cumsum(p[order])
        ends[-1] = round(ends[-1])
        taken[order] = np.diff(np.floor(ends + rng.random()), prepend=0) > 0
    return taken


def rescaling(p: Floats, alpha: float, cap: float) -> Floats:
    """Factor of each kept weight, [nnz]. alpha = 1 without cap (0) keeps the expected weight: E[S] = W."""
    factor = p**-alpha
    return np.minimum(factor, cap) if cap else factor


def matched_diagonal(a: Floats, sparser: Floats) -> Floats:
    """MC's other diagonal: sparser [N, N] with A_ii - sum_j (|S_ij| - |A_ij|), so that no row's sum changes."""
    off = [np.abs(x).sum(1) - np.abs(np.diag(x)) for x in (a, sparser)]
    found = sparser.copy()
    np.fill_diagonal(found, np.diag(a) - (off[1] - off[0]))
    return found


def with_matched_leak(network: Network, thinner: Network) -> Network:
    """The same of a network: the diagonal is its leak, 1 in units of the rate model's M, so tau_mem changes.

    A row that lost weight gets the slower membrane. The leak is multiplied by 0.1 at the least, and tau_mem is
    SHORTEST steps at the least. Raises NetworkError for a neuron without tau_mem.
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
