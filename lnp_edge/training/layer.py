"""The recurrent layer and its read-out as a differentiable function of its parameters, twice.

`generic` runs any neuron of neurons/ in plain PyTorch: the definition. fused.fused is the kernel, for cuba_lif.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import torch

from lnp_edge.spec import plugins
from lnp_edge.training.kernels.fused import Workspace, fused
from lnp_edge.training.kernels.sparse import SLOPE, Wiring

DECAY = {"tau_syn": "alpha", "tau_mem": "beta"}

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


def layer(neuron: str, wiring: Wiring) -> Callable[[Parameters, torch.Tensor], torch.Tensor]:
    """y = layer(p, x): the fused kernel for the default neuron, the generic loop for any other."""
    if neuron == "cuba_lif":
        return partial(fused, Workspace(wiring))
    return lambda p, x: generic(plugins.get("lnp_edge.neurons", neuron), p, wiring, x)
