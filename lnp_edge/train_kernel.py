"""Forward pass and back-propagation through time of a recurrent cuba-LIF layer with its read-out, fused.

An accelerator for neurons/cuba_lif.py; train_layer.generic is the readable definition; tests compare the two.

Layout [block][T][N][LANES], batch innermost, so that a synapse is a few vector operations over LANES samples.
Three kinds of weights are one sparse matrix, `Wiring`, from the rows u = [spikes; x] to the targets
[neurons; outputs]. Between the passes only v before the reset is kept: 4 bytes a neuron, step and sample.
"""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba supplies the first two arguments of an intrinsic, which mypy cannot know.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.jit import cached
from lnp_edge.train_lanes import LANES, above, fma, fold_into, load, magnitude, splat, store

_CHUNK = 4  # steps whose weight gradients are summed in registers before they touch memory


@dataclass(frozen=True)
class Wiring:
    """Where the synapses are, seen from both ends: N neurons, C inputs, O outputs, S = nnz + C*N + N*O.

    Outside the kernel, weights and gradients go w_rec.data, w_in.ravel(), w_out.ravel().
    """

    n: int
    c: int
    o: int
    into: NDArray[np.uint32]  # [N + O + 1] start of each target's synapses
    pre: NDArray[np.uint32]  # [S] row of u, by target
    by_target: NDArray[np.intp]  # [S] weights by target = weights[by_target]
    out: NDArray[np.uint32]  # [N + 1] start of each neuron's outgoing synapses
    post: NDArray[np.uint32]  # [S - C*N] target, by neuron
    by_source: NDArray[np.intp]  # [S - C*N] weights by neuron = weights[by_source]
    rows: NDArray[np.intp]  # [nnz] presynaptic neuron of each recurrent synapse
    columns: NDArray[np.intp]  # [nnz] its target

    @staticmethod
    def of(w_rec: sparse.csr_array, c: int, o: int) -> Wiring:
        """The wiring of w_rec [N, N], rows sorted, with dense w_in [C, N] and w_out [N, O]."""
        n, every = w_rec.shape[0], np.arange(w_rec.shape[0])
        pre = np.concatenate(
            [np.repeat(every, np.diff(w_rec.indptr)), n + np.repeat(np.arange(c), n), np.repeat(every, o)]
        )
        target = np.concatenate([w_rec.indices, np.tile(every, c), n + np.tile(np.arange(o), n)])
        by_target = np.lexsort((pre, target))
        by_source = np.lexsort((target, pre))[: len(pre) - c * n]
        into = np.searchsorted(target[by_target], np.arange(n + o + 1))
        out = np.searchsorted(pre[by_source], np.arange(n + 1))
        short = [a.astype(np.uint32) for a in (into, pre[by_target], out, target[by_source])]
        recurrent = (pre[: w_rec.nnz], target[: w_rec.nnz])
        return Wiring(n, c, o, short[0], short[1], by_target, short[2], short[3], by_source, *recurrent)


@njit(inline="always")
def _gather(start, stop, index, w, rows, acc):
    """acc + sum_k w[k] * rows[index[k]] for k in start..stop-1."""
    for k in range(start, stop):
        acc = fma(splat(w[k]), load(rows, index[k]), acc)
    return acc


@cached
def forward(x, into, pre, w, alpha, beta, gamma, v_th, bias, bias_out, vp, y):
    """Run x [G,T,C,L] with w [S] by target; fills vp [G,T,N,L], v before the reset, and y [G,T,O,L]."""
    blocks, steps, c = x.shape[0], x.shape[1], x.shape[2]
    n, o = len(alpha), len(gamma)
    for g in range(blocks):
        u = np.zeros((n + c, LANES), np.float32)
        i_syn = np.zeros((n, LANES), np.float32)
        v = np.zeros((n, LANES), np.float32)
        out = np.zeros((o, LANES), np.float32)
        for t in range(steps):
            u[n:] = x[g, t]
            for i in range(n):
                drive = fma(splat(alpha[i]), load(i_syn, i), splat(bias[i]))
                drive = _gather(into[i], into[i + 1], pre, w, u, drive)
                store(i_syn, i, drive)
                store(vp[g, t], i, fma(splat(beta[i]), load(v, i), drive))
            for i in range(n):
                p, th = load(vp[g, t], i), splat(v_th[i])
                z = above(p, th)
                store(u, i, z)
                store(v, i, p - th * z)
            for k in range(o):
                drive = fma(splat(gamma[k]), load(out, k), splat(bias_out[k]))
                drive = _gather(into[n + k], into[n + k + 1], pre, w, u, drive)
                store(out, k, drive)
                store(y[g, t], k, drive)


