"""Random pruning with the loop gain restored: a sparse start with the abscissa of the dense one."""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget, loop_gain, with_loop_gain, with_synapses
from lnp_edge.pruning.steps.blocks import blocks_of


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), block: int = 1,
) -> Network:  # fmt: skip
    """Keep round(keep * synapses) synapses at random and scale all recurrent weights equally.

    The factor restores the loop gain of the start network, or sets it to options.loop. To restore,
    it is at most synapses / kept, which keeps the expected sum of the weights. Keeps all neurons.
    """
    count = budget(network, keep)
    blocks = blocks_of(network, block)
    kept = blocks.first(np.random.default_rng(seed).permutation(len(blocks.size)), count)
    pruned = with_synapses(network, kept)
    if options.loop:
        return with_loop_gain(pruned, options.loop, progress=progress)
    return with_loop_gain(pruned, loop_gain(network), len(kept) / count, progress)
