"""Magnitude pruning, a control for noise pruning: keeps the largest weights unchanged."""

from __future__ import annotations

import numpy as np

from lnp_edge.config import NoiseSettings
from lnp_edge.network import Floats, Network
from lnp_edge.pruning import Progress, budget, keep_largest


def prune(
    network: Network, keep: float, seed: int, progress: Progress | None = None,
    options: NoiseSettings = NoiseSettings(), block: int = 1,
) -> Network:  # fmt: skip
    """Keep the round(keep * synapses) synapses of largest |w|; the seed breaks ties.

    Keeps all neurons: one without synapses still connects the input to the read-out. Weights are
    not rescaled, so the loop gain falls.
    """
    return keep_largest(network, np.abs(network.w_rec.data), budget(network, keep), seed, block)


def input_score(network: Network, rng: np.random.Generator, options: NoiseSettings = NoiseSettings()) -> Floats:
    """|w|"""
    return np.abs(network.w_in)
