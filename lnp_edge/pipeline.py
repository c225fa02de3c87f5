"""The stages of the offline part in order; each is a function of the one before and a Config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge import datasets
from lnp_edge.config import Config
from lnp_edge.datasets import Dataset
from lnp_edge.encoders import encode
from lnp_edge.errors import ConfigError, LnpError, ModelError
from lnp_edge.init_network import random_network
from lnp_edge.install import INSTALL
from lnp_edge.network import X_SCALE, Network
from lnp_edge.quantize import Task
from lnp_edge.spec import plugins

ENCODER = "affine"
Progress = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Split:
    """A data set cut in two by person, with the encoder fitted to the first part alone."""

    train: Dataset
    test: Dataset
    train_windows: datasets.Windows
    test_windows: datasets.Windows
    task: Task

    @property
    def held_out_text(self) -> str:
        return ", ".join(map(str, sorted(set(self.test.groups.tolist()))))

    @property
    def dt(self) -> float:
        return self.train.dt


def load_data(config: Config) -> Dataset:
    """The data set of a configuration, checked."""
    return datasets.check(plugins.get("lnp_edge.datasets", config.data.name).load(config.data.root or None))


def split(config: Config, dataset: Dataset, held_out: tuple[int, ...] | None = None) -> Split:
    """held_out : people kept for the test; the data set's own by default."""
    held_out = dataset.held_out if held_out is None else held_out
    everyone = set(dataset.groups.tolist())
    if not set(held_out) < everyone or not held_out:
        raise ConfigError(f"people {sorted(held_out)} held out of {sorted(everyone)}", "leave some for training")
    train, test = dataset.of_groups(everyone - set(held_out)), dataset.of_groups(held_out)
    fitted = plugins.get("lnp_edge.encoders", ENCODER).fit(np.concatenate(train.recordings))
    task = Task(
        encoder=ENCODER,
        encoder_params=fitted,
        window=round(config.data.window / dataset.dt),
        hop=round(config.data.hop / dataset.dt),
        channels=dataset.channels,
        classes=dataset.classes,
    )
    windows = [datasets.windows(part, config.data.window, config.data.hop) for part in (train, test)]
    return Split(train, test, windows[0], windows[1], task)


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
    n = config.network
    return random_network(
        n.neurons, len(data.task.channels), len(data.task.classes), data.dt, n.density,
        np.random.default_rng(stage_seed(config, 0)), tau_mem=n.tau_mem, tau_syn=n.tau_syn, tau_out=n.tau_out,
    )  # fmt: skip


def prune(config: Config, network: Network, progress: Callable[[float, str], None] | None = None) -> Network:
    """The network with prune.keep of its recurrent synapses; all of them is the network itself."""
    if config.prune.keep == 1.0:
        return network
    method = plugins.get("lnp_edge.pruning", config.prune.method)
    return method.prune(network, config.prune.keep, stage_seed(config, 1), progress)


def require_torch() -> None:
    """Raises LnpError with the command that gets what training and its comparison need and is not installed."""
    for package, module in (("torch", "torch"), ("scikit-learn", "sklearn")):
        if find_spec(module) is None:
            raise LnpError(f"training needs {package}, which is not installed", INSTALL[package])


def train(
    config: Config, data: Split, network: Network, progress: Progress | None = None, resume: Path | None = None
) -> tuple[Network, list]:
    """Needs torch, as nothing else here does but float_classes. resume: a file to go on from, see lnp_edge.train."""
    require_torch()
    from lnp_edge.augment import Crops
    from lnp_edge.train import train as fit

    crops = Crops(data.train, data.task, config.train.batch, config.augment)
    return fit(network, crops, config.train, stage_seed(config, 2), progress, resume, config.network.neuron)


def float_classes(config: Config, data: Split, network: Network) -> NDArray[np.intp]:
    """Class of each test window, in floats. Needs torch."""
    require_torch()
    from lnp_edge.train import predict

    counts = encode(data.task.encoder, data.test_windows[0], data.task.encoder_params)
    return predict(network, (counts / X_SCALE).astype(np.float32), config.network.neuron)


def accuracy(data: Split, classes: NDArray[np.intp]) -> float:
    return float((classes == data.test_windows[1]).mean())
