"""Linear autoregression: the change of each target from all counts of the window.

The float model is task.baselines.autoregressive; _samples.py has the rule of its quantisation: int16
coefficients, a power of two for each channel, sums of 64 bits.
"""

from __future__ import annotations

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _samples
from lnp_edge.task.baselines import autoregressive
from lnp_edge.task.split import Split

TITLE = "linear autoregression"
BASELINE = "linear autoregression"


def suits(data: Split) -> str:
    if not (series := data.train.series):
        return "it tells classes apart"
    if data.task.window > _samples.MOST_STEPS:
        return f"its windows have {data.task.window} steps, at most {_samples.MOST_STEPS} are possible"
    return "its forecasts are fed back" if series.free_run else ""


def fit(data: Split, progress: Progress | None = None) -> _samples.Samples:
    return _samples.quantize(autoregressive(data), data)
