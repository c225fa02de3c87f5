"""Activity pruning of a trained dense network: the synapses that carry least go. The usual baseline of the field.

A synapse carries |w| times the rate of its presynaptic neuron, spikes per step on windows of the training data:
the mean current it adds. Needs the training that pruning before training saves: dense first, then again pruned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lnp_edge.config import NoiseSettings
from lnp_edge.dynamics.rate_model import operating_point
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget, endpoints, keep_largest

NEEDS = "training"


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), x: NDArray[np.float32] | None = None,
) -> Network:  # fmt: skip
    """The round(keep * synapses) synapses of largest |w| rate; the seed breaks ties. No neuron goes.

    x : windows [W, T, C] as the network gets them; None: white noise, as operating_point
    """
    carried = np.abs(network.w_rec.data) * operating_point(network, x=x).rate[endpoints(network)[0]]
    return keep_largest(network, carried, budget(network, keep), seed)
