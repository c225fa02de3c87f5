"""Pruning before training: one file a method, found by its name.

A method is a module with

    prune(network: Network, keep: float, seed: int, progress=None) -> Network

keep     : the share of the network's recurrent synapses that remain. Exactly round(keep * synapses) do; those
           that go with a removed neuron count as pruned. No synapse is new, none changes its sign, and the
           same seed gives the same result. Raises ConfigError (budget) if keep makes no sense.
progress : None, or a function of (share done 0..1, what is being done).

What the methods share is here; `describe` measures what any of them did.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from lnp_edge.errors import ConfigError
from lnp_edge.lyapunov import network_abscissa, operating_point, rate_model
from lnp_edge.network import Floats, Network

Progress = Callable[[float, str], None]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Measure:
    """A network in five numbers, at its own operating point (lyapunov.operating_point).

    abscissa : of the rate model, 1/s; the network settles again after a disturbance if it is negative
    radius   : spectral radius of the rate model's M, spikes per spike: the gain once around the recurrence
    rate     : mean spikes per neuron and step
    """

    synapses: int
    neurons: int
    abscissa: float
    radius: float
    rate: float


@dataclass(frozen=True)
class Report:
    """What a pruning did. held: the abscissa keeps to abscissa_limit; lnp sees to that, others may not."""

    before: Measure
    after: Measure
    held: bool


def describe(before: Network, after: Network) -> Report:
    """Measure a pruning, whichever method did it."""
    was, now = measure(before), measure(after)
    return Report(was, now, now.abscissa <= abscissa_limit(before, was.abscissa))


def measure(network: Network) -> Measure:
    point = operating_point(network)
    eigenvalues = linalg.eigvals(rate_model(network, point)[0])
    radius = np.abs(1 + eigenvalues * np.mean(network.tau_out)).max()
    abscissa, rate = eigenvalues.real.max(), point.rate.mean()
    return Measure(network.w_rec.nnz, network.n, float(abscissa), float(radius), float(rate))


def budget(network: Network, keep: float) -> int:
    """Number of synapses that remain. Raises ConfigError unless 0 < keep <= 1 and at least one is left."""
    if not (isinstance(keep, Real) and math.isfinite(keep) and 0 < keep <= 1):
        raise ConfigError(f"keep = {keep!r} is no share of the synapses", "give 0 < keep <= 1, say 0.3")
    count = round(keep * network.w_rec.nnz)
    if count == 0:
        raise ConfigError(
            f"keep = {keep!r} of {network.w_rec.nnz} recurrent synapses leaves none",
            "keep more, or start from a larger or denser network",
        )
    return count


def endpoints(network: Network) -> tuple[Index, Index]:
    """Presynaptic and postsynaptic neuron of each stored synapse, [nnz] each."""
    w = network.w_rec
    return np.repeat(np.arange(network.n), np.diff(w.indptr)), w.indices


def with_synapses(network: Network, kept: Mask, factor: Floats | float = 1.0) -> Network:
    """The network with only the synapses of mask kept [nnz], each weight times factor (a number or [nnz])."""
    pre, post = endpoints(network)
    data = (network.w_rec.data * factor)[kept]
    w_rec = sparse.csr_array((data, (pre[kept], post[kept])), shape=network.w_rec.shape)
    return replace(network, w_rec=w_rec)


def scaled(network: Network, factor: float) -> Network:
    """The network with all recurrent weights times factor."""
    return replace(network, w_rec=sparse.csr_array(network.w_rec * factor))


def abscissa_limit(network: Network, abscissa: float) -> float:
    """What the abscissa of a pruned network must not exceed, 1/s: that of the start network, with two bounds.

    At least that of a loop gain of 0.1: so little recurrence is harmless, and the computed eigenvalues of a
    graph nearly without loops are rounding errors. At most that of 0.95: an unstable start is no excuse.
    """
    tau = float(np.mean(network.tau_out))
    return min(max(abscissa, -0.9 / tau), -0.05 / tau)


def hold_abscissa(network: Network, limit: float) -> tuple[Network, float]:
    """The stability guard: one factor on all recurrent weights that keeps the abscissa within the limit.

    Returns the network and the factor, 1 if the guard had nothing to do. Every trial is measured at its own
    operating point. For fixed gains the loop gain is proportional to the factor, which gives the next trial.
    """
    tau = float(np.mean(network.tau_out))
    factor, trial = 1.0, network
    while (abscissa := network_abscissa(trial)) > limit:
        factor *= min(0.98, (1 + tau * limit) / (1 + tau * abscissa))
        trial = scaled(network, factor)
    return trial, factor
