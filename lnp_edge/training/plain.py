"""Trains the networks without spikes that ours are compared with: a convolutional network and a GRU.

They see what our networks see: the same encoder, the same random crops and changes ([augment]), and
the same balance of classes. One recipe serves every task: AdamW with warm-up and a cosine, label
smoothing, and the last weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lnp_edge.base.errors import NetworkError
from lnp_edge.base.progress import Progress
from lnp_edge.network import X_SCALE
from lnp_edge.training.adamw import AdamW
from lnp_edge.training.loop import Batches

UNIT = 32.0  # encoded inputs per unit of the float network: TARGET_STD of the encoders
WARM_UP = 0.05  # share of the training
KERNEL = 5  # steps
Net = TypeVar("Net", bound=nn.Module)


def fit(
    build: Callable[[], Net],
    data: Batches,
    steps: int,
    lr: float,
    weight_decay: float,
    smoothing: float,
    seed: int,
    progress: Progress | None = None,
) -> Net:
    """The network that build() makes, trained for a number of batches, in evaluation mode.

    It maps x float32 [B, T, C] to [B, K]: logits of classes, or forecast changes in units of the
    task's forecast. The loss is cross-entropy, or the mean square error of a series. The same
    arguments give the same bits on the same machine. Raises NetworkError if the training diverges.
    """
    torch.set_num_threads(1)  # two threads on a busy machine are slower than one
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build()
        net.train()
        rng = np.random.default_rng(seed)
        matrices = [p for p in net.parameters() if p.ndim > 1]
        optimiser = AdamW(matrices, [p for p in net.parameters() if p.ndim <= 1], weight_decay)
        done, shown = 0, 0.0
        while done < steps:
            for x, wanted in data.epoch(rng):
                said, target = net(torch.from_numpy(x) * (X_SCALE / UNIT)), torch.from_numpy(wanted)
                if target.is_floating_point():
                    loss = nn.functional.mse_loss(said, target[:, -1])
                else:
                    loss = nn.functional.cross_entropy(said, target, label_smoothing=smoothing)
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step(lr * _schedule(done / steps))
                done, shown = done + 1, shown + 0.02 * (loss.item() - shown) if shown else loss.item()
                if not math.isfinite(shown):
                    raise NetworkError(f"the training diverged at batch {done}: its loss is not finite", "lower lr")
                if progress and done % 50 == 0:
                    progress(done / steps, f"loss {shown:.3f}")
                if done == steps:
                    break
    net.eval()
    return net


def _schedule(done: float) -> float:
    """The relative learning rate at a share `done` of the training."""
    return min(1.0, done / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def outputs(net: nn.Module, x: np.ndarray) -> np.ndarray:
    """What a trained network says of encoded windows x float32 [W, T, C]: [W, K]."""
    with torch.no_grad():
        parts = [net(torch.from_numpy(x[k : k + 256]) * (X_SCALE / UNIT)) for k in range(0, len(x), 256)]
    return torch.cat(parts).numpy()


@dataclass(frozen=True)
class Layer:
    """A convolution of a Convolutions network over time, its batch norm folded in; a ReLU follows.

    y[t, o] = bias[o] + sum over i, k of weight[o, i, k] * x[t * stride + k - pad, i]. If it is
    depthwise, output o reads input o alone, and weight is [O, 1, k].
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    stride: int
    pad: int
    depthwise: bool
    largest: float  # output for the calibration windows


class Convolutions(nn.Module):
    """A depthwise-separable convolutional network over time.

    blocks : (width, stride) of each block. The first is an ordinary convolution, each other one a
        depthwise convolution and one of kernel 1. KERNEL steps, batch norm and ReLU everywhere.
    whole  : whether a last depthwise layer takes all remaining steps, so that the place of a step
        counts; else their mean goes to the read-out
    """

    def __init__(
        self, blocks: Sequence[tuple[int, int]], channels: int, steps: int, outputs: int, whole: bool, dropout: float
    ):
        super().__init__()
        layers: list[nn.Module] = []

        def add(before: int, after: int, kernel: int, stride: int, depthwise: bool, pad: int) -> None:
            groups = before if depthwise else 1
            convolution = nn.Conv1d(before, after, kernel, stride, pad, groups=groups, bias=False)
            layers.extend([convolution, nn.BatchNorm1d(after), nn.ReLU()])

        for k, (width, stride) in enumerate(blocks):
            if k == 0:
                add(channels, width, KERNEL, stride, False, KERNEL // 2)
            else:
                add(channels, channels, KERNEL, stride, True, KERNEL // 2)
                add(channels, width, 1, 1, False, 0)
            channels, steps = width, (steps - 1) // stride + 1
        if whole:
            add(channels, channels, steps, 1, True, 0)
        self.layers, self.drop, self.out = nn.Sequential(*layers), nn.Dropout(dropout), nn.Linear(channels, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.drop(self.layers(x.transpose(1, 2)).mean(2)))

    def folded(self, x: np.ndarray) -> list[Layer]:
        """The layers of a trained network, and their largest outputs for encoded windows x [W, T, C]."""
        found = []
        with torch.no_grad():
            now = (torch.from_numpy(x) * (X_SCALE / UNIT)).transpose(1, 2)
            parts: list[Any] = list(self.layers)
            for convolution, norm, relu in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
                now = relu(norm(convolution(now)))
                scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                found.append(
                    Layer(
                        (convolution.weight * scale[:, None, None]).double().numpy(),
                        (norm.bias - norm.running_mean * scale).double().numpy(),
                        convolution.stride[0],
                        convolution.padding[0],
                        convolution.groups > 1,
                        now.max().item(),
                    )
                )
        return found

    def read_out(self) -> tuple[NDArray[np.float64], ...]:
        """Weights [K, F] and bias [K] after the mean over time."""
        return _doubles(self.out.weight, self.out.bias)


def _doubles(*found: Any) -> tuple[NDArray[np.float64], ...]:
    return tuple(a.detach().double().numpy() for a in found)


class Gru(nn.Module):
    """A GRU over all steps, and a linear read-out of its mean state or of its last one."""

    def __init__(self, channels: int, units: int, outputs: int, mean: bool, dropout: float):
        super().__init__()
        self.gru, self.mean = nn.GRU(channels, units, batch_first=True), mean
        self.drop, self.out = nn.Dropout(dropout), nn.Linear(units, outputs)
        gru: Any = self.gru
        with torch.no_grad():  # a memory at the start: z starts near 0.88
            gru.bias_hh_l0[units : 2 * units] += 1.0
            gru.bias_ih_l0[units : 2 * units] += 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.gru(x)
        return self.out(self.drop(h.mean(1) if self.mean else h[:, -1]))

    def gates(self) -> tuple[NDArray[np.float64], ...]:
        """w_x [3U, C], w_h [3U, U], b_x [3U], b_h [3U] of the gates r, z and the candidate n, in this order.

        r = sigmoid(w_x x + b_x + w_h h + b_h), z likewise; n = tanh(w_x x + b_x + r (w_h h + b_h));
        h = (1 - z) n + z h
        """
        g: Any = self.gru
        return _doubles(g.weight_ih_l0, g.weight_hh_l0, g.bias_ih_l0, g.bias_hh_l0)

    def read_out(self) -> tuple[NDArray[np.float64], ...]:
        """Weights [K, U] and bias [K]."""
        return _doubles(self.out.weight, self.out.bias)
