"""Lyapunov spectra of maps, flows and spiking networks: how fast small differences grow or die.

k tangent vectors follow the trajectory's Jacobians and are made orthonormal again and again; what the QR
decomposition takes off them is their growth: Benettin, Galgani, Giorgilli & Strelcyn 1980, Meccanica 15:9; of
recurrent networks: Engelken, Wolf & Abbott, arXiv:2006.02427.

A spiking network has no Jacobian at its spikes, so its exponents are surrogate ones: dz/dv is the surrogate
derivative, the reset is detached (code of the same group: github.com/RainerEngelken/SurrogateGradientFlossing). They
measure what back-propagation through time would meet, not the distance of two spike trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.dynamics.rate_model import X_STD
from lnp_edge.network import Floats, Network
from lnp_edge.network.simulate import Simulation

# dz/dv = 1/v_th / (1 + SLOPE * |v/v_th - 1|)**2 as in SurrogateGradientFlossing; training's surrogate is wider, 5.
SLOPE = 10.0

Vector = Callable[[Floats], Floats]  # [D] of a state [D]
Jacobian = Callable[[Floats], Floats]  # [D, D] of a state [D]: row = component of the result


@dataclass(frozen=True)
class NetworkSpectrum:
    """Surrogate exponents of a network of N neurons, state (v, i_syn): the k largest of its 2N.

    exponents  : [k], 1/s, falling
    per_neuron : [N], 1/s; their sum is that of all 2N exponents

    With k < 2N, `positive`, `entropy_rate` and `kaplan_yorke` are lower bounds where the k exponents end too early:
    where the last one is still positive, or for the dimension their sum.
    """

    exponents: Floats
    per_neuron: Floats

    @property
    def largest(self) -> float:
        return float(self.exponents[0])

    @property
    def positive(self) -> int:
        return int(np.sum(self.exponents > 0))

    @property
    def kaplan_yorke(self) -> float:
        return kaplan_yorke(self.exponents)

    @property
    def entropy_rate(self) -> float:
        return entropy_rate(self.exponents)


def kaplan_yorke(exponents: Floats) -> float:
    """Dimension of the attractor from its exponents [D], any order: where their falling sum crosses zero.

    0 if the largest is negative; D if the sum of all is not. Kaplan & Yorke 1979, Lecture Notes in Math. 730:204.
    """
    falling = np.sort(exponents)[::-1]
    sums = np.cumsum(falling)
    below = np.flatnonzero(sums < 0)
    if not len(below):
        return float(len(falling))
    j = int(below[0])
    return j + float(sums[j - 1] / -falling[j]) if j else 0.0


def entropy_rate(exponents: Floats) -> float:
    """Sum of the positive exponents, nats per their unit of time: the most a trajectory can tell about its start.

    An upper bound of the metric entropy (Ruelle 1978), equal to it for smooth attractors (Pesin 1977).
    """
    return float(np.sum(exponents[exponents > 0]))


def of_map(
    step: Vector, jacobian: Jacobian, state: Floats, steps: int, warm_up: int, k: int | None = None, every: int = 1
) -> Floats:
    """The k largest exponents (None: all D) of state' = step(state), per step, falling: [k].

    jacobian : d step / d state [D, D], row = component of the result
    steps    : steps measured, after `warm_up` that are not;  every : steps from one QR to the next

    A singular Jacobian has exponents -inf. Raises ConfigError for k outside 1..D, steps or every below 1, and
    NetworkError for a trajectory that leaves the finite numbers.
    """

    def advance(state, q):
        return step(state), jacobian(state) @ q

    return _spectrum(advance, state, steps, warm_up, k, every)


def of_flow(
    field: Vector, jacobian: Jacobian, state: Floats, dt: float, steps: int, warm_up: int,
    k: int | None = None, every: int = 1,
) -> Floats:  # fmt: skip
    """The k largest exponents (None: all D) of d state / dt = field(state), 1/s, falling: [k].

    jacobian : d field / d state [D, D], row = component of the result
    dt       : s; state and tangent vectors take the same Runge-Kutta steps of fourth order
    steps    : steps measured, after `warm_up` that are not;  every : steps from one QR to the next

    Raises as of_map does.
    """

    def slope(y):  # state and tangent vectors side by side, [D, 1 + k]
        out = np.empty_like(y)
        out[:, 0] = field(y[:, 0])
        np.matmul(jacobian(y[:, 0]), y[:, 1:], out=out[:, 1:])
        return out

    def advance(state, q):
        y = np.concatenate((state[:, None], q), axis=1)
        k1 = slope(y)
        k2 = slope(y + dt / 2 * k1)
        k3 = slope(y + dt / 2 * k2)
        k4 = slope(y + dt * k3)
        y += dt / 6 * (k1 + 2 * (k2 + k3) + k4)
        return y[:, 0], y[:, 1:]

    return _spectrum(advance, state, steps, warm_up, k, every) / dt


def of_network(
    network: Network, x: NDArray | None = None, k: int | None = None, steps: int = 600, warm_up: int = 200,
    every: int = 5, seed: int = 0, progress: Callable[[float, str], None] | None = None,
) -> NetworkSpectrum:  # fmt: skip
    """The k largest surrogate exponents (None: all 2N) of a network at rest that starts to hear x.

    x     : [T, C] as the network hears it, from its start again if shorter than warm_up + steps; None: white input
            of the encoder's standard deviation, drawn with `seed`
    steps : steps measured, after `warm_up` that are not;  every : steps from one QR to the next

    A step moves a small difference by, psi = dz/dv of the step before:

        di_syn = alpha * di_syn + (psi * dv) @ w_rec
        dv     = beta * dv + di_syn

    The determinant is prod(alpha * beta) whatever weights and input, so all 2N exponents have the sum
    -sum(1/tau_mem + 1/tau_syn). lambda_n = sum over k of mean over t of (Qv[n, k]^2 + Qi[n, k]^2) lambda_k, Q the
    orthonormal tangent vectors: ours, as Lyapunov noise pruning (arXiv:2403.03409) does not say how its neurons get
    exponents. With k < 2N, what the k vectors leave of a neuron's two unit vectors gets the mean of the other
    exponents, which their sum tells exactly; but the neurons' order is then rough: on a network of 128 neurons, rank
    correlation with that of all 256 exponents 0.48 for k = 16, 0.71 for k = 128.

    Exponents depend on the tangent vectors' start by about 1 / (steps * dt), 1/s: more where neighbours are close.

    Raises ConfigError for k outside 1..2N, steps or every below 1.
    """
    n = network.n
    k = _checked(k, 2 * n, steps, every)
    rng = np.random.default_rng(seed)
    alpha, beta = np.exp(-network.dt / network.tau_syn), np.exp(-network.dt / network.tau_mem)
    incoming = sparse.csr_array(network.w_rec.T)  # row = postsynaptic
    run = Simulation(network, 1)
    q = _start(network, k, seed)
    log_r, share = np.zeros(k), np.zeros((n, k))
    measured = 0
    for t in range(-warm_up, steps):
        psi = _surrogate(run, network)
        if x is None:
            now = np.clip(rng.normal(0, X_STD, (1, len(network.w_in))), -2, 2)
        else:
            now = x[None, (t + warm_up) % len(x)]
        run.step(now)
        dv, di_syn = q[:n], q[n:]
        di_syn *= alpha[:, None]
        di_syn += incoming @ (psi[:, None] * dv)
        dv *= beta[:, None]
        dv += di_syn
        if _due(t, steps, every):
            q, grown = _qr(q)
            if t >= 0:
                log_r += np.log(grown)
                share += q[:n] ** 2 + q[n:] ** 2
                measured += 1
            if progress:
                progress((t + 1 + warm_up) / (steps + warm_up), "Lyapunov spectrum")
    exponents = log_r / (steps * network.dt)
    share /= measured
    per_neuron = share @ exponents
    if k < 2 * n:
        leaks = 1 / network.tau_mem + 1 / network.tau_syn
        rest = (2 - share.sum(1)) * leaks
        per_neuron += (-leaks.sum() - exponents.sum()) * rest / rest.sum()
    return NetworkSpectrum(np.sort(exponents)[::-1], per_neuron)


def _spectrum(advance, state, steps, warm_up, k, every):
    state = np.asarray(state, np.float64)
    k = _checked(k, len(state), steps, every)
    q, _ = _qr(np.random.default_rng(0).standard_normal((len(state), k)))
    log_r = np.zeros(k)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # all of them are looked at below
        for t in range(-warm_up, steps):
            state, q = advance(state, q)
            if _due(t, steps, every):
                q, grown = _qr(q)
                if t >= 0:
                    log_r += np.log(grown)
    if not np.isfinite(state).all() or not (log_r < np.inf).all():
        raise NetworkError(
            "the trajectory left the finite numbers", "start closer to the attractor, or take a shorter step"
        )
    return np.sort(log_r)[::-1] / steps


def _checked(k: int | None, dimension: int, steps: int, every: int) -> int:
    k = dimension if k is None else k
    if not 1 <= k <= dimension:
        raise ConfigError(
            f"{k} Lyapunov exponents of a system of {dimension} dimensions", f"ask for 1 to {dimension} (k)"
        )
    if steps < 1 or every < 1:
        raise ConfigError(f"a spectrum over {steps} steps, QR every {every}", "measure at least 1 step (steps, every)")
    return k


def _due(t: int, steps: int, every: int) -> bool:
    """QR after step t? Also at the end of the warm-up, t = -1, so that nothing of it is measured."""
    return (t + 1) % every == 0 or t == steps - 1


def _qr(q: Floats) -> tuple[Floats, Floats]:
    """Orthonormal columns for those of q [D, k], C order, and what each had grown to, [k]."""
    q, r = linalg.qr(q, mode="economic", check_finite=False)
    return np.ascontiguousarray(q), np.abs(np.diagonal(r))


def _surrogate(run: Simulation, network: Network) -> Floats:
    """dz/dv [N] in the step just simulated, at v before the reset."""
    distance = np.abs(run.v[0] / network.v_th + run.z[0] - 1)
    return 1 / (network.v_th * (1 + SLOPE * distance) ** 2)


def _start(network: Network, k: int, seed: int) -> Floats:
    """k orthonormal tangent vectors [2N, k], rows v then i_syn.

    All 2N: those of the unconnected neurons, slowest first, so that without synapses the spectrum is exact at once.
    Fewer: random, as those might never leave a part of the network that hears nothing of the rest. Either way they
    belong to the neurons, not to their numbers: a network in another order starts with the same vectors.
    """
    n = network.n
    order = np.lexsort((*network.w_in, network.tau_syn, network.tau_mem))
    if k < 2 * n:
        drawn = np.random.default_rng([seed, 1]).standard_normal((2, n, k))
        q = np.empty_like(drawn)
        q[:, order] = drawn
        return _qr(q.reshape(2 * n, k))[0]
    # One neuron's step [[beta, alpha], [0, alpha]] has the eigenvectors (1, 0) and (alpha, alpha - beta).
    alpha, beta = np.exp(-network.dt / network.tau_syn), np.exp(-network.dt / network.tau_mem)
    slow = np.where(alpha > beta, [alpha, alpha - beta], [np.ones(n), np.zeros(n)])
    v, i = slow / np.hypot(*slow)
    q = np.block([[np.diag(v), np.diag(-i)], [np.diag(i), np.diag(v)]])
    tau = np.concatenate((np.maximum(network.tau_mem, network.tau_syn), np.minimum(network.tau_mem, network.tau_syn)))
    by_number = np.concatenate((order, order + n))
    return np.ascontiguousarray(q[:, by_number[np.argsort(-tau[by_number], kind="stable")]])
