"""Lyapunov noise pruning.

The method is that of Chakraborty, Kang, Kumar & Mukhopadhyay, ICLR 2024, arXiv:2403.03409 (LNP). It
builds on the noise pruning of Moore & Chaudhuri 2020, arXiv:2011.07334 (MC). Its four steps, in the
paper's order, are in steps/; each file says which parts are LNP's, MC's and ours:

1 edges.py        removes synapses at random, with probabilities from weights or the Lyapunov
                  matrix, and the covariance
2 nodes.py        removes the neurons of lowest betweenness in the pruned graph
3 delocalise.py   adds some synapses, so that eigenvectors stay spread out
4 timescales.py   tunes the time constants on the Lyapunov spectrum

[prune.noise] selects the variant of each step. The published variant, as far as we could read it,
is score = "l", added = 0.05, timescales = 50, rounds = 100. Ours are the exact budget, the
stability guard, the condition that each input channel still reaches each read-out it reached,
`loop`, and the defaults. alpha = 1 is MC's; docs/pruning.md compares it with 1/2. Dividing weights
by p raises the spectral radius of a random network with loops by p**-0.5, so the result can be
unstable without the guard.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.install import require
from lnp_edge.config import NoiseSettings
from lnp_edge.dynamics import lyapunov
from lnp_edge.dynamics.rate_model import rate_model
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Progress, abscissa_limit, budget, endpoints, hold_abscissa, with_loop_gain
from lnp_edge.pruning.steps import checkpoint as _checkpoint
from lnp_edge.pruning.steps.blocks import arranged
from lnp_edge.pruning.steps.delocalise import delocalise
from lnp_edge.pruning.steps.edges import in_random_order, input_scores, prune_edges, synapse_scores
from lnp_edge.pruning.steps.nodes import surviving_neurons
from lnp_edge.pruning.steps.timescales import EXPONENTS, NEEDED, optimise_timescales

RESUMES = True


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), resume: Path | None = None, block: int = 1,
) -> Network:  # fmt: skip
    """Run all four steps, steps 1 to 3 in options.rounds rounds on a geometric schedule.

    block : with more than 1, all neurons that go do so in the first round, so that later rounds find
        the blocks where they left them

    resume : a checkpoint file, written after each round and each trial of time constants. The
        caller removes it when the pruned network is saved.

    The abscissa of the pruned network, at its own operating point, stays within abscissa_limit,
    unless options.loop sets the loop gain.
    """
    if options.added and block > 1:
        raise ConfigError(
            f"[prune.noise] added = {options.added:g} adds single synapses, but [prune] block is {block}",
            "set added = 0, or block = 1",
        )
    if options.timescales:
        require(*NEEDED)  # before the long work
    tell = progress or (lambda done, what: None)
    # Another version may try other time constants, so a checkpoint depends on the versions.
    proposers = [version(name) for name in NEEDED if options.timescales]
    start, key = network, network.identity(keep, seed, options, *[block] * (block > 1), *proposers)
    state = _checkpoint.load(resume, key, start, seed)
    limit = abscissa_limit(start, rate_model(start).abscissa())
    rounds = _schedule(start, budget(start, keep), options)
    for k, (synapses, neurons) in enumerate(rounds[state.rounds :], state.rounds):

        def told(done: float, what: str, k: int = k) -> None:
            tell((k + done) / len(rounds) * (0.5 if options.timescales else 1), what)

        if block > 1:
            neurons = rounds[-1][1] if k == 0 else state.network.n
        state.network = prune_round(state.network, synapses, neurons, limit, state.rng, told, options, block, k == 0)
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


def input_score(network: Network, rng: np.random.Generator, options: NoiseSettings = NoiseSettings()) -> Floats:
    """Random, with probabilities that follow steps/edges.py's score of synapses from the input."""
    model = rate_model(network)
    model = model.stabilised(abscissa_limit(network, model.abscissa()))
    return in_random_order(input_scores(network, model, rng), rng)


def prune_round(
    network: Network, count: int, neurons: int, limit: float, rng: np.random.Generator,
    tell: Progress = lambda done, what: None, options: NoiseSettings = NoiseSettings(), block: int = 1,
    arrange: bool = True,
) -> Network:  # fmt: skip
    """Run steps 1 to 3 once, down to `count` synapses and at least `neurons` neurons.

    The first edge step leaves a reserve for the synapses of removed neurons; the second one removes
    what is left of it. Both use the scores at the start of the round: a synapse survives both with
    probability min(1, K score).

    Removing neurons moves the others, and with them the blocks. So with blocks the first edge step only
    finds the neurons that go, and the second one chooses among all synapses of those that stay, where
    they then stand.

    arrange : whether neurons may change places for better blocks
    """
    tell(0.0, "covariance of the noisy network")
    # A covariance requires a stable A. The added leak affects the scores only.
    model = rate_model(network).stabilised(limit)
    score = synapse_scores(network, model, rng, options, lambda done, what: tell(0.5 * done, what))

    tell(0.5, "synapses")
    new = round(options.added * count)
    going = network.n - neurons
    reserve = math.ceil((count - new) / (1 - min(0.9, 2 * going / network.n)))
    first = prune_edges(network, score, min(network.w_rec.nnz, reserve), rng, options, block)

    tell(0.6, "neurons")
    alive = surviving_neurons(first.network, going, count - new)
    base, left = (network, score) if block > 1 else (first.network, score[first.kept] / first.p[first.kept])
    inside = np.logical_and(*(np.isin(ends, alive) for ends in endpoints(base)))
    base, left = base.keep_neurons(alive), left[inside]
    if arrange:
        base, left = arranged(base, left, count, block, rng)

    tell(0.7, "synapses, to the exact budget")
    pruned = prune_edges(base, left, count - new, rng, options, block).network

    tell(0.8, "stability")
    pruned, factor = hold_abscissa(pruned, limit)
    if new:
        tell(0.9, "delocalisation")
        pruned = delocalise(pruned, new, options.rule, limit, rng)
    tell(1.0, "stable as before" if factor == 1 else f"guard: recurrent weights scaled by {factor:.3f}")
    return pruned


def _schedule(network: Network, count: int, options: NoiseSettings) -> list[tuple[int, int]]:
    """Synapses and neurons after each round, a constant factor apart, without repetitions."""
    all_of_them = network.w_rec.nnz
    found: list[tuple[int, int]] = []
    for k in range(1, options.rounds + 1):
        share = k / options.rounds
        synapses = round(all_of_them * (count / all_of_them) ** share)
        neurons = network.n - int(network.n * (1 - (1 - options.nodes) ** share) + 1e-9)
        if k == options.rounds or not found or (synapses, neurons) != found[-1]:
            found.append((synapses, neurons))
    return found
