"""Activity pruning of a trained dense network: the synapses that carry least go. The usual baseline of the field.

A synapse carries |w| times the rate of its presynaptic neuron, spikes per step on windows of the training data:
the mean current it adds. Needs the training that pruning before training saves: dense first, then again pruned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lnp_edge.lyapunov import operating_point
from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget, endpoints, with_synapses

AFTER_TRAINING = True  # prune() wants a trained network, and what it hears


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None, x: NDArray[np.float32] | None = None
) -> Network:
    """The round(keep * synapses) synapses of largest |w| rate; the seed breaks ties. No neuron goes.

    x : windows [W, T, C] as the network hears them; None: white noise, as operating_point
    """
    count = budget(network, keep)
    carried = np.abs(network.w_rec.data) * operating_point(network, x=x).rate[endpoints(network)[0]]
    order = np.random.default_rng(seed).permutation(len(carried))
    kept = np.zeros(len(carried), bool)
    kept[order[np.argsort(carried[order], kind="stable")][-count:]] = True
    return with_synapses(network, kept)
