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
from typing import Any

import numpy as np

from lnp_edge.base.jit import tuple_of, within
from lnp_edge.spec import ops
from lnp_edge.spec.model import CSR, QuantizedModel
from lnp_edge.training.kernels.derive import Derived
from lnp_edge.training.kernels.lanes import LANES, fma, load, splat, store
from lnp_edge.training.kernels.sparse import Wiring


@dataclass
class State:
    """After a step of G groups: x int64 [G, S, N, L], the neurons' state; z float32 [G, N, L]; y int64 [G, O, L]."""

    x: np.ndarray
    z: np.ndarray
    y: np.ndarray

    @classmethod
    def reset(cls, neuron: Derived, groups: int, n: int, o: int) -> State:
        x = np.zeros((groups, len(neuron.states), n, LANES), np.int64)
        return cls(x, np.zeros((groups, n, LANES), np.float32), np.zeros((groups, o, LANES), np.int64))


def run(
    model: QuantizedModel, neuron: Derived, wiring: Wiring, kept: np.ndarray, state: State,
    gain: np.ndarray, threshold: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Run a model from a state, which is updated; returns the read-out y, int64 [G, K, O, L].

    kept [M, G, K, N, L] has x @ w_in of the integers in kept[0]. On return it has the variables of
    neuron.kept divided by the gain [N], as float32. If rounding to float32 would change whether the
    first of them is above `threshold`, float32 [N], the value is adjusted: it is above exactly for
    the spikes.
    """
    hidden, out = model.populations
    w_in, w_rec, w_out = (model.projection(name) for name in ("in", "rec", "out"))
    levels = np.concatenate([aligned(w_rec.w, wiring), w_out.w.dense().ravel()]).astype(np.float32)
    y = np.empty((*kept.shape[1:3], wiring.o, LANES), np.int64)
    scales = 1 << np.array([w_in.shift, w_rec.shift, w_out.shift], np.int64)
    tables = np.stack([hidden.params[name].astype(np.int64) for name in neuron.module.TABLES])
    _kernel(neuron)(
        kept, wiring.into, wiring.pre, levels[wiring.by_target], scales, tables,
        out.params["c"].astype(np.int64), out.params["bias"].astype(np.int64), gain, threshold,
        state.x, state.z, state.y, y, np.empty((1, LANES), np.float32), np.empty_like(state.z[0]),
    )  # fmt: skip
    return y


@cache
def _kernel(neuron: Derived) -> Callable:
    """_run, compiled with the neuron's own step."""
    scope = globals() | {
        "neuron_step": neuron.integers(),
        "state_of": tuple_of("x, i, lane", "x[{s}, i, lane]", len(neuron.states)),
        "tables_of": tuple_of("a, i", "a[{s}, i]", len(neuron.module.TABLES)),
        "STATES": len(neuron.states),
        "KEPT": len(neuron.kept),
    }
    return neuron.compile(_run, scope, "integers")


def _unbound(*_: Any) -> Any:
    """Placeholder for what _kernel() binds to a neuron."""
    raise NotImplementedError


neuron_step = state_of = tables_of = _unbound
STATES = KEPT = 0


@within
def _gather(start, stop, index, w, rows):
    """sum_k w[k] * rows[index[k]] for k in start..stop-1."""
    acc = splat(np.float32(0))
    for k in range(start, stop):
        acc = fma(splat(w[k]), load(rows, index[k]), acc)
    return acc


def _run(kept, into, pre, w, scales, tables, c_out, bias_out, gain, threshold, x_all, z_all, y_all, y, sums, fired):
    """Run the steps of SEMANTICS.md section 4. sums [1, L], fired [N, L] : room"""
    groups, steps, n = kept.shape[1:4]
    for g in range(groups):
        x, z, out = x_all[g], z_all[g], y_all[g]
        for t in range(steps):
            now = kept[0, g, t]
            for i in range(n):
                store(sums, 0, _gather(into[i], into[i + 1], pre, w, z))
                limit, fixed = threshold[i], tables_of(tables, i)
                above = np.nextafter(limit, np.float32(np.inf))
                for lane in range(LANES):
                    drive = np.int64(now[i, lane]) * scales[0] + np.int64(sums[0, lane]) * scales[1]
                    after = neuron_step(*state_of(x, i, lane), drive, *fixed)
                    for s in range(STATES):
                        x[s, i, lane] = after[s]
                    fired[i, lane] = after[STATES]
                    before = np.float32(after[STATES + 1] / gain[i])
                    now[i, lane] = max(before, above) if after[STATES] else min(before, limit)
                    for k in range(1, KEPT):
                        kept[k, g, t, i, lane] = np.float32(after[STATES + 1 + k] / gain[i])
            for i in range(n):
                store(z, i, load(fired, i))
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
