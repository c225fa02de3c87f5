"""A linear model of all counts of a window, in integers. The rule of its quantisation:

score[k] = clamp(bias[k] + sum over channels of (sum over t of c[k, channel, t] * x[t, channel]) >> shift[channel])

c is int16: the float coefficients times a power of two for each channel, the largest one that
fits. Sums have 64 bits. A score has the fraction that lets no int16 input leave 30 bits; in a
series it is a forecast in 1/FORECAST_ONE of a count, plus the last count of the target. The bias is
set after rounding, so that the mean score over the training windows stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.rivals import FORECAST_ONE, _c
from lnp_edge.task.baselines import Linear
from lnp_edge.task.split import Split

MOST_STEPS = 4096  # sums of a channel stay below 2**42
LARGEST, WITHIN, WORD = 32767, 2**30, 2**31 - 1


@dataclass(frozen=True)
class Samples:
    c: NDArray[np.int16]  # [K, C, T]
    shift: NDArray[np.uint8]  # [C]
    bias: NDArray[np.int32]  # [K]
    target: NDArray[np.uint16]  # [K], channels of a series; [0] for classes

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        x, total = counts.astype(np.float64), np.tile(self.bias.astype(np.int64), (len(counts), 1))
        for c, shift in enumerate(self.shift.tolist()):
            # Exact in float64: partial sums are integers below 2**53.
            total += (x[:, :, c] @ self.c[:, c].T.astype(np.float64)).astype(np.int64) >> shift
        if len(self.target):
            total += counts[:, -1, self.target].astype(np.int64) * FORECAST_ONE
        return np.clip(total, -WORD, WORD).astype(np.int32)

    def c_files(self) -> dict[str, str]:
        last = f" + last[target[k]] * {FORECAST_ONE}" if len(self.target) else ""
        table = f"{_c.array('target', self.target)}\n" if len(self.target) else ""
        row = "    const int16_t *last = counts + (LNP_RIVAL_STEPS - 1u) * LNP_RIVAL_CHANNELS;\n" if last else ""
        return {
            "lnp_rival.c": f"""#include "lnp_rival.h"

// For each score and channel a row of LNP_RIVAL_STEPS.
{_c.array("coefficient", self.c)}
{_c.array("shift", self.shift)}
{_c.array("bias", self.bias)}
{table}_Static_assert(-3 >> 1 == -2, "this compiler's >> does not round down");

void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    const int16_t *c = coefficient;
{row}    for (uint32_t k = 0; k < LNP_RIVAL_SCORES; k++) {{
        int64_t total = bias[k]{last};
        for (uint32_t channel = 0; channel < LNP_RIVAL_CHANNELS; channel++) {{
            const int16_t *x = counts + channel;
            int64_t sum = 0;
            for (uint32_t t = 0; t < LNP_RIVAL_STEPS; t++) {{
                sum += (int64_t)*x * *c++;
                x += LNP_RIVAL_CHANNELS;
            }}
            total += sum >> shift[channel];
        }}
        scores[k] = (int32_t)(total < -INT32_MAX ? -INT32_MAX : (total > INT32_MAX ? INT32_MAX : total));
    }}
}}
"""
        }


def quantize(model: Linear, data: Split) -> Samples:
    """A linear model of baselines.samples in integers."""
    steps, channels, series = data.task.window, len(data.task.channels), data.train.series
    raw = model.w / model.deviation[:, None]
    w = raw.reshape(steps, channels, -1).transpose(2, 1, 0)
    if series:
        fraction = FORECAST_ONE.bit_length() - 1
    else:
        most = np.abs(w).sum((1, 2)).max() * 2**15 + np.abs(model.intercept).max()
        fraction = int(np.floor(np.log2(0.99 * WITHIN / max(most, 1e-30))))
    largest = np.maximum(np.abs(w).max((0, 2)), 1e-30)
    exponent = np.clip(np.floor(np.log2(LARGEST / largest)).astype(int), fraction, fraction + 40)
    c = np.rint(w * 2.0 ** exponent[:, None])
    c = np.clip(c, -LARGEST, LARGEST).astype(np.int16)
    shift = (exponent - fraction).astype(np.uint8)
    mean = model.mean.reshape(steps, channels)
    kept = sum(c[:, k] @ mean[:, k] / 2.0 ** shift[k] for k in range(channels))
    # >> rounds down: half a unit less on average.
    bias = np.rint(model.intercept * 2.0**fraction - kept + 0.5 * np.count_nonzero(shift))
    return Samples(
        c, shift, np.clip(bias, -WORD, WORD).astype(np.int32), np.array(series.target if series else (), np.uint16)
    )
