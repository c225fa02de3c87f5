"""The stages of the offline part in order; each is a function of the one before and a Config."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge import datasets, metrics
from lnp_edge.config import Config, TrainSettings
from lnp_edge.datasets import Dataset, Windows
from lnp_edge.encoders import encode
from lnp_edge.encoders.affine import TARGET_STD
from lnp_edge.errors import ConfigError, ModelError
from lnp_edge.init_network import random_network, with_ports
from lnp_edge.install import require
from lnp_edge.network import X_SCALE, Network
from lnp_edge.quantize import Task
from lnp_edge.quantize import quantize as to_model
from lnp_edge.spec import plugins
from lnp_edge.spec.model import Forecast, QuantizedModel

if TYPE_CHECKING:
    from lnp_edge.training.loop import Batches

ENCODER = "affine"
PRODUCTS_FROM = 100_000  # samples
ENCODED_AT_ONCE = 1024  # windows
AXES_FROM = 5000  # recordings
AXES_FLOOR = 0.02  # added to variances, of one channel 1: what varies less is not made as large as the rest
TASK_FREE = 8, 8  # inputs and outputs of a network that is pruned before it has a task
Progress = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Split:
    """A data set cut in two by person, with the encoder fitted to the first part alone."""

    train: Dataset
    test: Dataset
    task: Task
    cut: tuple[float, float]  # window and hop, s

    @cached_property
    def train_windows(self) -> Windows:
        return datasets.windows(self.train, *self.cut)

    @cached_property
    def test_windows(self) -> Windows:
        return datasets.windows(self.test, *self.cut)

    @cached_property
    def axes(self) -> NDArray[np.float64] | None:
        """Of images [C, C]: input weights = axes @ weights drawn, and trained, as if channels were independent.

        Pixels are not: nearly all that a row varies in is its brightness. The inverse root of their covariance
        (Krizhevsky 2009), so scaled that the drive of a neuron is what six independent channels would give.
        """
        if not self.train.pixel:
            return None
        some = self.train.recordings[:: max(1, len(self.train.recordings) // AXES_FROM)]
        x = encoded(self.task, np.asarray(some)).reshape(-1, len(self.task.channels))
        variance, axis = np.linalg.eigh(np.cov(x.T, dtype=np.float64) / np.square(TARGET_STD / X_SCALE))
        return (axis / np.sqrt(variance + AXES_FLOOR)) @ axis.T * np.sqrt(6 / len(axis))

    @property
    def held_out_text(self) -> str:
        """Such as "707 windows of people 8, 9, 10"."""
        groups = sorted(set(self.test.groups.tolist()))
        return f"{len(self.test_windows)} windows of {self.test.group_name} {', '.join(map(str, groups))}"

    @property
    def dt(self) -> float:
        return self.train.dt


def load_data(config: Config) -> Dataset:
    """The data set of a configuration, checked."""
    found = datasets.check(plugins.get("lnp_edge.datasets", config.data.name).load(config.data.root or None))
    if config.data.limit:
        return found.limited(config.data.limit, round(config.data.window / found.dt))
    return found


def split(config: Config, dataset: Dataset, held_out: tuple[int, ...] | None = None) -> Split:
    """held_out : people kept for the test; the data set's own by default."""
    everyone = set(dataset.groups.tolist())
    chosen = set(dataset.held_out if held_out is None else held_out) & everyone
    if not chosen or chosen == everyone:
        names = f"{dataset.group_name} {sorted(chosen)} held out of {sorted(everyone)}"
        raise ConfigError(names, "leave some for training and some for the test")
    train, test = dataset.of_groups(everyone - chosen), dataset.of_groups(chosen)
    for part in (train, test):
        datasets.require_long(part, round(config.data.window / dataset.dt))
    fitted = plugins.get("lnp_edge.encoders", ENCODER).fit(train.samples())
    if dataset.series:
        fitted["gain"][list(dataset.series.unheard)] = 0
    task = Task(
        encoder=ENCODER,
        encoder_params=fitted,
        window=round(config.data.window / dataset.dt),
        hop=round(config.data.hop / dataset.dt),
        channels=dataset.channels,
        classes=dataset.classes or _foretold(dataset),
        forecast=_forecast(train),
        heard=_mean_products(train.samples(), fitted),
    )
    return Split(train, test, task, (config.data.window, config.data.hop))


