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

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from lnp_edge.base.jit import within
from lnp_edge.spec.ops import bind
from lnp_edge.training.kernels.derive import Derived
from lnp_edge.training.kernels.lanes import LANES, fma, load, plus, splat, store, which

BLOCK = 8  # samples: 8 x 2 AVX-512 accumulators of 32 registers; 115 GFLOP/s, BLAS had 54 to 97
_CHUNK = 16  # steps between additions to the weight gradient


@within
def _add_rows(rows, wide, picked, count, sums):
    """sums [wide, LANES] += the rows [wide, LANES] of `rows` with the indices picked[:count]."""
    c = 0
    while c + 4 <= wide:
        a, b, d, e = load(sums, c), load(sums, c + 1), load(sums, c + 2), load(sums, c + 3)
        for k in range(count):
            j = np.int64(picked[k]) * wide + c
            a, b = plus(a, load(rows, j)), plus(b, load(rows, j + 1))
            d, e = plus(d, load(rows, j + 2)), plus(e, load(rows, j + 3))
        store(sums, c, a)
        store(sums, c + 1, b)
        store(sums, c + 2, d)
        store(sums, c + 3, e)
        c += 4
    for last in range(c, wide):
        a = load(sums, last)
        for k in range(count):
            a = plus(a, load(rows, np.int64(picked[k]) * wide + last))
        store(sums, last, a)


@within
def _pick(bits, c, picked, count):
    """Append the neurons of tile c whose bit is set to picked; returns their new number. Avoids branches."""
    for lane in range(LANES):
        picked[count] = c * LANES + lane
        count += (bits >> np.uint32(lane)) & np.uint32(1)
    return count


def _forward(kept, start, w, tables, gamma, bias_out, y, t0, picked, sums):
    """Compute steps t0, t0 + 1, ... of y [B,T,O].

    kept : [M,B,K,Np], the input currents in kept[0]; on return, what Derived.kept says
    start : [B,S+1,Np], the state after the previous step and its spikes; on return, after the last
    w : [Np,Mp]
    tables : [tables*Np/LANES,LANES]
    picked, sums : room, int32 [Np+1] and [Mp/LANES,LANES]; what a kernel allocates, Numba compiles for a quarter second
    """
    samples, steps, n = kept.shape[1:]
    o, tiles, wide = len(gamma), n // LANES, w.shape[1] // LANES
    w, apart, rows = w.reshape(-1, LANES), samples * steps * tiles, kept.reshape(-1, LANES)
    flat, zero = sums.reshape(-1), splat(np.float32(0))
    for b in range(samples):
        # np.int64: of a plain 0 or 2 Numba compiles what is called once more, as of a type of its own.
        state, spikes, count = start[b].reshape(-1, LANES), start[b, -1].reshape(-1, LANES), np.int64(0)
        for c in range(tiles):
            count = _pick(which(load(spikes, c), zero), c, picked, count)
        for t in range(steps):
            if t == 0:
                for c in range(wide):
                    store(sums, c, zero)
                _add_rows(w, wide, picked, count, sums)
            count = np.int64(0)
            for c in range(tiles):
                at = (b * steps + t) * tiles + c
                drive = plus(neuron_start(state, tables, tiles, c, load(rows, at)), load(sums, c))
                fired = neuron_advance(state, rows, at, apart, tables, tiles, c, drive)
                count = _pick(fired, c, picked, count)
            for c in range(wide):
                store(sums, c, zero)
            _add_rows(w, wide, picked, count, sums)
            for k in range(o):
                old = y[b, t0 + t - 1, k] if t0 + t > 0 else np.float32(0)
                y[b, t0 + t, k] = gamma[k] * old + (flat[n + k] + bias_out[k])
        start[b, -1] = 0
        for k in range(count):
            start[b, -1, picked[k]] = 1


@within
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


