"""A depthwise-separable convolutional network over time in 8-bit integers, as reference and as C.

How it is quantised, after training and without further training:

* Batch norm is folded into weights and biases.
* Weights: int8, one scale for each output channel, its largest |w| is 127. The read-out has one
  scale, so that its scores are comparable.
* Activations: 8 bits, uint8 with zero as zero, which is the int8 with zero point -128 of TFLite.
  255 is the layer's largest output for up to 2,000 training windows. The input is the encoder's
  int8 plus 128, and 128 is its zero.
* Sums: int32, begun at an int32 bias.
* Requantisation as in gemmlowp and TFLite by a fixed-point multiplier, here of 32 bits below the
  point for every channel, rounded once: min(255, (max(sum, 0) * multiplier + 2**31) >> 32).
* The mean over time is a sum: the steps are in the scale of the read-out.

Whether a last depthwise layer takes all steps or their mean is read: the mean where windows are cut
from a stream; where a window is a whole trial, what is better on a third of the training groups.
Training: 2,500 batches of 64 windows, as training/plain.py says. On SPAR's seven training people,
in three folds, strides of 2 in three blocks were as accurate as in two (.821, .819) at little more
than half the cost, and dropout with weight decay at fewer batches was not worse than without (.827,
.821). Nothing else was searched.

No sum overflows: |sum| <= |bias| + 255 * sum of |w| <= 2**30 + 255 * 127 * inputs of a channel, and
Cnn checks it for every channel, from the weights as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lnp_edge.base.install import require
from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _c, _float
from lnp_edge.task.split import Split
from lnp_edge.task.task import Task

ZERO = 128  # of the input
MOST = 255
AT_ONCE = 512  # windows
BATCH, STEPS, LR, WEIGHT_DECAY, SMOOTHING, DROPOUT = 64, 2500, 0.01, 0.05, 0.1, 0.1


def train(data: Split, blocks: Sequence[tuple[int, int]], seed: int, progress: Progress | None) -> Cnn:
    """Train and quantise. blocks : as in training.plain.Convolutions"""
    require("torch")
    from lnp_edge.training import plain

    task = data.task
    sizes = len(task.channels), task.window, len(task.classes)

    def trained(part: Split, whole: bool, steps: int, progress: Progress | None) -> plain.Convolutions:
        return plain.fit(
            lambda: plain.Convolutions(blocks, *sizes, whole, DROPOUT),
            _float.batches(part, BATCH), steps, LR, WEIGHT_DECAY, SMOOTHING, seed, progress,
        )  # fmt: skip

    whole = (False, True) if _float.are_trials(data) else (False,)
    net, _ = _float.chosen(data, whole, trained, STEPS, progress)
    return Cnn(task, net.folded(_float.calibration(data)), net.read_out(), plain.UNIT)


@dataclass(frozen=True)
class Layer:
    """y[t, o] = requantised(bias[o] + sum of weight[o] * x[t * stride + k - pad]), with `zero` beyond the ends."""

    weight: NDArray[np.int8]  # [O, I, K]; I is 1 if depthwise
    bias: NDArray[np.int32]  # [O], what a zero other than 0 adds taken off
    multiplier: NDArray[np.uint32]  # [O]
    stride: int
    pad: int
    depthwise: bool
    zero: int  # of the input
    before: int  # steps
    after: int

    @property
    def channels(self) -> int:
        return self.weight.shape[0] if self.depthwise else self.weight.shape[1]

    @property
    def width(self) -> int:
        return self.weight.shape[0]

    @property
    def kernel(self) -> int:
        return self.weight.shape[2]

    def run(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """[W, T, O] from x [W, T, I], whole numbers in 0..255."""
        padded = np.pad(x, ((0, 0), (self.pad, self.pad), (0, 0)), constant_values=self.zero)
        parts = sliding_window_view(padded, self.kernel, axis=1)[:, :: self.stride]  # [W, T, I, K]
        w = self.weight.astype(np.float64)
        if self.depthwise:
            sums = np.einsum("wtck,ck->wtc", parts, w[:, 0])
        else:
            sums = parts.reshape(*parts.shape[:2], -1) @ w.reshape(len(w), -1).T
        sums = np.maximum(sums.astype(np.int64) + self.bias, 0).astype(np.uint64)  # below 2**31
        return np.minimum((sums * self.multiplier + np.uint64(2**31)) >> np.uint64(32), MOST).astype(np.float64)


class Cnn:
    """The network in integers.

    layers, read_out : of training.plain.Convolutions
    unit             : input integers per unit of the float network
    """

    def __init__(self, task: Task, layers: Sequence, read_out: tuple[NDArray, ...], unit: float):
        self.task, self.layers = task, []
        steps, scale, zero = task.window, 1 / unit, ZERO
        for one in layers:
            weight, of_row = _float.rows_quantised(one.weight)
            larger = max(one.largest, 1e-6) / MOST  # units of the float network for 1
            shifted = one.bias / (scale * of_row) - zero * weight.sum((1, 2), dtype=np.int64)
            after = (steps + 2 * one.pad - weight.shape[2]) // one.stride + 1
            self.layers.append(
                Layer(
                    weight,
                    _float.fixed(shifted, 0, -(2**30), 2**30).astype(np.int32),
                    _float.fixed(scale * of_row / larger, 32, 0, 2**32 - 1).astype(np.uint32),
                    one.stride, one.pad, one.depthwise, zero, steps, after,
                )
            )  # fmt: skip
            reach = np.abs(self.layers[-1].bias.astype(np.int64)) + MOST * np.abs(weight.astype(np.int64)).sum((1, 2))
            assert reach.max() <= _float.LARGEST, "a sum leaves int32"
            steps, scale, zero = after, larger, 0
        self.out = _float.ReadOut(read_out, scale / steps, MOST * steps, task)

    @property
    def parameters(self) -> int:
        return sum(a.weight.size + a.bias.size for a in self.layers) + self.out.w.size + self.out.bias.size

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        found = np.empty((len(counts), len(self.out.w)), np.int32)
        for k in range(0, len(counts), AT_ONCE):
            some = counts[k : k + AT_ONCE]
            x = _float.inputs(self.task, some) + ZERO
            for layer in self.layers:
                x = layer.run(x)
            found[k : k + AT_ONCE] = self.out.scores(x.sum(1), some)
        return found

    def c_files(self) -> dict[str, str]:
        """One file. Static RAM: two buffers of activations, which layers use in turn, and a sum per channel."""
        sizes = [0, 0]  # of the buffers
        for k, layer in enumerate(self.layers):
            sizes[k % 2] = max(sizes[k % 2], (layer.before + 2 * layer.pad) * layer.channels)
        last = self.layers[-1]
        sizes[len(self.layers) % 2] = max(sizes[len(self.layers) % 2], last.after * last.width)
        calls = []
        for k, layer in enumerate(self.layers):
            source, target = "ab"[k % 2], "ab"[(k + 1) % 2]
            room = self.layers[k + 1].pad * layer.width if k + 1 < len(self.layers) else 0
            if layer.pad:
                ends = layer.pad * layer.channels
                body = layer.before * layer.channels
                calls.append(f"    fill({source}, {ends}u, {layer.zero}u);")
                calls.append(f"    fill({source} + {ends + body}, {ends}u, {layer.zero}u);")
            calls.append(f"    layer{k + 1}({source}, {target}{f' + {room}' if room else ''});")
        first = self.layers[0]
        inside = f"a + {first.pad * first.channels}" if first.pad else "a"
        end = "ab"[len(self.layers) % 2]
        text = f"""// A CNN of {self.parameters:,} parameters in 8-bit integers: lnp_edge/rivals/_cnn.py.
