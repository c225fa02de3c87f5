"""Ridge regression on every count of a window, where each step has its own meaning: trials, beats, images.

_samples.py has the rule of the quantisation: int16 coefficients, a power of two for each channel,
sums of 64 bits. The strength is chosen by cross-validation over training groups.
"""

from __future__ import annotations

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _samples
from lnp_edge.task.baselines import are_trials, linear, samples
from lnp_edge.task.split import Split

TITLE = "ridge, samples"
BASELINE = "ridge on samples"


def suits(data: Split) -> str:
    if data.train.series:
        return "it forecasts a series"
    if data.task.window > _samples.MOST_STEPS:
        return f"its windows have {data.task.window} steps, at most {_samples.MOST_STEPS} are possible"
    return "" if data.train.pixel or are_trials(data) else "its windows begin anywhere"


def fit(data: Split, progress: Progress | None = None) -> _samples.Samples:
    tell = progress or (lambda share, what: None)
    tell(0.0, "features")
    model = linear(data, samples(data.train_windows.counts), lambda share: tell(share, "cross-validation"))
    return _samples.quantize(model, data)
