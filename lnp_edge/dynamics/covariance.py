"""Stationary covariance of a linear model under noise.

For dr = A r dt + noise of intensity Q with a stable A, the covariance C solves A C + C A' + Q = 0.
Noise pruning (Moore & Chaudhuri 2020, arXiv:2011.07334) needs only C_ii + C_jj - 2 s C_ij of the
pairs with a synapse: pair_variance takes it from a dense C, probed_pair_variance estimates it
without forming C.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy import linalg, sparse

from lnp_edge.base.errors import NetworkError
from lnp_edge.base.jit import cached
from lnp_edge.dynamics.rate_model import RateModel, rightmost
from lnp_edge.network import Floats

SIGN_FROM = 400  # neurons from which by_sign is faster than by_schur
PROBES = 32  # relative standard deviation of a pair's variance: about 1.2 / sqrt(PROBES)
TOLERANCE = 1e-3  # of the trace of C, in probed_pair_variance: far below the scatter of the probes
SOLVED = 1e-6  # relative residual of its linear systems
MOST_SHIFTS, MOST_PRODUCTS = 120, 400


def stationary_covariance(a: Floats, q: Floats) -> Floats:
    """C [N, N] with A C + C A' + Q = 0.

    Raises NetworkError if A is not stable within floating-point accuracy. A long chain of strong
    synapses is stable, but so far from normal that its covariance cannot be computed either.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():  # the error reports these
        warnings.simplefilter("ignore", linalg.LinAlgWarning)
        c = by_sign(a, q) if len(a) >= SIGN_FROM else by_schur(a, q)
    return (c + c.T) / 2


def by_schur(a: Floats, q: Floats) -> Floats:
    """Bartels & Stewart 1972 (Commun. ACM 15:820) as in SciPy, whose Q has the opposite sign.

    Raises NetworkError if the result does not solve the equation to a relative 1e-6; the residual
    of a backward stable solution is about 1e-15.
    """
    c = linalg.solve_continuous_lyapunov(a, -q)
    left, sizes = np.linalg.norm(a @ c + c @ a.T + q), [np.linalg.norm(x) for x in (a, c, q)]
    if not left <= 1e-6 * (2 * sizes[0] * sizes[1] + sizes[2]):
        raise unstable()
    return c


def by_sign(a: Floats, q: Floats, most: int = 60) -> Floats:
    """Newton's iteration for the matrix sign of [[A, Q], [0, -A']], by inverses and products.

    Roberts 1980, Int. J. Control 32:677, scaled by the norms of A and its inverse (Byers 1987,
    Linear Algebra Appl. 85:267) until A is near -I.
    Raises NetworkError if it does not converge: A is unstable or has an imaginary eigenvalue.
    """
    n = len(a)
    x, c, near = np.array(a, float), np.array(q, float), False
    for _ in range(most):
        try:
            inverse = linalg.inv(x, check_finite=False)
        except linalg.LinAlgError:
            break
        scale = 1.0 if near else np.sqrt(linalg.norm(inverse, check_finite=False) / linalg.norm(x, check_finite=False))
        y = inverse @ c @ inverse.T
        c = (scale * c + y / scale) / 2
        x = (scale * x + inverse / scale) / 2
        off = linalg.norm(x + np.eye(n), check_finite=False)
        if not np.isfinite(off):
            break
        if near and off < 1e-12 * n:
            return c / 2
        near = near or off < 0.1
    raise unstable()


def unstable() -> NetworkError:
    return NetworkError(
        "the rate model is not stable, or nearly unstable: no stationary covariance",
        "lower the recurrent weights",
    )


def pair_variance(c: Floats, sign: Floats, pre: np.ndarray, post: np.ndarray) -> Floats:
    """Variance of r_pre - sign r_post of each pair, C_ii + C_jj - 2 sign C_ij, at least 0."""
    return np.maximum(c[pre, pre] + c[post, post] - 2 * sign * c[pre, post], 0)


