"""Pruning methods, one per file. Adding a file adds a method; steps/ holds the steps they share.

A method is a module that defines

    prune(network, keep, seed, progress=None, options=NoiseSettings(), block=1) -> Network

keep     : the fraction of the synapses between neurons that remains, within and between
           populations. Exactly round(keep * synapses) remain; the synapses of a removed neuron
           count as pruned. Synapses of the input and the read-out are not counted. No synapse is
           added and none changes its sign; the same seed gives the same result. The exception is
           lnp with [prune.noise] added, which adds synapses and keeps fewer than the budget if its
           stability guard refuses some.
progress : None, or a function of (fraction done 0..1, current step)
options  : [prune.noise]; a method uses the options that concern it
block    : [prune] block, see steps/blocks.py. A method without this parameter serves 1 alone. With
           more, blocks of synapses stay or go as a whole, but for one, of which the rest of the budget
           stays. The method scores synapses, with 0 or more; keep_largest and prune_edges choose among
           blocks. Neurons may change places, see `arranged`.

Raises ConfigError if keep is out of range, and NetworkError if the network cannot be pruned so far.

A method that needs more than the network declares it: NEEDS = "training" needs a trained network
and its input x; NEEDS = "gradient" needs the gradient of the loss with respect to each weight
between neurons at the start. A method with RESUMES = True accepts `resume`, a checkpoint file. This
module has what the methods share; `describe` measures the result of any method.

Before `prune`, prune_inputs removes synapses from the input, as [prune] inputs says, with every
method; only [prune] shared prunes them last, as the network that it prunes has no input of the task
yet. It chooses at random, or by the largest values of what a method may define:

    input_score(network, rng, options=NoiseSettings()) -> [C, N], of each synapse

NEEDS adds x, or the gradient with respect to w_in [C, N].
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.base.progress import Progress
from lnp_edge.config import PruneSettings
from lnp_edge.dynamics.rate_model import network_abscissa, operating_point, outermost, rate_model
from lnp_edge.network import Floats, Network
from lnp_edge.pruning.steps.blocks import arranged, blocks_of
from lnp_edge.spec import plugins

# A graph with almost no loops cannot reach the wanted loop gain: weights would grow without bound
# and training diverge. Networks of 100 and 200 neurons with 2 to 50 % of the synapses needed
# factors of up to 723, or of more than 4000.
LARGEST_FACTOR = 1000.0
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Measure:
    """Properties of a network at its own operating point (rate_model.operating_point).

    synapses, inputs : between neurons, and from the input
    abscissa : spectral abscissa of the rate model, 1/s; if negative, perturbations decay
    radius   : spectral radius of the rate model's M, spikes per spike
    rate     : mean spikes per neuron and step
    synops   : synaptic operations per step of recurrent synapses, the sum of rate times fan-out
    """

    synapses: int
    inputs: int
    neurons: int
    abscissa: float
    radius: float
    rate: float
    synops: float


@dataclass(frozen=True)
class PruningReport:
    """A network before and after pruning.

    held : whether the abscissa is within abscissa_limit. lnp ensures it unless a loop gain is set.
    """

    before: Measure
    after: Measure
    held: bool


def pruned(
    settings: PruneSettings, network: Network, seed: int, progress: Progress | None = None, **needed: Any
) -> Network:
    """The network as [prune] keep, method and block say. needed : what the method needs besides

    Raises ConfigError for a method that does not serve [prune] block.
    """
    method = plugins.get("lnp_edge.pruning", settings.method)
    if settings.block > 1:
        serving = [name for name in plugins.names("lnp_edge.pruning") if serves_blocks(name)]
        if settings.method not in serving:
            what = f"[prune] block is {settings.block}, but {settings.method} prunes single synapses"
            raise ConfigError(what, f"set block = 1, or choose a method that serves blocks: {', '.join(serving)}")
        needed = needed | {"block": settings.block}
    return method.prune(network, settings.keep, seed, progress, settings.noise, **needed)


def serves_blocks(method: str) -> bool:
    """Whether a method can keep whole blocks."""
    return "block" in inspect.signature(plugins.get("lnp_edge.pruning", method).prune).parameters


def describe(before: Network, after: Network) -> PruningReport:
    """Measure a network before and after pruning by any method."""
    was, now = measure(before), measure(after)
    return PruningReport(was, now, now.abscissa <= abscissa_limit(before, was.abscissa))


def measure(network: Network) -> Measure:
    """The properties of a network at its own operating point."""
    point = operating_point(network)
    model = rate_model(network, point)
    fan_out = np.diff(network.w_rec.indptr)
    return Measure(
        network.w_rec.nnz, int(np.count_nonzero(network.w_in)), network.n, model.abscissa(), outermost(model.m),
        float(point.rate.mean()), float(point.rate @ fan_out),
    )  # fmt: skip


def budget(network: Network, keep: float) -> int:
    """Number of synapses that remain.

    Raises ConfigError unless 0 < keep <= 1, and NetworkError if no synapse would remain.
    """
    _check("keep", keep)
    count = round(keep * network.w_rec.nnz)
    if count == 0:
        hint = "keep more, or start from a larger or denser network"
        none = "set [prune] keep = 1, for there is nothing to prune; or recurrent = true and a density above 0"
        raise NetworkError(
            f"keep = {keep!r} of {network.w_rec.nnz} synapses between neurons leaves none",
            hint if network.w_rec.nnz else none,
        )
    return count


def _check(name: str, share: float) -> None:
    if not (isinstance(share, Real) and math.isfinite(share) and 0 < share <= 1):
        raise ConfigError(f"{name} = {share!r} is out of range", f"choose 0 < {name} <= 1, for example 0.3")


def prune_inputs(network: Network, share: float, seed: int, score: Floats | None = None) -> Network:
    """The network with exactly round(share * synapses) of its synapses from the input.

    score : [C, N]; None: random

    Each neuron keeps those of largest score, as many as any other neuron or one more, or all if it
    has fewer; the score decides which neurons keep one more, the seed breaks ties. The factor
    of a neuron's weights restores the sum of their squares: the variance of what it receives from
    independent inputs of equal variance.
    Raises ConfigError unless 0 < share <= 1, and NetworkError if no synapse would remain.
    """
    _check("inputs", share)
    w, rng = network.w_in, np.random.default_rng(seed)
    synapse = w != 0
    count = round(share * int(synapse.sum()))
    if count == 0:
        raise NetworkError(
            f"inputs = {share!r} of {synapse.sum()} synapses from the input leaves none",
            "keep more, or omit [prune] inputs, which keeps all",
        )
    tie = rng.random(w.shape)
    score = np.where(synapse, tie if score is None else score, -np.inf)
    rank = np.lexsort((tie, -score), axis=0).argsort(0)  # among the synapses of the same neuron
    kept = np.zeros(w.shape, bool)
    kept.flat[np.lexsort([key.ravel() for key in (tie, -score, rank, ~synapse)])[:count]] = True
    before, after = (np.square(one).sum(0) for one in (w, w * kept))
    factor = np.sqrt(np.divide(before, after, out=np.ones_like(before), where=after > 0))
    return replace(network, w_in=w * kept * factor)


def endpoints(network: Network) -> tuple[Index, Index]:
    """The presynaptic and the postsynaptic neuron of each synapse, [nnz] each."""
    w = network.w_rec
    return np.repeat(np.arange(network.n), np.diff(w.indptr)), w.indices


def with_synapses(network: Network, kept: Mask, factor: Floats | float = 1.0) -> Network:
    """The network with only the synapses in the mask `kept` [nnz], their weights scaled.

    factor : a number, or [nnz]
    """
    pre, post = endpoints(network)
    data = (network.w_rec.data * factor)[kept]
    w_rec = sparse.csr_array((data, (pre[kept], post[kept])), shape=network.w_rec.shape)
    return replace(network, w_rec=w_rec)


def scaled(network: Network, factor: float) -> Network:
    """The network with all recurrent weights multiplied by `factor`.

    A weight is recurrent if its populations lie on a loop. Feed-forward weights from one layer to
    the next do not change.
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
    """The index of each neuron's population, [N]."""
    return np.repeat(np.arange(len(network.populations)), [p.n for p in network.populations])


