"""The fused layer at high density: neurons are the lanes of vectors, samples follow one another.

Spikes are rare, so the forward pass adds only the rows of the weight matrix whose neurons fired,
and the weight gradient adds only the gradients of steps with a spike: if 8 % of the neurons fire,
each costs a quarter of a matrix product. Only the gradient that goes back in time is dense; it is a
register-blocked product for BLOCK samples at once.

Layout [B, T, Np], Np = N rounded up to whole vectors. W is [w_rec w_out], one row of Mp columns per
neuron.
"""

# mypy: disable-error-code="call-arg, var-annotated"
# Numba supplies the first two arguments of an intrinsic, which mypy cannot know.

from __future__ import annotations

import numpy as np
from numba import njit

from lnp_edge.training.kernels.lanes import LANES, above, compiled, fma, load, magnitude, splat, store

BLOCK = 8  # samples: 8 x 2 AVX-512 accumulators of 32 registers; 115 GFLOP/s, BLAS had 54 to 97
_CHUNK = 16  # steps between additions to the weight gradient


@njit(inline="always")
def _add_rows(rows, wide, picked, count, sums):
    """sums [wide, LANES] += the rows [wide, LANES] of `rows` with the indices picked[:count]."""
    c = 0
    while c + 4 <= wide:
        a, b, d, e = load(sums, c), load(sums, c + 1), load(sums, c + 2), load(sums, c + 3)
        for k in range(count):
            j = np.int64(picked[k]) * wide + c
            a, b = a + load(rows, j), b + load(rows, j + 1)
            d, e = d + load(rows, j + 2), e + load(rows, j + 3)
        store(sums, c, a)
        store(sums, c + 1, b)
        store(sums, c + 2, d)
        store(sums, c + 3, e)
        c += 4
    for last in range(c, wide):
        a = load(sums, last)
        for k in range(count):
            a = a + load(rows, np.int64(picked[k]) * wide + last)
        store(sums, last, a)


@njit(inline="always")
def _fired(p, th, picked):
    """Write the indices of p > th to picked; returns their number. Avoids branches."""
    count = 0
    for j in range(len(th)):
        picked[count] = j
        count += p[j] > th[j]
    return count


@compiled
def forward(v, start, w, alpha, beta, v_th, gamma, bias_out, y, t0):
    """Compute steps t0, t0 + 1, ... of y [B,T,O].

    v : [B,K,Np], the input currents; on return, v before the reset
    start : [2,B,Np], i_syn and v before the reset of the previous step; on return, of the last
    w : [Np,Mp];  the others [Np] or [O]
    """
    samples, steps, n = v.shape
    o, tiles, wide = len(gamma), n // LANES, w.shape[1] // LANES
    w, th, al = w.reshape(-1, LANES), v_th.reshape(-1, LANES), alpha.reshape(-1, LANES)
    be = beta.reshape(-1, LANES)
    picked, sums = np.empty(n + 1, np.int32), np.empty((wide, LANES), np.float32)
    flat, zero = sums.reshape(-1), splat(np.float32(0))
    for b in range(samples):
        i_syn, last, now = start[0, b].reshape(-1, LANES), start[1, b], v[b].reshape(-1, LANES)
        count = _fired(last, v_th, picked)
        before = last.reshape(-1, LANES)
        for t in range(steps):
            if t == 0:
                for c in range(wide):
                    store(sums, c, zero)
                _add_rows(w, wide, picked, count, sums)
            for c in range(tiles):
                at = t * tiles + c
                p = load(before, c)
                i = fma(load(al, c), load(i_syn, c), load(now, at)) + load(sums, c)
                p = fma(load(be, c), p - load(th, c) * above(p, load(th, c)), i)
                store(i_syn, c, i)
                store(before, c, p)
                store(now, at, p)
            count = _fired(last, v_th, picked)
            for c in range(wide):
                store(sums, c, zero)
            _add_rows(w, wide, picked, count, sums)
            for k in range(o):
                old = y[b, t0 + t - 1, k] if t0 + t > 0 else np.float32(0)
                y[b, t0 + t, k] = gamma[k] * old + (flat[n + k] + bias_out[k])