// Static RAM: {sum(sizes) + 4 * last.width:,} B.
#include "lnp_ops.h"
#include "lnp_rival.h"

static uint8_t a[{sizes[0]}], b[{sizes[1]}];  // activations, layers read one and write the other

{_float.encoder_c(self.task)}
// 0..255 from a sum, by a multiplier in units of 2^-32.
static inline uint8_t requantised(int32_t sum, uint32_t multiplier)
{{
    if (sum <= 0) {{
        return 0;
    }}
    const uint32_t y = (uint32_t)(((uint64_t)(uint32_t)sum * multiplier + 0x80000000u) >> 32);
    return (uint8_t)(y > {MOST}u ? {MOST}u : y);
}}

static void fill(uint8_t *x, uint32_t length, uint8_t value)
{{
    for (uint32_t i = 0; i < length; i++) {{
        x[i] = value;
    }}
}}

{"".join(_layer(k + 1, layer) for k, layer in enumerate(self.layers))}{self.out.c_text()}
void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    uint8_t *x = {inside};
    const int16_t *count = counts;
    for (uint32_t t = 0; t < LNP_RIVAL_STEPS; t++) {{
        for (uint32_t k = 0; k < LNP_RIVAL_CHANNELS; k++) {{
            *x++ = (uint8_t)(encode_channel(k, *count++) + {ZERO});
        }}
    }}
{chr(10).join(calls)}
    static int32_t sum[{last.width}];
    for (uint32_t k = 0; k < {last.width}u; k++) {{
        sum[k] = 0;
        for (uint32_t t = 0; t < {last.after}u; t++) {{
            sum[k] += {end}[t * {last.width}u + k];
        }}
    }}
    read_out(sum, counts, scores);
}}
"""
        return {"lnp_rival.c": text} | _float.ops_h()


def _layer(k: int, layer: Layer) -> str:
    """The tables of a layer and its function: each input is loaded once for up to four outputs."""
    tables = _c.array(f"bias{k}", layer.bias) + _c.array(f"multiplier{k}", layer.multiplier)
    taps, width, channels = layer.kernel * layer.channels, layer.width, layer.channels
    if layer.depthwise:
        kind = "depthwise"
        tables = _c.array(f"w{k}", layer.weight[:, 0].T) + tables
        body = f"""        for (uint32_t o = 0; o < {width}u; o++) {{
            int32_t sum = bias{k}[o];
            for (uint32_t i = 0; i < {layer.kernel}u; i++) {{
                sum += x[i * {width}u + o] * w{k}[i * {width}u + o];
            }}
            y[o] = requantised(sum, multiplier{k}[o]);
        }}
