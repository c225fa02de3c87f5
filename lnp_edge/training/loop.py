"""Training by back-propagation through time with surrogate gradients, on the stored synapses only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any, Protocol

import numpy as np
import torch
from scipy import sparse

from lnp_edge.config import TrainSettings
from lnp_edge.network import Network
from lnp_edge.network.draw import SHORTEST
from lnp_edge.spec import plugins
from lnp_edge.task.task import Task, encoded
from lnp_edge.training import checkpoint
from lnp_edge.training.kernels.sparse import Wiring
from lnp_edge.training.layer import DECAY, FLOAT_OPS, Parameters, layer

OUT_UNIT = 5.0  # read-out weights grow most in training: a larger unit is a larger learning rate
SAVE_EVERY = 10  # epochs
LONGEST = 10.0  # windows; a longer time constant is the same to the data, and costs the integers their digits
TAUS = ("tau_mem", "tau_syn", "tau_out")
History = list[dict[str, float]]
Progress = Callable[[int, int, dict[str, float]], None]


class Batches(Protocol):
    """What train() learns from: per epoch some batches of x float32 [B, T, C] and what is wanted of them.

    Wanted are classes int [B], which the read-out after the last step shall name, or values float32 [B, S, O]
    that it shall have after each of the last S steps.
    """

    batches: int
    steps: int  # of a window, T
    identity: str  # equal for equal data only

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]: ...


class Trainable:
    """The network as leaf tensors near 1 in size, so that one learning rate suits all of them.

    A weight is its tensor times `unit`: (1 - alpha)(1 - beta) of its target, or (1 - gamma) of its output.
    axes : float [C, C], regular; input weights are this times theirs, so that channels that vary together, as
    pixels do, train as if they did not
    """

    def __init__(self, network: Network, axes: np.ndarray | None = None):
        self.network = network
        self.axes = None if axes is None else _tensor(axes)
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
        if axes is not None:
            value["w_in"] = np.linalg.solve(axes, network.w_in)
        taus = {name: np.log(getattr(network, name)) for name in TAUS}
        self.unit = {name: _tensor(u) for name, u in unit.items()}
        self.leaf = {name: _tensor(value[name] / unit[name]) for name in unit}
        self.leaf |= {name: _tensor(t) for name, t in taus.items()}
        self.sign = torch.from_numpy(network.sign[self.wiring.rows].astype(np.float32))
        self.v_th = _tensor(network.v_th)

    def parameters(self, leaf: Parameters) -> Parameters:
        """What layer wants, from the leaves."""
        p = self._weights(leaf)
        for decay, tau in (("alpha", "tau_syn"), ("beta", "tau_mem"), ("gamma", "tau_out")):
            p[decay] = torch.exp(-self.network.dt / torch.exp(leaf[tau]))
        return p | {"v_th": self.v_th}

    def _weights(self, leaf: Parameters) -> Parameters:
        p = {name: leaf[name] * unit for name, unit in self.unit.items()}
        return p if self.axes is None else p | {"w_in": self.axes @ p["w_in"]}

    def project(self, longest: float) -> None:
        """Back into the allowed set: Dale's law, and trained time constants from SHORTEST steps to `longest` s."""
        with torch.no_grad():
            w = self.leaf["w_rec"]
            w.copy_(torch.clamp(w * self.sign, min=0) * self.sign)
            for name in TAUS:
                if self.leaf[name].requires_grad:
                    self.leaf[name].clamp_(math.log(SHORTEST * self.network.dt), math.log(longest))

    def to_network(self, leaf: Parameters) -> Network:
        p: dict[str, Any] = {name: a.detach().double().numpy() for name, a in self._weights(leaf).items()}
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
    axes: np.ndarray | None = None,
) -> tuple[Network, History]:
    """The trained network and, per epoch, its loss and accuracy (classes only) on the training batches.

    Trains the synapses that w_rec stores and never adds one; each keeps the sign of its presynaptic neuron.
    The loss is the cross-entropy of the read-out after a window's last step, where the device decides; or the mean
    square error of a series.
    The same arguments give the same bits on the same machine, also if it is stopped and called again with the
    same checkpoint file `resume`, which is written every SAVE_EVERY epochs and at the end, and is the caller's to
    remove. The file knows its network, settings, seed and data and is refused for others.
    """
    model = Trainable(network, axes)
    average, history = fit(model, layer(neuron, model.wiring), data, settings, seed, progress, resume, neuron)
    return model.to_network(average), history


