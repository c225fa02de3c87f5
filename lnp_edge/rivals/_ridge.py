"""A ridge regression on integer features: what the ridge rivals share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _linear, _statistics
from lnp_edge.task.baselines import linear, richer
from lnp_edge.task.split import Split

AT_ONCE = 2048  # windows: bounds the memory


@dataclass(frozen=True)
class Ridge:
    """The rival: see lnp_edge/rivals/__init__.py."""

    model: _linear.Integers
    steps: int  # samples of a window
    bands: bool  # band powers
    lags: bool  # lagged products

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        return self.model.scores(features(counts, self.bands, self.lags))

    def c_files(self) -> dict[str, str]:
        return {
            "lnp_rival.c": f"""#include "lnp_rival.h"

{self.model.c_text()}
{_statistics.c_text(self.steps, self.bands, self.lags)}
void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    put_features(counts);
    finish(scores);
}}
"""
        }


def features(counts: NDArray[np.int16], bands: bool, lags: bool) -> NDArray[np.int64]:
    """_statistics.features of windows int16 [W, T, C]: [W, F], AT_ONCE windows at a time."""
    parts = [_statistics.features(counts[k : k + AT_ONCE], bands, lags) for k in range(0, len(counts), AT_ONCE)]
    return np.concatenate(parts)


def why_not(data: Split, most: int, least: int = 2) -> str:
    """Why no ridge regression can take the task, or "". least, most : samples of a window"""
    if data.train.series:
        return "it forecasts a series"
    if data.train.pixel:
        return "its channels are pixels"
    if not least <= data.task.window <= most:
        return f"its windows have {data.task.window} steps, {least} to {most} are possible"
    return ""


def fit(data: Split, bands: bool, progress: Progress | None) -> Ridge:
    """The strength is chosen by cross-validation over training groups; with bands, so are lagged products."""
    tell = progress or (lambda share, what: None)
    tell(0.0, "features")

    def put(counts: NDArray[np.int16]) -> NDArray[np.float64]:
        return features(counts, bands, bands).astype(np.float64)

    def told(share: float) -> None:
        tell(share, "cross-validation")

    model, lags = richer(data, put, told) if bands else (linear(data, put(data.train_windows.counts), told), False)
    return Ridge(_linear.quantize(model), data.task.window, bands, lags)
