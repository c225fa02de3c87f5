"""Keep synapses with probabilities in proportion to |w|, lnp's rescaling and guard: the control of noise pruning's
authors.

Moore & Chaudhuri 2020, arXiv:2011.07334: all that noise pruning has beside it is the covariance.
"""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget
from lnp_edge.pruning.steps.edges import prune_by_score


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None, options: NoiseSettings = NoiseSettings()
) -> Network:
    """p = min(1, K |w|). No neuron goes."""
    return prune_by_score(network, np.abs(network.w_rec.data), budget(network, keep), seed, options)
