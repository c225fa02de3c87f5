"""The integers of SEMANTICS.md on a batch of windows, for integer.py.

The layout is that of sparse.py. Sums over synapses are computed in float32 for 32 samples at once,
and are exact: 127 * 127 * 1024 inputs and 127 * 65535 spikes stay below 2**24. Everything else is
int64, in the neuron's own step.
"""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba supplies the first two arguments of an intrinsic, which mypy cannot know.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit

from lnp_edge.base.jit import cached
from lnp_edge.neurons import cuba_lif
from lnp_edge.spec import ops
from lnp_edge.spec.model import CSR, QuantizedModel
from lnp_edge.training.kernels import lanes
from lnp_edge.training.kernels.lanes import LANES, fma, load, splat, store
from lnp_edge.training.kernels.sparse import Wiring


@dataclass
class State:
    """State of G groups after a step: i_syn, v int64 and z float32 [G, N, L], y int64 [G, O, L]."""

    i_syn: np.ndarray
    v: np.ndarray
    z: np.ndarray
    y: np.ndarray

    @classmethod
    def reset(cls, groups: int, n: int, o: int) -> State:
        i_syn, v = np.zeros((2, groups, n, LANES), np.int64)
        return cls(i_syn, v, np.zeros((groups, n, LANES), np.float32), np.zeros((groups, o, LANES), np.int64))


def run(
    model: QuantizedModel, wiring: Wiring, v: np.ndarray, state: State, gain: np.ndarray, v_th: np.ndarray
) -> np.ndarray:
    """Run a model from a state, which is updated; returns the read-out y, int64 [G, K, O, L].

    v [G, K, N, L] has x @ w_in of the integers. On return it has v before the reset divided by the
    gain [N], as float32. If rounding to float32 would change whether it is above v_th float32 [N],
    the value is adjusted: v > v_th holds exactly for the spikes.
    """
    hidden, out = model.populations
    w_in, w_rec, w_out = (model.projection(name) for name in ("in", "rec", "out"))
    levels = np.concatenate([aligned(w_rec.w, wiring), w_out.w.dense().ravel()]).astype(np.float32)
    y = np.empty((*v.shape[:2], wiring.o, LANES), np.int64)
    scales = 1 << np.array([w_in.shift, w_rec.shift, w_out.shift], np.int64)
    params = [hidden.params[name].astype(np.int64) for name in cuba_lif.TABLES]
    _kernel()(
        v, wiring.into, wiring.pre, levels[wiring.by_target], scales, *params,
        out.params["c"].astype(np.int64), out.params["bias"].astype(np.int64), gain, v_th,
        state.i_syn, state.v, state.z, state.y, y,
    )  # fmt: skip
    return y


@cache
def _kernel() -> Callable:
    """_run, compiled with the neuron's own step."""
    return cached(ops.bind(_run, globals() | {"neuron_step": njit(cuba_lif.step)}), ops, cuba_lif, lanes)


neuron_step = cuba_lif.step  # _kernel() replaces it with the compiled function


@njit(inline="always")
def _gather(start, stop, index, w, rows):
    """sum_k w[k] * rows[index[k]] for k in start..stop-1."""
    acc = splat(np.float32(0))
    for k in range(start, stop):
        acc = fma(splat(w[k]), load(rows, index[k]), acc)
    return acc


def _run(
    v, into, pre, w, scales, c_syn, c_mem, v_th, bias, c_out, bias_out, gain, v_th_float, i_all, v_all, z_all, y_all, y
):
    """Run the steps of SEMANTICS.md section 4."""
    groups, steps, n, _ = v.shape
    sums = np.empty((1, LANES), np.float32)
    fired = np.empty((n, LANES), np.float32)
    for g in range(groups):
        i_syn, charge, z, out = i_all[g], v_all[g], z_all[g], y_all[g]
        for t in range(steps):
            now = v[g, t]
            for i in range(n):
                store(sums, 0, _gather(into[i], into[i + 1], pre, w, z))
                limit = v_th_float[i]
                above = np.nextafter(limit, np.float32(np.inf))
                for lane in range(LANES):
                    drive = np.int64(now[i, lane]) * scales[0] + np.int64(sums[0, lane]) * scales[1]
                    i_syn[i, lane], charge[i, lane], spike = neuron_step(
                        i_syn[i, lane], charge[i, lane], drive, c_syn[i], c_mem[i], v_th[i], bias[i]
                    )
                    fired[i, lane] = spike
                    before = np.float32((charge[i, lane] + spike * v_th[i]) / gain[i])
                    now[i, lane] = max(before, above) if spike else min(before, limit)
            z[:] = fired
            for k in range(len(c_out)):
                store(sums, 0, _gather(into[n + k], into[n + k + 1], pre, w, z))
                for lane in range(LANES):
                    out[k, lane] = ops.leak(out[k, lane], c_out[k]) + bias_out[k] + np.int64(sums[0, lane]) * scales[2]
                    y[g, t, k, lane] = out[k, lane]


def aligned(w: CSR, wiring: Wiring) -> np.ndarray:
    """The weights of w_rec in the order of the wiring's synapses, [nnz]; 0 for dropped ones."""
    found = np.zeros(len(wiring.rows), np.int32)
    place = wiring.rows.astype(np.int64) * wiring.n + wiring.columns
    found[np.searchsorted(place, w.rows().astype(np.int64) * wiring.n + w.indices)] = w.data
    return found
