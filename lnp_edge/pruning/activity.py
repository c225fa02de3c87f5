"""Activity pruning of a trained network, the usual baseline: removes the least active synapses.

The activity of a synapse is |w| times the firing rate of its presynaptic neuron on training
windows: the mean current that it adds. The method trains the dense network first and the pruned one
again, the cost that pruning before training saves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lnp_edge.config import NoiseSettings
from lnp_edge.dynamics.rate_model import operating_point
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Progress, budget, endpoints, keep_largest

NEEDS = "training"


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), x: NDArray[np.float32] | None = None, block: int = 1,
) -> Network:  # fmt: skip
    """Keep the round(keep * synapses) synapses of largest |w| * rate; the seed breaks ties.

    x : input windows [W, T, C]; None: white noise, as in operating_point

    Keeps all neurons.
    """
    carried = np.abs(network.w_rec.data) * operating_point(network, x=x).rate[endpoints(network)[0]]
    return keep_largest(network, carried, budget(network, keep), seed, block)


def input_score(
    network: Network, rng: np.random.Generator, options: NoiseSettings = NoiseSettings(),
    x: NDArray[np.float32] | None = None,
) -> Floats:  # fmt: skip
    """|w| times the mean |x| of its channel.

    x : input windows [W, T, C]; None: all channels are equally active
    """
    return np.abs(network.w_in) * (1.0 if x is None else np.abs(x).mean((0, 1))[:, None])
