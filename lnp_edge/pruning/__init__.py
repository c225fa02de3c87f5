"""Pruning: one file a method, found by its name; files with an underscore are the steps that methods share.

A method is a module with

    prune(network: Network, keep: float, seed: int, progress=None, options=NoiseSettings()) -> Network

keep     : the share of the synapses between neurons that remain, within a population and from one to another; those of
           the input and of the read-out are left alone. Exactly round(keep * synapses) do; those that go with a
           removed neuron count as pruned. No synapse is new, none changes its sign, and the same seed
           gives the same result. Where lnp is asked to add some ([prune.noise] added), these are new, and fewer than
           the budget remain if the guard refuses some. Raises ConfigError if keep makes no sense, NetworkError if the
           network does not allow it.
progress : None, or a function of (share done 0..1, what is being done).
options  : of [prune.noise]; a method takes what concerns it.

A method that needs more than the network says so: NEEDS = "training" (a trained network, and x: its input) or
NEEDS = "gradient" (of the loss by each weight between neurons at the start). One with RESUMES = True takes `resume`, a
file it goes on from after a stop. What the methods share is here; `describe` measures what any of them did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.base.progress import Progress
from lnp_edge.dynamics.rate_model import network_abscissa, operating_point, outermost, rate_model
from lnp_edge.network import Floats, Network

# A graph with hardly a loop left never gets the loop gain asked for: weights grow without end and training diverges.
# Networks of 100 and 200 neurons at 50 to 2 % kept needed factors up to 723 (most of them 2 to 50), or beyond 4000.
LARGEST_FACTOR = 1000.0
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Measure:
    """A network in numbers, at its own operating point (rate_model.operating_point).

    abscissa : of the rate model, 1/s; the network settles again after a disturbance if it is negative
    radius   : largest |eigenvalue| of the rate model's M, spikes per spike: the gain once around the recurrence
    rate     : mean spikes per neuron and step
    synops   : synaptic operations a step by recurrent synapses, sum of rate times fan-out
    """

    synapses: int
    neurons: int
    abscissa: float
    radius: float
    rate: float
    synops: float


@dataclass(frozen=True)
class Report:
    """What a pruning did. held: the abscissa keeps to abscissa_limit; lnp sees to that unless told a loop gain."""

    before: Measure
    after: Measure
    held: bool


def describe(before: Network, after: Network) -> Report:
    """Measure a pruning, whichever method did it."""
    was, now = measure(before), measure(after)
    return Report(was, now, now.abscissa <= abscissa_limit(before, was.abscissa))


def measure(network: Network) -> Measure:
    point = operating_point(network)
    model = rate_model(network, point)
    fan_out = np.diff(network.w_rec.indptr)
    return Measure(
        network.w_rec.nnz, network.n, model.abscissa(), outermost(model.m),
        float(point.rate.mean()), float(point.rate @ fan_out),
    )  # fmt: skip


def budget(network: Network, keep: float) -> int:
    """Number of synapses that remain. Raises ConfigError unless 0 < keep <= 1, NetworkError if none is left."""
    if not (isinstance(keep, Real) and math.isfinite(keep) and 0 < keep <= 1):
        raise ConfigError(f"keep = {keep!r} is no share of the synapses", "give 0 < keep <= 1, say 0.3")
    count = round(keep * network.w_rec.nnz)
    if count == 0:
        raise NetworkError(
            f"keep = {keep!r} of {network.w_rec.nnz} synapses between neurons leaves none",
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
    """The network with all recurrent weights times factor: those of synapses that can be part of a loop.

    From one population to another there is none, unless a way leads back: what a layer receives from the one before is
    left alone.
    """
    number = population_of(network)
    pre, post = (number[ends] for ends in endpoints(network))
    size = len(network.populations)
    joined = sparse.csr_array((np.ones(len(pre)), (pre, post)), (size, size))
    _, loop = connected_components(joined, connection="strong")
    w_rec = network.w_rec.copy()
    w_rec.data = np.where(loop[pre] == loop[post], w_rec.data * factor, w_rec.data)
    return replace(network, w_rec=w_rec)


def population_of(network: Network) -> Index:
    """The number of the population of each neuron, [N]."""
    return np.repeat(np.arange(len(network.populations)), [p.n for p in network.populations])


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


def with_loop_gain(
    network: Network, wanted: float, most: float = LARGEST_FACTOR, progress: Progress | None = None, trials: int = 12
) -> Network:
    """All recurrent weights times the factor, up to `most`, that brings the loop gain 1 + tau * abscissa to `wanted`.

    Every trial is measured at its own operating point. Within 2 % of the loop gain, or else as near as the best
    trial: a finer match is below the noise of the measured gains.
    """
    factor, tried = 1.0, []
    for k in range(trials):
        if progress:
            progress(k / trials, "gain")
        gain = loop_gain(scaled(network, factor))
        tried.append((abs(gain - wanted), factor))
        if abs(gain - wanted) <= 0.02 * wanted or min(gain, wanted) <= 0 or (factor == most and gain < wanted):
            break
        factor = min(most, factor * (wanted / gain) ** 0.8)
    return scaled(network, min(tried)[1])


def loop_gain(network: Network) -> float:
    """1 + tau * abscissa of the rate model: what comes back of a slow disturbance; stable below 1."""
    return 1 + float(np.mean(network.tau_out)) * network_abscissa(network)


def keep_largest(network: Network, score: Floats, count: int, seed: int) -> Network:
    """The `count` synapses of largest score [nnz]; the seed breaks ties."""
    order = np.random.default_rng(seed).permutation(len(score))
    kept = np.zeros(len(score), bool)
    kept[order[np.argsort(score[order], kind="stable")][-count:]] = True
    return with_synapses(network, kept)
