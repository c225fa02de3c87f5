"""Lyapunov spectra of maps, flows and spiking networks: growth rates of small differences.

k tangent vectors follow the Jacobians along a trajectory. A QR decomposition makes them orthonormal
at regular intervals, and its R gives their growth: Benettin, Galgani, Giorgilli & Strelcyn 1980,
Meccanica 15:9; for recurrent networks Engelken, Wolf & Abbott, arXiv:2006.02427.

A spiking network has no Jacobian at its spikes, so its exponents are surrogate exponents: the
derivative of a spike is that of a surrogate, and the reset is detached, as in
github.com/RainerEngelken/SurrogateGradientFlossing of the same group. tangent.py defines the
derivative of each operation. Surrogate exponents describe the gradients of back-propagation through
time, not the distance of two spike trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.base.jit import cached
from lnp_edge.dynamics import tangent
from lnp_edge.dynamics.rate_model import X_STD
from lnp_edge.network import Floats, Network, Population
from lnp_edge.network.simulate import Simulation

DEAD = 1e-14  # fraction of a tangent vector orthogonal to the others that is only rounding error
LEAST = 1e-12  # smallest |determinant| of a neuron's Jacobian, whose logarithm must be finite
TINY = np.finfo(float).tiny  # growth of a vector that a reset to zero forgets; its exponent stays finite

Vector = Callable[[Floats], Floats]  # state [D] -> [D]
Jacobian = Callable[[Floats], Floats]  # state [D] -> [D, D], row = component of the result


@dataclass(frozen=True)
class NetworkSpectrum:
    """The k largest of the D surrogate exponents of a network with N neurons and D state variables.

    exponents  : [k], 1/s, descending
    per_neuron : [N], 1/s; their sum is that of all D exponents

    With k < D, `positive` and `entropy_rate` are lower bounds if the last exponent is positive, and
    `kaplan_yorke` is one if the sum of the exponents is.
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
    """The Kaplan-Yorke dimension from exponents [D]: where their descending sum crosses zero.

    It is 0 if the largest exponent is negative, and D if the sum of all is not.
    Kaplan & Yorke 1979, Lecture Notes in Math. 730:204.
    """
    falling = np.sort(exponents)[::-1]
    sums = np.cumsum(falling)
    below = np.flatnonzero(sums < 0)
    if not len(below):
        return float(len(falling))
    j = int(below[0])
    return j + float(sums[j - 1] / -falling[j]) if j else 0.0


def entropy_rate(exponents: Floats) -> float:
    """Sum of the positive exponents, in nats per unit of time.

    It is an upper bound of the metric entropy (Ruelle 1978), and equal to it for smooth attractors
    (Pesin 1977).
    """
    return float(np.sum(exponents[exponents > 0]))


def of_map(
    step: Vector, jacobian: Jacobian, state: Floats, steps: int, warm_up: int, k: int | None = None, every: int = 1
) -> Floats:
    """The k largest exponents (None: all D) of state' = step(state), per step, descending: [k].

    jacobian : d step / d state [D, D], row = component of the result
    steps    : steps measured, after `warm_up` steps that are not
    every    : steps from one QR decomposition to the next

    A singular Jacobian has exponents -inf. Raises ConfigError for k outside 1..D and for steps or
    every below 1, and NetworkError if the trajectory diverges.
    """

    def advance(state, q):
        return step(state), jacobian(state) @ q

    return _spectrum(advance, state, steps, warm_up, k, every)


