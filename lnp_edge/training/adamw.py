"""AdamW (Loshchilov and Hutter, arXiv 1711.05101), for the trainings of floats, integers and rivals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.optim.adamw import adamw

BETAS = (0.9, 0.99)


class AdamW:
    """The steps of torch.optim.AdamW, bit for bit, without its class: that loads PyTorch's compiler, for a second of
    processor time, and does not use it.

    leaves  : the tensors that train: those of `decayed`, whose weights decay, then `others`
    moments : of each leaf: the number of steps, and the averages of its gradient and of its square
    """

    def __init__(self, decayed: Sequence[torch.Tensor], others: Sequence[torch.Tensor], weight_decay: float):
        self.leaves, first = [*decayed, *others], len(decayed)
        self.moments = [
            {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            for p in self.leaves
        ]
        self._groups = (slice(first), weight_decay), (slice(first, None), 0.0)

    def step(self, lr: float) -> None:
        """Move each leaf against its gradient, which is used up. lr : the learning rate of this step"""
        for group, decay in self._groups:
            pairs = zip(self.leaves[group], self.moments[group], strict=True)
            moved = [(p, p.grad, m) for p, m in pairs if p.grad is not None]
            steps, means, squares = ([m[name] for *_, m in moved] for name in ("step", "exp_avg", "exp_avg_sq"))
            with torch.no_grad():
                adamw(
                    [p for p, *_ in moved], [grad for _, grad, _ in moved], means, squares, [], steps, foreach=False,
                    amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=lr, weight_decay=decay, eps=1e-8, maximize=False,
                )  # fmt: skip
            for p, *_ in moved:
                p.grad = None
