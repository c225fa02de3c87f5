"""Always the most frequent class: what a score must beat.

The scores are the numbers of training windows of each class, integers as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _c
from lnp_edge.task.split import Split

TITLE = "most frequent class"


def suits(data: Split) -> str:
    return "it forecasts a series" if data.train.series else ""


def fit(data: Split, progress: Progress | None = None) -> Majority:
    return Majority(np.bincount(data.train_windows.wanted, minlength=len(data.train.classes)).astype(np.int32))


@dataclass(frozen=True)
class Majority:
    occur: NDArray[np.int32]  # [K]

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        return np.tile(self.occur, (len(counts), 1))

    def c_files(self) -> dict[str, str]:
        return {
            "lnp_rival.c": f"""#include "lnp_rival.h"

{_c.array("occur", self.occur)}
void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    (void)counts;
    for (uint32_t k = 0; k < LNP_RIVAL_SCORES; k++) {{
        scores[k] = occur[k];
    }}
}}
"""
        }
