"""Lyapunov spectra of maps, flows and spiking networks: how fast small differences grow or die.

k tangent vectors follow the trajectory's Jacobians and are made orthonormal again and again; what the QR
decomposition takes off them is their growth: Benettin, Galgani, Giorgilli & Strelcyn 1980, Meccanica 15:9; of
recurrent networks: Engelken, Wolf & Abbott, arXiv:2006.02427.

A spiking network has no Jacobian at its spikes, so its exponents are surrogate ones: the derivative of a spike is
that of a surrogate, the reset is detached (code of the same group: github.com/RainerEngelken/SurrogateGradientFlossing;
tangent.py says what each operation of a neuron's step does to a tangent). They measure what back-propagation through
time would meet, not the distance of two spike trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.dynamics import tangent
from lnp_edge.dynamics.rate_model import X_STD
from lnp_edge.network import Floats, Network, Population
from lnp_edge.network.simulate import Simulation

DEAD = 1e-14  # share of a tangent vector that is left of it beside the others, where rounding is all that is left
LEAST = 1e-12  # determinant of a neuron whose step forgets a direction altogether

Vector = Callable[[Floats], Floats]  # [D] of a state [D]
Jacobian = Callable[[Floats], Floats]  # [D, D] of a state [D]: row = component of the result


@dataclass(frozen=True)
class NetworkSpectrum:
    """Surrogate exponents of a network of N neurons: the k largest of its D, one for each variable of its state.

    exponents  : [k], 1/s, falling
    per_neuron : [N], 1/s; their sum is that of all D exponents

    With k < D, `positive`, `entropy_rate` and `kaplan_yorke` are lower bounds where the k exponents end too early:
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


def dimension(network: Network) -> int:
    """Variables of state of all neurons: as many exponents has its spectrum."""
    return sum(len(p.module.STATE) * p.n for p in network.populations)


def of_network(
    network: Network, x: NDArray | None = None, k: int | None = None, steps: int = 600, warm_up: int = 200,
    every: int = 5, seed: int = 0, progress: Callable[[float, str], None] | None = None,
) -> NetworkSpectrum:  # fmt: skip
    """The k largest surrogate exponents (None: all D = dimension(network)) of a network at rest when x begins.

    x     : [T, C] as the network gets it, from its start again if shorter than warm_up + steps; None: white input
            of the encoder's standard deviation, drawn with `seed`
    steps : steps measured, after `warm_up` that are not;  every : steps from one QR to the next

    Tangent vectors go through each neuron's own step, and those of its spikes through the synapses: of cuba_lif, psi =
    dz/dv of the step before,

        di_syn = alpha * di_syn + (psi * dv) @ w_rec
        dv     = beta * dv + di_syn

    lambda_n = sum over k of mean over t of |Q_nk|^2 lambda_k, Q_nk the rows of neuron n in the orthonormal tangent
    vectors: ours, as Lyapunov noise pruning (arXiv:2403.03409) does not say how its neurons get exponents.

    With k < D, what the k vectors leave of a neuron's unit vectors gets the mean of the other exponents. That is known
    from the sum of all D, the mean over t of sum_n log |det J_n|, J_n the Jacobian of neuron n alone. For cuba_lif this
    is exact: prod(alpha * beta) is the determinant whatever weights and input. For a neuron whose spike acts on its own
    state in the same step, as of adlif, it is so to first order in the weights. The neurons' order is rough with k < D:
    on a network of 128 neurons, rank correlation with that of all 256 exponents 0.48 for k = 16, 0.71 for k = 128.

    Exponents depend on the tangent vectors' start by about 1 / (steps * dt), 1/s: more where neighbours are close.

    Raises ConfigError for k outside 1..D, steps or every below 1.
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
                with np.errstate(divide="ignore"):
                    log_r += np.log(grown)
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
    """k orthonormal tangent vectors that follow a simulation of a network, and what the spikes do along them.

    q : [D, k], rows of the populations one after the other, of each the last variable of STATE first
    dz : of the spikes as they stand, [N, k]
    """

    def __init__(self, network: Network, k: int, seed: int):
        self._places = [at for _, at in network.parts()]
        self._kernels = [tangent.kernel(p.neuron) for p in network.populations]
        self._constants = [np.stack(p.constants(network.dt)) for p in network.populations]
        self._shapes = [(len(p.module.STATE), p.n, k) for p in network.populations]
        self._incoming = [sparse.csr_array(network.w_rec[:, at].T) for at in self._places]  # row = postsynaptic
        self.q, self.dz = _start(network, k, seed), np.zeros((network.n, k))
        for (p, at), q in zip(network.parts(), self._blocks(), strict=True):
            if "v" in p.module.STATE:  # as if the v of rest had been compared in the step before the first
                slope = tangent.surrogate(np.zeros(p.n), p.params["v_th"])
                self.dz[at] = slope[:, None] * q[-1 - p.module.STATE.index("v")]

    def step(self, run: Simulation, x: NDArray, alone: bool) -> Floats:
        """One step of the simulation and of the vectors. Returns log |det| of each neuron's own Jacobian, [N], if
        asked to."""
        found = np.zeros(len(self.dz))
        for k, (at, q) in enumerate(zip(self._places, self._blocks(), strict=True)):
            drive, state = run.drive(k, x), run.state[k][:, 0]
            if alone:
                own = _jacobians(self._kernels[k], state, drive[0], self._constants[k])
                found[at] = np.log(np.maximum(np.abs(np.linalg.det(own)), LEAST))
            from_spikes = self._incoming[k] @ self.dz
            self._kernels[k](state, drive[0], self._constants[k], q, from_spikes, self.dz[at])
            run.integrate(k, drive)
        return found

    def orthonormal(self) -> Floats:
        """Make them so again; by what each had grown, [k]."""
        q, r = linalg.qr(self.q, mode="economic", check_finite=False)
        self.q, grown = np.ascontiguousarray(q), np.abs(np.diagonal(r))
        # A vector of which nothing is left has no direction, and moves no spike.
        dead = grown <= DEAD * np.sqrt(np.square(r).sum(0))
        r[dead, dead] = np.inf
        self.dz = linalg.solve_triangular(r, self.dz.T, trans="T", check_finite=False).T
        return grown

    def per_neuron(self) -> Floats:
        """The squared length of each neuron's part of each vector, [N, k]."""
        return np.concatenate([np.square(q).sum(0) for q in self._blocks()])

    def _blocks(self) -> Iterator[Floats]:
        """The rows of each population, [S, n, k], a view of q."""
        start = 0
        for variables, n, k in self._shapes:
            yield self.q[start : start + variables * n].reshape(variables, n, k)
            start += variables * n


