"""Lyapunov noise pruning: synapses by noise, neurons by betweenness, delocalisation, time constants.

Chakraborty, Kang, Kumar & Mukhopadhyay, ICLR 2024, arXiv:2403.03409 (LNP), built on the noise pruning of
Moore & Chaudhuri 2020, arXiv:2011.07334 (MC). The steps, in the paper's order, each in a file of its own that says
what is whose:

1 _edges.py        synapses go at random, kept with a probability from weight or Lyapunov matrix and covariance
2 _nodes.py        the neurons of lowest betweenness in the pruned graph go
3 _delocalise.py   some synapses are added, so that eigenvectors stay spread out
4 _timescales.py   time constants are tuned on the Lyapunov spectrum

[prune.noise] chooses among the forms of each step. As published, as far as could be read: score = "l", added = 0.05,
timescales = 50, rounds = 100. Ours: the exact budget, the guard, that neurons go only where each input channel still
reaches each read-out it reached, `loop`, and the defaults. alpha = 1 is MC's; docs/pruning.md says what is known of it
and of 1/2, which is not much. Dividing by p raises the spectral radius of a random network with loops by p**-0.5, so
without the guard it can be unstable.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lnp_edge.base.install import require
from lnp_edge.config import NoiseSettings
from lnp_edge.dynamics import lyapunov
from lnp_edge.dynamics.rate_model import rate_model
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, abscissa_limit, budget, endpoints, hold_abscissa, with_loop_gain
from lnp_edge.pruning.steps import checkpoint as _checkpoint
from lnp_edge.pruning.steps.delocalise import delocalise
from lnp_edge.pruning.steps.edges import prune_edges, synapse_scores
from lnp_edge.pruning.steps.nodes import surviving_neurons
from lnp_edge.pruning.steps.timescales import EXPONENTS, NEEDED, optimise_timescales

RESUMES = True


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), resume: Path | None = None,
) -> Network:  # fmt: skip
    """All four steps, the first three in `rounds` rounds on a geometric schedule of synapses.

    The pruned network's abscissa, at its own operating point, does not exceed the start network's (abscissa_limit),
    unless options.loop says what it shall be.
    resume : a file that is written after each round and each trial of time constants; whoever gave it removes it when
        the pruned network is safe
    """
    if options.timescales:
        require(*NEEDED)  # before the work, not after it
    tell = progress or (lambda done, what: None)
    proposers = [version(name) for name in NEEDED if options.timescales]  # another version tries other time constants
    start, key = network, network.identity(keep, seed, options, *proposers)
    state = _checkpoint.load(resume, key, start, seed)
    limit = abscissa_limit(start, rate_model(start).abscissa())
    rounds = _schedule(start, budget(start, keep), options)
    for k, (synapses, neurons) in enumerate(rounds[state.rounds :], state.rounds):

        def told(done: float, what: str, k: int = k) -> None:
            tell((k + done) / len(rounds) * (0.5 if options.timescales else 1), what)

        state.network = prune_round(state.network, synapses, neurons, limit, state.rng, told, options)
        state.rounds = k + 1
        state.save(resume, key)
    network = state.network
    if options.timescales:
        tell(0.5, "time constants")
        wanted = lyapunov.of_network(start, k=min(EXPONENTS, lyapunov.dimension(start))).exponents

        def tuning(costs: list[float]) -> None:
            state.costs = costs
            state.save(resume, key)
            tell(0.5 + 0.5 * len(costs) / (1 + options.timescales), "time constants")

        tuned = optimise_timescales(network, wanted, options.timescales, seed, tuning, state.costs)
        network = hold_abscissa(tuned, limit)[0]
    return with_loop_gain(network, options.loop) if options.loop else network


def prune_round(
    network: Network, count: int, neurons: int, limit: float, rng: np.random.Generator,
    tell: Progress = lambda done, what: None, options: NoiseSettings = NoiseSettings(),
) -> Network:  # fmt: skip
    """Steps 1 to 3 once: to `count` synapses, and to `neurons` where no budget and no path forbids it.

    The first edge step leaves a reserve for the synapses that go with their neurons, the second thins the
    rest. Both use the scores at the start of the round: a synapse survives both with probability min(1, K score).
    """
    tell(0.0, "covariance of the noisy network")
    # Without a stable A there is no covariance; more leak serves the scores only.
    model = rate_model(network).stabilised(limit)
    score = synapse_scores(network, model, rng, options, lambda done, what: tell(0.5 * done, what))

    tell(0.5, "synapses")
    new = round(options.added * count)
    going = network.n - neurons
    reserve = math.ceil((count - new) / (1 - min(0.9, 2 * going / network.n)))
    first = prune_edges(network, score, min(network.w_rec.nnz, reserve), rng, options)

    tell(0.6, "neurons")
    alive = surviving_neurons(first.network, going, count - new)
    inside = np.logical_and(*(np.isin(ends, alive) for ends in endpoints(first.network)))
    left = (score[first.kept] / first.p[first.kept])[inside]

    tell(0.7, "synapses, to the exact budget")
    pruned = prune_edges(first.network.keep_neurons(alive), left, count - new, rng, options).network

    tell(0.8, "stability")
    pruned, factor = hold_abscissa(pruned, limit)
    if new:
        tell(0.9, "delocalisation")
        pruned = delocalise(pruned, new, options.rule, limit, rng)
    tell(1.0, "stable as before" if factor == 1 else f"guard: all recurrent weights times {factor:.3f}")
    return pruned


def _schedule(network: Network, count: int, options: NoiseSettings) -> list[tuple[int, int]]:
    """Synapses and neurons after each round, a constant factor apart; one that would repeat another is left out."""
    all_of_them = network.w_rec.nnz
    found: list[tuple[int, int]] = []
    for k in range(1, options.rounds + 1):
        share = k / options.rounds
        synapses = round(all_of_them * (count / all_of_them) ** share)
        neurons = network.n - int(network.n * (1 - (1 - options.nodes) ** share) + 1e-9)
        if k == options.rounds or not found or (synapses, neurons) != found[-1]:
            found.append((synapses, neurons))
    return found