def of_flow(
    field: Vector, jacobian: Jacobian, state: Floats, dt: float, steps: int, warm_up: int,
    k: int | None = None, every: int = 1,
) -> Floats:  # fmt: skip
    """The k largest exponents (None: all D) of d state / dt = field(state), 1/s, descending: [k].

    jacobian : d field / d state [D, D], row = component of the result
    dt       : s; state and tangent vectors take the same fourth-order Runge-Kutta steps
    steps    : steps measured, after `warm_up` steps that are not
    every    : steps from one QR decomposition to the next

    Raises the errors of of_map.
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


def dimension(network: Network) -> int:
    """Number of state variables of all neurons, which is the number of Lyapunov exponents."""
    return sum(len(p.module.STATE) * p.n for p in network.populations)


def of_network(
    network: Network, x: NDArray | None = None, k: int | None = None, steps: int = 600, warm_up: int = 200,
    every: int = 5, seed: int = 0, progress: Callable[[float, str], None] | None = None,
) -> NetworkSpectrum:  # fmt: skip
    """The k largest surrogate exponents (None: all D = dimension(network)) of a network.

    The network is at rest when x begins.

    x     : input [T, C], repeated if shorter than warm_up + steps; None: white input with the
            encoder's standard deviation, drawn with `seed`
    steps : steps measured, after `warm_up` steps that are not
    every : steps from one QR decomposition to the next

    Tangent vectors pass through each neuron's own step, and the tangents of its spikes through the
    synapses. For cuba_lif, with psi = dz/dv of the previous step,

        di_syn = alpha * di_syn + (psi * dv) @ w_rec
        dv     = beta * dv + di_syn

    The exponent of neuron n is the sum over k of lambda_k times the mean over t of |Q_nk|^2, where
    Q_nk are the rows of neuron n in the orthonormal tangent vectors. This definition is ours:
    Lyapunov noise pruning (arXiv:2403.03409) does not say how its neurons get exponents.

    With k < D, the part of a neuron's directions outside the k vectors counts with a share of the
    remaining exponents, in proportion to the neuron's own leak. Their sum follows from the sum of
    all D exponents, the mean over t of sum_n log |det J_n|, where J_n is the Jacobian of neuron n
    alone. For cuba_lif this is exact: the determinant is prod(alpha * beta) for all weights and
    inputs. For a neuron whose spike acts on its own state in the same step, such as adlif, it holds
    to first order in the weights. The order of the neurons is approximate: in a network of 128
    neurons, its rank correlation with the order for all 256 exponents was 0.71 for k = 128.

    Exponents depend on the initial tangent vectors by about 1 / (steps * dt), 1/s, and by more if
    neighbouring exponents are close.

    Raises ConfigError for k outside 1..D and for steps or every below 1.
    """
    size = dimension(network)
    k = _checked(k, size, steps, every)
    rng = np.random.default_rng(seed)
    run, tangents = Simulation(network, 1), _Tangents(network, k, seed)
    log_r, share, contraction = np.zeros(k), np.zeros((network.n, k)), np.zeros(network.n)
    measured = 0
    for t in range(-warm_up, steps):
        if x is None:
            now = np.clip(rng.normal(0, X_STD, (1, len(network.w_in))), -2, 2)
        else:
            now = x[None, (t + warm_up) % len(x)]
        due = _due(t, steps, every)
        alone = tangents.step(run, now, due and t >= 0 and k < size)
        if due:
            grown = tangents.orthonormal()
            if t >= 0:
                log_r += np.log(np.maximum(grown, TINY))
                share += tangents.per_neuron()
                contraction += alone
                measured += 1
            if progress:
                progress((t + 1 + warm_up) / (steps + warm_up), "Lyapunov spectrum")
    exponents = log_r / (steps * network.dt)
    share /= measured
    per_neuron = share @ exponents
    if k < size:
        leaks = -contraction / (measured * network.dt)
        variables = np.concatenate([np.full(p.n, len(p.module.STATE)) for p in network.populations])
        rest = (variables - share.sum(1)) * leaks
        per_neuron += (-leaks.sum() - exponents.sum()) * rest / rest.sum()
    return NetworkSpectrum(np.sort(exponents)[::-1], per_neuron)


class _Tangents:
    """k tangent vectors that follow a simulation of a network.

    q  : [D, k], the rows of each population in turn, with the last variable of STATE first
    dz : [N, k], tangents of the current spikes
    """

    def __init__(self, network: Network, k: int, seed: int):
        self._places = [at for _, at in network.parts()]
        self._kernels = [tangent.kernel(p.neuron) for p in network.populations]
        self._constants = [np.stack(p.constants(network.dt)) for p in network.populations]
        self._shapes = [(len(p.module.STATE), p.n, k) for p in network.populations]
        incoming = [sparse.csr_array(network.w_rec[:, at].T) for at in self._places]  # row = postsynaptic
        self._incoming = [(w.indptr, w.indices, w.data) for w in incoming]
        self._arrived = [np.empty((n, k)) for _, n, _ in self._shapes]
        self._lwork = _lwork(dimension(network), k)
        self._follow(_start(network, k, seed), np.zeros((network.n, k)))
        for (p, at), q in zip(network.parts(), self._blocks, strict=True):
            if "v" in p.module.STATE:  # as if a step before had compared the resting v
                slope = tangent.surrogate(np.zeros(p.n), p.params["v_th"])
                self.dz[at] = slope[:, None] * q[-1 - p.module.STATE.index("v")]

    def step(self, run: Simulation, x: NDArray, alone: bool) -> Floats:
        """Step the simulation and the vectors.

        Returns log |det| of each neuron's own Jacobian, [N], or zeros unless `alone`.
        """
        found = np.zeros(len(self.dz))
        for k, advance in enumerate(self._kernels):
            drive, state, constants = run.drive(k, x), run.state[k][:, 0], self._constants[k]
            if alone:
                own = _jacobians(advance, state, drive[0], constants)
                found[self._places[k]] = np.log(np.maximum(np.abs(np.linalg.det(own)), LEAST))
            _sum_rows(*self._incoming[k], self.dz, self._arrived[k])
            advance(state, drive[0], constants, self._blocks[k], self._arrived[k], self._spikes[k])
            run.integrate(k, drive)
        return found

    def orthonormal(self) -> Floats:
        """Make the vectors orthonormal again. Returns the growth of each, [k]."""
        qr, tau, *_ = linalg.lapack.dgeqrf(self.q, lwork=self._lwork)
        r = np.triu(qr[: len(tau)])
        q, *_ = linalg.lapack.dorgqr(qr, tau, lwork=self._lwork, overwrite_a=True)
        grown = np.abs(np.diagonal(r))
        # A vector that has vanished has no direction: it does not change a spike.
        dead = grown <= DEAD * np.sqrt(np.square(r).sum(0))
        r[dead, dead] = np.inf
        dz, _ = linalg.lapack.dtrtrs(r.T, self.dz.T, lower=1)  # SciPy's own function takes fifteen times as long
        self._follow(np.ascontiguousarray(q), np.ascontiguousarray(dz.T))
        return grown

    def per_neuron(self) -> Floats:
        """Squared length of each neuron's part of each vector, [N, k]."""
        return np.concatenate([np.square(q).sum(0) for q in self._blocks])

    def _follow(self, q: Floats, dz: Floats) -> None:
        """Go on with these. _blocks and _spikes are views of the rows of each population, [S, n, k] and [n, k]."""
        self.q, self.dz, self._blocks, start = q, dz, list[Floats](), 0
        for variables, n, k in self._shapes:
            self._blocks.append(q[start : start + variables * n].reshape(variables, n, k))
            start += variables * n
        self._spikes = [dz[at] for at in self._places]