def _jacobians(kernel: Callable, state: Floats, drive: Floats, constants: Floats) -> Floats:
    """Of each neuron alone, [n, S, S], row = component of the result, the last variable of STATE first.

    state : [S, n]
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


def _start(network: Network, k: int, seed: int) -> Floats:
    """k orthonormal tangent vectors [D, k], rows as _Tangents has them.

    All D: those of the unconnected neurons at rest, slowest first, so that without synapses the spectrum of neurons
    that are linear between spikes is exact at once. Fewer: random, as those might never leave a part of the network
    that receives nothing from the rest. Either way they belong to the neurons, not to their numbers: a network in
    another order starts with the same vectors.
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
    """The neurons of a population, ordered by what they are: by their time constants first."""
    times = [name for name, meaning in p.module.PARAMETERS.items() if meaning.is_time]
    others = [a for name, a in p.params.items() if name not in times]
    return np.lexsort((*others, *w_in, *(p.params[name] for name in reversed(times))))


def _modes(p: Population, dt: float) -> tuple[Floats, Floats]:
    """Of each neuron alone and at rest: an orthonormal basis [n, S, S] of its state, a column for each direction, of
    which the first m span what its m slowest modes span; and the |eigenvalues|, [n, S], falling.

    Rows: the last variable of STATE first.
    """
    rest = np.zeros((len(p.module.STATE), p.n))
    values, vectors = np.linalg.eig(
        _jacobians(tangent.kernel(p.neuron), rest, np.zeros(p.n), np.stack(p.constants(dt)))
    )
    falling = np.argsort(-np.abs(values), axis=1, kind="stable")
    values = np.take_along_axis(values, falling, 1)
    vectors = np.take_along_axis(vectors, falling[:, None], 2)
    # Of a pair that oscillates, real and imaginary part span the same plane.
    spanning = np.where(values.imag[:, None] < 0, vectors.imag, vectors.real)
    return np.abs(values), np.linalg.qr(spanning)[0]