def fit(
    model: Trainable,
    run: Callable[[Parameters, torch.Tensor], torch.Tensor],
    data: Batches,
    settings: TrainSettings,
    seed: int,
    progress: Progress | None,
    resume: Path | None,
    kind: str,
) -> tuple[Parameters, History]:
    """The loop of train(): the leaves averaged over the batches, and the history. kind : what a checkpoint is of."""
    torch.set_num_threads(1)  # two threads on a busy machine are slower than one
    rng = np.random.default_rng(seed)
    optimiser = _optimiser(model, settings)
    average = {name: leaf.detach().clone() for name, leaf in model.leaf.items()}
    history: History = []
    if resume:
        key = model.network.identity(settings, seed, data.identity, kind)
        history = checkpoint.load(resume, key, model.leaf, average, optimiser, rng)
        if history and progress:
            progress(len(history), settings.epochs, history[-1])
    for epoch in range(len(history), settings.epochs):
        loss_sum = right = seen = 0.0
        classes = False
        for k, (x, wanted) in enumerate(data.epoch(rng)):
            for group in optimiser.param_groups:
                group["lr"] = settings.lr * _cosine((epoch + k / data.batches) / settings.epochs)
            p = _drop(model.parameters(model.leaf), model.wiring, settings.dropout, rng)
            y, target = run(p, torch.from_numpy(x)), torch.from_numpy(wanted)
            if classes := not target.is_floating_point():
                right += (y[:, -1].argmax(1) == target).sum().item()
            loss = _loss(y, target, settings.smoothing)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            model.project(LONGEST * data.steps * model.network.dt)
            with torch.no_grad():
                for name, leaf in model.leaf.items():
                    average[name].lerp_(leaf, 1 - settings.averaging)
            loss_sum += loss.item() * len(x)
            seen += len(x)
        history.append({"loss": loss_sum / seen} | ({"accuracy": right / seen} if classes else {}))
        if progress:
            progress(epoch + 1, settings.epochs, history[-1])
        if resume and (len(history) % SAVE_EVERY == 0 or len(history) == settings.epochs):
            checkpoint.save(resume, key, model.leaf, average, optimiser, history, rng)
    return average, history


def _loss(y: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Of a read-out y [B, T, O]: cross-entropy after the last step, or mean square error of the last steps."""
    if target.is_floating_point():
        return torch.nn.functional.mse_loss(y[:, -target.shape[1] :], target)
    return torch.nn.functional.cross_entropy(y[:, -1], target, label_smoothing=smoothing)


def gradient(
    network: Network, data: Batches, seed: int, neuron: str = "cuba_lif", axes: np.ndarray | None = None, most: int = 10
) -> np.ndarray:
    """Mean gradient of the loss by each recurrent weight, float64 [nnz], over the first `most` batches of an epoch."""
    torch.set_num_threads(1)
    model = Trainable(network, axes)
    model.leaf["w_rec"].requires_grad_()
    run, total = layer(neuron, model.wiring), torch.zeros(len(model.leaf["w_rec"]))
    for x, wanted in itertools.islice(data.epoch(np.random.default_rng(seed)), most):
        loss = _loss(run(model.parameters(model.leaf), torch.from_numpy(x)), torch.from_numpy(wanted))
        total += torch.autograd.grad(loss, model.leaf["w_rec"])[0]
    return (total / model.unit["w_rec"]).double().numpy() / most


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


def read_out(network: Network, x: np.ndarray, neuron: str = "cuba_lif") -> np.ndarray:
    """Read-out y float32 [W, O] after the last step of each window x float32 [W, T, C]."""
    model = Trainable(network)
    run, p = layer(neuron, model.wiring), model.parameters(model.leaf)
    with torch.no_grad():
        parts = [run(p, torch.from_numpy(x[k : k + 256]))[:, -1] for k in range(0, len(x), 256)]
    return torch.cat(parts).numpy()


def free_run(network: Network, counts: np.ndarray, steps: int, task: Task, neuron_name: str) -> np.ndarray:
    """Counts int16 [W, steps, C] that the network foretells of itself after the windows counts [W, T, C].

    As runtime.host.free_run, in floats and for all windows at once: by the operations of layer.generic.
    """
    assert task.forecast
    neuron = plugins.get("lnp_edge.neurons", neuron_name)
    step = FunctionType(neuron.step.__code__, FLOAT_OPS)
    tau = {"alpha": network.tau_syn, "beta": network.tau_mem, "gamma": network.tau_out}
    decay = {name: torch.from_numpy(np.exp(-network.dt / values)) for name, values in tau.items()}
    constants = [
        1 - decay[DECAY[k.source]] if k.is_leak else torch.from_numpy(getattr(network, k.source))
        for k in neuron.PARAMS.values()
    ]
    w_in, w_rec, w_out = (torch.from_numpy(w) for w in (network.w_in, network.w_rec.toarray(), network.w_out))
    bias_out, unit = torch.from_numpy(network.bias_out), np.array(task.forecast.unit)
    state = [torch.zeros(len(counts), network.n, dtype=torch.float64) for _ in neuron.STATE]
    z, y = state[0], torch.zeros(len(counts), len(unit), dtype=torch.float64)
    found = np.empty((len(counts), steps, counts.shape[2]), np.int16)
    now = counts[:, 0]
    with torch.no_grad():
        for t in range(counts.shape[1] + steps - 1):
            x = torch.from_numpy(encoded(task, now)).double()
            *state, z = step(*state, x @ w_in + z @ w_rec, *constants)
            y = decay["gamma"] * y + z @ w_out + bias_out
            if t + 1 < counts.shape[1]:
                now = counts[:, t + 1]
            else:
                now = np.clip(np.rint(now + unit * y.numpy()), -32768, 32767).astype(np.int16)
                found[:, t + 1 - counts.shape[1]] = now
    return found
