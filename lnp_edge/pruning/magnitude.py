"""Keep the largest weights: a control for noise pruning. Neurons and weights stay as they are."""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget, keep_largest


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None, options: NoiseSettings = NoiseSettings()
) -> Network:
    """The round(keep * synapses) synapses of largest |w|; the seed breaks ties.

    No neuron goes: one without synapses still gets its input and feeds the read-out. No gain is restored:
    the loop gain falls with the synapses that go.
    """
    return keep_largest(network, np.abs(network.w_rec.data), budget(network, keep), seed)
