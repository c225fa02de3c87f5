"""Splits a data set into training and test groups, and derives the task from the training part."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ConfigError, LnpError, ModelError
from lnp_edge.config import Augmentation, Config, DataSettings
from lnp_edge.encoders import encode
from lnp_edge.network import X_SCALE, Network
from lnp_edge.recordings import load as own
from lnp_edge.spec import plugins
from lnp_edge.spec.frontend import RAW, FrontEnd
from lnp_edge.spec.model import MAX_IN, Forecast, steps_a_second
from lnp_edge.task import streams
from lnp_edge.task.dataset import Dataset, Stream, Windows, check, in_samples, require_long, windows
from lnp_edge.task.task import Task, encoded

PRODUCTS_FROM = 100_000  # samples
AXES_FROM = 5000  # recordings
AXES_FLOOR = 0.02  # added to variances relative to 1, so that small ones are not amplified to 1


@dataclass(frozen=True)
class Split:
    """The training and test parts of a data set, with the encoder fitted to the training part."""

    train: Dataset
    test: Dataset
    task: Task
    cut: tuple[float, float]  # window and hop, s
    augment: Augmentation = field(default_factory=Augmentation)
    balance: float = 0.0  # as [train] balance
    streaming: bool = False  # whether the test is on streams, and test_windows are those before each decision

    @cached_property
    def train_windows(self) -> Windows:
        return windows(self.train, *self.cut)

    @cached_property
    def test_streams(self) -> tuple[Stream, ...]:
        return streams.of(self.test)

    @cached_property
    def test_windows(self) -> Windows:
        if self.streaming:
            return streams.windows(self.test_streams, self.task.window, self.task.hop)
        return windows(self.test, *self.cut)

    @cached_property
    def axes(self) -> NDArray[np.float64] | None:
        """The whitening matrix of images, [C, C]; None for other data.

        Input weights are axes @ weights, where the weights are drawn and trained as if the channels
        were independent. Pixels are not: most of the variance of a row is its brightness. The
        matrix is the inverse square root of their covariance (Krizhevsky 2009), scaled so that the
        drive of a neuron is that of six independent channels.
        """
        if not self.train.pixel:
            return None
        some = self.train.recordings[:: max(1, len(self.train.recordings) // AXES_FROM)]
        x = encoded(self.task, np.asarray(some)).reshape(-1, len(self.task.inputs))
        std = plugins.get("lnp_edge.encoders", self.task.encoder).TARGET_STD
        variance, axis = np.linalg.eigh(np.cov(x.T, dtype=np.float64) / np.square(std / X_SCALE))
        return (axis / np.sqrt(variance + AXES_FLOOR)) @ axis.T * np.sqrt(6 / len(axis))

    @property
    def held_out_text(self) -> str:
        """A description of the test windows, such as "707 windows of people 8, 9, 10"."""
        what = "decisions on streams" if self.streaming else "windows"
        return f"{len(self.test_windows)} {what} of {self.held_out_names}"

    @property
    def held_out_names(self) -> str:
        """The test groups, such as "people 8, 9, 10"."""
        groups, titles = sorted(set(self.test.groups.tolist())), self.test.group_titles
        names = [titles[g] if titles else str(g) for g in groups]
        return f"{self.test.group_name} {', '.join(names)}"

    @property
    def steps_a_second(self) -> float:
        """As of the model that will be."""
        return steps_a_second(self.dt, self.task.window, self.task.hop, self.streaming)

    @property
    def dt(self) -> float:
        """s of a step of the network."""
        return self.train.dt * self.task.front.frame


def load_data(config: Config) -> Dataset:
    """The data set of a configuration, checked: own files, a module, a data set of the package or of another."""
    settings = config.data
    found = check(own.load(settings)[0], "[data], or the files") if settings.own else _loaded(settings)
    if config.data.limit:
        return found.limited(config.data.limit, round(config.data.window / found.dt))
    return found


def _loaded(settings: DataSettings) -> Dataset:
    """What load(root) returns, of [data] module, lnp_edge/datasets or an entry point "lnp_edge.datasets", checked."""
    root = settings.root or None
    if not settings.module and settings.name in plugins.names("lnp_edge.datasets"):
        return check(plugins.get("lnp_edge.datasets", settings.name).load(root))
    points = [] if settings.module else list(entry_points(group="lnp_edge.datasets", name=settings.name))
    if not settings.module and not points:
        plugins.get("lnp_edge.datasets", settings.name)  # says which there are
    path = Path(settings.root) / settings.module
    where = str(path) if settings.module else f"the data set {settings.name}, {points[0].value}"
    try:
        module: Any = _of_file(path) if settings.module else points[0].load()
        found = getattr(module, "load", module)(root)
        if not isinstance(found, Dataset):
            raise ConfigError(f"{where}: load() returns {type(found).__name__}", "return lnp_edge.task.dataset.Dataset")
        return check(found, where)
    except LnpError:
        raise
    except Exception as e:  # whatever foreign code does
        raise plugins.broken(where, e) from None


def _of_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"lnp_edge_data_{path.stem}", path)
    if not path.is_file() or not (spec and spec.loader):
        raise ConfigError(f"{path} is no Python file", 'write module = "./mine.py", relative to the TOML file')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def split(config: Config, dataset: Dataset, held_out: tuple[int, ...] | None = None) -> Split:
    """Split a data set by group.

    held_out : groups for the test; None: those of the data set

    Raises ConfigError if either part is empty, and DataError if it has no long enough recording or
    if the windows leave gaps.
    """
    window, hop = in_samples(dataset, config.data.window, config.data.hop)
    if dataset.streams:  # a shorter one brings no decision
        dataset = replace(dataset, streams=tuple(s for s in dataset.streams if len(s.labels) >= window))
    everyone = set(dataset.groups.tolist())
    chosen = set(dataset.held_out if held_out is None else held_out) & everyone
    if not chosen or chosen == everyone:
        names = f"{dataset.group_name} {sorted(chosen)} held out of {sorted(everyone)}"
        raise ConfigError(names, "choose some for training and some for the test")
    train, test = dataset.of_groups(everyone - chosen), dataset.of_groups(chosen)
    for part in (train, test):
        require_long(part, window)
    front = FrontEnd(config.data.front, config.data.frame).check()
    require_whole_steps(config, dataset.dt)
    for what, count in (("counts", front.frame), ("inputs", len(front.features))):
        if (many := count * len(dataset.channels)) > MAX_IN:
            raise ConfigError(f"a step has {many} {what}", f"{MAX_IN} at most: shorten [data] frame")
    if dataset.pixel and front != RAW:
        raise ConfigError("a step takes one row of an image", 'choose [data] front = "stack" and frame = 1')
    if dataset.series and dataset.series.free_run and front != RAW:
        what = f"{dataset.name} is forecast from its own forecasts, which takes each sample as it is"
        raise ConfigError(what, 'choose [data] front = "stack" and frame = 1')
    if config.quantize.decide and dataset.series:
        what = f"{dataset.name} is a series: forecasts are no decisions between classes, which a rule could delay"
        raise ConfigError(what, "set [quantize] decide = false, and leave out --decide")
    if streaming := bool(config.stream.batches):
        _require_streams(config, dataset)
    front = front.fit(train.samples(), config.data.params)
    encoder, features = config.data.encoder, _features(train, front)
    symmetric = features
    if front.events:  # with their negatives their mean is 0, which encoders map to 0
        symmetric = np.concatenate([features, -np.maximum(features, -32767)])
    fitted = plugins.get("lnp_edge.encoders", encoder).fit(symmetric)
    if dataset.series:
        unheard = np.isin(np.arange(features.shape[1]) % len(dataset.channels), list(dataset.series.unheard))
        fitted["gain"][unheard] = 0
    task = Task(
        encoder=encoder,
        encoder_params=fitted,
        window=window,
        hop=hop,
        channels=dataset.channels,
        classes=dataset.classes or _forecast_names(dataset),
        forecast=_forecast(train),
        products=_mean_products(features, encoder, fitted),
        front=front,
        quantities=dataset.quantities,
        missing=tuple(map(float, dataset.missing)),
    )
    cut = (config.data.window, config.data.hop)
    return Split(train, test, task, cut, config.augment, config.train.balance, streaming)


def require_whole_steps(config: Config, dt: float) -> None:
    """Raise ConfigError if a window, or a hop of streams, is given and no whole number of steps.

    dt : s of a sample
    """
    frame = config.data.frame
    for key in ("window", "hop") if config.stream.batches else ("window",):
        samples = round(getattr(config.data, key) / dt)
        if samples % frame and f"data.{key}" not in config.derive:
            raise ConfigError(
                f"a {key} of {samples} samples is not a whole number of steps of {frame} samples",
                f"choose [data] {key} = {(samples // frame or 1) * frame * dt:g} or another frame",
            )


def _require_streams(config: Config, dataset: Dataset) -> None:
    """Raise ConfigError if these data or read-outs cannot run without a reset."""
    hint = "set [stream] batches = 0, which trains on windows"
    if dataset.series or dataset.pixel:
        raise ConfigError(f"{dataset.name} has no streams of classes", hint)
    if config.network.readout == "mean":
        raise ConfigError("the read-out mean never forgets, but a stream is never reset", 'choose readout = "li"')
    if config.network.tau_out > config.data.window:
        what = f"network.tau_out is {config.network.tau_out:g} s: a stream would not settle in a window"
        raise ConfigError(what, f"choose up to {config.data.window:g}, or a longer [data] window")


def _features(train: Dataset, front: FrontEnd) -> NDArray[np.int16]:
    """The features of all recordings, [S, inputs]."""
    if front == RAW:
        return train.samples()
    whole = [a[: len(a) // front.frame * front.frame] for a in train.recordings]
    return np.concatenate([front.run(a).astype(np.int16) for a in whole if len(a)])


def _mean_products(
    features: NDArray[np.int16], encoder: str, fitted: dict[str, NDArray[np.int32]]
) -> NDArray[np.float64]:
    """Mean products [I, I] of pairs of integer inputs, over a subset of the features [S, I]."""
    x = encode(encoder, features[:: max(1, len(features) // PRODUCTS_FROM)], fitted).astype(np.float64)
    return x.T @ x / max(1, len(x))


def _forecast_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the read-outs for a series, such as "Spd80m in 3600 s"."""
    assert dataset.series
    return tuple(f"{dataset.channels[c]} in {dataset.series.horizon * dataset.dt:g} s" for c in dataset.series.target)


