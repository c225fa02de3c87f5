"""Settings that fit the data: what a configuration of own data leaves open, in terms of its steps and recordings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge import config as configurations
from lnp_edge.base.console import shown
from lnp_edge.base.errors import DataError
from lnp_edge.config import Config, DataSettings, NetworkSettings, parameters
from lnp_edge.recordings.load import step
from lnp_edge.recordings.report import short
from lnp_edge.spec.frontend import FrontEnd
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.task.dataset import Dataset, in_samples
from lnp_edge.task.split import load_data, require_whole_steps

USUAL, OF_SERIES = 100, 50  # samples of a window, if the recordings are long enough
TRIALS = 300  # samples: recordings of one length up to this are windows themselves
LEAST = 0.95  # share of the time that lies in recordings as long as a window
STEPS = 2000  # of the optimiser: a small data set needs as many as a large one
FEWEST_EPOCHS = 5
WINDOWS = 20_000  # of a series
SHORTEST = 1.5  # steps of a time constant
NOISE_OF_SERIES = 0.03  # as lnp_edge/configs/wind.toml: more hides small changes
WORD, SYNAPSE = 4, 3  # bytes: of a state word; about, of a synapse
BALANCE = 0.5  # of unequal classes, as lnp_edge/configs/mitbih.toml


def configuration(name: str, note: Callable[[str], None] = lambda text: None, network: bool = True) -> Config:
    """The configuration of a TOML file or of a task, fitted to its data.

    note : receives a sentence for each setting that does not suit own data, and for recordings that are too short
    network : whether settings of the network and its training matter

    Raises DataError if a class has no recording as long as a window.
    """
    found = configurations.named(name)
    if not (found.derive or found.data.own):
        return found
    if found.data.own:
        require_whole_steps(found, step(found.data))  # before all files are read
    dataset = load_data(found)
    if network and "augment.speed" in found.derive and _spectral(found.data):
        note(f'[augment] speed is 0: it would smooth the fast noise that front = "{found.data.front}" measures')
    found = fitted(found, dataset)
    found = replace(found, data=replace(found.data, checksum=dataset.checksum()))
    for sentence in remarks(found, dataset, network):
        note(sentence)
    return found


def fitted(config: Config, dataset: Dataset) -> Config:
    """The configuration with a value for everything in config.derive."""
    open_keys, data = set(config.derive), config.data
    if "data.window" in open_keys:
        window = _window(dataset, data.frame)
        data = replace(data, window=_seconds(window, dataset.dt))
    window = max(1, round(data.window / dataset.dt))
    if "data.hop" in open_keys:
        hop = max(1, window // 2)
        if config.stream.batches:
            hop = max(1, hop // data.frame) * data.frame
        if dataset.series:
            hop = max(1, sum(map(len, dataset.recordings)) // WINDOWS)
        data = replace(data, hop=_seconds(hop, dataset.dt))
    train, augment = config.train, config.augment
    if "train.epochs" in open_keys:
        train = replace(train, epochs=max(FEWEST_EPOCHS, math.ceil(STEPS / _batches(dataset, window, train.batch))))
    if "train.balance" in open_keys and dataset.metric == "macro_f1":
        train = replace(train, balance=BALANCE)
    if "augment.noise" in open_keys and dataset.series:
        augment = replace(augment, noise=NOISE_OF_SERIES)
    if "augment.speed" in open_keys and _spectral(data):
        augment = replace(augment, speed=0.0)
    network = _network(config.network, open_keys, data, dataset.dt * data.frame)
    return replace(config, data=data, network=network, train=train, augment=augment, derive=())


def _spectral(data: DataSettings) -> bool:
    return FrontEnd(data.front, data.frame).spectral


def _seconds(samples: int, dt: float) -> float:
    return float(f"{samples * dt:.9g}")


def _parts(dataset: Dataset) -> list[NDArray[np.int64]]:
    """The lengths of the recordings of each class in the training and in the test part."""
    length = np.array([len(a) for a in dataset.recordings])
    test = np.isin(dataset.groups, dataset.held_out)
    kinds = [(part & (dataset.labels == k)) for part in (test, ~test) for k in set(dataset.labels.tolist())]
    return [length[kind] for kind in kinds if kind.any()]


def _window(dataset: Dataset, frame: int) -> int:
    """Samples of a window: a trial, or as many as usual, if nearly all of the time and every class has so long ones."""
    parts = _parts(dataset)
    length = np.sort(np.concatenate(parts))
    if length[0] == length[-1] <= TRIALS and not dataset.series:
        most = usual = int(length[0])
    else:
        before = np.cumsum(length) / length.sum()
        most = int(min(length[np.searchsorted(before, 1 - LEAST)], *(part.max() for part in parts)))
        usual = USUAL
        if dataset.series:
            most, usual = min(part.max() for part in parts) // 2 - dataset.series.horizon, OF_SERIES
    return max(1, min(usual, most) // frame) * frame


def _batches(dataset: Dataset, window: int, batch: int) -> int:
    """Optimiser steps of an epoch, as lnp_edge/training/augment.py makes them."""
    ahead = dataset.series.horizon if dataset.series else 0
    test = np.isin(dataset.groups, dataset.held_out)
    length = np.array([len(a) for a in dataset.recordings])[~test]
    length = length[length >= window + ahead]
    return max(1, round((2 if length.max(initial=0) > window else 1) * int(length.sum()) / window / batch))


def _network(network: NetworkSettings, open_keys: set[str], data: DataSettings, step: float) -> NetworkSettings:
    """Time constants in proportion to the window: the defaults are made for the default one."""
    factor = data.window / DataSettings().window

    def time(value: float) -> float:
        return float(f"{max(value * factor, SHORTEST * step):.3g}")

    def times(where: str, neuron: str, given: dict[str, float]) -> dict[str, float]:
        known = parameters(neuron)
        return {name: time(known[name].default) if f"{where}.{name}" in open_keys else v for name, v in given.items()}

    more: dict[str, Any] = {"params": times("network", network.neuron, network.params)}
    if "network.tau_out" in open_keys:
        more["tau_out"] = time(NetworkSettings().tau_out)
    layers = enumerate(network.layer)
    more["layer"] = tuple(replace(o, params=times(f"network.layer.{k}", o.neuron, o.params)) for k, o in layers)
    return replace(network, **more)


def remarks(config: Config, dataset: Dataset, network: bool = True) -> list[str]:
    """What does not suit the data, a sentence each. network : whether the network and its training matter

    Raises DataError if classes vanish, and ConfigError for a window or hop that is no whole number of steps.
    """
    found = []
    require_whole_steps(config, dataset.dt)
    window, _ = in_samples(dataset, config.data.window, config.data.hop)
    missed = short(dataset, window)
    if missed.classes:
        most = min(int(part.max()) for part in _parts(dataset))
        raise DataError(
            f"no recording of {', '.join(missed.classes[:8])} is as long as a window of {config.data.window:g} s, "
            "in training or test",
            f"write [data] window = {_seconds(most, dataset.dt):g}, or less",
        )
    if missed.recordings:
        found.append(
            f"{missed.recordings} of {missed.of} recordings are shorter than the window of "
            f"{config.data.window:g} s and left out"
        )
    if not network:
        return found
    step = dataset.dt * config.data.frame
    for layer in config.network.layers:
        for name, value in layer.params.items():
            if parameters(layer.neuron)[name].is_time and not 0.5 * step <= value <= 20 * config.data.window:
                found.append(
                    f"{name} is {value:g} s, a step {step:g} s and a window {config.data.window:g} s: choose it between"
                )
    found += _open_windows(config, dataset)
    steps = config.train.epochs * _batches(dataset, window, config.train.batch)
    if config.train.epochs and not config.stream.batches and steps < STEPS // 4:
        found.append(f"{config.train.epochs} epochs are {steps} steps of the optimiser: about {STEPS} are usual")
    return found


def _flash(config: Config, inputs: int, outputs: int) -> float:
    """About the bytes of a network's tables: of its weights, and of its neurons' parameters."""
    layers, total = config.network.layers, 0.0
    kept = config.prune.inputs * min(config.network.inputs or inputs, inputs)
    before = 0
    for k, layer in enumerate(layers):
        tables = neuron_module(layer.neuron).TABLES.values()
        a_neuron = sum(np.dtype(stored.ctype).itemsize for stored in tables)
        if k == 0:
            a_neuron += min(inputs, SYNAPSE * kept)  # dense, or one by one
        if k == len(layers) - 1:
            a_neuron += outputs
        synapses = layer.density * layer.neurons * (before + layer.recurrent * layer.neurons)
        total += layer.neurons * a_neuron + SYNAPSE * config.prune.keep * synapses
        before = layer.neurons
    return total


def _open_windows(config: Config, dataset: Dataset) -> list[str]:
    """A sentence if the windows that are open at once take more memory than the network itself, each by its state."""
    window, hop = in_samples(dataset, config.data.window, config.data.hop)
    layers = config.network.layers
    front, channels = FrontEnd(config.data.front, config.data.frame), len(dataset.channels)
    state = WORD * sum(layer.neurons * len(neuron_module(layer.neuron).STATE) for layer in layers)
    state += WORD * channels * len(front.state)
    count = math.ceil(window / hop)
    network = _flash(config, len(front.features) * channels, max(1, len(dataset.classes)))
    if config.stream.batches or count == 1 or count * state <= network:
        return []
    fewer = math.ceil(window / max(1, int(network / state)))
    return [
        f"a decision every {config.data.hop:g} s keeps {count} windows open, whose states take about "
        f"{shown(count * state / 1000)} kB of RAM, the network {shown(network / 1000)} kB of flash: "
        f"[data] hop = {_seconds(fewer, dataset.dt):g} keeps {math.ceil(window / fewer)} open"
    ]
