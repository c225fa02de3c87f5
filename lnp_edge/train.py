"""Training by back-propagation through time with surrogate gradients, on the stored synapses only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy import sparse

from lnp_edge import checkpoint
from lnp_edge.config import TrainSettings
from lnp_edge.init_network import SHORTEST
from lnp_edge.network import Network
from lnp_edge.train_kernel import Wiring
from lnp_edge.train_layer import Parameters, layer

OUT_UNIT = 5.0  # read-out weights grow most in training: a larger unit is a larger learning rate
SAVE_EVERY = 10  # epochs
LONGEST = 10.0  # windows; a longer time constant is the same to the data, and costs the integers their digits
TAUS = ("tau_mem", "tau_syn", "tau_out")
History = list[dict[str, float]]
Progress = Callable[[int, int, dict[str, float]], None]


class Batches(Protocol):
    """What train() learns from: per epoch some batches of x float32 [B, T, C] and labels [B]."""

    batches: int
    steps: int  # of a window, T
    identity: str  # equal for equal data only

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]: ...


class Trainable:
    """The network as leaf tensors near 1 in size, so that one learning rate suits all of them.

    A weight is its tensor times `unit`: (1 - alpha)(1 - beta) of its target, or (1 - gamma) of its output.
    """

    def __init__(self, network: Network):
        self.network = network
        self.wiring = Wiring.of(network.w_rec, network.w_in.shape[0], network.w_out.shape[1])
        dt = network.dt
        leak = (1 - np.exp(-dt / network.tau_syn)) * (1 - np.exp(-dt / network.tau_mem))
        leak_out = (1 - np.exp(-dt / network.tau_out)) / np.sqrt(network.n) * OUT_UNIT
        fan_in = np.sqrt(np.maximum(1, np.bincount(self.wiring.columns, minlength=network.n)))
        unit = {
            "w_rec": (leak / fan_in)[self.wiring.columns],
            "w_in": np.broadcast_to(leak, network.w_in.shape),
            "w_out": np.broadcast_to(leak_out, network.w_out.shape),
            "bias": leak,
            "bias_out": leak_out,
        }
        value = {name: getattr(network, name) for name in unit} | {"w_rec": network.w_rec.data}
        taus = {name: np.log(getattr(network, name)) for name in TAUS}
        self.unit = {name: _tensor(u) for name, u in unit.items()}
        self.leaf = {name: _tensor(value[name] / unit[name]) for name in unit}
        self.leaf |= {name: _tensor(t) for name, t in taus.items()}
        self.sign = torch.from_numpy(network.sign[self.wiring.rows].astype(np.float32))
        self.v_th = _tensor(network.v_th)

    def parameters(self, leaf: Parameters) -> Parameters:
        """What train_layer wants, from the leaves."""
        p = {name: leaf[name] * unit for name, unit in self.unit.items()}
        for decay, tau in (("alpha", "tau_syn"), ("beta", "tau_mem"), ("gamma", "tau_out")):
            p[decay] = torch.exp(-self.network.dt / torch.exp(leaf[tau]))
        return p | {"v_th": self.v_th}

    def project(self, longest: float) -> None:
        """Back into the allowed set: Dale's law, and trained time constants from SHORTEST steps to `longest` s."""
        with torch.no_grad():
            w = self.leaf["w_rec"]
            w.copy_(torch.clamp(w * self.sign, min=0) * self.sign)
            for name in TAUS:
                if self.leaf[name].requires_grad:
                    self.leaf[name].clamp_(math.log(SHORTEST * self.network.dt), math.log(longest))

    def to_network(self, leaf: Parameters) -> Network:
        p: dict[str, Any] = {name: (leaf[name] * unit).detach().double().numpy() for name, unit in self.unit.items()}
        taus = {name: np.exp(leaf[name].detach().double().numpy()) for name in TAUS}
        shortest = SHORTEST * self.network.dt
        taus = {name: np.maximum(tau, shortest) for name, tau in taus.items()}
        old = self.network.w_rec
        p["w_rec"] = sparse.csr_array((p["w_rec"], old.indices.copy(), old.indptr.copy()), old.shape)
        return replace(self.network, **p, **taus)


def _tensor(a) -> torch.Tensor:
    return torch.tensor(np.asarray(a), dtype=torch.float32)


