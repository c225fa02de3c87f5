"""Fused forward and backward pass of a recurrent layer with its read-out, for sparse recurrence.

training/layer.py is the readable definition; tests compare the two. This file loops over synapses;
dense.py is for networks of high density; derive.py makes the code of one neuron.

The layout is [block][T][N][LANES] with the batch innermost, so that a synapse is a few vector
operations over LANES samples. Recurrent and read-out weights form one sparse matrix, `Wiring`, from
neurons to the targets [neurons; outputs].
"""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba supplies the first two arguments of an intrinsic, which mypy cannot know.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.base.jit import within
from lnp_edge.spec.ops import bind
from lnp_edge.training.kernels.derive import Derived
from lnp_edge.training.kernels.lanes import LANES, compiled, fma, fold_into, load, plus, splat, store, where, which

_CHUNK = 4  # steps whose weight gradients are summed in registers before they are stored


@dataclass(frozen=True)
class Wiring:
    """The synapses, indexed by source and by target.

    There are N neurons, C inputs, M neurons of later layers and O outputs. Outside the kernel, the
    S weights and gradients have the order w_rec.data, w_forward.data, w_out.ravel(). Inputs reach
    every neuron. The kernel treats later neurons as outputs without memory: it has M + O outputs.
    """

    n: int
    c: int
    m: int
    o: int
    into: NDArray[np.uint32]  # [N + M + O + 1] start of each target's synapses
    pre: NDArray[np.uint32]  # [S] presynaptic neuron, by target
    by_target: NDArray[np.intp]  # [S] weights by target = weights[by_target]
    out: NDArray[np.uint32]  # [N + 1] start of each neuron's outgoing synapses
    post: NDArray[np.uint32]  # [S] target, by neuron
    by_source: NDArray[np.intp]  # [S] weights by neuron = weights[by_source]
    rows: NDArray[np.intp]  # [nnz] presynaptic neuron of each recurrent synapse
    columns: NDArray[np.intp]  # [nnz] its target
    onwards: tuple[NDArray[np.intp], NDArray[np.intp]]  # source and target of each forward synapse

    @staticmethod
    def of(w_rec: sparse.csr_array, c: int, o: int, w_forward: sparse.csr_array | None = None) -> Wiring:
        """The wiring of w_rec [N, N] and w_forward [N, M], with C inputs and dense w_out [N, O].

        The rows of the matrices are sorted.
        """
        n, every = w_rec.shape[0], np.arange(w_rec.shape[0])
        m = 0 if w_forward is None else w_forward.shape[1]
        rows, columns = np.repeat(every, np.diff(w_rec.indptr)), w_rec.indices
        onwards = np.zeros((2, 0), np.intp)
        if w_forward is not None:
            onwards = np.stack([np.repeat(every, np.diff(w_forward.indptr)), w_forward.indices])
        pre = np.concatenate([rows, onwards[0], np.repeat(every, o)])
        target = np.concatenate([columns, n + onwards[1], n + m + np.tile(np.arange(o), n)])
        by_target = np.lexsort((pre, target))
        by_source = np.lexsort((target, pre))
        into = np.searchsorted(target[by_target], np.arange(n + m + o + 1))
        out = np.searchsorted(pre[by_source], np.arange(n + 1))
        short = [a.astype(np.uint32) for a in (into, pre[by_target], out, target[by_source])]
        ends = rows, columns, (onwards[0], onwards[1])
        return Wiring(n, c, m, o, short[0], short[1], by_target, short[2], short[3], by_source, *ends)


@within
def _gather(start, stop, index, w, rows, acc):
    """acc + sum_k w[k] * rows[index[k]] for k in start..stop-1."""
    for k in range(start, stop):
        acc = fma(splat(w[k]), load(rows, index[k]), acc)
    return acc


@within
def _gather_spikes(start, stop, index, w, spikes, acc):
    """acc + sum_k w[k] in the lanes where neuron index[k] fired, for k in start..stop-1.

    A masked addition: 32 spikes take 4 bytes instead of 128, and those of 8,000 neurons fit into
    the L1 cache.
    """
    for k in range(start, stop):
        acc = where(spikes[index[k]], plus(acc, splat(w[k])), acc)
    return acc


def _forward(kept, start, into, pre, w, tables, gamma, bias_out, y, t0, nothing, z, fired):
    """Compute steps t0, t0 + 1, ... of y [G,T,O,L].

    kept : [M,G,K,N,L], the input currents in kept[0]; on return, what Derived.kept says
    start : [G,S+1,N,L], the state after the previous step and its spikes; on return, after the last
    w : [S], ordered by target
    tables : the neuron's, one after the other
    nothing : zeros [O,L];  z, fired : room, uint32 [N]
    """
    groups, steps, n = kept.shape[1:4]
    o, apart, rows = len(gamma), groups * steps * n, kept.reshape(-1, LANES)
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    for g in range(groups):
        state, spikes = start[g].reshape(-1, LANES), start[g, -1]
        for i in range(n):
            z[i] = which(load(spikes, i), zero)
        for t in range(steps):
            at, y_now = (g * steps + t) * n, y[g, t0 + t]
            y_last = y[g, t0 + t - 1] if t0 + t > 0 else nothing
            for i in range(n):
                drive = neuron_start(state, tables, n, i, load(rows, at + i))
                drive = _gather_spikes(into[i], into[i + 1], pre, w, z, drive)
                fired[i] = neuron_advance(state, rows, at + i, apart, tables, n, i, drive)
            z, fired = fired, z
            for k in range(o):
                drive = fma(splat(gamma[k]), load(y_last, k), splat(bias_out[k]))
                store(y_now, k, _gather_spikes(into[n + k], into[n + k + 1], pre, w, z, drive))
        for i in range(n):
            store(spikes, i, where(z[i], one, zero))


