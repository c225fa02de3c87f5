"""A linear model of integer features, in integers. The rule of its quantisation:

z[i]      = clamp((feature[i] >> shift[i]) - offset[i], -LIMIT, LIMIT)
            shift[i] is chosen so that z has a standard deviation of 256 to 511 over the training
            windows, or less with shift 0; offset is the mean
score[k]  = bias[k] + sum over i of c[k, i] * z[i]
            the float coefficients of z, times one factor for all, rounded: the largest factor with
            |c| <= 32767 and bias and sum within 2**30 for any z, so that int32 never overflows
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.rivals import _c
from lnp_edge.task.baselines import Linear

LIMIT = 8191  # 16 standard deviations
DEVIATION = 256
LARGEST = 32767
WITHIN = 2**30


@dataclass(frozen=True)
class Integers:
    """A quantised linear model."""

    shift: NDArray[np.uint8]  # [F]
    offset: NDArray[np.int32]  # [F]
    c: NDArray[np.int16]  # [K, F]
    bias: NDArray[np.int32]  # [K]

    def scores(self, features: NDArray[np.int64]) -> NDArray[np.int32]:
        """int32 [W, K] for features [W, F]."""
        z = np.clip((features >> self.shift.astype(np.int64)) - self.offset, -LIMIT, LIMIT)
        # Exact in float64, and fast: every partial sum is an integer below 2**31.
        found = z.astype(np.float64) @ self.c.T.astype(np.float64) + self.bias
        return found.astype(np.int32)

    def c_text(self) -> str:
        """C: put(feature) for each feature in turn, then lnp_finish(scores)."""
        return f"""#define FEATURES {len(self.shift)}u
#define LIMIT {LIMIT}
// Not copied into every caller: that would double the code.
#define LNP_ALONE __attribute__((noinline))

{_c.array("shift", self.shift)}
{_c.array("offset", self.offset)}
// A row of FEATURES for each score.
{_c.array("coefficient", self.c)}
{_c.array("bias", self.bias)}
static int16_t z[FEATURES];
static uint32_t filled;

_Static_assert(-3 >> 1 == -2, "this compiler's >> does not round down");

LNP_ALONE static void put(int64_t feature)
{{
    const int64_t found = (feature >> shift[filled]) - offset[filled];
    z[filled] = (int16_t)(found < -LIMIT ? -LIMIT : (found > LIMIT ? LIMIT : found));
    filled++;
}}

// The sums cannot overflow: the coefficients were scaled so that no z leads beyond 2^30.
static void finish(int32_t *scores)
{{
    const int16_t *c = coefficient;
    for (uint32_t k = 0; k < LNP_RIVAL_SCORES; k++) {{
        int32_t sum = bias[k];
        for (uint32_t i = 0; i < FEATURES; i++) {{
            sum += *c++ * z[i];
        }}
        scores[k] = sum;
    }}
    filled = 0;
}}
"""


def quantize(model: Linear) -> Integers:
    """A ridge regression on integer features, in integers."""
    shift = np.maximum(0, np.floor(np.log2(model.deviation / DEVIATION))).astype(np.int64)
    while (np.abs(model.mean / 2.0**shift) >= 2**31 - 1).any():  # a mean of 2**23 standard deviations
        shift += np.abs(model.mean / 2.0**shift) >= 2**31 - 1
    # >> rounds down: half a unit less on average.
    offset = np.rint(model.mean / 2.0**shift - np.where(shift > 0, 0.5, 0.0)).astype(np.int32)
    w = model.w * (2.0**shift / model.deviation)[:, None]
    most = (np.abs(w).sum(0) * LIMIT + np.abs(model.intercept)).max()
    factor = min(LARGEST / max(np.abs(w).max(initial=0.0), 1e-30), 0.99 * WITHIN / max(most, 1e-30))
    return Integers(
        shift.astype(np.uint8), offset, np.rint(w.T * factor).astype(np.int16),
        np.rint(model.intercept * factor).astype(np.int32),
    )  # fmt: skip