def train(
    network: Network,
    data: Batches,
    settings: TrainSettings,
    seed: int,
    progress: Progress | None = None,
    resume: Path | None = None,
    neuron: str = "cuba_lif",
) -> tuple[Network, History]:
    """The trained network and, per epoch, its loss and accuracy on the training batches.

    Trains the synapses that w_rec stores and never adds one; each keeps the sign of its presynaptic neuron.
    The loss is the cross-entropy of the read-out after a window's last step, where the device decides.
    The same arguments give the same bits on the same machine, also if it is stopped and called again with the
    same checkpoint file `resume`, which is written every SAVE_EVERY epochs and removed at the end.
    The file knows its network, settings, seed and data and is refused for others.
    """
    torch.set_num_threads(1)  # two threads on a busy machine are slower than one
    model = Trainable(network)
    run = layer(neuron, model.wiring)
    rng = np.random.default_rng(seed)
    optimiser = _optimiser(model, settings)
    average = {name: leaf.detach().clone() for name, leaf in model.leaf.items()}
    history: History = []
    if resume:
        key = checkpoint.identity(network, settings, seed, data.identity, neuron)
        history = checkpoint.load(resume, key, model.leaf, average, optimiser, rng)
    for epoch in range(len(history), settings.epochs):
        loss_sum = right = seen = 0.0
        for k, (x, labels) in enumerate(data.epoch(rng)):
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * _cosine((epoch + k / data.batches) / settings.epochs)
            p = _drop(model.parameters(model.leaf), model.wiring, settings.dropout, rng)
            y, target = run(p, torch.from_numpy(x))[:, -1], torch.from_numpy(labels)
            loss = torch.nn.functional.cross_entropy(y, target, label_smoothing=settings.smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            model.project(LONGEST * data.steps * network.dt)
            with torch.no_grad():
                for name, leaf in model.leaf.items():
                    average[name].lerp_(leaf, 1 - settings.averaging)
            loss_sum += loss.item() * len(x)
            right += (y.argmax(1) == target).sum().item()
            seen += len(x)
        history.append({"loss": loss_sum / seen, "accuracy": right / seen})
        if progress:
            progress(epoch + 1, settings.epochs, history[-1])
        if resume and len(history) % SAVE_EVERY == 0:
            checkpoint.save(resume, key, model.leaf, average, optimiser, history, rng)
    if resume:
        resume.unlink(missing_ok=True)
    return model.to_network(average), history


def _optimiser(model: Trainable, settings: TrainSettings) -> torch.optim.Optimizer:
    trained = [name for name in model.leaf if settings.train_taus or not name.startswith("tau")]
    for name in trained:
        model.leaf[name].requires_grad_()
    weights: dict[str, Any] = {"params": [model.leaf[k] for k in trained if k.startswith("w_")]}
    others = {"params": [model.leaf[k] for k in trained if not k.startswith("w_")], "weight_decay": 0.0}
    decay = settings.weight_decay
    return torch.optim.AdamW([weights, others], lr=settings.lr, betas=(0.9, 0.99), weight_decay=decay)


def _cosine(done: float) -> float:
    """Learning rate at a share `done` of the training: a short warm-up, then down to 0."""
    warm = min(1.0, done / 0.05)
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _drop(p: Parameters, wiring: Wiring, share: float, rng: np.random.Generator) -> Parameters:
    """Outgoing weights with some neurons silenced for this batch, the others louder to make up for it."""
    if share == 0:
        return p
    keep = torch.from_numpy((rng.random(wiring.n) >= share).astype(np.float32) / np.float32(1 - share))
    return p | {"w_rec": p["w_rec"] * keep[wiring.rows], "w_out": p["w_out"] * keep[:, None]}


def predict(network: Network, x: np.ndarray, neuron: str = "cuba_lif") -> np.ndarray:
    """Class [W] of each window x float32 [W, T, C]: argmax of the read-out after the last step."""
    return read_out(network, x, neuron).argmax(1)


def read_out(network: Network, x: np.ndarray, neuron: str = "cuba_lif") -> np.ndarray:
    """Read-out y float32 [W, O] after the last step of each window x float32 [W, T, C]."""
    model = Trainable(network)
    run, p = layer(neuron, model.wiring), model.parameters(model.leaf)
    with torch.no_grad():
        parts = [run(p, torch.from_numpy(x[k : k + 256]))[:, -1] for k in range(0, len(x), 256)]
    return torch.cat(parts).numpy()
