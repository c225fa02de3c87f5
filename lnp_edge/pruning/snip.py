"""SNIP: keeps the synapses to which the loss is most sensitive before training.

Lee, Ajanthan & Torr 2019, arXiv:1810.02340.
"""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Progress, budget, keep_largest

NEEDS = "gradient"


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), gradient: Floats | None = None, block: int = 1,
) -> Network:  # fmt: skip
    """Keep the round(keep * synapses) synapses of largest |w dL/dw|; the seed breaks ties.

    gradient : dL/dw of each recurrent synapse, [nnz], on batches of training data; None: all equal

    Keeps all neurons.
    """
    sensitivity = np.abs(network.w_rec.data * (1.0 if gradient is None else gradient))
    return keep_largest(network, sensitivity, budget(network, keep), seed, block)


def input_score(
    network: Network, rng: np.random.Generator, options: NoiseSettings = NoiseSettings(),
    gradient: Floats | None = None,
) -> Floats:  # fmt: skip
    """|w dL/dw|

    gradient : dL/dw of each weight from the input, [C, N]
    """
    return np.abs(network.w_in * (1.0 if gradient is None else gradient))