def _mean_products(samples: NDArray[np.int16], fitted: dict[str, NDArray[np.int32]]) -> NDArray[np.float64]:
    """Of two inputs each, as integers, over some of the samples [S, C]; [C, C]."""
    x = encode(ENCODER, samples[:: max(1, len(samples) // PRODUCTS_FROM)], fitted).astype(np.float64)
    return x.T @ x / max(1, len(x))


def _foretold(dataset: Dataset) -> tuple[str, ...]:
    """Names of a series' read-outs, such as "Spd80mN in 3600 s"."""
    assert dataset.series
    return tuple(f"{dataset.channels[c]} in {dataset.series.horizon * dataset.dt:g} s" for c in dataset.series.target)


def _forecast(train: Dataset) -> Forecast | None:
    """Of a series: one unit of the float read-out is the deviation of the change that is foretold."""
    if not (series := train.series):
        return None
    target, h = list(series.target), series.horizon
    changes = [a[h:, target].astype(float) - a[:-h, target] for a in train.recordings if len(a) > h]
    unit = np.concatenate(changes).std(0) if changes else np.ones(len(target))
    return Forecast(series.target, h, tuple(np.where(unit > 0, unit, 1.0).tolist()))


def data_for(config: Config, network: Network) -> Split:
    """The data a network from a file is for. Raises ModelError if it has other channels, classes or time step."""
    data = split(config, load_data(config))
    theirs = (len(network.w_in), len(network.tau_out), network.dt)
    wanted = (len(data.task.channels), len(data.task.classes), data.dt)
    if theirs != wanted:
        raise ModelError(
            f"the network has {theirs[0]} channels, {theirs[1]} classes and dt {theirs[2]:g} s, "
            f"{config.data.name} has {wanted[0]}, {wanted[1]} and {wanted[2]:g} s",
            "draw it again with lnp prune CONFIG.toml",
        )
    return data


def folds(dataset: Dataset, count: int) -> list[tuple[int, ...]]:
    """The people in order of their number, dealt to `count` folds of neighbours."""
    people = sorted(set(dataset.groups.tolist()))
    if not 2 <= count <= len(people):
        raise ConfigError(f"{count} folds of {len(people)} people", f"choose from 2 to {len(people)}")
    return [tuple(part.tolist()) for part in np.array_split(np.array(people), count)]


def stage_seed(config: Config, stage: int) -> int:
    """A seed for each stage, so that pruning does not draw the bits that drew the network."""
    return int(np.random.SeedSequence([config.seed, stage]).generate_state(1)[0])


def new_network(config: Config, data: Split) -> Network:
    """The unpruned start."""
    return _on_axes(data, _drawn(config, len(data.task.channels), len(data.task.classes), data.dt))


def _on_axes(data: Split, network: Network) -> Network:
    return network if data.axes is None else replace(network, w_in=data.axes @ network.w_in)


def _drawn(config: Config, c: int, o: int, dt: float) -> Network:
    n = config.network
    return random_network(
        n.neurons, c, o, dt, n.density,
        np.random.default_rng(stage_seed(config, 0)), tau_mem=n.tau_mem, tau_syn=n.tau_syn, tau_out=n.tau_out,
        heterogeneous=n.heterogeneous, clusters=n.clusters,
    )  # fmt: skip


def after_training(config: Config) -> bool:
    """Is this a method that prunes a trained network?"""
    return config.prune.keep < 1 and _needs(config) == "training"


def _needs(config: Config) -> str:
    return getattr(_method(config), "NEEDS", "")


def _method(config: Config) -> ModuleType:
    return plugins.get("lnp_edge.pruning", config.prune.method)


def prune(
    config: Config, data: Split, network: Network, progress: Callable[[float, str], None] | None = None,
    resume: Path | None = None,
) -> Network:  # fmt: skip
    """The network with prune.keep of its recurrent synapses; all of them is the network itself.

    resume : a file that a long pruning goes on from, if its method can
    """
    if config.prune.keep == 1.0:
        return network
    needs, more = _needs(config), dict[str, Any]()
    if resume and getattr(_method(config), "RESUMES", False):
        more["resume"] = resume
    if needs == "training":
        more["x"] = _heard(data)
    elif needs == "gradient":
        more["gradient"] = _gradient(config, data, network)

    def pruned(network: Network) -> Network:
        settings = config.prune
        return _method(config).prune(network, settings.keep, stage_seed(config, 1), progress, settings.noise, **more)

    if needs or not config.prune.shared:
        return pruned(network)
    core = pruned(_drawn(_in_steps(config, network.dt), *TASK_FREE, 1.0))
    c, o = len(network.w_in), len(network.tau_out)
    ports = np.random.default_rng(stage_seed(config, 3))
    return _on_axes(data, with_ports(core, c, o, network.dt, config.network.tau_out, ports))


def _in_steps(config: Config, dt: float) -> Config:
    """With time constants in steps; rounded, so that tasks of any dt meet in the same numbers."""
    n = config.network
    taus = {name: round(getattr(n, name) / dt, 9) for name in ("tau_mem", "tau_syn", "tau_out")}
    return replace(config, network=replace(n, **taus))


def _heard(data: Split) -> NDArray[np.float32]:
    """Some windows of the training data as the network hears them, [W, T, C]."""
    windows = data.train_windows.counts
    return encoded(data.task, windows[np.linspace(0, len(windows) - 1, min(64, len(windows))).astype(int)])


def encoded(task: Task, counts: NDArray[np.int16]) -> NDArray[np.float32]:
    """Counts [..., C] as a float network hears them."""
    found = np.empty(counts.shape, np.float32)
    for k in range(0, len(counts), ENCODED_AT_ONCE):  # in int64
        part = slice(k, k + ENCODED_AT_ONCE)
        found[part] = encode(task.encoder, counts[part], task.encoder_params) / np.float32(X_SCALE)
    return found


def _gradient(config: Config, data: Split, network: Network) -> NDArray[np.float64]:
    """Of the loss by each recurrent weight, [nnz], over some batches of the training data. Needs torch."""
    require_torch()
    from lnp_edge.training.loop import gradient

    batches = _batches(config, data)
    return gradient(network, batches, stage_seed(config, 5), config.network.neuron, data.axes)


def require_torch() -> None:
    """What training and its comparison need, see install.require."""
    require("torch", "scikit-learn", "matplotlib")


def train(
    config: Config, data: Split, network: Network, progress: Progress | None = None, resume: Path | None = None
) -> tuple[Network, list]:
    """Needs torch, as nothing else here does. resume: a file to go on from, see lnp_edge.training.loop."""
    require_torch()
    from lnp_edge.training.loop import train as fit

    settings = _train_settings(config)
    batches = _batches(config, data)
    return fit(network, batches, settings, stage_seed(config, 2), progress, resume, config.network.neuron, data.axes)


def _batches(config: Config, data: Split) -> Batches:
    from lnp_edge.training.augment import Crops, Stretches

    settings = config.train
    if data.task.forecast:
        return Stretches(data.train, data.task, settings.batch, config.augment, settings.washout)
    return Crops(data.train, data.task, settings.batch, config.augment, settings.balance)


def _train_settings(config: Config) -> TrainSettings:
    return replace(config.train, train_taus=config.train.train_taus and config.network.heterogeneous)


def quantize(
    config: Config, data: Split, network: Network, progress: Progress | None = None, resume: Path | None = None
) -> tuple[QuantizedModel, list]:
    """The integer model as [quantize] says: rounded, or trained on in integers first. Only that needs torch."""
    wanted, neuron = config.quantize, config.network.neuron
    provenance = {"config": json.loads(config.to_json())}
    if wanted.epochs == 0:
        return to_model(network, data.task, neuron, provenance, wanted.bits), []
    if neuron != "cuba_lif":
        raise ConfigError(f"training in integers knows no {neuron}", '[quantize] epochs = 0, or neuron = "cuba_lif"')
    require_torch()
    from lnp_edge.training.integer import train_in_integers

    settings = replace(_train_settings(config), epochs=wanted.epochs, lr=wanted.lr)
    return train_in_integers(
        network, data.task, _batches(config, data), settings, stage_seed(config, 4), wanted.bits,
        progress, resume, provenance,
    )  # fmt: skip


def measures(data: Split, predicted: NDArray) -> dict[str, float]:
    """metrics.of the test windows."""
    return metrics.of(data.test, data.test_windows, predicted)
