"""Lyapunov noise pruning: edges by stationary covariance, then nodes by betweenness, under a stability guard.

Chakraborty, Kang, Kumar & Mukhopadhyay, ICLR 2024, arXiv:2403.03409 (LNP), built on the noise pruning of
Moore & Chaudhuri 2020, arXiv:2011.07334 (MC). Whose form is whose:

MC     keep probability K |w_ij| (C_ii + C_jj - 2 sgn(w_ij) C_ij), C the stationary covariance of the linear
       rate model; kept weights divided by p; the diagonal, here the leak, may stay as it is.
LNP    synapses first, then the neurons of lowest betweenness in the pruned graph.
       Recalled, not read: a Lyapunov matrix l_ij in the place of w_ij. Here it is w_ij, as in MC.
ours   the operating point and its noise (lyapunov.py); probabilities and samples of the exact size; weights
       divided by p**0.5 and at most tripled; the guard; how many neurons go, and that each input channel must
       still reach each read-out it reached.

Why not 1 / p: in a random network with loops it raises the spectral radius by p**-0.5 and can make it
unstable; p**-0.5 leaves the radius as it is. ALPHA = 1 and CAP = inf would be the published rescaling.
"""

from __future__ import annotations

import math

import numpy as np

from lnp_edge import lyapunov
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import (
    Index,
    Mask,
    Progress,
    abscissa_limit,
    budget,
    endpoints,
    hold_abscissa,
    with_synapses,
)

ALPHA = 0.5  # exponent of the rescaling 1 / p
CAP = 3.0  # largest rescaling
NODES = 0.05  # share of the neurons that go


def prune(network: Network, keep: float, seed: int, progress: Progress | None = None) -> Network:
    """Edge step, node step, edge step to the exact budget, guard.

    The first edge step leaves a reserve for the synapses that go with their neurons, the second thins the
    rest. Both use the scores of the start network: a synapse survives both with probability
    p = min(1, K score). The pruned network's abscissa, at its own operating point, does not exceed the start
    network's (abscissa_limit).
    """
    tell = progress or (lambda done, what: None)
    count = budget(network, keep)
    rng = np.random.default_rng(seed)

    tell(0.0, "covariance of the noisy network")
    a, q = lyapunov.rate_model(network, lyapunov.operating_point(network))
    abscissa = lyapunov.spectral_abscissa(a)
    limit = abscissa_limit(network, abscissa)
    # Without a stable A there is no covariance; more leak serves the scores only.
    score = synapse_scores(network, lyapunov.stationary_covariance(stabilised(a, abscissa, limit), q))

    tell(0.5, "synapses")
    p = keep_probabilities(score, min(len(score), math.ceil(count / (1 - 2 * NODES))))
    kept = sample(p, rng)

    tell(0.6, "neurons")
    alive = surviving_neurons(with_synapses(network, kept), int(NODES * network.n), count)
    kept &= np.logical_and(*(np.isin(ends, alive) for ends in endpoints(network)))

    tell(0.7, "synapses, to the exact budget")
    index = np.flatnonzero(kept)
    again = keep_probabilities(score[index] / p[index], count)
    p[index] *= again
    kept[index] = sample(again, rng)

    tell(0.8, "stability")
    pruned = with_synapses(network, kept, rescaling(p, ALPHA, CAP)).keep_neurons(alive)
    pruned, factor = hold_abscissa(pruned, limit)
    tell(1.0, "stable as before" if factor == 1 else f"guard: all recurrent weights times {factor:.3f}")
    return pruned


def stabilised(a: Floats, abscissa: float, highest: float) -> Floats:
    """A [N, N] with as much more leak, equal for all, as lowers its abscissa to `highest`, 1/s."""
    return a - max(abscissa - highest, 0.0) * np.eye(len(a))


def synapse_scores(network: Network, c: Floats) -> Floats:
    """|w| (C_ii + C_jj - 2 sgn(w) C_ij) of each synapse, [nnz], from the covariance C [N, N] of the rates."""
    w = network.w_rec.data
    return np.abs(w) * lyapunov.pair_variance(c, np.sign(w), *endpoints(network))


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
    """Factor of each kept weight, [nnz]. alpha = 1 without cap keeps the expected weight: E[S] = W."""
    return np.minimum(p**-alpha, cap)


def surviving_neurons(network: Network, most: int, count: int) -> Index:
    """Indices of the neurons that stay when up to `most` of lowest betweenness go; of equals, the sparser.

    A neuron stays if without it fewer than `count` synapses would remain, or an input channel would lose its
    last path to a read-out.
    """
    paths = reach(network)
    degree = np.diff(network.w_rec.indptr) + np.bincount(network.w_rec.indices, minlength=network.n)
    alive = np.ones(network.n, bool)
    for neuron in np.lexsort((degree, betweenness(network))):
        if alive.sum() == network.n - most:
            break
        alive[neuron] = False
        smaller = network.keep_neurons(np.flatnonzero(alive))
        alive[neuron] = smaller.w_rec.nnz < count or (reach(smaller) != paths).any()
    return np.flatnonzero(alive)


def reach(network: Network) -> Mask:
    """[C, O]: is there a path from this input channel through the neurons to this read-out?"""
    step = network.w_rec != 0
    heard = network.w_in != 0
    while (more := heard | (heard.astype(np.float32) @ step > 0)).sum() > heard.sum():
        heard = more
    return heard.astype(np.float32) @ (network.w_out != 0) > 0


def betweenness(network: Network) -> Floats:
    """Sum over all pairs of other neurons of the share of their shortest directed paths through each, [N].

    Brandes 2001, J. Math. Sociol. 25:163, for all sources at once, level by level: two matrix products a
    level, and a network whose neurons are a few synapses apart has few levels.
    """
    step = np.zeros((network.n, network.n))
    step[endpoints(network)] = 1.0
    paths = np.eye(network.n)  # [source, neuron]: number of shortest paths
    levels = [paths.copy()]
    while levels[-1].any():
        levels.append((levels[-1] @ step) * (paths == 0))
        paths += levels[-1]
    through = np.zeros_like(paths)
    for nearer, further in zip(levels[-2::-1], levels[:0:-1], strict=True):
        each = np.divide(1 + through, paths, out=np.zeros_like(paths), where=further > 0)
        through += nearer * (each @ step.T)
    np.fill_diagonal(through, 0)
    return through.sum(0)