@within
def _add_weight_gradients(into, pre, u, h, d_w):
    """d_w[k] += sum over the chunk's steps of h[target] * u[pre]."""
    zero = splat(np.float32(0))
    for i in range(h.shape[1]):
        h0, h1, h2, h3 = load(h[0], i), load(h[1], i), load(h[2], i), load(h[3], i)
        for k in range(into[i], into[i + 1]):
            j = pre[k]
            d, e = where(u[0, j], h0, zero), where(u[1, j], h1, zero)
            d, e = where(u[2, j], plus(d, h2), d), where(u[3, j], plus(e, h3), e)
            fold_into(d_w, k, plus(d, e))


def _backward(kept, start, carry, grad_y, t0, into, pre, out, post, w_back, tables, slope, d_w, d_tables, u, h):
    """Compute the gradients of steps t0 .. t0+K-1.

    kept : [M,G,K,N,L], the result of forward; on return, kept[0] is the gradient of the drive
    start : the argument of forward
    carry : [G,1+C,N,L], gradients of the drive and of the carried states of the next step; on return, of t0
    grad_y : [G,T,O,L], the gradient of y, with the read-out's leak
    w_back : [S], ordered by neuron
    u, h : room()

    Adds to d_w [S by target, FOLDED] and to d_tables [trained * N, L]; the caller sums over lanes.
    """
    groups, steps, n = kept.shape[1:4]
    o, apart, rows, slope_ = grad_y.shape[2], groups * steps * n, kept.reshape(-1, LANES), splat(slope)
    two = np.int64(2)  # of a plain 2 Numba compiles what is called once more, as of a type of its own
    for g in range(groups):
        first, carried = start[g].reshape(-1, LANES), carry[g].reshape(-1, LANES)
        # Loops: of slices, Numba compiles what to say of other shapes, 2 s a kernel.
        for j in range(n):
            store(h[0], j, load(carried, j))
        for t in range(steps - 1, -1, -1):
            slot = (steps - 1 - t) % _CHUNK
            later, spikes, at = h[slot], u[slot], (g * steps + t) * n
            grads = grad_y[g, t0 + t]
            for k in range(o):
                store(later, n + k, load(grads, k))
            for j in range(n):
                spikes[j] = neuron_fired(rows, at + j, apart, t, first, tables, n, j)
            if slot == _CHUNK - 1 or t == 0:
                h[slot + 1 :] = 0
                _add_weight_gradients(into, pre, u, h, d_w)
            onto = h[(slot + 1) % _CHUNK] if t > 0 else carry[g, 0]
            if t > 1:  # a neuron looks back two steps at most: with 2 the compiler drops its branches
                neurons_back(
                    rows, at, apart, two, first, tables, carried, d_tables, out, post, w_back, later, onto, slope_
                )
            else:
                neurons_back(
                    rows, at, apart, t, first, tables, carried, d_tables, out, post, w_back, later, onto, slope_
                )


def _neurons_back(rows, at, apart, t, first, tables, carried, d_tables, out, post, w_back, later, onto, slope):
    """One step of _backward for every neuron."""
    n, zero = len(out) - 1, splat(np.float32(0))
    for j in range(n):
        grad_z = _gather(out[j], out[j + 1], post, w_back, later, zero)
        grad = neuron_retreat(
            rows, at + j, apart, t, first, tables, n, j, carried, d_tables, grad_z, load(later, j), slope
        )
        store(rows, at + j, grad)
        store(onto, j, grad)


def room(n: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """What _backward works in: spikes t, and [gradient of the drive t+1; of y t]."""
    return np.zeros((_CHUNK, n), np.uint32), np.zeros((_CHUNK, n + outputs, LANES), np.float32)


@cache
def kernels(neuron: Derived) -> tuple[Callable, Callable]:
    """The compiled forward and backward pass of a neuron."""

    @within
    def constant(tables, row):
        return splat(tables[row])

    scope = globals() | neuron.functions(constant)
    scope["neurons_back"] = within(bind(_neurons_back, scope))
    return neuron.compile(_forward, scope, "sparse_forward"), neuron.compile(_backward, scope, "sparse_backward")


def _unbound(*_: Any) -> Any:
    """Placeholder for what kernels() binds to a neuron."""
    raise NotImplementedError


neuron_start = neuron_advance = neuron_fired = neuron_retreat = neurons_back = _unbound


@compiled
def leak_back(grad_y, gamma):
    """Add to the gradient of y [G,T,O,L] the part that passes through the read-out's leak."""
    groups, steps, o, lanes = grad_y.shape
    for g in range(groups):
        for t in range(steps - 2, -1, -1):
            for k in range(o):
                for b in range(lanes):
                    grad_y[g, t, k, b] += gamma[k] * grad_y[g, t + 1, k, b]
