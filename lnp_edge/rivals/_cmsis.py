"""The CNN of _cnn.py through CMSIS-NN 4.0.0 in place of our own C: the same training, the same int8 weights.

Sums are those of _cnn.py, as are weights with a scale for each channel. What differs:

* Activations are int8 with -128 as zero; the input is the encoder's int8, with 0 as zero.
* Requantisation is TFLite's: a multiplier of 31 bits and a shift, rounded twice (see requantised).
* The mean over time is rounded to int8.
* Scores are int8: 120 is the largest of up to 2,000 training windows.

All this is the reference of scores(), so C and reference are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lnp_edge.base.install import INSTALL
from lnp_edge.base.progress import Progress
from lnp_edge.firmware_gen import cmsis_nn
from lnp_edge.firmware_gen.cmsis_nn import PACKAGE, RELEASE
from lnp_edge.rivals import _c, _cnn, _float
from lnp_edge.task.split import Split
from lnp_edge.task.task import Task

ZERO, LEAST, MOST = -128, -128, 127  # of an activation
LARGEST_SCORE = 120.0
AT_ONCE = 512  # windows


def suits(data: Split) -> str:
    if find_spec(PACKAGE) is None:
        return f"it needs {PACKAGE}: {INSTALL[PACKAGE]}"
    return "its forecast would have 8 bits" if data.train.series else _float.suits(data)


def train(data: Split, blocks: Sequence[tuple[int, int]], seed: int, progress: Progress | None) -> Cmsis:
    """As _cnn.train."""
    sources = cmsis_nn.files()
    cnn = _cnn.train(data, blocks, seed, progress)
    counts = data.train_windows.counts
    return Cmsis(cnn, counts[:: max(1, -(-len(counts) // _float.CALIBRATION))], sources)


def multiplier(real: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Multipliers in 1/2**31 and shifts to the left, as TFLite has them."""
    fraction, shift = np.frexp(real)
    fixed = np.rint(fraction * 2.0**31).astype(np.int64)
    top = fixed == 2**31
    return np.where(top, fixed // 2, fixed).astype(np.int32), (shift + top).astype(np.int32)


def requantised(sums: NDArray[np.int64], fixed: NDArray[np.int32], shift: NDArray[np.int32]) -> NDArray[np.int64]:
    """arm_nn_requantize: a doubling high product, rounded, and a division by a power of two, rounded again."""
    left, right = np.maximum(shift, 0).astype(np.int64), np.maximum(-shift, 0).astype(np.int64)
    high = ((sums << left) * fixed.astype(np.int64) + (1 << 30)) >> 31
    mask = (np.int64(1) << right) - 1
    found = high >> right
    return found + ((high & mask) > (mask >> 1) + (found < 0))


class Cmsis:
    """The layers of a Cnn, with the read-out in 8 bits, as CMSIS-NN computes them.

    windows : whose scores set their scale; sources : of cmsis_nn.files()
    """

    def __init__(self, cnn: _cnn.Cnn, windows: NDArray[np.int16], sources: dict[str, str]):
        self.task: Task = cnn.task
        self.sources, self.layers, self.out = sources, cnn.layers, cnn.out
        self.steps = cnn.layers[-1].after
        self.quantised = [multiplier(layer.multiplier / 2.0**32) for layer in self.layers]
        self.bias = [self._bias(layer) for layer in self.layers]
        self.out_bias = np.rint(cnn.out.bias / self.steps).astype(np.int32)
        most = max(np.abs(self._sums(windows[k : k + AT_ONCE])).max() for k in range(0, len(windows), AT_ONCE))
        self.out_fixed, self.out_shift = multiplier(np.array([LARGEST_SCORE / max(most, 1)]))

    @staticmethod
    def _bias(layer: _cnn.Layer) -> NDArray[np.int32]:
        """Without what the zero of the input takes off: in the first layer it is 0 here."""
        return (layer.bias + layer.zero * layer.weight.sum((1, 2), dtype=np.int64)).astype(np.int32)

    def _sums(self, counts: NDArray[np.int16]) -> NDArray[np.int64]:
        x = _float.inputs(self.task, counts).astype(np.int64)
        for k, (layer, (fixed, shift), bias) in enumerate(zip(self.layers, self.quantised, self.bias, strict=True)):
            now = x - (ZERO if k else 0)
            padded = np.pad(now, ((0, 0), (layer.pad, layer.pad), (0, 0)))
            parts = sliding_window_view(padded, layer.kernel, axis=1)[:, :: layer.stride]  # [W, T, I, K]
            w = layer.weight.astype(np.int64)
            if layer.depthwise:
                sums = np.einsum("wtck,ck->wtc", parts, w[:, 0])
            else:
                sums = parts.reshape(*parts.shape[:2], -1) @ w.reshape(len(w), -1).T
            x = np.clip(requantised(sums + bias, fixed, shift) + ZERO, LEAST, MOST)
        total = x.sum(1)
        half = self.steps // 2
        mean = np.where(total > 0, (total + half) // self.steps, -((half - total) // self.steps))
        return (np.clip(mean, LEAST, MOST) - ZERO) @ self.out.w.T.astype(np.int64) + self.out_bias

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        parts = [
            requantised(self._sums(counts[k : k + AT_ONCE]), self.out_fixed, self.out_shift)
            for k in range(0, len(counts), AT_ONCE)
        ]
        return np.clip(np.concatenate(parts), LEAST, MOST).astype(np.int32)

    def c_files(self) -> dict[str, str]:
        rooms = [[len(self.task.channels) * self.task.window], [0]]
        scratch, tables, calls = 4 * self.layers[-1].width, [], []
        for k, layer in enumerate(self.layers):
            source, target = "ab"[k % 2], "ab"[(k + 1) % 2]
            rooms[(k + 1) % 2].append(layer.after * layer.width)
            scratch = max(scratch, 4 * layer.kernel * layer.channels)
            # Weights lie as [O, K, I]; depthwise ones as [K, C].
            tables += [_c.array(f"w{k}", layer.weight[:, 0].T if layer.depthwise else layer.weight.transpose(0, 2, 1))]
            tables += [_c.array(f"bias{k}", self.bias[k]), _c.array(f"multiplier{k}", self.quantised[k][0])]
            tables += [_c.array(f"shift{k}", self.quantised[k][1])]
            calls.append(_call(k, layer, source, target))
        end = "ab"[len(self.layers) % 2]
        width = self.layers[-1].width
        tables += [_c.array("out_w", self.out.w), _c.array("out_bias", self.out_bias)]
        a, b = (max(room) for room in rooms)
        text = f"""// CMSIS-NN {PACKAGE} {RELEASE}: a CNN by its functions of 8 bits.
#include "arm_nnfunctions.h"
#include "lnp_ops.h"
#include "lnp_rival.h"

{"".join(tables)}
static int8_t a[{a}], b[{b}], mean[{width}], said[LNP_RIVAL_SCORES];
static int32_t scratch[{-(-scratch // 4)}];

{_float.encoder_c(self.task)}
void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    const int16_t *count = counts;
    int8_t *x = a;
    for (uint32_t t = 0; t < LNP_RIVAL_STEPS; t++) {{
        for (uint32_t k = 0; k < LNP_RIVAL_CHANNELS; k++) {{
            *x++ = (int8_t)encode_channel(k, *count++);
        }}
    }}
    const cmsis_nn_context ctx = {{scratch, sizeof(scratch)}};
{"".join(calls)}    {{
        const cmsis_nn_pool_params pool = {{{{1, 1}}, {{0, 0}}, {{{LEAST}, {MOST}}}}};
        const cmsis_nn_dims in = {{1, 1, {self.steps}, {width}}}, filter = {{1, 1, {self.steps}, 1}};
        const cmsis_nn_dims out = {{1, 1, 1, {width}}};
        (void)arm_avgpool_s8(&ctx, &pool, &in, {end}, &filter, &out, mean);
    }}
    {{
        const cmsis_nn_fc_params full = {{{-ZERO}, 0, 0, {{{LEAST}, {MOST}}}}};
        const cmsis_nn_per_tensor_quant_params quant = {{{self.out_fixed[0]}, {self.out_shift[0]}}};
        const cmsis_nn_dims in = {{1, 1, 1, {width}}}, filter = {{{width}, 1, 1, LNP_RIVAL_SCORES}};
        const cmsis_nn_dims bias = {{1, 1, 1, LNP_RIVAL_SCORES}}, out = {{1, 1, 1, LNP_RIVAL_SCORES}};
        (void)arm_fully_connected_s8(&ctx, &full, &quant, &in, mean, &filter, out_w, &bias, out_bias, &out, said);
    }}
    for (uint32_t k = 0; k < LNP_RIVAL_SCORES; k++) {{
        scores[k] = said[k];
    }}
}}
"""
        return {"lnp_rival.c": text} | _float.ops_h() | cmsis_nn.quiet(self.sources)


def _call(k: int, layer: _cnn.Layer, source: str, target: str) -> str:
    offset = 0 if k == 0 else -ZERO
    kind, many = ("dw_conv", "1, ") if layer.depthwise else ("conv", "")
    function = "arm_depthwise_conv_wrapper_s8" if layer.depthwise else "arm_convolve_wrapper_s8"
    filters = f"1, 1, {layer.kernel}, {layer.width if layer.depthwise else layer.channels}"
    if not layer.depthwise:
        filters = f"{layer.width}, 1, {layer.kernel}, {layer.channels}"
    return f"""    {{
        const cmsis_nn_{kind}_params p = {{{offset}, {ZERO}, {many}{{{layer.stride}, 1}}, {{{layer.pad}, 0}},
                                          {{1, 1}}, {{{LEAST}, {MOST}}}}};
        // Its fields are not const, its functions do not write through them.
        const cmsis_nn_per_channel_quant_params q = {{(int32_t *)(uintptr_t)multiplier{k},
                                                     (int32_t *)(uintptr_t)shift{k}}};
        const cmsis_nn_dims in = {{1, 1, {layer.before}, {layer.channels}}}, filter = {{{filters}}};
        const cmsis_nn_dims bias = {{1, 1, 1, {layer.width}}}, out = {{1, 1, {layer.after}, {layer.width}}};
        (void){function}(&ctx, &p, &q, &in, {source}, &filter, w{k}, &bias, bias{k}, &out, {target});
    }}
"""
