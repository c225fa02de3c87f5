"""Stability and noise of a network linearised around an operating point.

Linear rate model of the network's own equations (network.py). For slow changes a filter x = a x + u passes
its input with gain 1 / (1 - a): one spike more per step of neuron j moves the mean current of neuron i by
w_rec[j, i] / (1 - alpha_i), and that current the potential by 1 / (1 - beta_i) as long as the neuron does not
fire. Each spike takes v_th off v, so the means balance at v_th rate = i_syn - (1 - beta) v. How a change of
the current is shared between v and the rate depends on the noise: the gain g_i = d rate_i / d i_syn_i, from 0
to about 1 / v_th, holds the membrane's part and is measured (operating_point). So

    d rate_i = sum_j M[i, j] d rate_j + B[i, c] d x_c        M[i, j] = g_i / (1 - alpha_i) * w_rec[j, i]
                                                             B[i, c] = g_i / (1 - alpha_i) * w_in[c, i]

Rates are watched as the read-out sees them, through one leaky filter of time constant tau = mean tau_out:

    dr/dt = A r + noise      A = (M - I) / tau      Q = (diag(rate (1 - rate)) + B B' var(x)) / tau

Whose this is: A = W - D and A C + C A' + Q = 0 are Moore & Chaudhuri 2020 (arXiv:2011.07334), taken over by
Lyapunov noise pruning (arXiv:2403.03409). The gains, the common tau and Q are ours. Measured on 18 networks
(N = 256, density 0.3, rates 0.02 to 0.47): over all synapses, the variance of r_i -+ r_j in this C and in the
simulated spikes have a Spearman correlation of 0.92 to 0.98. Private Poisson noise alone, Q = diag(rate),
gave 0.33 to 0.96, and Q = I -0.04 to 0.92. The gain 1 / v_th for all, tried on 12 of them, gave at most 0.30.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lnp_edge.encoders.affine import TARGET_STD
from lnp_edge.network import X_SCALE, Floats, Network

X_STD = TARGET_STD / X_SCALE  # of sensor data as the network hears it


@dataclass(frozen=True)
class OperatingPoint:
    """rate: spikes per step, gain: d rate / d i_syn in spikes per step and unit of current, both [N]."""

    rate: Floats
    gain: Floats


def operating_point(network: Network, x: NDArray | None = None, steps: int = 300, batch: int = 16) -> OperatingPoint:
    """Rates and gains of the running network, by default under white input of the encoder's standard deviation.

    x : windows [B, T, C] as the network hears them, in the place of `batch` of white input of so many `steps`

    Two shadows of every neuron hear the same spikes and get 0.05 v_th more and less current: their rates give
    the neuron's own gain, without the echo of the network. The first fifth of the steps is left out. Every
    network hears the same input, so that two networks do not differ by the draw.
    """
    rng = np.random.default_rng(0)
    if x is not None:
        batch, steps = x.shape[:2]
    alpha = np.exp(-network.dt / network.tau_syn)
    beta = np.exp(-network.dt / network.tau_mem)
    w_rec = network.w_rec.toarray()
    step = 0.05 * network.v_th
    more = np.stack([0 * step, step, -step])[:, None] * (1 - alpha)
    i_syn, v = np.zeros((2, 3, batch, network.n))
    z = np.zeros(v.shape, bool)
    counts = np.zeros((3, network.n))
    for t in range(steps):
        now = np.clip(rng.normal(0, X_STD, (batch, len(network.w_in))), -2, 2) if x is None else x[:, t]
        drive = z[0].astype(float) @ w_rec + now @ network.w_in + network.bias
        i_syn = alpha * i_syn + drive + more
        v = beta * v + i_syn
        z = v > network.v_th
        v -= network.v_th * z
        if t >= steps // 5:
            counts += z.sum(1)
    rate, up, down = counts / (batch * (steps - steps // 5))
    return OperatingPoint(rate, np.maximum(up - down, 0) / (2 * step))


def rate_model(network: Network, point: OperatingPoint) -> tuple[Floats, Floats]:
    """A [N, N] in 1/s, row = postsynaptic, and noise Q [N, N] of the linear rate model above."""
    tau = float(np.mean(network.tau_out))
    gain = point.gain / (1 - np.exp(-network.dt / network.tau_syn))
    a = (gain[:, None] * network.w_rec.toarray().T - np.eye(network.n)) / tau
    shared = X_STD * gain[:, None] * network.w_in.T
    return a, (np.diag(point.rate * (1 - point.rate)) + shared @ shared.T) / tau


def spectral_abscissa(a: Floats) -> float:
    """Largest real part of the eigenvalues of a [N, N]; the linear system is stable if it is negative."""
    return float(linalg.eigvals(a).real.max())


def network_abscissa(network: Network) -> float:
    """Spectral abscissa in 1/s of the rate model at the network's own operating point."""
    return spectral_abscissa(rate_model(network, operating_point(network))[0])


def stationary_covariance(a: Floats, q: Floats) -> Floats:
    """C [N, N] with A C + C A' + Q = 0: covariance of dr = A r dt + noise of intensity Q. A must be stable.

    Bartels & Stewart 1972 as in SciPy, whose equation has the other sign of Q.
    Takes 0.06 s at N = 256 and 3.4 s at N = 1000.
    """
    c = linalg.solve_continuous_lyapunov(a, -q)
    return (c + c.T) / 2


def pair_variance(c: Floats, sign: Floats, pre: np.ndarray, post: np.ndarray) -> Floats:
    """Variance of r_pre - sign r_post of each pair, C_ii + C_jj - 2 sign C_ij: never negative."""
    return np.maximum(c[pre, pre] + c[post, post] - 2 * sign * c[pre, post], 0)
