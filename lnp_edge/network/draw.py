"""Draws a random heterogeneous recurrent spiking network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from lnp_edge.base.errors import ConfigError
from lnp_edge.config import LayerSettings, NetworkSettings
from lnp_edge.encoders.affine import TARGET_STD
from lnp_edge.network import X_SCALE, Floats, Network, Population
from lnp_edge.network.simulate import Simulation
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.spec.parameters import LONGEST, SHORTEST, constant

REWIRED = 0.1  # fraction of synapses rewired at random: Watts & Strogatz 1998, Nature 393:440
EXCITATORY = 0.8  # fraction of the neurons
LARGE = 2000  # neurons; larger networks are drawn without a table of all pairs
GAIN_IN, GAIN_REC = 2.0, 1.0
TRIALS, NEAR, FACTORS = 20, 0.05, (1 / 64, 4096)  # trials, tolerance and range of _match_first_rate
ONLY = "hidden"  # the name of a single population


def random_network(
    n: int, c: int, o: int, dt: float, density: float, rng: np.random.Generator, neuron: str,
    tau_out: float = 4.0, heterogeneous: bool = True, clusters: int = 1, **means: float,
) -> Network:  # fmt: skip
    """A network with one recurrent population of N neurons, C inputs and O outputs; see drawn.

    means : means of the neuron's parameters
    """
    settings = NetworkSettings(neuron, n, density, heterogeneous, clusters, tau_out, params=means)
    return drawn(settings, c, o, dt, rng)


def drawn(settings: NetworkSettings, c: int, o: int, dt: float, rng: np.random.Generator) -> Network:
    """The start network of a configuration, with C inputs and O outputs. All times are in one unit.

    The synapses of a recurrent layer form a small-world digraph with `density` of the n * (n - 1)
    possible edges. From one layer to the next, the second layer's `density` of all pairs is drawn
    uniformly. Parameters are drawn as the neuron's file says, with the means of the configuration;
    a network that is not heterogeneous gets the means themselves. With `clusters`, groups of
    neighbours on the ring draw their time constants from distributions of their own (CHRSNN), whose
    means are log-spaced from half to twice the configured mean. All outputs have the same tau_out.

    Weights into a neuron scale with the constant drive for a potential of 1: the gain from a
    constant input to v is then the same for all time constants, and all neurons fire at moderate
    rates. The scale of the weights between layers is measured: see _match_first_rate.
    """
    layers = settings.layers
    populations: list[Population] = []
    signs, ends, data, first = [], [np.zeros((2, 0), np.int64)], [np.zeros(0)], 0
    for k, layer in enumerate(layers):
        params = _parameters(layer, settings, dt, rng)
        name = ONLY if len(layers) == 1 else f"layer{k + 1}"
        populations.append(Population(name, layer.neuron, params, hears=k == 0, feeds=k == len(layers) - 1))
        signs.append(np.where(rng.random(layer.neurons) < EXCITATORY, 1, -1).astype(np.int8))
        unit = populations[-1].drive_for(dt)[1]
        if layer.recurrent:
            pre, post = _small_world(layer.neurons, layer.density, rng)
            ends.append(np.stack((first + pre, first + post)))
            data.append(_weights(signs[k], pre, unit, post, layer.density * layer.neurons, rng))
        if k:
            before = layers[k - 1].neurons
            pre, post = _anywhere(before, layer.neurons, layer.density, rng)
            ends.append(np.stack((first - before + pre, first + post)))
            data.append(_weights(signs[k - 1], pre, unit, post, layer.density * before, rng))
        first += layer.neurons
    w_rec = sparse.csr_array((np.concatenate(data), tuple(np.concatenate(ends, axis=1))), (first, first))
    w_rec.sort_indices()
    core = Network(
        dt=dt,
        populations=tuple(populations),
        sign=np.concatenate(signs),
        w_in=np.zeros((0, first)),
        w_rec=w_rec,
        w_out=np.zeros((first, 0)),
        tau_out=np.zeros(0),
        bias_out=np.zeros(0),
        w_skip=np.zeros((0, 0)) if settings.skip else None,
        readout=settings.readout,
    )
    network = with_ports(core, c, o, dt, settings.tau_out, rng, settings.inputs)
    for k in range(1, len(layers)):
        network = _match_first_rate(network, k)
    return network


def with_ports(
    core: Network, c: int, o: int, dt: float, tau_out: float, rng: np.random.Generator, inputs: int = 0
) -> Network:
    """The network `core` with new inputs and outputs, for a task of time step dt.

    inputs : how many of the inputs each neuron receives; 0: all

    Time constants of `core` keep their length in steps. The weights follow `hears` and `feeds` of
    each population; w_skip is drawn if `core` has one.
    """
    if core.leaks:
        _require_stored("tau_out", tau_out, dt)
    populations = tuple(
        replace(p, params={name: a / core.dt * dt if p.module.PARAMETERS[name].is_time else a
                           for name, a in p.params.items()})
        for p in core.populations
    )  # fmt: skip
    network = replace(core, dt=dt, populations=populations, tau_out=np.full(o, tau_out), bias_out=np.zeros(o))
    hears, feeds = (np.repeat([getattr(p, end) for p in populations], [p.n for p in populations])
                    for end in ("hears", "feeds"))  # fmt: skip
    w_in, w_out, gain = np.zeros((c, core.n)), np.zeros((core.n, o)), 1 - np.exp(-dt / tau_out)
    w_in[:, hears] = GAIN_IN * rng.standard_normal((c, hears.sum())) * network.drive_for()[1][hears]
    if 0 < inputs < c:
        w_in *= (rng.random((c, core.n)).argsort(0) < inputs) * np.sqrt(c / inputs)
    w_out[feeds] = rng.standard_normal((feeds.sum(), o)) * gain / np.sqrt(feeds.sum())
    skip = None if core.w_skip is None else rng.standard_normal((c, o)) * gain / np.sqrt(c)
    return replace(network, w_in=w_in, w_out=w_out, w_skip=skip)


def _parameters(
    layer: LayerSettings, settings: NetworkSettings, dt: float, rng: np.random.Generator
) -> dict[str, Floats]:
    """The drawn parameters of a population, [n] each."""
    n, clusters = layer.neurons, settings.clusters
    spread = np.repeat(np.geomspace(0.5, 2.0, clusters) if clusters > 1 else 1.0, -(-n // clusters))[:n]
    found: dict[str, Floats] = {}
    for name, p in neuron_module(layer.neuron).PARAMETERS.items():
        mean = layer.params.get(name, p.default)
        values = p.draw(rng, n, mean)  # draw in any case, so that rng advances equally
        if not settings.heterogeneous:
            values = constant(rng, n, mean)
        if p.is_time:
            _require_stored(name, mean, dt)
            values = np.clip(values * spread, SHORTEST * dt, LONGEST * dt)
        if p.scale:
            values = values * p.scale(dt, found)
        found[name] = np.clip(values, p.low, p.high)
    return found


def _require_stored(name: str, tau: float, dt: float) -> None:
    """Raise ConfigError for a time constant that could be trained, but not quantised. tau, dt : in one unit"""
    if tau > LONGEST * dt:
        raise ConfigError(
            f"{name} is {tau / dt:.4g} steps: the leak of a device holds at most {LONGEST:,}",
            f"choose a shorter {name} in [network], or longer steps with [data] frame",
        )


def _match_first_rate(network: Network, k: int) -> Network:
    """Scale the weights from layer k - 1 to k until k has the mean firing rate of the first layer.

    The factor is measured because it depends on the time step and on the neuron's adaptation.
    """
    (_, before), (_, own) = network.parts()[k - 1 : k + 1]
    pre, post = np.repeat(np.arange(network.n), np.diff(network.w_rec.indptr)), network.w_rec.indices
    forward = (pre >= before.start) & (pre < before.stop) & (post >= own.start) & (post < own.stop)
    low, high, factor = 0.0, np.inf, 1.0
    for _ in range(TRIALS):
        w_rec = network.w_rec.copy()
        w_rec.data[forward] *= factor
        trial = replace(network, w_rec=w_rec)
        wanted, rate = _rates(trial)[[0, k]]
        if abs(rate - wanted) <= NEAR * wanted:
            break
        low, high = (factor, high) if rate < wanted else (low, factor)
        factor = np.sqrt(low * high) if low > 0 and high < np.inf else factor * (4 if rate < wanted else 1 / 4)
        factor = np.clip(factor, *FACTORS)
    return trial


def _rates(network: Network, steps: int = 300, batch: int = 4) -> Floats:
    """Mean spikes per neuron and step of each population, under white input.

    The first third of the steps does not count.
    """
    run, rng = Simulation(network, batch), np.random.default_rng(0)
    counts = np.zeros(len(network.populations))
    for t in range(steps):
        run.step(np.clip(rng.normal(0, TARGET_STD / X_SCALE, (batch, len(network.w_in))), -2, 2))
        if t >= steps // 3:
            counts += [z.mean() for z in run.spikes]
    return counts / (steps - steps // 3)


def _weights(
    sign: np.ndarray, pre: np.ndarray, unit: Floats, post: np.ndarray, fan_in: float, rng: np.random.Generator
) -> Floats:
    """The weights of synapses pre -> post.

    unit   : drive for a potential of 1, per target
    fan_in : synapses per target
    """
    # One synapse in five is inhibitory: four times the weight keeps a neuron's input balanced.
    strength = np.where(sign > 0, 1.0, EXCITATORY / (1 - EXCITATORY)) * sign
    per_target = GAIN_REC * unit / np.sqrt(max(1.0, fan_in))
    return rng.lognormal(-0.5, 1.0, len(pre)) * strength[pre] * per_target[post]


def _anywhere(n_pre: int, n_post: int, density: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`density` of all pairs (pre, post) of neurons of two populations, drawn uniformly."""
    chosen = rng.choice(n_pre * n_post, round(density * n_pre * n_post), replace=False, shuffle=False)
    return np.divmod(np.sort(chosen), n_post)


