"""Training with the integers of the device: forward, spikes and read-outs are equal bit for bit.

Before every batch the float leaves are turned into the model that would be exported
(quantize.to_integers), and the batch runs through that model. The backward pass is that of
kernels/sparse.py: the float surrogate at the potentials and spikes of the integers, with the
weights, decays and thresholds that the integers stand for. The gradient passes straight through
rounding (Bengio, Leonard & Courville 2013, arXiv:1308.3432).

The step between two levels of a neuron's weights is learned as in LSQ (Esser et al. 2020,
arXiv:1902.08153): a rounded weight is w_hat = step * q with q = clip(round(w / step), -most, most).
With respect to the logarithm of the step,

    d w_hat / d log step = w_hat - w  within the levels,  w_hat  where the weight was clipped
    d w_hat / d w        = 1          within the levels,  0      where the weight was clipped

With the logarithm, an update changes the step of every neuron by a relative amount, as in Jain et
al. 2020, arXiv:1903.08066. LSQ's gradient scale 1 / sqrt(weights * most) is omitted: it is a
constant factor, which Adam divides out. All numbers of bits are treated alike; training starts from
the scale of quantize.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.progress import EpochProgress
from lnp_edge.config import TrainSettings
from lnp_edge.network import X_SCALE, Network
from lnp_edge.quantization.quantize import Scale, fit_scale, quantize, to_integers
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.task.task import Task
from lnp_edge.training.kernels.derive import Derived, trains_in_integers
from lnp_edge.training.kernels.fused import Arrays, Sparse, Workspace
from lnp_edge.training.kernels.integer_kernel import State, aligned, run
from lnp_edge.training.kernels.sparse import Wiring
from lnp_edge.training.layer import Parameters
from lnp_edge.training.loop import Batches, History, Trainable, fit
from lnp_edge.training.run import FusedLayer

SPARE = 1  # bits of int32 that the initial scale leaves for weights and time constants to grow


class InIntegers(Trainable):
    """A Trainable whose parameters() are those of the integers.

    Further leaves are the logarithms of the steps, relative to their start.
    """

    def __init__(self, network: Network, task: Task, bits: int):
        super().__init__(network)
        self.layer = FusedLayer(network, 0)
        self.task, self.start = task, _spared(fit_scale(network, task, bits))
        self.leaf |= {"step": torch.zeros(network.n), "step_out": torch.zeros(1)}
        self.wiring = self.layer.work.wiring
        self.layer.work = self.work = _Work(self.wiring, self.layer.work.neuron)
        self.columns = torch.from_numpy(self.wiring.columns.astype(int))

    def scale(self, leaf: Parameters) -> Scale:
        step, step_out = (np.exp(leaf[name].detach().double().numpy()) for name in ("step", "step_out"))
        return replace(self.start, gain=self.start.gain / step, level_out=self.start.level_out / float(step_out[0]))

    def integers(self, leaf: Parameters) -> tuple[QuantizedModel, Scale]:
        """The model that these leaves stand for, and its scale."""
        return to_integers(self.to_network(leaf), self.task, self.scale(leaf))

    def parameters(self, leaf: Parameters) -> Parameters:
        """The float values of the integers, with gradients to the leaves; sets run()'s model."""
        self.work.model, self.work.scale = model, used = self.integers(leaf)
        p = super().parameters(leaf)
        w_in, w_rec, w_out = (model.projection(name) for name in ("in", "rec", "out"))
        hidden, out = model.populations
        step_in, step_rec = (2.0**p.shift / used.gain for p in (w_in, w_rec))
        step_in, step_rec, step_out = step_in * X_SCALE, step_rec[self.wiring.columns], np.array(1 / used.level_out)
        levels = w_in.w.dense(), aligned(w_rec.w, self.wiring), w_out.w.dense()
        snapped = {
            "w_in": snap(p["w_in"], levels[0], step_in, used.most, leaf["step"]),
            "w_rec": snap(p["w_rec"], levels[1], step_rec, used.most, leaf["step"][self.columns]),
            "w_out": snap(p["w_out"], levels[2], step_out, used.most, leaf["step_out"]),
        }
        exact = {
            "bias_out": out.params["bias"] / (used.level_out * 2.0**w_out.shift),
            "gamma": 1 - out.params["c"] / 2.0**16,
        }
        fixed, module = dict[str, np.ndarray](), self.network.populations[0].module
        for table, stored in module.TABLES.items():
            into = exact if module.PARAMETERS[stored.source].trains else fixed
            into[f"{hidden.name}.{table}"] = stored.floats(hidden.params[table], used.gain)
        snapped |= {name: p[name] + (_float32(value) - p[name]).detach() for name, value in exact.items()}
        return snapped | {name: _float32(value) for name, value in fixed.items()}

    def run(self, p: Parameters, x: torch.Tensor) -> torch.Tensor:
        """Read-out y [B, T, O] in float units of x float32 [B, T, C], integers / X_SCALE."""
        return self.layer(p, x, None)[1]


