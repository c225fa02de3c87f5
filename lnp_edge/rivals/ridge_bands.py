"""Ridge regression on statistics, log band powers and lagged products: task.baselines.statistics_and_bands in integers.

_statistics.py has the features and their Fourier transform, _linear.py the rule of the
quantisation: features standardised by shift and offset, int16 coefficients. The strength, and whether lagged
products are used and changed windows trained on, are chosen by cross-validation over training groups.
"""

from __future__ import annotations

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _ridge, _statistics
from lnp_edge.task import baselines
from lnp_edge.task.split import Split

TITLE = "ridge, with bands"
BASELINE = "ridge on statistics and bands"


def suits(data: Split) -> str:
    return _ridge.why_not(data, _statistics.MOST_BAND_STEPS, baselines.SHORTEST)


def fit(data: Split, progress: Progress | None = None) -> _ridge.Ridge:
    return _ridge.fit(data, True, progress)
