"""Moore & Chaudhuri's experiment on linear networks: does pruning preserve the dynamics?

A symmetric, diagonally dominant, clustered matrix A of a network dr/dt = A r + noise is pruned to S
with a share of its pairs (arXiv:2011.07334). The worst-case spectral error is
max |eig((-A)**-0.5 (-S) (-A)**-0.5) - 1|, the largest relative error of a quadratic form of S. The
covariance error is |C_S - C_A| / |C_A|. In this case noise pruning is sampling by effective
resistance (Spielman & Srivastava 2011), which has a guarantee. Random methods divide the kept pairs
by p and match the diagonal; magnitude keeps the largest pairs unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from lnp_edge.base.progress import Progress
from lnp_edge.dynamics.covariance import pair_variance, stationary_covariance
from lnp_edge.network import Floats
from lnp_edge.pruning.steps.edges import keep_probabilities, matched_diagonal, rescaling, sample

METHODS = ("noise", "weight", "uniform", "magnitude")
ERRORS = {"method", "keep", "seed", "spectral_error", "covariance_error"}
SLACK = 0.05  # leak beyond the row sums, as a share of their mean
SIZES = (0.6, 0.3, 0.1)  # of the clusters, as shares of all neurons
WITHIN, BETWEEN = 0.6, 0.01  # share of the pairs that are connected


def clustered(n: int, seed: int) -> Floats:
    """A [N, N], diagonally dominant: clusters with weights |N(1, 1)| within and U(0, 1) between."""
    rng = np.random.default_rng(seed)
    group = np.repeat(range(len(SIZES)), [round(n * share) for share in SIZES])
    n = len(group)
    same = group[:, None] == group[None, :]
    joined = rng.random((n, n)) < np.where(same, WITHIN, BETWEEN)
    w = np.triu(joined * np.where(same, np.abs(rng.normal(1, 1, (n, n))), rng.random((n, n))), 1)
    w += w.T
    leak = w.sum(1)
    return w - np.diag(leak + SLACK * leak.mean())


def scores(a: Floats, c: Floats) -> dict[str, Floats]:
    """The score of each pair above the diagonal of A, by method, in row order. c : covariance"""
    i, j = np.nonzero(np.triu(a, 1))
    w = a[i, j]
    return {"noise": np.abs(w) * pair_variance(c, np.sign(w), i, j), "weight": np.abs(w), "uniform": np.ones(len(w))}


def pruned(a: Floats, score: Floats | None, keep: float, rng: np.random.Generator) -> Floats:
    """S [N, N], symmetric like a, with round(keep * pairs) pairs.

    score : None keeps the largest pairs unchanged
    """
    i, j = np.nonzero(np.triu(a, 1))
    w, count, s = a[i, j], round(keep * np.count_nonzero(np.triu(a, 1))), np.zeros_like(a)
    if score is None:
        kept, factor = np.argsort(-np.abs(w), kind="stable")[:count], np.ones(len(w))
    else:
        p = keep_probabilities(score, count)
        kept, factor = np.flatnonzero(sample(p, rng)), rescaling(p, 1.0, 0.0)
    s[i[kept], j[kept]] = (w * factor)[kept]
    return matched_diagonal(a, s + s.T + np.diag(np.diag(a)))


def errors(a: Floats, c: Floats, s: Floats) -> tuple[float, float]:
    """Worst-case spectral error and covariance error of S [N, N]. c : covariance of A"""
    ratio = linalg.eigh(-s, -a, eigvals_only=True)
    after = -linalg.inv(s) / 2  # for symmetric S; if it is unstable, only formally
    return float(np.abs(ratio - 1).max()), float(linalg.norm(after - c) / linalg.norm(c))


@dataclass(frozen=True)
class Matrix:
    """One matrix of the experiment, and the shares of its pairs to keep."""

    n: int
    seed: int
    keeps: tuple[float, ...]

    @property
    def key(self) -> str:
        return f"matrix-{self.n}-{self.seed}-{'-'.join(f'{keep:g}' for keep in self.keeps)}"

    def valid(self, found: dict) -> bool:
        rows = found.get("rows")
        return isinstance(rows, list) and all(isinstance(row, dict) and set(row) >= ERRORS for row in rows)


def measure(matrix: Matrix, progress: Progress | None = None) -> dict[str, list[dict]]:
    """Work for store.run: under "rows", the errors and the stability per method and share."""
    a = clustered(matrix.n, matrix.seed)
    c = stationary_covariance(a, np.eye(len(a)))
    by_method = scores(a, c)
    rows = []
    for keep in matrix.keeps:
        for method in METHODS:
            s = pruned(a, by_method.get(method), keep, np.random.default_rng([matrix.seed, 1]))
            spectral, covariance = errors(a, c, s)
            row = {"method": method, "keep": keep, "seed": matrix.seed, "stable": bool(linalg.eigvalsh(s).max() < 0)}
            rows.append(row | {"spectral_error": spectral, "covariance_error": covariance})
    return {"rows": rows}
