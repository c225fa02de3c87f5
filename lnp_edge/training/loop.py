"""Training by back-propagation through time with surrogate gradients, on stored synapses only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy import sparse

from lnp_edge.base.errors import NetworkError
from lnp_edge.base.progress import EpochProgress
from lnp_edge.config import TrainSettings
from lnp_edge.network import Network
from lnp_edge.spec.parameters import SHORTEST_TRAINED
from lnp_edge.task.streams import UNLABELLED
from lnp_edge.task.task import Task, encoded
from lnp_edge.training import checkpoint, schedule
from lnp_edge.training.adamw import AdamW
from lnp_edge.training.layer import Parameters, Stepper
from lnp_edge.training.run import Run, runner

OUT_UNIT = 5.0  # read-out weights grow most in training: a larger unit means a larger learning rate
SAVE_EVERY = 10  # epochs
History = list[dict[str, float]]


class Batches(Protocol):
    """The training data: epoch() yields batches of x float32 [B, T, C] and their targets.

    Targets are classes int [B] for the read-out after the last step, classes int [B, T] after every
    step, UNLABELLED without a loss, or values float32 [B, S, O] of the read-out after each of the last
    S steps.
    """

    batches: int  # of an epoch
    longest: float  # steps; no time constant is longer
    identity: str  # differs for different data

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]: ...


class Trainable:
    """The network as leaf tensors of size about 1, so that one learning rate suits all of them.

    A leaf has the name of the network's array, or "<population>.<parameter>". A weight is its leaf
    times `unit`: the drive that brings its target to a potential of 1 (Population.drive_for), or 1
    - gamma of its output. A parameter of a neuron is its leaf times its scale. A time constant is
    the exponential of its leaf.

    axes : float [C, C], regular; input weights are axes times their leaves, so that correlated
        channels, such as pixels, train like uncorrelated ones
    """

    def __init__(self, network: Network, axes: np.ndarray | None = None):
        self.network = network
        self.axes = None if axes is None else _tensor(axes)
        coo = network.w_rec.tocoo()
        self.rows, columns = coo.row, coo.col
        dt, potential = network.dt, network.drive_for()[1]
        leak_out = (1 - np.exp(-dt / network.tau_out)) / np.sqrt(network.n) * OUT_UNIT
        fan_in = np.sqrt(np.maximum(1, np.bincount(columns, minlength=network.n)))
        unit = {
            "w_rec": (potential / fan_in)[columns],
            # Of dense images all weights train; else an input that a neuron lacks stays away.
            "w_in": potential * (network.w_in != 0 if axes is None else np.ones(network.w_in.shape)),
            "w_out": np.broadcast_to(leak_out, network.w_out.shape),
            "bias_out": leak_out,
        }
        value = {name: getattr(network, name) for name in unit} | {"w_rec": network.w_rec.data}
        if network.w_skip is not None:
            unit["w_skip"], value["w_skip"] = np.broadcast_to(leak_out, network.w_skip.shape), network.w_skip
        if axes is not None:
            value["w_in"] = np.linalg.solve(axes, network.w_in)
        # The names of leaves that are logarithms of time constants.
        self.logarithms = {"tau_out"} if network.leaks else set()
        self.bounds: dict[str, tuple[float, float]] = {}  # of other parameters, in their own unit
        self.fixed: dict[str, torch.Tensor] = {}  # parameters that do not train
        for part in network.populations:
            for name, parameter in part.module.PARAMETERS.items():
                full, now = f"{part.name}.{name}", part.params[name]
                if not parameter.trains:
                    self.fixed[full] = _tensor(now)
                elif parameter.is_time:
                    self.logarithms.add(full)
                    value[full] = now
                else:
                    value[full] = now
                    unit[full] = parameter.scale(dt, part.params) if parameter.scale else np.ones(part.n)
                    self.bounds[full] = parameter.low, parameter.high
        if network.leaks:
            value["tau_out"] = network.tau_out
        self.unit = {name: _tensor(u) for name, u in unit.items()}
        self.leaf = {name: _tensor(value[name] / np.where(u == 0, 1, u)) for name, u in unit.items()}
        self.leaf |= {name: _tensor(np.log(value[name])) for name in sorted(self.logarithms)}
        self.sign = torch.from_numpy(network.sign[self.rows].astype(np.float32))

    def parameters(self, leaf: Parameters) -> Parameters:
        """The parameters of a runner, from the leaves."""
        values = self._values(leaf)
        weights = ("w_rec", "w_in", "w_out", "bias_out", "w_skip")
        p: Parameters = {name: values[name] for name in weights if name in values}
        leaks = self.network.leaks
        p["gamma"] = torch.exp(-self.network.dt / values["tau_out"]) if leaks else _tensor(self.network.gamma)
        for part in self.network.populations:
            for table, stored in part.module.TABLES.items():
                source = values[f"{part.name}.{stored.source}"]
                p[f"{part.name}.{table}"] = stored.constant(source, self.network.dt, torch.exp)
        return p

    def _values(self, leaf: Parameters) -> Parameters:
        """Weights, parameters of neurons and tau_out, in their own units."""
        found = {name: leaf[name] * unit for name, unit in self.unit.items()}
        if self.axes is not None:
            found["w_in"] = self.axes @ found["w_in"]
        return found | {name: torch.exp(leaf[name]) for name in self.logarithms} | self.fixed

    def project(self, longest: float) -> None:
        """Project the leaves onto their ranges.

        These are Dale's law, time constants from SHORTEST_TRAINED steps to `longest` s, and the neurons'
        ranges.
        """
        with torch.no_grad():
            w = self.leaf["w_rec"]
            w.copy_(torch.clamp(w * self.sign, min=0) * self.sign)
            for name in self.logarithms:
                if self.leaf[name].requires_grad:
                    self.leaf[name].clamp_(math.log(SHORTEST_TRAINED * self.network.dt), math.log(longest))
            for name, (low, high) in self.bounds.items():
                if math.isfinite(low) or math.isfinite(high):
                    unit = self.unit[name]
                    self.leaf[name].copy_(torch.clamp(self.leaf[name] * unit, low, high) / unit)

    def to_network(self, leaf: Parameters) -> Network:
        doubles = {name: a.detach().double().numpy() for name, a in self._values(leaf).items()}
        # In float32, the exponential of a logarithm would lose the last digits of a time constant.
        taus = {name: np.exp(leaf[name].detach().double().numpy()) for name in self.logarithms}
        doubles |= {name: np.maximum(tau, SHORTEST_TRAINED * self.network.dt) for name, tau in taus.items()}
        populations = []
        for part in self.network.populations:
            full = {name: f"{part.name}.{name}" for name in part.params}
            trained = {name: doubles[leaf_name] for name, leaf_name in full.items() if leaf_name in self.leaf}
            for name in trained.keys() & {n for n, leaf_name in full.items() if leaf_name in self.bounds}:
                trained[name] = np.clip(trained[name], *self.bounds[full[name]])  # float32 may be just beyond
            populations.append(replace(part, params=part.params | trained))
        old = self.network.w_rec
        w_rec = sparse.csr_array((doubles["w_rec"], old.indices.copy(), old.indptr.copy()), old.shape)
        names = ("w_in", "w_out", "bias_out", "tau_out", "w_skip")
        own: dict[str, Any] = {name: doubles[name] for name in names if name in doubles}
        return replace(self.network, populations=tuple(populations), w_rec=w_rec, **own)


def _tensor(a) -> torch.Tensor:
    return torch.tensor(np.asarray(a), dtype=torch.float32)


def train(
    network: Network,
    data: Batches,
    settings: TrainSettings,
    seed: int,
    progress: EpochProgress | None = None,
    resume: Path | None = None,
    axes: np.ndarray | None = None,
) -> tuple[Network, History]:
    """The trained network, and per epoch the training loss and, for classes, accuracy.

    Trains the synapses that w_rec stores and never adds one; each keeps the sign of its presynaptic
    neuron. The loss is the cross-entropy of the read-out after the last step of a window, which the
    device uses too, or the mean square error of a series.

    The same arguments give the same bits on the same machine, even if training is stopped and
    called again with the same checkpoint file `resume`. It is written every SAVE_EVERY epochs and
    at the end, refused for another network, settings, seed or data, and left for the caller to
    remove. Raises NetworkError if the training diverges.
    """
    model = Trainable(network, axes)
    average, history = fit(model, runner(network), data, settings, seed, progress, resume, "floats")
    return model.to_network(average), history


def fit(
    model: Trainable,
    run: Run,
    data: Batches,
    settings: TrainSettings,
    seed: int,
    progress: EpochProgress | None,
    resume: Path | None,
    kind: str,
) -> tuple[Parameters, History]:
    """The loop of train(); returns the leaves averaged over the batches, and the history.

    kind : distinguishes checkpoints of floats and integers
    """
    torch.set_num_threads(1)  # two threads on a busy machine are slower than one
    rng = np.random.default_rng(seed)
    optimiser = _optimiser(model, settings)
    average = {name: leaf.detach().clone() for name, leaf in model.leaf.items()}
    history: History = []
    if resume:
        key = model.network.identity(settings, seed, data.identity, kind)
        history = checkpoint.load(resume, key, model.leaf, average, optimiser, rng)
        if history and progress:
            progress(len(history), schedule.length(history, settings), history[-1])
    while (epoch := len(history)) < (epochs := schedule.length(history, settings)):
        loss_sum = right = judged = seen = 0.0
        classes = False
        for k, (x, wanted) in enumerate(data.epoch(rng)):
            p = _drop(model.parameters(model.leaf), model.rows, settings.dropout, rng)
            y, target = run(p, torch.from_numpy(x)), torch.from_numpy(wanted)
            if classes := not target.is_floating_point():
                right, judged = right + _right(y, target), judged + int((target != UNLABELLED).sum())
            loss = _loss(y, target, settings.smoothing)
            loss.backward()
            optimiser.step(settings.lr * schedule.rate(epoch + k / data.batches, epochs, settings))
            model.project(data.longest * model.network.dt)
            with torch.no_grad():
                for name, leaf in model.leaf.items():
                    average[name].lerp_(leaf, 1 - settings.averaging)
            loss_sum += loss.item() * len(x)
            seen += len(x)
        if not np.isfinite(loss_sum) or not all(a.isfinite().all() for a in average.values()):
            raise NetworkError(
                f"the training diverged in epoch {epoch + 1}: its loss or its weights are not finite",
                "choose a smaller [train] lr, or smaller values in [network]",
            )
        history.append({"loss": loss_sum / seen} | ({"accuracy": right / max(1, judged)} if classes else {}))
        epochs = schedule.length(history, settings)
        if progress:
            progress(epoch + 1, epochs, history[-1])
        if resume and (len(history) % SAVE_EVERY == 0 or len(history) == epochs):
            checkpoint.save(resume, key, model.leaf, average, optimiser, history, rng)
    return average, history


def _loss(y: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """The loss of y [B, T, O]: cross-entropy after the last or after every step, or MSE of the last steps."""
    if target.is_floating_point():
        return torch.nn.functional.mse_loss(y[:, -target.shape[1] :], target)
    if target.dim() == 2:
        y, target = y.flatten(0, 1), target.flatten()
        return torch.nn.functional.cross_entropy(y, target, label_smoothing=smoothing, ignore_index=UNLABELLED)
    return torch.nn.functional.cross_entropy(y[:, -1], target, label_smoothing=smoothing)


def _right(y: torch.Tensor, target: torch.Tensor) -> int:
    """The number of targets that y [B, T, O] gets right."""
    said = y.argmax(2) if target.dim() == 2 else y[:, -1].argmax(1)
    return int((said == target).sum())


def gradient(
    network: Network, data: Batches, seed: int, axes: np.ndarray | None = None, most: int = 10, of: str = "w_rec"
) -> np.ndarray:
    """The mean gradient of the loss in each recurrent weight, float64 [nnz], or in each of `of`.

    It is taken over the first `most` batches of an epoch.
    """
    torch.set_num_threads(1)
    model = Trainable(network, axes)
    model.leaf[of].requires_grad_()
    run, total = runner(network), torch.zeros(model.leaf[of].shape)
    for x, wanted in itertools.islice(data.epoch(np.random.default_rng(seed)), most):
        loss = _loss(run(model.parameters(model.leaf), torch.from_numpy(x)), torch.from_numpy(wanted))
        total += torch.autograd.grad(loss, model.leaf[of])[0]
    unit = model.unit[of]
    return (total / torch.where(unit == 0, 1, unit)).double().numpy() / most


def _optimiser(model: Trainable, settings: TrainSettings) -> AdamW:
    trained = [name for name in model.leaf if settings.train_taus or name not in model.logarithms]
    for name in trained:
        model.leaf[name].requires_grad_()
    weights = [model.leaf[k] for k in trained if k.startswith("w_")]
    others = [model.leaf[k] for k in trained if not k.startswith("w_")]
    return AdamW(weights, others, settings.weight_decay)


def _drop(p: Parameters, rows: np.ndarray, share: float, rng: np.random.Generator) -> Parameters:
    """Dropout: silence some neurons for this batch, scale up the outgoing weights of the others."""
    if share == 0:
        return p
    n = len(p["w_out"])
    keep = torch.from_numpy((rng.random(n) >= share).astype(np.float32) / np.float32(1 - share))
    return p | {"w_rec": p["w_rec"] * keep[rows], "w_out": p["w_out"] * keep[:, None]}


def read_out(network: Network, x: np.ndarray) -> np.ndarray:
    """Read-out y float32 [W, O] after the last step of each window x float32 [W, T, C]."""
    model = Trainable(network)
    run, p = runner(network), model.parameters(model.leaf)
    with torch.no_grad():
        parts = [run(p, torch.from_numpy(x[k : k + 256]))[:, -1] for k in range(0, len(x), 256)]
    return torch.cat(parts).numpy()


def read_outs(network: Network, x: np.ndarray) -> np.ndarray:
    """Read-out y float32 [B, T, O] after every step of streams x float32 [B, T, C], from a reset before the first."""
    model = Trainable(network)
    run, p = runner(network), model.parameters(model.leaf)
    with torch.no_grad():
        return torch.cat([run(p, torch.from_numpy(x[k : k + 8])) for k in range(0, len(x), 8)]).numpy()


def free_run(network: Network, counts: np.ndarray, steps: int, task: Task) -> np.ndarray:
    """The network's forecast from its own forecasts after windows counts [W, T, C].

    Returns int16 [W, steps, C]. Like runtime.host.free_run, but in floats, with the operations of
    training/layer.py, for all windows at once.
    """
    assert task.forecast
    run, unit = Stepper(network, exact(network), len(counts)), np.array(task.forecast.unit)
    found = np.empty((len(counts), steps, counts.shape[2]), np.int16)
    now = counts[:, 0]
    with torch.no_grad():
        for t in range(counts.shape[1] + steps - 1):
            x = torch.from_numpy(encoded(task, now[:, None])[:, 0]).double()
            y = run.step(x, x @ run.w_in)
            if t + 1 < counts.shape[1]:
                now = counts[:, t + 1]
            else:
                now = np.clip(np.rint(now + unit * y.numpy()), -32768, 32767).astype(np.int16)
                found[:, t + 1 - counts.shape[1]] = now
    return found


def exact(network: Network) -> Parameters:
    """The Parameters of a network in float64, without leaves."""
    found = {name: getattr(network, name) for name in ("w_in", "w_out", "bias_out")} | {"w_rec": network.w_rec.data}
    found |= {} if network.w_skip is None else {"w_skip": network.w_skip}
    found["gamma"] = network.gamma
    for part in network.populations:
        tables = zip(part.module.TABLES, part.constants(network.dt), strict=True)
        found |= {f"{part.name}.{table}": a for table, a in tables}
    return {name: torch.from_numpy(np.asarray(a, np.float64)) for name, a in found.items()}