def _forecast(train: Dataset) -> Forecast | None:
    """The forecast of a series; None for classes.

    One unit of the float read-out is the standard deviation of the change to forecast.
    """
    if not (series := train.series):
        return None
    target, h = list(series.target), series.horizon
    changes = [a[h:, target].astype(float) - a[:-h, target] for a in train.recordings if len(a) > h]
    unit = np.concatenate(changes).std(0) if changes else np.ones(len(target))
    return Forecast(series.target, h, tuple(np.where(unit > 0, unit, 1.0).tolist()))


def data_for(config: Config, network: Network) -> Split:
    """The data for a network from a file.

    Raises ModelError if the network has other numbers of inputs or classes, or another time step.
    """
    data = split(config, load_data(config))
    theirs = (len(network.w_in), len(network.tau_out), network.dt)
    wanted = (len(data.task.inputs), len(data.task.classes), data.dt)
    if theirs != wanted:
        raise ModelError(
            f"the network has {theirs[0]} inputs, {theirs[1]} classes and dt {theirs[2]:g} s, "
            f"{config.data.name} has {wanted[0]}, {wanted[1]} and {wanted[2]:g} s",
            "draw it again with lnp prune CONFIG.toml",
        )
    return data


def folds(dataset: Dataset, count: int) -> list[tuple[int, ...]]:
    """The groups of a data set in ascending order, divided into `count` contiguous folds."""
    people = sorted(set(dataset.groups.tolist()))
    if not 2 <= count <= len(people):
        raise ConfigError(f"{count} folds of {len(people)} people", f"choose from 2 to {len(people)}")
    return [tuple(part.tolist()) for part in np.array_split(np.array(people), count)]
