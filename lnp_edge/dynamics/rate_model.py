"""A network as a linear model of its rates, around the point where it runs.

A neuron's file says which constant drive comes to a current of 1 into its membrane (drive_for). One spike more per
step of neuron j moves the mean current of neuron i by w_rec[j, i] / current_i, all populations alike: in the mean it is
the same whether a spike is read in its own step or in the next. How a change of the current is shared between the
membrane and the rate depends on the noise: the gain g_i = d rate_i / d current_i, for an integrate-and-fire neuron
from 0 to about 1 / v_th, is measured on the neuron itself (operating_point). So

    d rate_i = sum_j M[i, j] d rate_j + B[i, c] d x_c        M[i, j] = g_i / current_i * w_rec[j, i]
                                                             B[i, c] = g_i / current_i * w_in[c, i]

Rates are watched as the read-out sees them, through one leaky filter of time constant tau = mean tau_out:

    dr/dt = A r + noise      A = (M - I) / tau      Q = (diag(rate (1 - rate)) + B B' var(x)) / tau

Whose this is: A = W - D and A C + C A' + Q = 0 are Moore & Chaudhuri 2020 (arXiv:2011.07334), taken over by
Lyapunov noise pruning (arXiv:2403.03409). The gains, the common tau and Q are ours. Measured on 18 networks
(N = 256, density 0.3, rates 0.02 to 0.47): over all synapses, the variance of r_i -+ r_j in this C and in the
simulated spikes have a Spearman correlation of 0.92 to 0.98. Private Poisson noise alone, Q = diag(rate),
gave 0.33 to 0.96, and Q = I -0.04 to 0.92. The gain 1 / v_th for all, tried on 12 of them, gave at most 0.30.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from lnp_edge.base.errors import NetworkError
from lnp_edge.encoders.affine import TARGET_STD
from lnp_edge.network import X_SCALE, Floats, Network
from lnp_edge.network.simulate import Simulation

X_STD = TARGET_STD / X_SCALE  # of sensor data as the network gets it
DENSE_TO = 2000  # neurons; of more, only the outermost eigenvalues are computed where that is faster
COMPONENT_TO = 500  # neurons of a strongly connected component of such a network; above, by Arnoldi iteration
LARGE = 10_000  # neurons


@dataclass(frozen=True)
class OperatingPoint:
    """rate: spikes per step, gain: d rate / d current in spikes per step and unit of current, both [N]."""

    rate: Floats
    gain: Floats


@dataclass(frozen=True)
class RateModel:
    """dr/dt = A r + noise of intensity Q, as the module says; only M's synapses are stored.

    m : [N, N], row = postsynaptic, spikes per spike;  tau : s
    private, shared : Q tau = diag(private) + shared @ shared.T, [N] and [N, C]
    leak : the I of A, more where the network itself has no stationary covariance
    """

    m: sparse.csr_array
    tau: float
    private: Floats
    shared: Floats
    leak: float = 1.0

    def a(self) -> Floats:
        """A [N, N], 1/s, dense."""
        return (self.m.toarray() - self.leak * np.eye(self.m.shape[0])) / self.tau

    def q(self) -> Floats:
        """Q [N, N], dense."""
        return (np.diag(self.private) + self.shared @ self.shared.T) / self.tau

    def abscissa(self) -> float:
        """Largest real part of A's eigenvalues, 1/s: the network settles after a disturbance if it is negative."""
        return (rightmost(self.m) - self.leak) / self.tau

    def stabilised(self, highest: float) -> RateModel:
        """With as much more leak, equal for all, as lowers its abscissa to `highest`, 1/s."""
        return replace(self, leak=self.leak + self.tau * max(self.abscissa() - highest, 0.0))