@njit(inline="always")
def _product(h, w, out):
    """out[b, p] = sum_k h[b, k] * w[p, k].

    h [BLOCK, K] scalars, w [P, K, LANES], out [BLOCK, P, LANES]
    """
    for p in range(w.shape[0]):
        tile = w[p]
        zero = splat(np.float32(0))
        a0, a1, a2, a3, a4, a5, a6, a7 = zero, zero, zero, zero, zero, zero, zero, zero
        for k in range(w.shape[1]):
            row = load(tile, k)
            a0 = fma(splat(h[0, k]), row, a0)
            a1 = fma(splat(h[1, k]), row, a1)
            a2 = fma(splat(h[2, k]), row, a2)
            a3 = fma(splat(h[3, k]), row, a3)
            a4 = fma(splat(h[4, k]), row, a4)
            a5 = fma(splat(h[5, k]), row, a5)
            a6 = fma(splat(h[6, k]), row, a6)
            a7 = fma(splat(h[7, k]), row, a7)
        store(out[0], p, a0)
        store(out[1], p, a1)
        store(out[2], p, a2)
        store(out[3], p, a3)
        store(out[4], p, a4)
        store(out[5], p, a5)
        store(out[6], p, a6)
        store(out[7], p, a7)


@compiled
def backward(v, start, carry, grad_y, t0, w_back, alpha, beta, v_th, slope, d_w, d_alpha, d_beta):
    """Compute the gradients of steps t0 .. t0+K-1.

    v : [B,K,Np], the result of forward; on return, the gradient of i_syn
    start : the argument of forward
    carry : [2,B,Np], gradients of i_syn and of v (after its leak) of the next step; on return, of t0
    grad_y : [B,T,O], the gradient of y, with the read-out's leak
    w_back : [Np/LANES, N+O, LANES], W transposed

    Adds to d_w [Np,Mp], d_alpha and d_beta [Np].
    """
    samples, steps, n = v.shape
    o, tiles, wide = grad_y.shape[2], n // LANES, d_w.shape[1] // LANES
    th_, al, be_ = v_th.reshape(-1, LANES), alpha.reshape(-1, LANES), beta.reshape(-1, LANES)
    d_w, d_al, d_be = d_w.reshape(-1, LANES), d_alpha.reshape(-1, LANES), d_beta.reshape(-1, LANES)
    h = np.zeros((_CHUNK, BLOCK, wide * LANES), np.float32)  # [gradient of i_syn t+1; of y t]
    rows = h.reshape(-1, LANES)
    grad_z = np.empty((BLOCK, tiles, LANES), np.float32)
    picked, one = np.empty(n + 1, np.int32), splat(np.float32(1))
    events, count = np.empty((n, _CHUNK * BLOCK), np.int32), np.zeros(n, np.int32)  # rows of h
    for first in range(0, samples, BLOCK):
        here = min(BLOCK, samples - first)
        for t in range(steps - 1, -1, -1):
            slot = (steps - 1 - t) % _CHUNK
            for s in range(here):
                b = first + s
                h[slot, s, :n] = carry[0, b]
                h[slot, s, n : n + o] = grad_y[b, t0 + t]
                for k in range(_fired(v[b, t], v_th, picked)):
                    j = picked[k]
                    events[j, count[j]] = slot * BLOCK + s
                    count[j] += 1
            _product(h[slot], w_back, grad_z)
            for s in range(here):
                b = first + s
                now = v[b, t].reshape(-1, LANES)
                before = (v[b, t - 1] if t > 0 else start[1, b]).reshape(-1, LANES)
                earlier = (v[b, t - 2] if t > 1 else start[1, b]).reshape(-1, LANES)
                i_start = start[0, b].reshape(-1, LANES)
                later, gv = carry[0, b].reshape(-1, LANES), carry[1, b].reshape(-1, LANES)
                for c in range(tiles):
                    th, be = load(th_, c), load(be_, c)
                    q = one + splat(slope) * magnitude(load(now, c) / th - one)
                    grad_v = load(gv, c) + load(grad_z[s], c) / (q * q * th)
                    grad_i = fma(load(al, c), load(later, c), grad_v)
                    store(later, c, grad_i)
                    store(gv, c, be * grad_v)
                    store(now, c, grad_i)
                    # The previous state follows from v: i_syn[t-1] = vp[t-1] - beta * v[t-2].
                    p1, p2 = load(before, c), load(earlier, c)
                    i_last = p1 - be * (p2 - th * above(p2, th)) if t > 0 else load(i_start, c)
                    store(d_al, c, fma(grad_i, i_last, load(d_al, c)))
                    store(d_be, c, fma(grad_v, p1 - th * above(p1, th), load(d_be, c)))
            if slot == _CHUNK - 1 or t == 0:
                for j in range(n):
                    _add_rows(rows, wide, events[j], count[j], d_w[j * wide : (j + 1) * wide])
                    count[j] = 0
