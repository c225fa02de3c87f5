"""Ridge regression on statistics of a window: task.baselines.statistics in integers.

_statistics.py has the features, _linear.py the rule of the quantisation: features standardised by
shift and offset, int16 coefficients. The strength is chosen by cross-validation over training groups.
"""

from __future__ import annotations

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _ridge, _statistics
from lnp_edge.task.split import Split

TITLE = "ridge, statistics"
BASELINE = "ridge on statistics"


def suits(data: Split) -> str:
    return _ridge.why_not(data, _statistics.MOST_STEPS)


def fit(data: Split, progress: Progress | None = None) -> _ridge.Ridge:
    return _ridge.fit(data, False, progress)
