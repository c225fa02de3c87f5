"""The float network, run without torch and without a dense matrix: one spike touches its own synapses only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.jit import cached
from lnp_edge.network import Floats, Network


class Simulation:
    """`batch` copies of a network side by side, stepped by inputs x [B, C]; float64, network.py's equations.

    i_syn, v (after the reset) [B, N] and z bool [B, N] are the state and may be read and set between steps.
    """

    def __init__(self, network: Network, batch: int):
        self._network = network
        self._alpha = np.exp(-network.dt / network.tau_syn)
        self._beta = np.exp(-network.dt / network.tau_mem)
        w = network.w_rec
        self._indptr, self._indices = w.indptr.astype(np.int64), w.indices.astype(np.int64)
        self._data = w.data.astype(np.float64)
        self.i_syn, self.v = np.zeros((2, batch, network.n))
        self.z = np.zeros((batch, network.n), np.bool_)

    def drive(self, x: NDArray) -> Floats:
        """What arrives at the synapses in this step: the last step's spikes, the input, the bias. [B, N]."""
        arrived = x @ self._network.w_in + self._network.bias
        _scatter(self.z, self._indptr, self._indices, self._data, arrived)
        return arrived

    def integrate(self, drive: Floats) -> None:
        """The rest of the step, given what arrived [B, N]."""
        _integrate(drive, self._alpha, self._beta, self._network.v_th, self.i_syn, self.v, self.z)

    def step(self, x: NDArray) -> NDArray[np.bool_]:
        """One step; the spikes [B, N], which the next step overwrites."""
        self.integrate(self.drive(x))
        return self.z


def filtered(network: Network, x: NDArray, tau: float) -> Iterator[Floats]:
    """Spikes of each step, x [B, T, C], through one leaky filter of time constant tau, s: rates r [B, N], a step each.

    r = gamma r + (1 - gamma) z, so that r is in spikes a step. Each is a new array.
    """
    gamma = np.exp(-network.dt / tau)
    run = Simulation(network, len(x))
    r = np.zeros((len(x), network.n))
    for now in np.moveaxis(x, 1, 0):
        r = gamma * r + (1 - gamma) * run.step(now)
        yield r


@cached
def _scatter(z, indptr, indices, data, into):
    """into[b, i] += sum of the weights from the neurons of z[b] that fired, in the order of the neurons."""
    for b in range(z.shape[0]):
        row = into[b]
        for j in range(z.shape[1]):
            if z[b, j]:
                for k in range(indptr[j], indptr[j + 1]):
                    row[indices[k]] += data[k]


@cached
def _integrate(drive, alpha, beta, v_th, i_syn, v, z):
    for b in range(drive.shape[0]):
        for i in range(drive.shape[1]):
            i_syn[b, i] = alpha[i] * i_syn[b, i] + drive[b, i]
            potential = beta[i] * v[b, i] + i_syn[b, i]
            z[b, i] = potential > v_th[i]
            v[b, i] = potential - v_th[i] if z[b, i] else potential
