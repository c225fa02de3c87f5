"""Keep synapses at random, loop gain restored: a random sparse start scaled to the dense network's abscissa."""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget, loop_gain, with_loop_gain, with_synapses


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None, options: NoiseSettings = NoiseSettings()
) -> Network:
    """round(keep * synapses) synapses drawn uniformly, then all weights times one factor. No neuron goes.

    The factor gives back the start network's loop gain and never exceeds synapses / kept, which keeps the expected
    sum of the weights; or it brings the loop gain to options.loop.
    """
    count = budget(network, keep)
    kept = np.zeros(network.w_rec.nnz, bool)
    kept[np.random.default_rng(seed).permutation(len(kept))[:count]] = True
    pruned = with_synapses(network, kept)
    if options.loop:
        return with_loop_gain(pruned, options.loop, progress=progress)
    return with_loop_gain(pruned, loop_gain(network), len(kept) / count, progress)
