"""A random heterogeneous recurrent spiking network to start from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from lnp_edge.network import Network

REWIRED = 0.1  # share of the ring's synapses that go anywhere: Watts & Strogatz 1998, Nature 393:440
EXCITATORY = 0.8
LARGE = 2000  # neurons, from which on no table of all pairs is kept
SHAPE = 3.0  # of the gamma distributions of time constants
SHORTEST = 1.5  # steps; a leak of 16 bits holds down to 1.44
GAIN_IN, GAIN_REC = 2.0, 1.0


def random_network(
    n: int, c: int, o: int, dt: float, density: float, rng: np.random.Generator,
    tau_mem: float = 0.2, tau_syn: float = 0.1, tau_out: float = 4.0, heterogeneous: bool = True, clusters: int = 1,
) -> Network:  # fmt: skip
    """N neurons, C inputs, O outputs on a small-world digraph that holds `density` of the N*(N-1) synapses.

    tau_mem, tau_syn : s, means of the gamma distributions the neurons draw from; not heterogeneous: the mean itself.
    clusters : neighbours on the ring in so many groups, each with distributions of its own (CHRSNN): their means lie
    from half to twice the given, evenly in their logarithms.
    tau_out : s, every output.
    Weights into a neuron scale with (1 - alpha) * (1 - beta): its gain from a constant input to v is then
    the same for all time constants, and every neuron fires at a moderate rate.
    """
    drawn = [rng.gamma(SHAPE, mean / SHAPE, n) for mean in (tau_mem, tau_syn)]
    if not heterogeneous:
        drawn = [np.full(n, mean) for mean in (tau_mem, tau_syn)]
    scale = np.repeat(np.geomspace(0.5, 2.0, clusters) if clusters > 1 else 1.0, -(-n // clusters))[:n]
    mem, syn = (np.maximum(tau * scale, SHORTEST * dt) for tau in drawn)
    leak = (1 - np.exp(-dt / syn)) * (1 - np.exp(-dt / mem))
    sign = np.where(rng.random(n) < EXCITATORY, 1, -1).astype(np.int8)
    pre, post = _small_world(n, density, rng)
    # Four excitatory synapses to one inhibitory: four times the weight keeps a neuron's input balanced.
    strength = np.where(sign > 0, 1.0, EXCITATORY / (1 - EXCITATORY)) * sign
    per_target = GAIN_REC * leak / np.sqrt(max(1.0, density * n))
    w_rec = sparse.csr_array(
        (rng.lognormal(-0.5, 1.0, len(pre)) * strength[pre] * per_target[post], (pre, post)), (n, n)
    )
    w_rec.sort_indices()
    core = Network(
        dt=dt,
        tau_mem=mem,
        tau_syn=syn,
        tau_out=np.zeros(0),
        sign=sign,
        w_in=np.zeros((0, n)),
        w_rec=w_rec,
        w_out=np.zeros((n, 0)),
        bias=0.5 * leak,
        bias_out=np.zeros(0),
        v_th=np.ones(n),
    )
    return with_ports(core, c, o, dt, tau_out, rng)


def with_ports(core: Network, c: int, o: int, dt: float, tau_out: float, rng: np.random.Generator) -> Network:
    """The neurons and synapses of `core`, the same in steps, with new inputs and outputs for a task of step dt."""
    mem, syn = (tau / core.dt * dt for tau in (core.tau_mem, core.tau_syn))
    leak = (1 - np.exp(-dt / syn)) * (1 - np.exp(-dt / mem))
    return replace(
        core,
        dt=dt,
        tau_mem=mem,
        tau_syn=syn,
        tau_out=np.full(o, tau_out),
        w_in=GAIN_IN * rng.standard_normal((c, core.n)) * leak,
        w_out=rng.standard_normal((core.n, o)) * (1 - np.exp(-dt / tau_out)) / np.sqrt(core.n),
        bias_out=np.zeros(o),
    )


def _small_world(n: int, density: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs (pre, post) of different neurons: the nearest on a ring, REWIRED of them to anywhere."""
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
    """Distance 1, -1, 2, -2, ... for all neurons before the next: the last ring may be incomplete."""
    ring = pairs // n
    distance = np.where(ring % 2 == 0, ring // 2 + 1, -(ring // 2 + 1))
    pre = pairs % n
    return pre, (pre + distance) % n


def _large_small_world(n: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same in memory and time linear in the synapses: what is rewired is drawn again where it is taken."""
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
