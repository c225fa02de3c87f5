"""Pruning with probabilities proportional to |w|, and the rescaling and guard of lnp.

This is the control of Moore & Chaudhuri 2020, arXiv:2011.07334: noise pruning without covariance.
"""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Progress, budget
from lnp_edge.pruning.steps.edges import in_random_order, prune_by_score


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), block: int = 1,
) -> Network:  # fmt: skip
    """Keep each synapse with probability min(1, K |w|). Keeps all neurons."""
    return prune_by_score(network, np.abs(network.w_rec.data), budget(network, keep), seed, options, block)


def input_score(network: Network, rng: np.random.Generator, options: NoiseSettings = NoiseSettings()) -> Floats:
    """Random, with probabilities that follow |w|."""
    return in_random_order(np.abs(network.w_in), rng)