def operating_point(
    network: Network, x: NDArray | None = None, steps: int = 300, batch: int | None = None
) -> OperatingPoint:
    """Rates and gains of the running network, by default under white input of the encoder's standard deviation.

    x : windows [B, T, C] as the network gets them, in the place of `batch` of white input of so many `steps`
    batch : 16 by default, 4 of a network beyond LARGE, where the means over neurons are good with less

    Two shadows of every neuron receive the same spikes and 0.05 v_th more and less current: their rates give
    the neuron's own gain, without the echo of the network. The first fifth of the steps is left out. Every
    network gets the same input, so that two networks do not differ by the draw.
    """
    rng = np.random.default_rng(0)
    batch = batch or (16 if network.n <= LARGE else 4)
    if x is not None:
        batch, steps = x.shape[:2]
    run, *shadows = (Simulation(network, batch) for _ in range(3))
    nudge = 0.05 * network.all("v_th")
    more = nudge * network.drive_for()[0]
    nudges = [more[at] for _, at in network.parts()]
    counts = np.zeros((3, network.n))
    for t in range(steps):
        now = np.clip(rng.normal(0, X_STD, (batch, len(network.w_in))), -2, 2) if x is None else x[:, t]
        for k, own in enumerate(nudges):
            drive = run.drive(k, now)
            run.integrate(k, drive)
            for shadow, sign in zip(shadows, (1, -1), strict=True):
                shadow.integrate(k, drive + sign * own)
        if t >= steps // 5:
            counts += [s.z.sum(0) for s in (run, *shadows)]
    rate, up, down = counts / (batch * (steps - steps // 5))
    return OperatingPoint(rate, np.maximum(up - down, 0) / (2 * nudge))


def rate_model(network: Network, point: OperatingPoint | None = None) -> RateModel:
    """The linear model around a point, by default the network's own."""
    point = point or operating_point(network)
    gain = point.gain / network.drive_for()[0]
    m = sparse.csr_array(network.w_rec.T.tocsr() * gain[:, None])
    shared = X_STD * gain[:, None] * network.w_in.T
    return RateModel(m, float(np.mean(network.tau_out)), point.rate * (1 - point.rate), shared)


def network_abscissa(network: Network) -> float:
    """Spectral abscissa in 1/s of the rate model at the network's own operating point."""
    return rate_model(network).abscissa()


def rightmost(m: sparse.csr_array) -> float:
    """Largest real part of the eigenvalues of a sparse matrix [N, N]."""
    return float(_outer(m, "LR").real.max())


def outermost(m: sparse.csr_array) -> float:
    """Largest |eigenvalue| of a sparse matrix [N, N], the spectral radius."""
    return float(np.abs(_outer(m, "LM")).max())


def _outer(m: sparse.csr_array, which: str) -> NDArray[np.complex128]:
    """All eigenvalues; of a matrix beyond DENSE_TO those of its strongly connected components, of a component beyond
    COMPONENT_TO the outermost, to four digits."""
    if m.shape[0] <= DENSE_TO:
        return linalg.eigvals(m.toarray())
    m = sparse.csr_array(m, copy=True)
    m.eliminate_zeros()
    count, component = connected_components(m, connection="strong")
    size = np.bincount(component, minlength=count)
    found = [m.diagonal()[size[component] == 1].astype(np.complex128)]
    members = np.split(np.argsort(component, kind="stable"), np.cumsum(size)[:-1])
    for k in np.flatnonzero(size > 1):
        block = m[members[k]][:, members[k]]
        found.append(linalg.eigvals(block.toarray()) if size[k] <= COMPONENT_TO else _arnoldi(block, which))
    return np.concatenate(found)


def _arnoldi(m: sparse.csr_array, which: str) -> NDArray[np.complex128]:
    """A ring alone, whose eigenvalues are all outermost, does not converge: NetworkError, and soon. Others take tens of
    restarts."""
    start = np.random.default_rng(0).standard_normal(m.shape[0])
    try:
        return eigs(m, k=4, ncv=40, which=which, v0=start, tol=1e-4, maxiter=300, return_eigenvectors=False)
    except ArpackNoConvergence as e:
        if len(e.eigenvalues):
            return e.eigenvalues
        raise NetworkError("the spectrum of the rate model did not converge", "choose fewer neurons") from None
