"""A series stays as it is: the forecast is the last count of each target, exact in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import FORECAST_ONE, _c
from lnp_edge.task.split import Split

TITLE = "persistence"
BASELINE = "persistence"


def suits(data: Split) -> str:
    if not (series := data.train.series):
        return "it tells classes apart"
    return "its forecasts are fed back" if series.free_run else ""


def fit(data: Split, progress: Progress | None = None) -> Persistence:
    assert data.train.series
    return Persistence(np.array(data.train.series.target, np.uint16))


@dataclass(frozen=True)
class Persistence:
    target: NDArray[np.uint16]  # [K], channels

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        return counts[:, -1, self.target].astype(np.int32) * FORECAST_ONE

    def c_files(self) -> dict[str, str]:
        return {
            "lnp_rival.c": f"""#include "lnp_rival.h"

{_c.array("target", self.target)}
void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    const int16_t *last = counts + (LNP_RIVAL_STEPS - 1u) * LNP_RIVAL_CHANNELS;
    for (uint32_t k = 0; k < LNP_RIVAL_SCORES; k++) {{
        scores[k] = last[target[k]] * {FORECAST_ONE};
    }}
}}
"""
        }
