"""A GRU over the steps of a window in integers, as reference and as C.

How it is quantised, after training and without further training:

* Weights: int8, one scale for each row (a gate of a unit) of the input's and of the state's matrix.
  The read-out has one scale, so that its scores are comparable.
* Input: the encoder's int8 times 256. State h and gates r and z: int16, 1 is 32767.
* Sums: int32, begun at an int32 bias.
* Arguments of sigmoid and tanh: int16 in units of 2**-12, from the two sums of a row by a multiplier
  each of 32 bits below the point, added in 64 bits, rounded once and limited.
* sigmoid and tanh: tables of 257 int16 over -8..8, linear between the entries; off by at most 4e-4.
* h moves to n by z * (h - n), rounded to int16.

Nothing overflows. A row's sums are at most |bias| + 32767 * sum of |w|, which Gru checks from the
weights as they are; a sum and a multiplier are below 2**31, so two products and 2**31 are below
2**63. Rounded, an argument is below 2**31. z * (h - n) + 2**14 <= 32767 * 65534 + 2**14 < 2**31.

The read-out takes the mean state where windows are cut from a stream, and the last for a series;
where a window is a whole trial, what is better on a third of the training groups.
Training: 1,200 batches of 128 windows, as training/plain.py says. Nothing was searched.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.install import require
from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _c, _float
from lnp_edge.task.split import Split
from lnp_edge.task.task import Task

ONE = 32767  # of h, r and z
ARGUMENT = 4096  # 1, as an argument of sigmoid or tanh
INPUT = 256  # of the network, for 1 of the encoder
AT_ONCE = 4096  # windows
TOGETHER = 4  # rows of a matrix that C takes at once: a divisor of 3 * units
BATCH, STEPS, LR, WEIGHT_DECAY, SMOOTHING, DROPOUT = 128, 1200, 0.01, 0.01, 0.1, 0.0


def train(data: Split, units: int, seed: int, progress: Progress | None) -> Gru:
    """Train and quantise."""
    require("torch")
    from lnp_edge.training import plain

    task = data.task
    sizes = len(task.channels), units, len(task.classes)

    def trained(part: Split, mean: bool, steps: int, progress: Progress | None) -> plain.Gru:
        return plain.fit(
            lambda: plain.Gru(*sizes, mean, DROPOUT),
            _float.batches(part, BATCH), steps, LR, WEIGHT_DECAY, SMOOTHING, seed, progress,
        )  # fmt: skip

    options = (False,) if data.train.series else (False, True) if _float.are_trials(data) else (True,)
    net, mean = _float.chosen(data, options, trained, STEPS, progress)
    return Gru(task, net.gates(), net.read_out(), mean, plain.UNIT)


def table(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.int16]:
    """int16 [257], function(x) * ONE for x = -8, -8 + 1/16, ..., 8."""
    return np.rint(function(np.arange(-128, 129) / 16) * ONE).astype(np.int16)


SIGMOID, TANH = table(lambda x: 1 / (1 + np.exp(-x))), table(np.tanh)


def looked_up(values: NDArray[np.int16], x: NDArray[np.int64]) -> NDArray[np.int64]:
    """A table at arguments x in -32768..32767."""
    place = x + 32768
    low = values[place >> 8].astype(np.int64)
    return low + (((values[(place >> 8) + 1] - low) * (place & 255) + 128) >> 8)


class Gru:
    """The network in integers.

    gates, read_out : of training.plain.Gru
    mean            : whether the read-out takes the mean state of all steps, else the last
    unit            : input integers per unit of the float network
    """

    def __init__(self, task: Task, gates: tuple[NDArray, ...], read_out: tuple[NDArray, ...], mean: bool, unit: float):
        self.task, self.mean = task, mean
        w_x, w_h, b_x, b_h = gates
        self.units = w_h.shape[1]
        (self.w_x, of_x), (self.w_h, of_h) = _float.rows_quantised(w_x), _float.rows_quantised(w_h)
        for_x, for_h = of_x / (unit * INPUT), of_h / ONE  # of the sums
        self.b_x, self.b_h = self._bias(b_x / for_x), self._bias(b_h / for_h)
        self.m_x, self.m_h = (_float.fixed(f * ARGUMENT, 32).astype(np.int32) for f in (for_x, for_h))
        for w, b, most in ((self.w_x, self.b_x, 127 * INPUT), (self.w_h, self.b_h, ONE)):
            reach = np.abs(b.astype(np.int64)) + most * np.abs(w.astype(np.int64)).sum(1)
            assert reach.max() <= _float.LARGEST, "a sum leaves int32"
        # The mean state is a sum of 2**shift parts, so that it stays within int16 for any window.
        self.shift = (task.window - 1).bit_length() if mean else 0
        steps = task.window / 2**self.shift if mean else 1.0
        assert not mean or task.window <= 2**15, "the sum of the states leaves int32"
        self.out = _float.ReadOut(read_out, 1 / (ONE * steps), ONE + 1, task)

    @staticmethod
    def _bias(values: NDArray[np.float64]) -> NDArray[np.int32]:
        return _float.fixed(values, 0, -(2**30), 2**30).astype(np.int32)

    @property
    def parameters(self) -> int:
        found = (self.w_x, self.w_h, self.b_x, self.b_h, self.out.w, self.out.bias)
        return sum(a.size for a in found)

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        parts = [self._scores(counts[k : k + AT_ONCE]) for k in range(0, len(counts), AT_ONCE)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.out.w)), np.int32)

    def _scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        h = np.zeros((len(counts), self.units), np.int64)
        total, n = np.zeros_like(h), self.units
        w_x, w_h = self.w_x.T.astype(np.float64), self.w_h.T.astype(np.float64)
        for t in range(counts.shape[1]):
            x = _float.inputs(self.task, counts[:, t]) * INPUT
            from_x = ((x @ w_x).astype(np.int64) + self.b_x) * self.m_x
            from_h = ((h.astype(np.float64) @ w_h).astype(np.int64) + self.b_h) * self.m_h
            gates = looked_up(SIGMOID, self._argument(from_x[:, : 2 * n] + from_h[:, : 2 * n]))
            r, z = gates[:, :n], gates[:, n:]
            held = (r * self._argument(from_h[:, 2 * n :]) + 2**14) >> 15
            new = looked_up(TANH, np.clip(self._argument(from_x[:, 2 * n :]) + held, -32768, 32767))
            h = new + ((z * (h - new) + 2**14) >> 15)
            total += h
        if self.mean:
            h = (total + (1 << self.shift >> 1)) >> self.shift
        return self.out.scores(h.astype(np.float64), counts)

    @staticmethod
    def _argument(sums: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.clip((sums + 2**31) >> 32, -32768, 32767)

    @staticmethod
    def _rows_c() -> str:
        each = range(TOGETHER)
        begin = ", ".join(f"sum{n} = bias[r + {n}u]" for n in each)
        add = "\n".join(f"            sum{n} += v * w[{n}];" for n in each)
        end = "\n".join(f"        sums[r + {n}u] = sum{n};" for n in each)
        return f"""// sums[r] = bias[r] + sum of w * x: each input is loaded once for {TOGETHER} rows.
