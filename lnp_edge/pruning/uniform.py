"""Keep synapses at random with lnp's rescaling and guard: what noise and weights are worth beside chance."""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget
from lnp_edge.pruning.steps.edges import prune_by_score


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None, options: NoiseSettings = NoiseSettings()
) -> Network:
    """Every synapse has the same probability. No neuron goes."""
    return prune_by_score(network, np.ones(network.w_rec.nnz), budget(network, keep), seed, options)
