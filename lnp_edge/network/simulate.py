"""Simulates the float network without torch and without dense matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.jit import cached, inner, tuple_of
from lnp_edge.network import Floats, Network
from lnp_edge.spec import floats
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.spec.ops import bind
from lnp_edge.spec.trace import trace


class Simulation:
    """`batch` copies of a network in float64, stepped together by inputs x [B, C].

    state  : per population, [S, B, n] in the order of its neuron's STATE
    spikes : per population, bool [B, n]

    Both hold the values after the last step and may be changed between steps.
    """

    def __init__(self, network: Network, batch: int):
        parts = network.parts()
        self.state = [np.zeros((len(p.module.STATE), batch, p.n)) for p, _ in parts]
        self.spikes = [np.zeros((batch, p.n), np.bool_) for p, _ in parts]
        self._steps = [_kernel(p.neuron) for p, _ in parts]
        self._constants = [np.stack(p.constants(network.dt)) for p, _ in parts]
        self._w_in = [np.ascontiguousarray(network.w_in[:, at]) for _, at in parts]
        self._incoming = [_incoming(network, at) for _, at in parts]

    @property
    def z(self) -> NDArray[np.bool_]:
        """Spikes of all neurons [B, N], read-only."""
        return self.spikes[0] if len(self.spikes) == 1 else np.concatenate(self.spikes, axis=1)

    def drive(self, k: int, x: NDArray) -> Floats:
        """The drive of population k, [B, n], from the input and the current spikes."""
        arrived = x @ self._w_in[k]
        for source, w in self._incoming[k]:
            _scatter(self.spikes[source], *w, arrived)
        return arrived

    def integrate(self, k: int, drive: Floats) -> None:
        """Step population k with this drive [B, n]."""
        self._steps[k](drive, self._constants[k], self.state[k], self.spikes[k])

    def step(self, x: NDArray) -> NDArray[np.bool_]:
        """Step all populations and return the spikes [B, N], which the next step may overwrite."""
        for k in range(len(self.state)):
            self.integrate(k, self.drive(k, x))
        return self.z


def filtered(network: Network, x: NDArray, tau: float) -> Iterator[Floats]:
    """Yield the filtered firing rates r [B, N] after each step of x [B, T, C].

    tau : s

    r = gamma r + (1 - gamma) z with gamma = exp(-dt / tau), so r is in spikes per step. Each r is a
    new array.
    """
    gamma = np.exp(-network.dt / tau)
    run = Simulation(network, len(x))
    r = np.zeros((len(x), network.n))
    for now in np.moveaxis(x, 1, 0):
        r = gamma * r + (1 - gamma) * run.step(now)
        yield r


def _incoming(network: Network, target: slice) -> list[tuple[int, tuple[NDArray, NDArray, NDArray]]]:
    """The index of each population that projects to the target, and (indptr, indices, data)."""
    found = []
    for source, (_, at) in enumerate(network.parts()):
        w = network.w_rec[at, target] if len(network.populations) > 1 else network.w_rec
        if w.nnz:
            found.append((source, (w.indptr.astype(np.int64), w.indices.astype(np.int64), w.data.astype(np.float64))))
    return found


@cached
def _scatter(z, indptr, indices, data, into):
    """into[b, i] += the weights from the neurons that fired in z[b], summed in their order."""
    for b in range(z.shape[0]):
        row = into[b]
        for j in range(z.shape[1]):
            if z[b, j]:
                for k in range(indptr[j], indptr[j + 1]):
                    row[indices[k]] += data[k]


@cache
def _kernel(neuron: str) -> Callable:
    """The step of a population of this neuron, compiled once and cached on disk."""
    module = neuron_module(neuron)
    plain = {name: inner(meaning) for name, meaning in floats.PLAIN.items()}
    scope = globals() | {
        "neuron_step": inner(bind(module.step, plain)),
        "variables_of": tuple_of("a, b, i", "a[{s}, b, i]", len(module.STATE)),
        "constants_of": tuple_of("a, i", "a[{s}, i]", len(module.TABLES)),
        "N_VARS": len(module.STATE),
    }
    return cached(bind(_step, scope), floats, str(trace(module.step)), name=f"step_{neuron}")


def _unbound(*_: Any) -> Any:
    """Placeholder for what _kernel binds to a neuron."""
    raise NotImplementedError


neuron_step = variables_of = constants_of = _unbound
N_VARS = 0


def _step(drive, constants, state, z):
    for b in range(drive.shape[0]):
        for i in range(drive.shape[1]):
            after = neuron_step(*variables_of(state, b, i), drive[b, i], *constants_of(constants, i))
            for s in range(N_VARS):
                state[s, b, i] = after[s]
            z[b, i] = after[N_VARS] != 0
