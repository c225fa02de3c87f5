"""The optimiser against the one of torch, whose first step loads torch's compiler."""

import subprocess
import sys

import pytest
import torch

from lnp_edge.training.adamw import BETAS, AdamW

pytestmark = pytest.mark.slow


def leaves():
    torch.manual_seed(1)
    return [torch.randn(shape).requires_grad_() for shape in ((5, 7), (300,), (3,), ())]


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