def _backward(kept, start, carry, grad_y, t0, w_back, tables, slope, d_w, d_tables, h, grad_z, picked, events, number):
    """Compute the gradients of steps t0 .. t0+K-1.

    kept : [M,B,K,Np], the result of forward; on return, kept[0] is the gradient of the drive
    start : the argument of forward
    carry : [B,1+C,Np], gradients of the drive and of the carried states of the next step; on return, of t0
    grad_y : [B,T,O], the gradient of y, with the read-out's leak
    w_back : [Np/LANES, N+O, LANES], W transposed
    h, grad_z, picked, events, number : room()

    Adds to d_w [Np,Mp] and to d_tables [trained*Np/LANES,LANES].
    """
    samples, steps, n = kept.shape[1:]
    o, tiles, wide = grad_y.shape[2], n // LANES, d_w.shape[1] // LANES
    apart, kept_rows, slope_ = samples * steps * tiles, kept.reshape(-1, LANES), splat(slope)
    d_w, two = d_w.reshape(-1, LANES), np.int64(2)
    rows = h.reshape(-1, LANES)
    for first in range(0, samples, BLOCK):
        here = BLOCK if samples - first > BLOCK else samples - first
        for t in range(steps - 1, -1, -1):
            slot = (steps - 1 - t) % _CHUNK
            for s in range(here):
                b = first + s
                before, count = start[b].reshape(-1, LANES), np.int64(0)
                later, row = carry[b, 0].reshape(-1, LANES), (slot * BLOCK + s) * wide
                # Loops: of slices, Numba compiles what to say of other shapes, 2 s a kernel.
                for c in range(tiles):
                    store(rows, row + c, load(later, c))
                for k in range(o):
                    h[slot, s, n + k] = grad_y[b, t0 + t, k]
                for c in range(tiles):
                    at = (b * steps + t) * tiles + c
                    fired = neuron_fired(kept_rows, at, apart, t, before, tables, tiles, c)
                    count = _pick(fired, c, picked, count)
                for k in range(count):
                    j = picked[k]
                    events[j, number[j]] = slot * BLOCK + s
                    number[j] += 1
            _product(h[slot], w_back, grad_z)
            for s in range(here):
                b = first + s
                before, carried, at = start[b].reshape(-1, LANES), carry[b].reshape(-1, LANES), (b * steps + t) * tiles
                if t > 1:  # a neuron looks back two steps at most: with 2 the compiler drops its branches
                    neurons_back(kept_rows, at, apart, two, before, tables, carried, d_tables, grad_z[s], slope_)
                else:
                    neurons_back(kept_rows, at, apart, t, before, tables, carried, d_tables, grad_z[s], slope_)
            if slot == _CHUNK - 1 or t == 0:
                for j in range(n):
                    _add_rows(rows, wide, events[j], np.int64(number[j]), d_w[j * wide : (j + 1) * wide])
                    number[j] = 0


def _neurons_back(kept, at, apart, t, start, tables, carry, d_tables, grad_z, slope):
    """One step of _backward for every neuron of a sample."""
    tiles = len(grad_z)
    for c in range(tiles):
        grad = neuron_retreat(
            kept, at + c, apart, t, start, tables, tiles, c, carry, d_tables, load(grad_z, c), load(carry, c), slope
        )
        store(carry, c, grad)
        store(kept, at + c, grad)


def room(n: int, width: int) -> tuple[np.ndarray, ...]:
    """What _backward works in, for Np neurons and rows of Mp weights."""
    h = np.zeros((_CHUNK, BLOCK, width), np.float32)  # [gradient of the drive t+1; of y t]
    events, number = np.empty((n, _CHUNK * BLOCK), np.int32), np.zeros(n, np.int32)  # rows of h
    return h, np.empty((BLOCK, n // LANES, LANES), np.float32), np.empty(n + 1, np.int32), events, number


@cache
def kernels(neuron: Derived) -> tuple[Callable, Callable]:
    """The compiled forward and backward pass of a neuron."""
    scope = globals() | neuron.functions(load)
    scope["neurons_back"] = within(bind(_neurons_back, scope))
    return neuron.compile(_forward, scope, "dense_forward"), neuron.compile(_backward, scope, "dense_backward")


def _unbound(*_: Any) -> Any:
    """Placeholder for what kernels() binds to a neuron."""
    raise NotImplementedError


neuron_start = neuron_advance = neuron_fired = neuron_retreat = neurons_back = _unbound
