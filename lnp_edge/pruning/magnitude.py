"""Keep the largest weights: a control for noise pruning. Neurons and weights stay as they are."""

from __future__ import annotations

import numpy as np

from lnp_edge.network import Network
from lnp_edge.pruning import Progress, budget, with_synapses


def prune(network: Network, keep: float, seed: int, progress: Progress | None = None) -> Network:
    """The round(keep * synapses) synapses of largest |w|; the seed breaks ties.

    No neuron goes: one without synapses still hears its input and feeds the read-out. No gain is restored:
    the loop gain falls with the synapses that go.
    """
    count = budget(network, keep)
    order = np.random.default_rng(seed).permutation(network.w_rec.nnz)
    weakest_first = order[np.argsort(np.abs(network.w_rec.data[order]), kind="stable")]
    kept = np.zeros(network.w_rec.nnz, bool)
    kept[weakest_first[-count:]] = True
    return with_synapses(network, kept)