def train_in_integers(
    network: Network,
    task: Task,
    data: Batches,
    settings: TrainSettings,
    seed: int,
    bits: int,
    progress: EpochProgress | None = None,
    resume: Path | None = None,
    provenance: dict | None = None,
) -> tuple[QuantizedModel, History]:
    """Continue training a network in integers; returns the checked model and its learning curve.

    Raises ConfigError unless trains_in_integers(). There is no dropout, as on the device. Resumes
    like lnp_edge.training.loop.train.
    """
    kinds = [p.neuron for p in network.populations]
    if not trains_in_integers(kinds, network.w_skip is not None, network.readout, bits):
        what = f"{bits} bits, {' and '.join(kinds)}, {network.readout}" + " and a skip" * (network.w_skip is not None)
        raise ConfigError(
            f"training in integers needs one layer in up to 8 bits that the fused kernels run, not {what}",
            "set [quantize] epochs = 0, which rounds the trained network instead",
        )
    model = InIntegers(network, task, bits)
    settings = replace(settings, dropout=0.0)
    leaf, history = fit(model, model.run, data, settings, seed, progress, resume, f"{bits} bits")
    trained, scale = model.to_network(leaf), model.scale(leaf)
    return quantize(trained, task, provenance, bits, scale), history


def snap(w: torch.Tensor, levels: np.ndarray, step: np.ndarray, most: int, log_step: torch.Tensor) -> torch.Tensor:
    """levels * step, the rounded w, with the gradients of the module's docstring.

    step and log_step are broadcast.
    """
    within = w * (w.abs() <= _float32(most * step))
    return within + (_float32(levels * step) - within).detach() * torch.exp(log_step - log_step.detach())


def _float32(a: np.ndarray | float) -> torch.Tensor:
    return torch.from_numpy(np.asarray(a, np.float32))


def _spared(scale: Scale) -> Scale:
    bits = min(SPARE, *scale.shift_in, *scale.shift_rec)
    less = [tuple(shift - bits for shift in shifts) for shifts in (scale.shift_in, scale.shift_rec)]
    return replace(scale, gain=scale.gain / 2.0**bits, shift_in=less[0], shift_rec=less[1])


class _Integers(Sparse):
    """The sparse kernel with a forward pass in integers. p : the float values of the integers"""

    def __init__(self, wiring: Wiring, neuron: Derived, p: Arrays, model: QuantizedModel, scale: Scale):
        super().__init__(wiring, neuron, p)
        self.model, self.gain, self.threshold = model, scale.gain, p["tables"][neuron.tables.index(neuron.threshold)]
        self.gain_out = scale.level_out * 2.0 ** model.projection("out").shift
        # The last input is always 1: for the bias in the backward pass. Forwards the neuron adds
        # it.
        self.w_in = np.pad(model.projection("in").w.dense(), ((0, 1), (0, 0))).astype(np.float32)
        self.states: dict[int, State] = {}  # by step: the state before it, for recomputation

    def currents(self, x: np.ndarray, t0: int, v: np.ndarray) -> None:
        super().currents(x * np.float32(X_SCALE), t0, v)  # integers below 2**24: exact

    def forward(self, kept: np.ndarray, start: np.ndarray, y: np.ndarray, t0: int) -> None:
        groups, steps = kept.shape[1:3]
        before = self.states.setdefault(t0, State.reset(self.neuron, groups, self.wiring.n, self.wiring.o))
        state = deepcopy(before)
        found = run(self.model, self.neuron, self.wiring, kept, state, self.gain, self.threshold)
        y[:, t0 : t0 + steps] = found / self.gain_out
        self.states[t0 + steps] = state
        start[:, :-1], start[:, -1] = state.x / self.gain[:, None], state.z


class _Work(Workspace):
    """A workspace whose kernel runs `model`; InIntegers sets it before every batch."""

    model: QuantizedModel
    scale: Scale

    def kernel(self, p: Arrays) -> Sparse:
        return _Integers(self.wiring, self.neuron, p, self.model, self.scale)
