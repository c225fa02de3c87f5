"""A recurrent layer with its read-out, as one autograd function of the whole sequence.

It also computes the currents of later layers, and runs any neuron that derive.py can derive. Input
currents and their weight gradient are products over all steps (products.py). The recurrence is in
sparse.py or, at high density, in dense.py. For a long sequence only the state at the start of each
segment is kept, and the backward pass computes the segments again, with the same operations and
therefore the same spikes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lnp_edge.training.kernels import dense, products, sparse
from lnp_edge.training.kernels.derive import Derived
from lnp_edge.training.kernels.lanes import FOLDED, LANES
from lnp_edge.training.kernels.sparse import Wiring
from lnp_edge.training.layer import SLOPE

# Density from which dense.py is faster. Measured ms at N = 128, 256, 512:
# density 0.2: sparse 8, 19, 59; dense 9, 23, 71
# density 0.3: sparse 11, 26, 92; dense 10, 24, 74
DENSE_FROM = 0.25
KEPT = 2**28  # bytes of Derived.kept that a training step may keep; above, segments are computed twice
NAMES = ("w_rec", "w_forward", "w_in", "w_out", "bias", "bias_out", "tables", "gamma")
Arrays = dict[str, np.ndarray]


class Sparse:
    """sparse.py with the weights of one training step. [B, T, K] is stored as [G, T, K, LANES]."""

    lanes = LANES

    def __init__(self, wiring: Wiring, neuron: Derived, p: Arrays):
        self.wiring, self.neuron, self.n = wiring, neuron, wiring.n
        weights = np.concatenate([p["w_rec"], p["w_forward"], p["w_out"].ravel()])
        self.w, self.w_back = weights[wiring.by_target], weights[wiring.by_source]
        self.tables, self.read_out = p["tables"].ravel(), (p["gamma"], p["bias_out"])
        self.w_in, self.bias = p["w_in"], p["bias"]
        sizes = (len(weights), FOLDED), (len(neuron.trained) * wiring.n, LANES)
        self.sums = tuple(np.zeros(size, np.float32) for size in sizes)

    def place(self, a: torch.Tensor) -> np.ndarray:
        """A copy of [B, T, K] in this layout, with the batch zero-padded to whole lanes."""
        return placed(a.detach().numpy(), LANES)

    def back(self, a: np.ndarray, batch: int) -> np.ndarray:
        return a.transpose(0, 3, 1, 2).reshape(a.shape[0] * a.shape[3], *a.shape[1:3])[:batch].copy()

    def currents(self, x: np.ndarray, t0: int, v: np.ndarray) -> None:
        if self.w_in is None:
            np.add(x[:, t0 : t0 + v.shape[1]], self.bias[:, None], out=v)
        else:
            products.currents_of_samples(x, t0, np.ascontiguousarray(self.w_in.T), v)

    def new_d_w_in(self) -> np.ndarray:
        return np.zeros((*self.w_in.shape, FOLDED), np.float32)

    def add_d_w_in(self, x: np.ndarray, t0: int, h: np.ndarray, d_w_in: np.ndarray) -> None:
        part = np.empty((4 * (self.n + 1), LANES), np.float32)
        products.gradient_of_samples(x, t0, h, d_w_in, part)

    def forward(self, kept: np.ndarray, start: np.ndarray, y: np.ndarray, t0: int) -> None:
        ends = self.wiring.into, self.wiring.pre, self.w
        room = np.zeros(y.shape[2:], np.float32), *np.empty((2, self.n), np.uint32)
        sparse.kernels(self.neuron)[0](kept, start, *ends, self.tables, *self.read_out, y, t0, *room)

    def backward(self, kept: np.ndarray, start: np.ndarray, carry: np.ndarray, grad_y: np.ndarray, t0: int) -> None:
        k = self.wiring
        ends = k.into, k.pre, k.out, k.post, self.w_back
        slope, room = np.float32(SLOPE), sparse.room(k.n, grad_y.shape[2])
        sparse.kernels(self.neuron)[1](kept, start, carry, grad_y, t0, *ends, self.tables, slope, *self.sums, *room)

    def gradients(self) -> Arrays:
        k, (d_w, d_tables) = self.wiring, self.sums
        weights = np.empty(len(d_w), np.float32)
        weights[k.by_target] = d_w.sum(1)
        ends = len(k.rows), len(k.rows) + len(k.onwards[0])
        w_rec, w_forward, w_out = np.split(weights, ends)
        found = {"w_rec": w_rec, "w_forward": w_forward, "w_out": w_out.reshape(k.n, k.o)}
        return found | {"tables": _of_all(self.neuron, d_tables.sum(1).reshape(-1, k.n))}


class Dense:
    """dense.py with the weights of one training step. The layout is [B, T, K, 1]; N is padded."""

    lanes = 1

    def __init__(self, wiring: Wiring, neuron: Derived, p: Arrays):
        self.wiring, self.neuron, n, others = wiring, neuron, wiring.n, wiring.m + wiring.o
        self.n = LANES * -(-n // LANES)
        w = np.zeros((self.n, self.n + LANES * -(-others // LANES)), np.float32)
        self.at = wiring.rows * w.shape[1] + wiring.columns
        self.forward_at = wiring.onwards[0] * w.shape[1] + self.n + wiring.onwards[1]
        w.reshape(-1)[self.at] = p["w_rec"]
        w.reshape(-1)[self.forward_at] = p["w_forward"]
        self.out_at = slice(self.n + wiring.m, self.n + others)
        w[:n, self.out_at] = p["w_out"]
        self.w = w
        end = self.n + others
        self.w_back = np.ascontiguousarray(w[:, :end].reshape(-1, LANES, end).transpose(0, 2, 1))
        self.tables = np.pad(p["tables"], ((0, 0), (0, self.n - n)), constant_values=1).reshape(-1, LANES)
        self.read_out = p["gamma"], p["bias_out"]
        self.bias = p["bias"]
        self.w_in = None if p["w_in"] is None else np.pad(p["w_in"], ((0, 0), (0, self.n - n)))
        self.sums = np.zeros_like(w), np.zeros((len(neuron.trained) * self.n // LANES, LANES), np.float32)

    def place(self, a: torch.Tensor) -> np.ndarray:
        return np.array(a.detach().numpy(), np.float32)[..., None]

    def back(self, a: np.ndarray, batch: int) -> np.ndarray:
        return a[..., 0]

    def currents(self, x: np.ndarray, t0: int, v: np.ndarray) -> None:
        if self.w_in is None:
            v[:, :, self.wiring.n :] = 0
            np.add(x[:, t0 : t0 + v.shape[1]], self.bias[:, None], out=v[:, :, : self.wiring.n])
        else:
            products.currents_of_neurons(x[..., 0], t0, self.w_in, v[..., 0])

    def new_d_w_in(self) -> np.ndarray:
        return np.zeros((*self.w_in.shape, 1), np.float32)

    def add_d_w_in(self, x: np.ndarray, t0: int, h: np.ndarray, d_w_in: np.ndarray) -> None:
        products.gradient_of_neurons(x[..., 0], t0, h[..., 0], d_w_in[..., 0])

    def forward(self, kept: np.ndarray, start: np.ndarray, y: np.ndarray, t0: int) -> None:
        run = dense.kernels(self.neuron)[0]
        room = np.empty(self.n + 1, np.int32), np.empty((self.w.shape[1] // LANES, LANES), np.float32)
        run(kept[..., 0], start[..., 0], self.w, self.tables, *self.read_out, y[..., 0], t0, *room)

    def backward(self, kept: np.ndarray, start: np.ndarray, carry: np.ndarray, grad_y: np.ndarray, t0: int) -> None:
        arrays, room = (a[..., 0] for a in (kept, start, carry, grad_y)), dense.room(*self.w.shape)
        dense.kernels(self.neuron)[1](*arrays, t0, self.w_back, self.tables, np.float32(SLOPE), *self.sums, *room)

    def gradients(self) -> Arrays:
        n, (d_w, d_tables) = self.wiring.n, self.sums
        flat = d_w.reshape(-1)
        found = {"w_rec": flat[self.at], "w_forward": flat[self.forward_at]}
        w_out = np.ascontiguousarray(d_w[:n, self.out_at])
        return found | {"w_out": w_out, "tables": _of_all(self.neuron, d_tables.reshape(-1, self.n)[:, :n])}


def _of_all(neuron: Derived, d_tables: np.ndarray) -> np.ndarray:
    """The gradients of all tables, [tables, N], from those of the tables that train."""
    found = np.zeros((len(neuron.tables), d_tables.shape[1]), np.float32)
    found[[neuron.tables.index(name) for name in neuron.trained]] = d_tables
    return found


def _kernel(wiring: Wiring) -> type[Sparse] | type[Dense]:
    synapses = len(wiring.rows) + len(wiring.onwards[0])
    return Dense if synapses >= DENSE_FROM * wiring.n * (wiring.n + wiring.m) else Sparse


def _segment(steps: int, neuron: Derived, bytes_a_variable: int) -> int:
    """The number of steps K whose variables are kept: all, if that is within KEPT.

    Otherwise the K with the least memory for T/K states and K steps. bytes_a_variable : of one step
    """
    kept = len(neuron.kept)
    if steps * kept * bytes_a_variable <= KEPT:
        return steps
    return math.ceil(math.sqrt(len(neuron.states) / kept * steps))


def bytes_a_step(wiring: Wiring, neuron: Derived, batch: int, steps: int) -> int:
    """Bytes kept between the forward and backward pass of a training step.

    They are the variables of Derived.kept, states with their spikes, inputs and read-out.
    """
    whole = _kernel(wiring) is Dense
    samples, n = (batch, LANES * -(-wiring.n // LANES)) if whole else (LANES * -(-batch // LANES), wiring.n)
    length = _segment(steps, neuron, 4 * samples * n)
    states = (len(neuron.states) + 1) * -(-steps // length)
    return 4 * samples * ((len(neuron.kept) * length + states) * n + steps * (wiring.c + 1 + wiring.m + wiring.o))


class Workspace:
    """The buffer of what is kept, reused between calls. Each forward pass needs its backward pass next."""

    def __init__(self, wiring: Wiring, neuron: Derived):
        self.wiring, self.neuron = wiring, neuron
        self.buffer = np.empty(0, np.float32)

    def kept(self, *shape: int) -> np.ndarray:
        """An uninitialised array [M, G, K, N, L] for the variables of Derived.kept. shape : [G, K, N, L]"""
        shape = len(self.neuron.kept), *shape
        if math.prod(shape) > len(self.buffer):
            self.buffer = np.empty(math.prod(shape), np.float32)
        return self.buffer[: math.prod(shape)].reshape(shape)

    def kernel(self, p: Arrays) -> Sparse | Dense:
        """The kernel with the parameters of one training step."""
        return _kernel(self.wiring)(self.wiring, self.neuron, p)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, work: Workspace, x: torch.Tensor, batch: int, *parameters: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        p: Any = {
            name: None if a is None else a.detach().contiguous().numpy()
            for name, a in zip(NAMES, parameters, strict=True)
        }
        wiring = work.wiring
        p["gamma"], p["bias_out"] = (np.pad(p[name], (wiring.m, 0)) for name in ("gamma", "bias_out"))
        if p["w_in"] is not None:
            p["w_in"] = np.concatenate([p["w_in"], p["bias"][None]])  # an input that is always 1
            x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2)
        kernel = work.kernel(p)
        inputs = _placed(x, kernel, batch)
        groups, steps = inputs.shape[:2]
        length = _segment(steps, work.neuron, 4 * groups * kernel.n * kernel.lanes)
        y = np.empty((groups, steps, wiring.m + wiring.o, kernel.lanes), np.float32)
        state = np.zeros((groups, len(work.neuron.states) + 1, kernel.n, kernel.lanes), np.float32)
        starts = {}
        for t0 in range(0, steps, length):
            starts[t0] = state.copy()
            _run(work, kernel, inputs, state, y, t0, length)
        ctx.kept = work, kernel, p["gamma"], inputs, y, starts, length, x.shape
        onwards, y_out = y[:, :, : wiring.m], y[:, :, wiring.m :]
        return torch.from_numpy(onwards), torch.from_numpy(kernel.back(y_out, batch))

    @staticmethod
    def backward(ctx: Any, grad_onwards: torch.Tensor, grad_out: torch.Tensor) -> tuple:
        if ctx.kept is None:
            raise RuntimeError("second backward pass: the first one has overwritten what was kept")
        work, kernel, gamma, inputs, y, starts, length, shape = ctx.kept
        ctx.kept = None
        x, n, m = inputs, work.wiring.n, work.wiring.m
        grad_y = np.empty_like(y)
        grad_y[:, :, :m], grad_y[:, :, m:] = grad_onwards.numpy(), kernel.place(grad_out)
        sparse.leak_back(grad_y, gamma)
        carry = np.zeros((len(inputs), 1 + len(work.neuron.carried), kernel.n, kernel.lanes), np.float32)
        d_w_in = None if kernel.w_in is None else kernel.new_d_w_in()
        last = max(starts)
        for t0 in sorted(starts, reverse=True):
            now = x[:, t0 : t0 + length]
            kept = work.kept(*now.shape[:2], kernel.n, kernel.lanes)
            if t0 != last:
                _run(work, kernel, x, starts[t0].copy(), y, t0, length)
            kernel.backward(kept, starts[t0], carry, grad_y, t0)
            d_currents = kept[0]
            if d_w_in is None:
                now[:] = d_currents[:, :, :n]  # the currents themselves are no longer needed
            else:
                kernel.add_d_w_in(x, t0, d_currents, d_w_in)
        d_gamma = np.einsum("gtol,gtol->o", grad_y[:, 1:, m:], y[:, :-1, m:])
        found = {name: torch.from_numpy(a) for name, a in kernel.gradients().items()}
        found |= {"gamma": torch.from_numpy(d_gamma), "bias_out": torch.from_numpy(grad_y[:, :, m:].sum((0, 1, 3)))}
        if d_w_in is None:
            found["bias"] = torch.from_numpy(x.sum((0, 1, 3)))
            d_x = torch.from_numpy(_back_to(shape, inputs, kernel, len(grad_out)))
            return None, d_x, None, *(found.get(name) for name in NAMES)
        whole = torch.from_numpy(np.ascontiguousarray(d_w_in.sum(-1)[:, :n]))
        found |= {"w_in": whole[:-1], "bias": whole[-1]}
        return None, None, None, *(found.get(name) for name in NAMES)


def _placed(x: torch.Tensor, kernel: Sparse | Dense, batch: int) -> np.ndarray:
    """x, which is [B, T, K] or in the layout of any kernel, in the layout of this kernel."""
    if x.dim() == 4 and x.shape[-1] == kernel.lanes:
        return x.detach().numpy()
    return kernel.place(samples(x, batch))


def _back_to(shape: torch.Size, a: np.ndarray, kernel: Sparse | Dense, batch: int) -> np.ndarray:
    """a, which is in the layout of this kernel, in that of `shape`: the inverse of _placed."""
    if len(shape) == 4 and shape[-1] == kernel.lanes:
        return a
    whole = kernel.back(a, batch)
    return whole if len(shape) == 3 else placed(whole, shape[-1])


def samples(a: torch.Tensor, batch: int) -> torch.Tensor:
    """The array as [B, T, K], from the layout of either kernel or from [B, T, K] itself."""
    return a if a.dim() == 3 else a.permute(0, 3, 1, 2).flatten(0, 1)[:batch]


def placed(a: np.ndarray, lanes: int) -> np.ndarray:
    """A copy of [B, T, K] as [G, T, K, lanes], with the batch zero-padded to whole lanes."""
    blocks = -(-len(a) // lanes)
    out = np.zeros((blocks * lanes, *a.shape[1:]), np.float32)
    out[: len(a)] = a
    return np.ascontiguousarray(out.reshape(blocks, lanes, *a.shape[1:]).transpose(0, 2, 3, 1))


def _run(
    work: Workspace, kernel: Sparse | Dense, x: np.ndarray, state: np.ndarray, y: np.ndarray, t0: int, length: int
) -> None:
    """Run steps t0 .. t0+length-1 forward from `state`, which is updated; what is kept stays in work."""
    now = x[:, t0 : t0 + length]
    kept = work.kept(*now.shape[:2], kernel.n, kernel.lanes)
    kernel.currents(x, t0, kept[0])
    kernel.forward(kept, state, y, t0)


def fused(
    work: Workspace, p: dict[str, torch.Tensor | None], x: torch.Tensor, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Currents of later neurons, in this kernel's layout [G, T, M, L], and the read-out [B, T, O].

    p : parameters with the names NAMES, float32. tables [tables, N] has the rows Derived.tables; those
        that do not train get the gradient 0
    x : with w_in [C, N], inputs [B, T, C] without a gradient; with w_in None, currents without the
        bias, [B, T, N] or in the layout of another layer, which get a gradient and are overwritten
        in the backward pass
    """
    return _Fused.apply(work, x, batch, *(p[name] for name in NAMES))
