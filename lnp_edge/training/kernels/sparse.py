"""Fused forward and backward pass of a recurrent cuba-LIF layer with its read-out.

This is a fast version of neurons/cuba_lif.py. training/layer.py is the readable definition; tests
compare the two. This file loops over synapses; dense.py is for networks of high density.

The layout is [block][T][N][LANES] with the batch innermost, so that a synapse is a few vector
operations over LANES samples. Recurrent and read-out weights form one sparse matrix, `Wiring`, from
neurons to the targets [neurons; outputs]. Between the passes only v before the reset is kept: 4
bytes per neuron, step and sample.
"""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba supplies the first two arguments of an intrinsic, which mypy cannot know.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.training.kernels.lanes import (
    LANES,
    above,
    compiled,
    fma,
    fold_into,
    load,
    magnitude,
    splat,
    store,
    where,
    which,
)

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


@njit(inline="always")
def _gather(start, stop, index, w, rows, acc):
    """acc + sum_k w[k] * rows[index[k]] for k in start..stop-1."""
    for k in range(start, stop):
        acc = fma(splat(w[k]), load(rows, index[k]), acc)
    return acc


@njit(inline="always")
def _gather_spikes(start, stop, index, w, spikes, acc):
    """acc + sum_k w[k] in the lanes where neuron index[k] fired, for k in start..stop-1.

    A masked addition: 32 spikes take 4 bytes instead of 128, and those of 8,000 neurons fit into
    the L1 cache.
    """
    for k in range(start, stop):
        acc = where(spikes[index[k]], acc + splat(w[k]), acc)
    return acc


@compiled
def forward(v, start, into, pre, w, alpha, beta, v_th, gamma, bias_out, y, t0):
    """Compute steps t0, t0 + 1, ... of y [G,T,O,L].

    v : [G,K,N,L], the input currents; on return, v before the reset
    start : [2,G,N,L], i_syn and v before the reset of the previous step; on return, of the last
    w : [S], ordered by target
    """
    blocks, steps = v.shape[:2]
    n, o = len(alpha), len(gamma)
    nothing = np.zeros((o, LANES), np.float32)
    z = np.empty(n, np.uint32)
    for g in range(blocks):
        i_syn, before = start[0, g], start[1, g]
        for i in range(n):
            z[i] = which(load(before, i), splat(v_th[i]))
        for t in range(steps):
            now, y_now = v[g, t], y[g, t0 + t]
            y_last = y[g, t0 + t - 1] if t0 + t > 0 else nothing
            for i in range(n):
                drive = fma(splat(alpha[i]), load(i_syn, i), load(now, i))
                drive = _gather_spikes(into[i], into[i + 1], pre, w, z, drive)
                store(i_syn, i, drive)
                last = load(before, i)
                last = where(z[i], last - splat(v_th[i]), last)
                store(now, i, fma(splat(beta[i]), last, drive))
            for i in range(n):
                p = load(now, i)
                store(before, i, p)
                z[i] = which(p, splat(v_th[i]))
            for k in range(o):
                drive = fma(splat(gamma[k]), load(y_last, k), splat(bias_out[k]))
                store(y_now, k, _gather_spikes(into[n + k], into[n + k + 1], pre, w, z, drive))


@njit(inline="always")
def _add_weight_gradients(into, pre, u, h, d_w):
    """d_w[k] += sum over the chunk's steps of h[target] * u[pre]."""
    zero = splat(np.float32(0))
    for i in range(h.shape[1]):
        h0, h1, h2, h3 = load(h[0], i), load(h[1], i), load(h[2], i), load(h[3], i)
        for k in range(into[i], into[i + 1]):
            j = pre[k]
            d, e = where(u[0, j], h0, zero), where(u[1, j], h1, zero)
            d, e = where(u[2, j], d + h2, d), where(u[3, j], e + h3, e)
            fold_into(d_w, k, d + e)


@compiled
def backward(v, start, carry, grad_y, t0, into, pre, out, post, w_back, alpha, beta, v_th, slope, d_w, d_alpha, d_beta):
    """Compute the gradients of steps t0 .. t0+K-1.

    The reset is detached; the surrogate is dz/dv = 1/v_th / (1 + slope*|v/v_th - 1|)^2.

    v : [G,K,N,L], the result of forward; on return, the gradient of i_syn
    start : the argument of forward
    carry : [2,G,N,L], gradients of i_syn and of v (after its leak) of the next step; on return, of t0
    grad_y : [G,T,O,L], the gradient of y, with the read-out's leak
    w_back : [S], ordered by neuron

    Adds to d_w [S by target, FOLDED] and to d_alpha and d_beta [N, L]; the caller sums over lanes.
    """
    blocks, steps = v.shape[:2]
    n, o = len(alpha), grad_y.shape[2]
    one, zero = splat(np.float32(1)), splat(np.float32(0))
    u = np.zeros((_CHUNK, n), np.uint32)  # spikes t
    h = np.zeros((_CHUNK, n + o, LANES), np.float32)  # [gradient of i_syn t+1; of y t]
    for g in range(blocks):
        i_start, gv, following = start[0, g], carry[1, g], carry[0, g]
        h[0, :n] = following
        for t in range(steps - 1, -1, -1):
            slot = (steps - 1 - t) % _CHUNK
            later, spikes, now = h[slot], u[slot], v[g, t]
            later[n:] = grad_y[g, t0 + t]
            before = v[g, t - 1] if t > 0 else start[1, g]
            earlier = v[g, t - 2] if t > 1 else start[1, g]
            following = h[(slot + 1) % _CHUNK] if t > 0 else carry[0, g]
            for j in range(n):
                spikes[j] = which(load(now, j), splat(v_th[j]))
            if slot == _CHUNK - 1 or t == 0:
                h[slot + 1 :] = 0
                _add_weight_gradients(into, pre, u, h, d_w)
            for j in range(n):
                th, be = splat(v_th[j]), splat(beta[j])
                grad_z = _gather(out[j], out[j + 1], post, w_back, later, zero)
                q = one + splat(slope) * magnitude(load(now, j) / th - one)
                grad_v = load(gv, j) + grad_z / (q * q * th)
                grad_i = fma(splat(alpha[j]), load(later, j), grad_v)
                store(gv, j, be * grad_v)
                store(now, j, grad_i)
                store(following, j, grad_i)
                # The previous state follows from v: i_syn[t-1] = vp[t-1] - beta * v[t-2].
                p1, p2 = load(before, j), load(earlier, j)
                i_last = p1 - be * (p2 - th * above(p2, th)) if t > 0 else load(i_start, j)
                store(d_alpha, j, fma(grad_i, i_last, load(d_alpha, j)))
                store(d_beta, j, fma(grad_v, p1 - th * above(p1, th), load(d_beta, j)))


@compiled
def leak_back(grad_y, gamma):
    """Add to the gradient of y [G,T,O,L] the part that passes through the read-out's leak."""
    groups, steps, o, lanes = grad_y.shape
    for g in range(groups):
        for t in range(steps - 2, -1, -1):
            for k in range(o):
                for b in range(lanes):
                    grad_y[g, t, k, b] += gamma[k] * grad_y[g, t + 1, k, b]
