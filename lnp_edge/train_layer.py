"""The recurrent layer and its read-out as a differentiable function of its parameters, twice.

`generic` runs any neuron of neurons/ in plain PyTorch: the definition. `fused` is the kernel, for cuba_lif.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import torch

from lnp_edge import train_kernel
from lnp_edge.spec import plugins
from lnp_edge.train_kernel import Wiring
from lnp_edge.train_lanes import FOLDED, LANES

DECAY = {"tau_syn": "alpha", "tau_mem": "beta"}
SLOPE = 5.0  # of the surrogate: dz/dv = 1/v_th / (1 + SLOPE * |v/v_th - 1|)**2

# w_rec [nnz], w_in [C, N], w_out [N, O], bias [N], bias_out [O], alpha [N], beta [N], gamma [O], v_th [N]
Parameters = dict[str, torch.Tensor]


class _Greater(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (a > b).to(a.dtype)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad / b / (1 + SLOPE * (a / b - 1).abs()) ** 2, None


# The meaning of spec/ops.py in floats. A leak is 1 - decay here. The reset carries no gradient.
FLOAT_OPS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "leak": lambda x, c: x * (1 - c),
    "greater": _Greater.apply,
    "gate": lambda z, x: z.detach() * x,
}


def generic(neuron: Any, p: Parameters, wiring: Wiring, x: torch.Tensor) -> torch.Tensor:
    """Read-out y [B, T, O] of inputs x [B, T, C], any neuron of neurons/, by a loop over time."""
    step = FunctionType(neuron.step.__code__, FLOAT_OPS)
    constants = [1 - p[DECAY[k.source]] if k.is_leak else p[k.source] for k in neuron.PARAMS.values()]
    synapses = torch.from_numpy(wiring.rows), torch.from_numpy(wiring.columns)
    w_rec = x.new_zeros(wiring.n, wiring.n).index_put(synapses, p["w_rec"])
    state = [x.new_zeros(len(x), wiring.n) for _ in neuron.STATE]
    z, y, ys = state[0], x.new_zeros(len(x), wiring.o), []
    for drive in (x @ p["w_in"]).unbind(1):
        *state, z = step(*state, drive + z @ w_rec, *constants)
        y = p["gamma"] * y + z @ p["w_out"] + p["bias_out"]
        ys.append(y)
    return torch.stack(ys, 1)


class Workspace:
    """Buffers of the fused layer, kept between calls. One forward, then its backward, at a time."""

    def __init__(self, wiring: Wiring):
        self.wiring = wiring
        self.v = np.empty((0, 0, 0, LANES), np.float32)  # before the reset, [G, T, N, LANES]

    def fit(self, blocks: int, steps: int) -> np.ndarray:
        if self.v.shape[:2] != (blocks, steps):
            self.v = np.empty((blocks, steps, self.wiring.n, LANES), np.float32)
        return self.v


def _to_lanes(a: torch.Tensor) -> np.ndarray:
    """[B, T, K] to [G, T, K, LANES], padded with zeros."""
    blocks = -(-len(a) // LANES)
    out = np.zeros((blocks * LANES, *a.shape[1:]), np.float32)
    out[: len(a)] = a.detach().numpy()
    return np.ascontiguousarray(out.reshape(blocks, LANES, *a.shape[1:]).transpose(0, 2, 3, 1))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, work, x, weights, bias, bias_out, alpha, beta, gamma, v_th):
        wiring = work.wiring
        lanes = _to_lanes(x)
        v = work.fit(*lanes.shape[:2])
        y = np.empty((*lanes.shape[:2], wiring.o, LANES), np.float32)
        w, *rest = (a.detach().numpy() for a in (weights, alpha, beta, gamma, v_th, bias, bias_out))
        arguments = lanes, wiring.into, wiring.pre, w[wiring.by_target], *rest, v, y
        train_kernel.forward(*arguments)
        ctx.kept = work, lanes, w, rest, y
        return torch.from_numpy(y.transpose(0, 3, 1, 2).reshape(-1, y.shape[1], wiring.o)[: len(x)].copy())

    @staticmethod
    def backward(ctx, grad):
        work, x, w, (alpha, beta, gamma, v_th, *_), y = ctx.kept
        wiring = work.wiring
        grad_y = _to_lanes(grad)
        d_w = np.zeros((len(w), FOLDED), np.float32)
        d_alpha, d_beta, d_bias = (np.zeros((wiring.n, LANES), np.float32) for _ in range(3))
        train_kernel.backward(
            x, work.v, grad_y, wiring.into, wiring.pre, wiring.out, wiring.post, w[wiring.by_source],
            alpha, beta, gamma, v_th, np.float32(SLOPE), d_w, d_alpha, d_beta, d_bias,
        )  # fmt: skip
        d_weights = np.empty(len(w), np.float32)
        d_weights[wiring.by_target] = d_w.sum(1)
        d_gamma = np.einsum("gtol,gtol->o", grad_y[:, 1:], y[:, :-1])
        d_bias_out = grad_y.sum((0, 1, 3))
        grads = d_weights, d_bias.sum(1), d_bias_out, d_alpha.sum(1), d_beta.sum(1), d_gamma
        return None, None, *map(torch.from_numpy, grads), None


def fused(work: Workspace, p: Parameters, x: torch.Tensor) -> torch.Tensor:
    """As generic for cuba_lif, in float32; x itself gets no gradient, nor does v_th."""
    weights = torch.cat([p["w_rec"], p["w_in"].reshape(-1), p["w_out"].reshape(-1)])
    names = ("bias", "bias_out", "alpha", "beta", "gamma", "v_th")
    return _Fused.apply(work, x, weights, *(p[name] for name in names))


def layer(neuron: str, wiring: Wiring) -> Callable[[Parameters, torch.Tensor], torch.Tensor]:
    """y = layer(p, x): the fused kernel for the default neuron, the generic loop for any other."""
    if neuron == "cuba_lif":
        return partial(fused, Workspace(wiring))
    return lambda p, x: generic(plugins.get("lnp_edge.neurons", neuron), p, wiring, x)