@njit(inline="always")
def _add_weight_gradients(into, pre, u, h, d_w):
    """d_w[k] += sum over the chunk's steps of h[target] * u[pre]."""
    for i in range(h.shape[1]):
        h0, h1, h2, h3 = load(h[0], i), load(h[1], i), load(h[2], i), load(h[3], i)
        for k in range(into[i], into[i + 1]):
            j = pre[k]
            d = fma(h1, load(u[1], j), h0 * load(u[0], j))
            d = fma(h3, load(u[3], j), fma(h2, load(u[2], j), d))
            fold_into(d_w, k, d)


@cached
def backward(
    x, vp, grad_y, into, pre, out, post, w_back, alpha, beta, gamma, v_th, slope,
    d_w, d_alpha, d_beta, d_bias,
):  # fmt: skip
    """Gradients of sum(y * grad_y), reset detached, surrogate dz/dv = 1/v_th / (1 + slope*|v/v_th - 1|)^2.

    On return grad_y [G,T,O,L] holds the gradient that reached y through the read-out's own leak as well.
    Adds into d_w [S by target, FOLDED], d_alpha, d_beta, d_bias [N, L]; sum over the lanes.
    """
    blocks, steps, c = x.shape[0], x.shape[1], x.shape[2]
    n, o = len(alpha), len(gamma)
    one, zero = splat(np.float32(1)), splat(np.float32(0))
    none = np.zeros((n, LANES), np.float32)
    for g in range(blocks):
        u = np.zeros((_CHUNK, n + c, LANES), np.float32)  # [spikes t-1; x t]
        h = np.zeros((_CHUNK, n + o, LANES), np.float32)  # [grad i_syn t; grad y t-1]
        gv = np.zeros((n, LANES), np.float32)
        for t in range(steps, -1, -1):  # step T has no neurons, only the read-out of step T-1
            slot = (steps - t) % _CHUNK
            now, later, spikes = h[slot], h[slot - 1], u[slot]
            for k in range(o):
                grad = fma(splat(gamma[k]), load(later, n + k), load(grad_y[g, t - 1], k)) if t > 0 else zero
                store(now, n + k, grad)
                if t > 0:
                    store(grad_y[g, t - 1], k, grad)
            before = vp[g, t - 1] if t > 0 else none
            earlier = vp[g, t - 2] if t > 1 else none
            for j in range(n):
                store(spikes, j, above(load(before, j), splat(v_th[j])))
            if t < steps:
                spikes[n:] = x[g, t]
                for j in range(n):
                    th, be = splat(v_th[j]), splat(beta[j])
                    grad_z = _gather(out[j], out[j + 1], post, w_back, later, zero)
                    q = one + splat(slope) * magnitude(load(vp[g, t], j) / th - one)
                    grad_v = load(gv, j) + grad_z / (q * q * th)
                    grad_i = fma(splat(alpha[j]), load(later, j), grad_v)
                    store(now, j, grad_i)
                    store(gv, j, be * grad_v)
                    # The state before this step from v alone: i_syn[t-1] = vp[t-1] - beta * v[t-2].
                    p1, p2 = load(before, j), load(earlier, j)
                    i_last = p1 - be * (p2 - th * above(p2, th))
                    store(d_alpha, j, fma(grad_i, i_last, load(d_alpha, j)))
                    store(d_beta, j, fma(grad_v, p1 - th * load(spikes, j), load(d_beta, j)))
                    store(d_bias, j, grad_i + load(d_bias, j))
            if slot == _CHUNK - 1 or t == 0:
                h[slot + 1 :] = 0
                _add_weight_gradients(into, pre, u, h, d_w)
