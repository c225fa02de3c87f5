"""The network as a differentiable function of its parameters: a plain PyTorch loop over time.

This is the definition. Any neuron of neurons/ runs by its own step, whose operations have the same
meaning as in spec/floats.py, with gradients. kernels/ has faster versions; run.py chooses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from lnp_edge.network import Network, Population
from lnp_edge.spec.ops import bind

SLOPE = 5.0  # of the surrogate, see Greater

# By name: w_rec [nnz], w_in [C, N], w_out [N, O], w_skip [C, O] if there is one, gamma [O],
# bias_out [O]; and for each population and each of its TABLES, as in "hidden.v_th", the argument of
# the neuron's step, [n].
Parameters = dict[str, torch.Tensor]


class Greater(torch.autograd.Function):
    """a > b as 1.0 or 0.0, with the gradient of s(a / b - 1).

    Here ds(u) / du = 1 / (1 + SLOPE |u|)**2, so dz/da = s' / b and dz/db = -a s' / b**2: thresholds
    that are parameters or states get a gradient.
    """

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (a > b).to(a.dtype)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        down = grad / b / (1 + SLOPE * (a / b - 1).abs()) ** 2
        of_b = (-down * a / b).sum_to_size(b.shape) if ctx.needs_input_grad[1] else None
        return down, of_b


# The operations of spec/ops.py in floats. `gate`, used for resets, passes no gradient to the spike;
# `mul` does.
FLOAT_OPS: dict[str, Callable] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "leak": lambda x, stays: x * stays,
    "greater": Greater.apply,
    "gate": lambda z, x: z.detach() * x,
    "shift_round": lambda x, k: x / 2.0**k,
    "clamp": lambda x, low, high: torch.clamp(x, low, high),
}


def constants(population: Population, p: Parameters) -> list[torch.Tensor]:
    """The arguments of a neuron's step after the drive."""
    return [p[f"{population.name}.{table}"] for table in population.module.TABLES]


class Stepper:
    """Runs a network step by step for a batch of B. p : its Parameters, of one dtype"""

    def __init__(self, network: Network, p: Parameters, batch: int):
        new = p["w_in"].new_zeros
        self.p, self.parts = p, network.parts()
        self.w_in, self.w_out = p["w_in"], p["w_out"]
        if not all(part.hears and part.feeds for part, _ in self.parts):  # no synapse, no gradient
            ends = [(float(part.hears), float(part.feeds)) for part, _ in self.parts for _ in range(part.n)]
            hears, feeds = p["w_in"].new_tensor(ends).T
            self.w_in, self.w_out = self.w_in * hears, self.w_out * feeds[:, None]
        self.steps = [bind(part.module.step, FLOAT_OPS) for part, _ in self.parts]
        self.constants = [constants(part, p) for part, _ in self.parts]
        coo = network.w_rec.tocoo()
        synapses = torch.from_numpy(coo.row.astype(int)), torch.from_numpy(coo.col.astype(int))
        self.w_rec = new(network.n, network.n).index_put(synapses, p["w_rec"])
        self.state = [[new(batch, part.n) for _ in part.module.STATE] for part, _ in self.parts]
        self.z = [new(batch, part.n) for part, _ in self.parts]
        self.y = new(batch, len(network.tau_out))

    def step(self, x: torch.Tensor, from_input: torch.Tensor) -> torch.Tensor:
        """Run one step on inputs x [B, C]; returns y [B, O]. from_input : x @ w_in, [B, N]"""
        for k, (_, at) in enumerate(self.parts):
            drive = from_input[:, at] + torch.cat(self.z, 1) @ self.w_rec[:, at]
            *self.state[k], self.z[k] = self.steps[k](*self.state[k], drive, *self.constants[k])
        self.y = self.p["gamma"] * self.y + torch.cat(self.z, 1) @ self.w_out + self.p["bias_out"]
        if "w_skip" in self.p:
            self.y = self.y + x @ self.p["w_skip"]
        return self.y


def generic(network: Network, p: Parameters, x: torch.Tensor) -> torch.Tensor:
    """Read-out y [B, T, O] for inputs x [B, T, C]. Only the structure of the network is used."""
    run = Stepper(network, p, len(x))
    return torch.stack([run.step(*now) for now in zip(x.unbind(1), (x @ run.w_in).unbind(1), strict=True)], 1)
