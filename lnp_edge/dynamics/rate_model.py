"""A linear model of a network's firing rates around its operating point.

A neuron's file defines the constant drive for a membrane current of 1 (drive_for). One more spike
per step of neuron j changes the mean current of neuron i by w_rec[j, i] / current_i, whether the
spike is read in its own step or in the next. How much of a change of the current reaches the rate
depends on the noise. So the gain g_i = d rate_i / d current_i, which lies between 0 and about
1 / v_th for an integrate-and-fire neuron, is measured on the neuron itself (operating_point). Then

    d rate_i = sum_j M[i, j] d rate_j + B[i, c] d x_c        M[i, j] = g_i / current_i * w_rec[j, i]
                                                             B[i, c] = g_i / current_i * w_in[c, i]

The model describes the rates after one leaky filter of time constant tau = mean tau_out, as in the
read-out:

    dr/dt = A r + noise      A = (M - I) / tau      Q = (diag(rate (1 - rate)) + B B' var(x)) / tau

A = W - D and A C + C A' + Q = 0 are from Moore & Chaudhuri 2020 (arXiv:2011.07334) and are used by
Lyapunov noise pruning (arXiv:2403.03409). The gains, the common tau and Q are ours. Spearman
correlation over all synapses between the variance of r_i -+ r_j in C and in simulated spikes, on 18
networks (N = 256, density 0.3, rates 0.02 to 0.47):

    this model                                            0.92 to 0.98
    private Poisson noise alone, Q = diag(rate)           0.33 to 0.96
    Q = I                                                -0.04 to 0.92
    gain 1 / v_th for all neurons (12 of the networks)    at most 0.30
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

X_STD = TARGET_STD / X_SCALE  # of the network's input for sensor data
DENSE_TO = 2000  # neurons; in larger networks _outer works by components
COMPONENT_TO = 500  # neurons; Arnoldi iteration is used for larger components
LARGE = 10_000  # neurons


@dataclass(frozen=True)
class OperatingPoint:
    """Rates and gains at which a network runs.

    rate : [N], spikes per step
    gain : [N], d rate / d current, spikes per step and unit of current
    """

    rate: Floats
    gain: Floats


@dataclass(frozen=True)
class RateModel:
    """dr/dt = A r + noise of intensity Q, as in the module's docstring, with a sparse M.

    m : [N, N], row = postsynaptic, spikes per spike
    tau : s
    private, shared : [N] and [N, C]; Q tau = diag(private) + shared @ shared.T
    leak : factor of I in A; above 1 if the network itself has no stationary covariance
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
        """Largest real part of the eigenvalues of A, 1/s. If negative, perturbations decay."""
        return (rightmost(self.m) - self.leak) / self.tau

    def stabilised(self, highest: float) -> RateModel:
        """The model with its abscissa lowered to at most `highest`, 1/s, by more leak."""
        return replace(self, leak=self.leak + self.tau * max(self.abscissa() - highest, 0.0))


def operating_point(
    network: Network, x: NDArray | None = None, steps: int = 300, batch: int | None = None
) -> OperatingPoint:
    """Measure the rates and gains of a network.

    x     : input windows [B, T, C]; None: `batch` windows of `steps` steps of white input with the
            encoder's standard deviation, the same for every network
    batch : by default 16, or 4 for networks of more than LARGE neurons

    Two copies of every neuron receive the same spikes, and 0.05 v_th more and less current. Their
    rates give the neuron's own gain, without feedback through the network. The first fifth of the
    steps does not count.
    """
    rng = np.random.default_rng(0)
    batch = batch or (16 if network.n <= LARGE else 4)
    if x is None:
        each_step = np.clip(rng.normal(0, X_STD, (steps, batch, len(network.w_in))), -2, 2)
    else:
        batch, steps = x.shape[:2]
        each_step = np.moveaxis(x, 1, 0)
    run, *shadows = (Simulation(network, batch) for _ in range(3))
    nudge = 0.05 * network.all("v_th")
    more = nudge * network.drive_for()[0]
    nudges = [more[at] for _, at in network.parts()]
    counts = np.zeros((3, batch, network.n), np.int64)
    for t, now in enumerate(each_step):
        for k, own in enumerate(nudges):
            drive = run.drive(k, now)
            run.integrate(k, drive)
            for shadow, sign in zip(shadows, (1, -1), strict=True):
                shadow.integrate(k, drive + sign * own)
        if t >= steps // 5:
            for count, simulation in zip(counts, (run, *shadows), strict=True):
                count += simulation.z
    rate, up, down = counts.sum(1) / (batch * (steps - steps // 5))
    return OperatingPoint(rate, np.maximum(up - down, 0) / (2 * nudge))


def rate_model(network: Network, point: OperatingPoint | None = None) -> RateModel:
    """The linear model around an operating point, by default the network's own."""
    point = point or operating_point(network)
    gain = point.gain / network.drive_for()[0]
    m = sparse.csr_array(network.w_rec.T.tocsr() * gain[:, None])
    shared = X_STD * gain[:, None] * network.w_in.T
    return RateModel(m, float(np.mean(network.tau_out)), point.rate * (1 - point.rate), shared)


def network_abscissa(network: Network) -> float:
    """Spectral abscissa, 1/s, of the rate model at the network's own operating point."""
    return rate_model(network).abscissa()


def rightmost(m: sparse.csr_array) -> float:
    """Largest real part of the eigenvalues of a sparse matrix [N, N]."""
    return float(_outer(m, "LR").real.max())


def outermost(m: sparse.csr_array) -> float:
    """Largest |eigenvalue| of a sparse matrix [N, N], the spectral radius."""
    return float(np.abs(_outer(m, "LM")).max())


def _outer(m: sparse.csr_array, which: str) -> NDArray[np.complex128]:
    """Eigenvalues of m, the outermost among them.

    which : "LR" for the largest real part, "LM" for the largest magnitude

    Up to DENSE_TO neurons these are all eigenvalues. A larger matrix is split into its strongly
    connected components; of a component above COMPONENT_TO only the outermost are computed, to four
    digits.
    """
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
    """Some outermost eigenvalues of m by Arnoldi iteration, which takes tens of restarts.

    Raises NetworkError if none converges, as for a ring, whose eigenvalues are all outermost.
    """
    start = np.random.default_rng(0).standard_normal(m.shape[0])
    try:
        return eigs(m, k=4, ncv=40, which=which, v0=start, tol=1e-4, maxiter=300, return_eigenvectors=False)
    except ArpackNoConvergence as e:
        if len(e.eigenvalues):
            return e.eigenvalues
        raise NetworkError("the spectrum of the rate model did not converge", "choose fewer neurons") from None