"""
    else:
        kind = f"kernel {layer.kernel}"
        flat = layer.weight.transpose(0, 2, 1).reshape(width, taps)  # [O, K * I], as x lies in memory
        together = next(n for n in (4, 2, 1) if width % n == 0)
        tables = _c.array(f"w{k}", _float.together(flat, together)) + tables
        each = range(together)
        sums = ", ".join(f"sum{n} = bias{k}[o + {n}u]" for n in each)
        adds = "\n".join(f"                sum{n} += v * w[{n}];" for n in each)
        ends = "\n".join(f"            y[o + {n}u] = requantised(sum{n}, multiplier{k}[o + {n}u]);" for n in each)
        body = f"""        const int8_t *w = w{k};
        for (uint32_t o = 0; o < {width}u; o += {together}u) {{
            int32_t {sums};
            for (uint32_t i = 0; i < {taps}u; i++) {{
                const int32_t v = x[i];
{adds}
                w += {together};
            }}
{ends}
        }}
"""
    return f"""// Layer {k}, {kind}: {layer.before} steps of {channels} channels to {layer.after} of {width}.
{tables}
static void layer{k}(const uint8_t *x, uint8_t *y)
{{
    for (uint32_t t = 0; t < {layer.after}u; t++) {{
{body}        x += {layer.stride * channels};
        y += {width};
    }}
}}

"""
