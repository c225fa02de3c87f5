"""The optimiser against the one of torch, whose first step loads torch's compiler; and what decays in a training."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nets import tiny_network

from lnp_edge.config import TrainSettings
from lnp_edge.training import loop, plain
from lnp_edge.training.adamw import BETAS, AdamW


def leaves():
    torch.manual_seed(1)
    return [torch.randn(shape).requires_grad_() for shape in ((5, 7), (300,), (3,), ())]


@pytest.mark.slow
def test_its_steps_have_the_bits_of_torch_s():
    ours, theirs = leaves(), leaves()
    groups = [{"params": theirs[:2]}, {"params": theirs[2:], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, betas=BETAS, weight_decay=0.3)
    mine = AdamW(ours[:2], ours[2:], 0.3)
    for k in range(30):
        rate = 0.1 / (1 + k)
        for a, b in zip(ours, theirs, strict=True):
            a.grad = None if k == 4 else torch.randn(a.shape)
            b.grad = None if k == 4 else a.grad.clone()
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        mine.step(rate)
        assert all(torch.equal(a, b) and a.grad is None for a, b in zip(ours, theirs, strict=True)), k
    state = optimiser.state_dict()["state"]
    for k, moments in enumerate(mine.moments):
        assert moments.keys() == state[k].keys() and all(torch.equal(moments[name], state[k][name]) for name in moments)


@pytest.mark.slow
def test_it_loads_no_compiler():
    code = """if True:
        import sys
        import torch
        from lnp_edge.training.adamw import AdamW
        p = torch.zeros(3).requires_grad_()
        (p - 1).square().sum().backward()
        AdamW([p], [], 0.0).step(0.1)
        assert p.abs().min() > 0 and "torch._dynamo" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_of_a_network_weights_alone_decay():
    model = loop.Trainable(tiny_network())
    before = {name: leaf.clone() for name, leaf in model.leaf.items()}
    optimiser = loop._optimiser(model, TrainSettings(weight_decay=0.5))
    for leaf in optimiser.leaves:
        leaf.grad = torch.zeros_like(leaf)
    optimiser.step(0.1)
    for name, leaf in model.leaf.items():
        assert torch.equal(leaf, before[name] * (1 - 0.1 * 0.5 if name.startswith("w_") else 1)), name
    assert len(optimiser.leaves) > len([name for name in before if name.startswith("w_")]) > 2


class Deaf(torch.nn.Module):
    """Says the same whatever its parameters are, which therefore do nothing but decay."""

    def __init__(self):
        super().__init__()
        self.matrix, self.bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))

    def forward(self, x):
        return 0 * (self.matrix.sum() + self.bias) + torch.zeros(len(x), 2)


def test_of_a_rival_matrices_alone_decay_and_the_rate_falls_to_the_end():
    batch = np.zeros((3, 4, 1), np.float32), np.zeros(3, np.int64)
    net = plain.fit(Deaf, SimpleNamespace(epoch=lambda rng: [batch] * 7), 40, 0.1, 0.5, 0.0, 1)
    rates = [0.1 * min(1, k / 40 / 0.05) * 0.5 * (1 + np.cos(np.pi * k / 40)) for k in range(40)]
    np.testing.assert_allclose(net.matrix.detach(), np.prod([1 - rate * 0.5 for rate in rates]), rtol=1e-5)  # float32
    assert torch.equal(net.bias, torch.ones(2))