static void rows(int32_t *sums, const int8_t *w, const int32_t *bias, const int16_t *x, uint32_t length)
{{
    for (uint32_t r = 0; r < 3 * UNITS; r += {TOGETHER}) {{
        int32_t {begin};
        for (uint32_t i = 0; i < length; i++) {{
            const int32_t v = x[i];
{add}
            w += {TOGETHER};
        }}
{end}
    }}
}}
"""

    def c_files(self) -> dict[str, str]:
        """One file. Static RAM: the state, the input, the sums of all rows and those for the read-out."""
        n = self.units
        tables = [_c.array(name, _float.together(w, TOGETHER)) for name, w in (("w_x", self.w_x), ("w_h", self.w_h))]
        tables += [_c.array(name, getattr(self, name)) for name in ("b_x", "b_h", "m_x", "m_h")]
        tables += [_c.array("sigmoid", SIGMOID), _c.array("hyperbolic", TANH)]
        before = "        state[i] += h[i];" if self.mean else "        state[i] = h[i];"
        half = f"state[i] = (state[i] + {1 << self.shift >> 1}) >> {self.shift};"
        after = f"    for (uint32_t i = 0; i < UNITS; i++) {{\n        {half}\n    }}\n" if self.mean else ""
        text = f"""// A GRU of {n} units, {self.parameters:,} parameters, in integers: lnp_edge/rivals/_gru.py.
// Static RAM: {2 * len(self.task.channels) + 30 * n:,} B.
#include "lnp_ops.h"
#include "lnp_rival.h"

enum {{ UNITS = {n} }};

static int16_t input[LNP_RIVAL_CHANNELS], h[UNITS];
static int32_t from_x[3 * UNITS], from_h[3 * UNITS];
static int32_t state[UNITS];  // for the read-out

// Rows of w_x and w_h, m_x and m_h: gate r of every unit, then z, then n.
{"".join(tables)}
{_float.encoder_c(self.task)}
// Linear between the entries of a table over -8..8.
static inline int32_t looked_up(const int16_t *values, int32_t x)
{{
    const uint32_t place = (uint32_t)(x + 32768);
    const int32_t low = values[place >> 8];
    return low + (((values[(place >> 8) + 1u] - low) * (int32_t)(place & 255u) + 128) >> 8);
}}

static inline int32_t argument(int64_t sum)
{{
    return lnp_clamp((int32_t)((sum + 0x80000000LL) >> 32), -32768, 32767);
}}

{self._rows_c()}
static void step(void)
{{
    rows(from_x, w_x, b_x, input, LNP_RIVAL_CHANNELS);
    rows(from_h, w_h, b_h, h, UNITS);
    for (uint32_t i = 0; i < UNITS; i++) {{
        const uint32_t j = i + UNITS, k = j + UNITS;
        const int32_t r = looked_up(sigmoid, argument((int64_t)from_x[i] * m_x[i] + (int64_t)from_h[i] * m_h[i]));
        const int32_t z = looked_up(sigmoid, argument((int64_t)from_x[j] * m_x[j] + (int64_t)from_h[j] * m_h[j]));
        const int32_t held = (r * argument((int64_t)from_h[k] * m_h[k]) + 16384) >> 15;
        const int32_t x = argument((int64_t)from_x[k] * m_x[k]) + held;
        const int32_t n = looked_up(hyperbolic, lnp_clamp(x, -32768, 32767));
        h[i] = (int16_t)(n + ((z * (h[i] - n) + 16384) >> 15));
{before}
    }}
}}

{self.out.c_text()}
void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    for (uint32_t i = 0; i < UNITS; i++) {{
        h[i] = 0;
        state[i] = 0;
    }}
    const int16_t *count = counts;
    for (uint32_t t = 0; t < LNP_RIVAL_STEPS; t++) {{
        for (uint32_t k = 0; k < LNP_RIVAL_CHANNELS; k++) {{
            input[k] = (int16_t)(encode_channel(k, *count++) * {INPUT});
        }}
        step();
    }}
{after}    read_out(state, counts, scores);
}}
"""
        return {"lnp_rival.c": text} | _float.ops_h()
