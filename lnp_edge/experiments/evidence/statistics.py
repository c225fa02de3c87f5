"""Means over seeds with confidence intervals, and differences paired by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean and half the width of its confidence interval (Student's t); nan for one value."""

    mean: float
    half: float

    @staticmethod
    def of(values: list[float]) -> Estimate:
        a = np.array(values, float)
        if not len(a):
            return Estimate(np.nan, np.nan)
        if len(a) == 1:
            return Estimate(float(a[0]), np.nan)
        error = a.std(ddof=1) / np.sqrt(len(a))
        return Estimate(float(a.mean()), float(stdtrit(len(a) - 1, (1 + LEVEL) / 2) * error))

    @property
    def above_zero(self) -> bool:
        return self.mean - self.half > 0

    @property
    def below_zero(self) -> bool:
        return self.mean + self.half < 0

    def __str__(self) -> str:
        if np.isnan(self.mean):
            return ""
        return f"{self.mean:.3f}" + ("" if np.isnan(self.half) else f" ± {self.half:.3f}")


def values(results: list[dict], measure: str, **where) -> dict[int, float]:
    """A measure by seed, for the results that match `where` and did not fail.

    A result without one of these keys matches too: a rival has no share of synapses.
    """
    return {
        r["seed"]: r[measure]
        for r in results
        if measure in r and "failed" not in r and all(r.get(key, value) == value for key, value in where.items())
    }


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Estimate:
    """The mean difference ours - theirs over the seeds that both have."""
    both = sorted(set(ours) & set(theirs))
    return Estimate.of([ours[seed] - theirs[seed] for seed in both])