@cached
def _sum_rows(indptr, indices, data, rows, into):
    """into [n, k] = w @ rows for a CSR matrix w. Each sum is taken in the order of w."""
    for i in range(into.shape[0]):
        out, first, end = into[i], indptr[i], indptr[i + 1]
        out[:] = 0.0
        while end - first >= 4:  # four at a time: a sum is read and written a quarter as often
            a, b, c, d = data[first], data[first + 1], data[first + 2], data[first + 3]
            row_a, row_b = rows[indices[first]], rows[indices[first + 1]]
            row_c, row_d = rows[indices[first + 2]], rows[indices[first + 3]]
            for j in range(out.shape[0]):
                out[j] = (((out[j] + a * row_a[j]) + b * row_b[j]) + c * row_c[j]) + d * row_d[j]
            first += 4
        for p in range(first, end):
            w, row = data[p], rows[indices[p]]
            for j in range(out.shape[0]):
                out[j] += w * row[j]


def _lwork(size: int, k: int) -> int:
    """The workspace with which LAPACK decomposes [size, k] in blocks of the length that it prefers."""
    q = np.empty((size, k), order="F")
    found = linalg.lapack.dgeqrf(q, lwork=-1)[2], linalg.lapack.dorgqr(q, np.empty(k), lwork=-1)[1]
    return int(max(work[0] for work in found))


def _jacobians(kernel: Callable, state: Floats, drive: Floats, constants: Floats) -> Floats:
    """The Jacobian of each neuron alone, [n, S, S]; row = component of the result.

    state : [S, n]

    Rows and columns have the last variable of STATE first.
    """
    size, n = state.shape
    found = np.repeat(np.eye(size)[:, None], n, axis=1)
    nothing = np.zeros((n, size))
    kernel(state, drive, constants, found, nothing, nothing.copy())
    return found.transpose(1, 0, 2)