def abscissa_limit(network: Network, abscissa: float) -> float:
    """The largest abscissa allowed after pruning, 1/s: that of the start network, within bounds.

    abscissa : of the start network, 1/s

    The lower bound is the abscissa at a loop gain of 0.1, because so little recurrence is harmless,
    and the computed eigenvalues of a graph almost without loops are rounding errors. The upper
    bound is that at 0.95, in case the start network is unstable.
    """
    tau = float(np.mean(network.tau_out))
    return min(max(abscissa, -0.9 / tau), -0.05 / tau)


def hold_abscissa(network: Network, limit: float) -> tuple[Network, float]:
    """The stability guard: scales all recurrent weights until the abscissa is within the limit.

    Returns the network and the factor, which is 1 if no scaling was needed. Every trial is measured
    at its own operating point. The next factor assumes that the loop gain is proportional to it, as
    it is for fixed neuron gains.
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
    """The network with recurrent weights scaled to the loop gain 1 + tau * abscissa = `wanted`.

    most   : largest factor
    trials : most factors to try

    Every trial is measured at its own operating point. The search stops within 2 % of the wanted
    loop gain, because a finer match is below the noise of the measured gains; else the best trial
    is returned.
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
    """1 + tau * abscissa of the rate model: the gain of slow perturbations. Stable below 1."""
    return 1 + float(np.mean(network.tau_out)) * network_abscissa(network)


def keep_largest(network: Network, score: Floats, count: int, seed: int, block: int = 1) -> Network:
    """The network with the `count` synapses of the blocks of largest score [nnz]; the seed breaks ties."""
    rng = np.random.default_rng(seed)
    network, score = arranged(network, score, count, block, rng)
    blocks = blocks_of(network, block)
    sums = blocks.sums(score)
    order = rng.permutation(len(sums))
    falling = order[np.argsort(sums[order], kind="stable")][::-1]
    return with_synapses(network, blocks.first(falling, count, score))
