"""The stages of the offline part: each is a function of the result before and a Config."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge import pruning
from lnp_edge.base.errors import ConfigError
from lnp_edge.base.install import require
from lnp_edge.base.progress import EpochProgress
from lnp_edge.config import Config, TrainSettings
from lnp_edge.interchange import windows_file
from lnp_edge.network import Network
from lnp_edge.network.draw import drawn, with_ports
from lnp_edge.quantization.quantize import quantize as to_model
from lnp_edge.spec import plugins
from lnp_edge.spec.decision import RANGE, Decision
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.task import metrics, streams
from lnp_edge.task.dataset import Dataset
from lnp_edge.task.split import Split
from lnp_edge.task.task import encoded
from lnp_edge.training import schedule
from lnp_edge.training.kernels.derive import trains_in_integers

if TYPE_CHECKING:
    from lnp_edge.training.loop import Batches

TASK_FREE = 8, 8  # inputs and outputs of a network that is pruned without a task


def stage_seed(config: Config, stage: int) -> int:
    """A seed for each stage, so that pruning does not use the random numbers of the drawing."""
    return int(np.random.SeedSequence([config.seed, stage]).generate_state(1)[0])


def new_network(config: Config, data: Split) -> Network:
    """The unpruned network.

    Raises ConfigError if the network cannot be trained in integers as [quantize] says: before hours of
    training, not after.
    """
    wanted, kinds = config.quantize, [one.neuron for one in config.network.layers]
    skip, readout = config.network.skip, config.network.readout
    if wanted.epochs and not trains_in_integers(kinds, skip, readout, wanted.bits):
        more = " and a skip" * skip + f" and {readout}" * (readout != "li")
        raise ConfigError(
            f"quantize.epochs is {wanted.epochs}, with {wanted.bits} bits and {' and '.join(kinds)}{more}",
            'set it to 0, which rounds; training in integers needs one layer, no skip, readout = "li", up to 8 bits',
        )
    c, o = len(data.task.inputs), len(data.task.classes)
    if data.axes is not None:
        for key, value, every in (("network", config.network.inputs, 0), ("prune", config.prune.inputs, 1.0)):
            if value != every:
                what = f"{key}.inputs is {value}, but pixels are whitened together"
                raise ConfigError(what, f"set it to {every:g}")
    return _on_axes(data, drawn(config.network, c, o, data.dt, _first_draw(config)))


def _on_axes(data: Split, network: Network) -> Network:
    return network if data.axes is None else replace(network, w_in=data.axes @ network.w_in)


def _first_draw(config: Config) -> np.random.Generator:
    return np.random.default_rng(stage_seed(config, 0))


def after_training(config: Config) -> bool:
    """Does the method prune a trained network?"""
    return min(config.prune.keep, config.prune.inputs) < 1 and _needs(config) == "training"


def _needs(config: Config) -> str:
    return getattr(_method(config), "NEEDS", "")


def _method(config: Config) -> ModuleType:
    return plugins.get("lnp_edge.pruning", config.prune.method)


def prune(
    config: Config, data: Split, network: Network, progress: Callable[[float, str], None] | None = None,
    resume: Path | None = None,
) -> Network:  # fmt: skip
    """The network with prune.inputs of its synapses from the input and prune.keep of those between neurons.

    With 1, it keeps all of them as they are.

    resume : a file from which a stopped pruning continues, if the method can
    """
    if config.prune.keep == 1.0:
        return prune_inputs(config, data, network)
    method, settings = _method(config), config.prune
    more = {"resume": resume} if resume and getattr(method, "RESUMES", False) else {}

    def pruned(network: Network) -> Network:
        needed = more | _needed(config, data, network, "w_rec")
        return pruning.pruned(settings, network, stage_seed(config, 1), progress, **needed)

    if _needs(config) or not settings.shared:
        return pruned(prune_inputs(config, data, network))
    core = pruned(drawn(config.network.in_steps(network.dt), *TASK_FREE, 1.0, _first_draw(config)))
    c, o = len(network.w_in), len(network.tau_out)
    ports = np.random.default_rng(stage_seed(config, 3))
    whole = with_ports(core, c, o, network.dt, config.network.tau_out, ports, config.network.inputs)
    return prune_inputs(config, data, _on_axes(data, whole))


def prune_inputs(config: Config, data: Split, network: Network) -> Network:
    """The network with prune.inputs of its synapses from the input."""
    if config.prune.inputs == 1:
        return network
    score, seed = None, stage_seed(config, 6)
    if by := getattr(_method(config), "input_score", None):
        score = by(network, np.random.default_rng(seed), config.prune.noise, **_needed(config, data, network, "w_in"))
    return pruning.prune_inputs(network, config.prune.inputs, seed, score)


def _needed(config: Config, data: Split, network: Network, of: str) -> dict[str, Any]:
    """What the method needs besides a network, to prune the weights `of`."""
    if _needs(config) == "training":
        return {"x": _some_inputs(data)}
    return {"gradient": _gradient(config, data, network, of)} if _needs(config) == "gradient" else {}


def _some_inputs(data: Split) -> NDArray[np.float32]:
    """Some windows of the training data as inputs to the network, [W, T, C]."""
    windows = data.train_windows.counts
    return encoded(data.task, windows[np.linspace(0, len(windows) - 1, min(64, len(windows))).astype(int)])


def sample(data: Split) -> NDArray[np.int16]:
    """Counts [W, T, C] of the training data that travel beside the model: windows, or the beginning of a stream."""
    if data.streaming:
        counts = streams.of(data.train)[0].signal[None, : windows_file.MOST_WINDOWS * data.task.window]
    else:
        counts = data.train_windows.counts
    return windows_file.some(counts, data.task.front.frame)


def _gradient(config: Config, data: Split, network: Network, of: str) -> NDArray[np.float64]:
    """The gradient of the loss in each of the weights `of`, over some batches. Needs torch."""
    require_torch()
    from lnp_edge.training.loop import gradient

    batches = _batches(config, data)
    return gradient(network, batches, stage_seed(config, 5), data.axes, of=of)


def require_torch() -> None:
    """Require the packages for training and its comparison, see install.require."""
    require("torch", "scikit-learn", "matplotlib")


def train(
    config: Config, data: Split, network: Network, progress: EpochProgress | None = None, resume: Path | None = None
) -> tuple[Network, list]:
    """Train the network. Needs torch. resume : file to continue from, see lnp_edge.training.loop

    The linear path of a forecast starts at a regression, see lnp_edge.training.linear.
    """
    require_torch()
    from lnp_edge.training.linear import fitted
    from lnp_edge.training.loop import train as fit

    settings = train_settings(config)
    batches = _batches(config, data)
    if data.task.forecast and network.w_skip is not None:
        network = fitted(network, data)
    return fit(network, batches, settings, stage_seed(config, 2), progress, resume, data.axes)


def _batches(config: Config, data: Split) -> Batches:
    from lnp_edge.training.augment import Crops, Stretches

    settings = config.train
    if config.stream.batches:
        from lnp_edge.training.streams import Streams

        return Streams(
            data.train, data.task, settings.batch, config.augment, settings.balance, settings.washout, config.stream
        )
    if data.task.forecast:
        return Stretches(data.train, data.task, settings.batch, config.augment, settings.washout)
    return Crops(data.train, data.task, settings.batch, config.augment, settings.balance)


def train_settings(config: Config) -> TrainSettings:
    """[train] as the training takes it: on streams with the epochs of [stream] batches."""
    epochs = config.train.epochs
    if config.stream.batches:
        from lnp_edge.training.streams import EPOCH

        epochs = -(-config.stream.batches // EPOCH)
    return replace(config.train, epochs=epochs, train_taus=config.train.train_taus and config.network.heterogeneous)


def warning(config: Config, history: schedule.History) -> str:
    """Why the training of a configuration has not converged, in words; "" if nothing shows that."""
    return schedule.warning(history, train_settings(config), config.stream.batches)


def quantize(
    config: Config, data: Split, network: Network, progress: EpochProgress | None = None, resume: Path | None = None
) -> tuple[QuantizedModel, list]:
    """The integer model as [quantize] says: rounded, or first trained in integers, with torch.

    Its decisions are those of the largest read-out, see decide.py.
    """
    wanted = config.quantize
    provenance = {"config": json.loads(config.to_json())}
    if config.data.own or config.data.module:
        del provenance["config"]["data"]["root"]  # a path would make other bytes of the same model elsewhere
    if wanted.epochs == 0:
        return _plain(config, data, to_model(network, data.task, provenance, wanted.bits)), []
    require_torch()
    from lnp_edge.training.integer import train_in_integers

    settings = replace(train_settings(config), epochs=wanted.epochs, patience=0, lr=wanted.lr)
    model, history = train_in_integers(
        network, data.task, _batches(config, data), settings, stage_seed(config, 4), wanted.bits,
        progress, resume, provenance,
    )  # fmt: skip
    return _plain(config, data, model), history


def _plain(config: Config, data: Split, model: QuantizedModel) -> QuantizedModel:
    """The model, never reset if it was trained so, with the training range, which makes no decision unknown."""
    low, high = training_range(data.train)
    decision = Decision(stream=bool(config.stream.batches), low=low, high=high, outside=model.window)
    return replace(model, decision=decision).check()


def training_range(dataset: Dataset) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Low and high of each channel's counts: quantiles, so that single wild samples do not widen the range."""
    samples = np.concatenate([s.signal for s in dataset.streams]) if dataset.streams else dataset.samples()
    low, high = np.quantile(samples, RANGE, axis=0)
    return tuple(np.floor(low).astype(int).tolist()), tuple(np.ceil(high).astype(int).tolist())


def measures(data: Split, predicted: NDArray) -> dict[str, float]:
    """The measures of predictions for the test windows, see metrics.of."""
    return metrics.of(data.test, data.test_windows, predicted)