def _spectrum(advance, state, steps, warm_up, k, every):
    state = np.asarray(state, np.float64)
    k = _checked(k, len(state), steps, every)
    q, _ = _qr(np.random.default_rng(0).standard_normal((len(state), k)))
    log_r = np.zeros(k)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # checked below
        for t in range(-warm_up, steps):
            state, q = advance(state, q)
            if _due(t, steps, every):
                q, grown = _qr(q)
                if t >= 0:
                    log_r += np.log(grown)
    if not np.isfinite(state).all() or not (log_r < np.inf).all():
        raise NetworkError("the trajectory diverged", "start closer to the attractor, or choose a shorter step")
    return np.sort(log_r)[::-1] / steps


def _checked(k: int | None, dimension: int, steps: int, every: int) -> int:
    k = dimension if k is None else k
    if not 1 <= k <= dimension:
        raise ConfigError(
            f"{k} Lyapunov exponents of a system of {dimension} dimensions", f"choose k from 1 to {dimension}"
        )
    if steps < 1 or every < 1:
        raise ConfigError(f"a spectrum over {steps} steps with QR every {every}", "choose steps and every from 1 up")
    return k


def _due(t: int, steps: int, every: int) -> bool:
    """Whether a QR follows step t: also at the end of the warm-up, t = -1, to exclude it."""
    return (t + 1) % every == 0 or t == steps - 1


def _qr(q: Floats) -> tuple[Floats, Floats]:
    """Orthonormal columns from those of q [D, k], in C order, and the growth of each, [k]."""
    q, r = linalg.qr(q, mode="economic", check_finite=False)
    return np.ascontiguousarray(q), np.abs(np.diagonal(r))


def _start(network: Network, k: int, seed: int) -> Floats:
    """k initial orthonormal tangent vectors [D, k], with the rows of _Tangents.

    For k = D they are the modes of the unconnected neurons at rest, slowest first: the spectrum of
    a network without synapses is then exact at once, if its neurons are linear between spikes.
    For k < D they are random, because modes might stay in a part of the network that receives
    nothing from the rest. Neither depends on the order of the neurons.
    """
    size, rng = dimension(network), np.random.default_rng([seed, 1])
    blocks, sizes = [], []
    for p, at in network.parts():
        variables, order = len(p.module.STATE), _in_order(p, network.w_in[:, at])
        if k < size:
            block = np.empty((variables, p.n, k))
            block[:, order] = rng.standard_normal(block.shape)
            blocks.append(block.reshape(-1, k))
        else:
            values, vectors = _modes(p, network.dt)
            directions = np.einsum("ncm,nj->cnmj", vectors, np.eye(p.n))[:, :, :, order]
            blocks.append(directions.reshape(variables * p.n, -1))
            sizes.append(values[order].T.ravel())
    if k < size:
        return _qr(np.concatenate(blocks))[0]
    return np.ascontiguousarray(linalg.block_diag(*blocks)[:, np.argsort(-np.concatenate(sizes), kind="stable")])


def _in_order(p: Population, w_in: Floats) -> NDArray[np.intp]:
    """The neurons of a population, sorted by their time constants, then by other properties."""
    times = [name for name, meaning in p.module.PARAMETERS.items() if meaning.is_time]
    others = [a for name, a in p.params.items() if name not in times]
    return np.lexsort((*others, *w_in, *(p.params[name] for name in reversed(times))))


def _modes(p: Population, dt: float) -> tuple[Floats, Floats]:
    """The modes of each neuron alone and at rest.

    Returns |eigenvalues| [n, S], descending, and an orthonormal basis of the state [n, S, S], whose
    first m columns span the m slowest modes. Rows have the last variable of STATE first.
    """
    rest = np.zeros((len(p.module.STATE), p.n))
    values, vectors = np.linalg.eig(
        _jacobians(tangent.kernel(p.neuron), rest, np.zeros(p.n), np.stack(p.constants(dt)))
    )
    falling = np.argsort(-np.abs(values), axis=1, kind="stable")
    values = np.take_along_axis(values, falling, 1)
    vectors = np.take_along_axis(vectors, falling[:, None], 2)
    # The real and imaginary parts of an oscillating pair span its plane.
    spanning = np.where(values.imag[:, None] < 0, vectors.imag, vectors.real)
    return np.abs(values), np.linalg.qr(spanning)[0]