def probed_pair_variance(
    model: RateModel,
    sign: Floats,
    pre: np.ndarray,
    post: np.ndarray,
    rng: np.random.Generator,
    probes: int = PROBES,
    progress: Callable[[float], None] = lambda done: None,
) -> Floats:
    """An estimate of pair_variance for a sparse model, in memory linear in synapses and neurons.

    Rademacher vectors g replace Q by B B' / k with B [N, k] = Q**0.5 g (Hutchinson 1990). For this
    low-rank right-hand side, the alternating direction implicit iteration (Li & White 2002, SIAM J.
    Matrix Anal. Appl. 24:260) yields the columns of a factor Z of C in blocks. The variance of a
    pair is the squared distance of two rows of Z. The estimate is unbiased up to TOLERANCE; its
    relative standard deviation is about 1.2 / sqrt(probes). The method is ours: others integrate
    dz/dt = A z, which takes as many products but needs a step size and an end time.

    Raises NetworkError if the model is not stable.
    """
    n, leak = len(model.private), model.leak
    gap = leak - rightmost(model.m)
    if not gap > 0:
        raise unstable()
    signs = [rng.integers(0, 2, (size, probes)) * 2.0 - 1 for size in (n, model.shared.shape[1])]
    w = np.sqrt(model.private)[:, None] * signs[0] + model.shared @ signs[1]
    shifts = _shifts(gap, leak + abs(model.m).sum(1).max() ** 0.5)
    found, traced, start = np.zeros(len(pre)), 0.0, np.square(w).sum()
    pre, post = (np.ascontiguousarray(a, np.intp) for a in (pre, post))  # else compiled for each type and layout
    for k in range(MOST_SHIFTS):
        p = shifts[k % len(shifts)]
        v = _solve(model.m, leak + p, w)
        w -= 2 * p * v
        _add_distances(v, 2 * p / probes, sign, pre, post, found)
        traced += 2 * p * np.square(v).sum()
        left = np.square(w).sum() / (2 * gap)  # bounds the rest of the trace if A is normal
        if left <= TOLERANCE * traced:  # both are 0 without noise
            return found
        progress(min(1.0, np.log(start / (2 * gap) / left) / np.log(start / (2 * gap) / (TOLERANCE * traced))))
    raise NetworkError(
        f"the covariance did not converge in {MOST_SHIFTS} shifts: the model is nearly unstable (gap {gap:.2g})",
        "lower the recurrent weights",
    )


def _shifts(gap: float, fastest: float) -> Floats:
    """Six log-spaced shifts for decay rates from gap to fastest, ends excluded."""
    ratio = np.log(fastest / gap)
    return gap * np.exp(ratio * (np.arange(6) + 0.5) / 6)


def _solve(m: sparse.csr_array, diagonal: float, b: Floats) -> Floats:
    """x [N, k] with (diagonal I - M) x = b, by BiCGSTAB (van der Vorst 1992) in every column."""
    x = b / diagonal
    r = b - (diagonal * x - m @ x)
    shadow, size = r.copy(), np.sqrt(np.square(b).sum(0))
    rho = alpha = omega = np.ones(b.shape[1])
    v, p = np.zeros_like(b), np.zeros_like(b)
    for _ in range(MOST_PRODUCTS):
        if (np.sqrt(np.square(r).sum(0)) <= SOLVED * size).all():
            return x
        before, rho = rho, _dot(shadow, r)
        p = r + _ratio(rho * alpha, before * omega) * (p - omega * v)
        v = diagonal * p - m @ p
        alpha = _ratio(rho, _dot(shadow, v))
        s = r - alpha * v
        t = diagonal * s - m @ s
        omega = _ratio(_dot(t, s), _dot(t, t))
        x += alpha * p + omega * s
        r = s - omega * t
    raise NetworkError(
        "a linear system of the covariance did not converge", "lower the recurrent weights, or choose fewer neurons"
    )


def _dot(a: Floats, b: Floats) -> Floats:
    return np.einsum("nk,nk->k", a, b)


def _ratio(a: Floats, b: Floats) -> Floats:
    """a / b, or 0 where b is 0 because a column has converged exactly."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


@cached
def _add_distances(z, factor, sign, pre, post, into):
    """into[e] += factor |z[pre[e]] - sign[e] z[post[e]]|^2."""
    for e in range(len(pre)):
        a, b, total = z[pre[e]], z[post[e]], 0.0
        for k in range(z.shape[1]):
            d = a[k] - sign[e] * b[k]
            total += d * d
        into[e] += factor * total
