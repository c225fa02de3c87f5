"""Random pruning with the rescaling and guard of lnp: the control for its scores."""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget
from lnp_edge.pruning.steps.edges import prune_by_score


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), block: int = 1,
) -> Network:  # fmt: skip
    """Keep every synapse with the same probability. Keeps all neurons."""
    return prune_by_score(network, np.ones(network.w_rec.nnz), budget(network, keep), seed, options, block)
