"""Keep synapses at random, loop gain restored: a control for noise pruning."""

from __future__ import annotations

import numpy as np

from lnp_edge.lyapunov import network_abscissa
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget, scaled, with_synapses

TRIALS = 12
NEAR = 0.02  # of the loop gain; a finer match is below the noise of the measured gains


def prune(network: Network, keep: float, seed: int, progress: Progress | None = None) -> Network:
    """round(keep * synapses) synapses drawn uniformly, then all weights times one factor. No neuron goes.

    The factor gives back the start network's abscissa, each at its own operating point, so that the control
    loses no gain: within 2 % of the loop gain 1 + tau * abscissa, or else as near as the best of 12 trials.
    It never exceeds synapses / kept, which keeps the expected sum of the weights.
    """
    count = budget(network, keep)
    kept = np.zeros(network.w_rec.nnz, bool)
    kept[np.random.default_rng(seed).permutation(len(kept))[:count]] = True
    pruned = with_synapses(network, kept)

    tau = float(np.mean(network.tau_out))
    target = 1 + tau * network_abscissa(network)
    most = len(kept) / count
    factor, trials = 1.0, []
    for k in range(TRIALS):
        if progress:
            progress(k / TRIALS, "gain")
        gain = 1 + tau * network_abscissa(scaled(pruned, factor))
        trials.append((abs(gain - target), factor))
        if abs(gain - target) <= NEAR * target or gain <= 0 or (factor == most and gain < target):
            break
        factor = min(most, factor * (target / gain) ** 0.8)
    return scaled(pruned, min(trials)[1])