def _small_world(n: int, density: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs (pre, post) of nearest neighbours on a ring, REWIRED of them at random."""
    count = round(density * n * (n - 1))
    if n > LARGE:
        return _large_small_world(n, count, rng)
    pairs = np.arange(count)
    pre, post = _ring(n, pairs)
    free = np.ones((n, n), bool)
    np.fill_diagonal(free, False)
    free[pre, post] = False
    for k in np.flatnonzero(rng.random(count) < REWIRED):
        choices = np.flatnonzero(free[pre[k]])
        if len(choices):
            new = rng.choice(choices)
            free[pre[k], post[k]], free[pre[k], new] = True, False
            post[k] = new
    return pre, post


def _ring(n: int, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs at distance 1, -1, 2, -2, ...: all neurons of one distance before the next."""
    ring = pairs // n
    distance = np.where(ring % 2 == 0, ring // 2 + 1, -(ring // 2 + 1))
    pre = pairs % n
    return pre, (pre + distance) % n


def _large_small_world(n: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """As _small_world, in memory and time linear in the synapses: taken pairs are drawn again."""
    pre, post = _ring(n, np.arange(count, dtype=np.int64))
    loose = np.flatnonzero(rng.random(count) < REWIRED)
    fixed = np.ones(count, bool)
    fixed[loose] = False
    taken = np.sort(pre[fixed] * n + post[fixed])
    while len(loose):
        post[loose] = rng.integers(0, n, len(loose))
        key = pre[loose] * n + post[loose]
        at = np.minimum(np.searchsorted(taken, key), len(taken) - 1)
        free = (taken[at] != key) & (pre[loose] != post[loose])
        _, first = np.unique(key, return_index=True)
        once = np.zeros(len(loose), bool)
        once[first] = True
        good = free & once
        taken = np.sort(np.concatenate([taken, key[good]]))
        loose = loose[~good]
    return pre, post
