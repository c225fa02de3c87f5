"""The data set type that each module of lnp_edge/datasets returns, and its windows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError
from lnp_edge.spec.quantity import LARGEST_MISSING, MAX_TITLE, MOST_MISSING, Quantity, is_title


@dataclass(frozen=True)
class Series:
    """What to forecast in a data set without classes: some channels, a number of steps ahead.

    With a Lyapunov exponent the loop is closed: every channel is forecast one step ahead and fed
    back, for `free_run` steps after a window, and the error is measured over Lyapunov times.
    """

    target: tuple[int, ...]  # channels
    horizon: int  # steps
    per_unit: float  # counts in one `unit`
    unit: str  # of the targets, such as "m/s"
    lyapunov: float = 0.0  # largest exponent, 1/s
    free_run: int = 0  # steps
    unheard: tuple[int, ...] = ()  # channels that are not input: only forecasts are added to them


@dataclass(frozen=True)
class Stream:
    """A continuous recording in which the class changes."""

    signal: NDArray[np.int16]  # [T, C]
    labels: NDArray[np.int64]  # [T], the class of each sample; -1 without one, such as in a transition
    group: int


@dataclass(frozen=True)
class Dataset:
    """R recordings of raw sensor counts, each with a class, or with a series to forecast.

    A beat or an image is one recording. Each row
    of an image is a step and its pixels are the channels, `pixel` of them (3 for colour) side by
    side.
    """

    name: str
    dt: float  # s
    channels: tuple[str, ...]
    classes: tuple[str, ...]  # () for a series
    # [T, C] each, or one array [R, T, C]
    recordings: Sequence[NDArray[np.int16]] | NDArray[np.int16]
    labels: NDArray[np.int64]  # [R]; 0 for a series
    groups: NDArray[np.int64]  # [R], the person, patient, or part in time
    held_out: tuple[int, ...]  # groups for the final test
    # How to mirror a recording, such as to the other arm: for each channel its 1-based source
    # channel, negative if the sign changes. () if a mirrored recording is not valid.
    mirror: tuple[int, ...] = ()
    pixel: int = 0  # channels per pixel; 0 if the recordings are not images
    metric: str = "accuracy"  # the main metric, a key of metrics.of()
    series: Series | None = None
    group_name: str = "people"  # what the groups are, for messages
    group_titles: tuple[str, ...] = ()  # the name of each group; (): its number
    quantities: tuple[Quantity, ...] = ()  # of each channel; () if nothing is known but counts
    missing: tuple[float, ...] = ()  # values that stand for no sample, as recordings hold them
    # Triples of channels that form a vector, by index. None: channels ..x, ..y, ..z of one prefix.
    vectors: tuple[tuple[int, int, int], ...] | None = None
    streams: tuple[Stream, ...] = ()  # continuous recordings; () if there are none: task/streams.py joins some

    def samples(self) -> NDArray[np.int16]:
        """All recordings concatenated, [sum of T, C]; not copied if they are one array."""
        if isinstance(self.recordings, np.ndarray):
            return self.recordings.reshape(-1, len(self.channels))
        return np.concatenate(list(self.recordings))

    def checksum(self) -> str:
        """16 digits that differ for other samples, labels, groups or streams."""
        found = hashlib.sha256(repr((self.dt, self.channels, self.classes, self.held_out)).encode())
        streams = [array for s in self.streams for array in (s.labels, s.signal)]
        for array in (self.labels, self.groups, *self.recordings, *streams):
            found.update(f"{array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:16]

    def of_groups(self, groups) -> Dataset:
        """The data set with the recordings of these groups only."""
        wanted = set(groups)
        streams = tuple(stream for stream in self.streams if stream.group in wanted)
        return replace(self._only(np.flatnonzero(np.isin(self.groups, list(wanted)))), streams=streams)

    def _only(self, index: NDArray[np.intp]) -> Dataset:
        all_of_them = self.recordings
        some = all_of_them[index] if isinstance(all_of_them, np.ndarray) else tuple(all_of_them[r] for r in index)
        return replace(self, recordings=some, labels=self.labels[index], groups=self.groups[index])

    def limited(self, most: int, steps: int) -> Dataset:
        """The data set with at most `most` recordings of each class and group.

        Streams are shortened to `most` times ten windows of `steps` samples, the recordings of a series to
        `most` windows.
        """
        if self.series:
            ahead = max(self.series.horizon, self.series.free_run)
            return replace(self, recordings=tuple(a[: most * steps + ahead] for a in self.recordings))
        keep, seen = np.zeros(len(self.labels), bool), Counter[tuple[int, int]]()
        for r, key in enumerate(zip(self.labels.tolist(), self.groups.tolist(), strict=True)):
            keep[r] = seen[key] < most
            seen[key] += 1
        most *= 10 * steps
        short = tuple(replace(s, signal=s.signal[:most], labels=s.labels[:most]) for s in self.streams)
        return replace(self._only(np.flatnonzero(keep)), streams=short)


def check(dataset: Dataset, place: str = "") -> Dataset:
    """Return the data set, or raise DataError naming what is invalid. place : what made it, for the hint"""

    def hold(condition: bool, what: str) -> None:
        if not condition:
            fix = place or f"lnp_edge/datasets/{dataset.name}.py or its file"
            raise DataError(f"data set {dataset.name}: {what}", f"fix {fix}")

    count, width, series = len(dataset.recordings), len(dataset.channels), dataset.series
    classes = len(dataset.classes)
    hold(dataset.dt > 0 and width > 0 and (classes > 1) != bool(series), "dt, channels or classes are empty")
    for what, titles in (("channel", dataset.channels), ("class", dataset.classes)):
        for title in titles:  # no command would open the model
            hold(is_title(title), f"{str(title)[:40]!r} names a {what}, not 1 to {MAX_TITLE} printable characters")
            hold(titles.count(title) == 1, f"the {what} {title!r} is there twice")
    for title in dataset.group_titles:
        hold(title.isprintable(), f"{title[:40]!r} names one of {dataset.group_name}, but is not printable")
    hold(len(dataset.labels) == count == len(dataset.groups), f"{count} recordings, {len(dataset.labels)} labels")
    alike = isinstance(dataset.recordings, np.ndarray)
    for r, recording in enumerate(dataset.recordings[:1] if alike else dataset.recordings):
        hold(recording.dtype == np.int16, f"recording {r}: expected int16, got {recording.dtype}")
        hold(recording.shape[1:] == (width,), f"recording {r}: expected shape [T, {width}], got {recording.shape}")
    for r in np.flatnonzero((dataset.labels < 0) | (dataset.labels >= max(classes, 1)))[:1]:
        hold(False, f"recording {r} has label {dataset.labels[r]}")
    for r, stream in enumerate(dataset.streams):
        hold(stream.signal.dtype == np.int16, f"stream {r}: expected int16, got {stream.signal.dtype}")
        hold(stream.signal.shape == (len(stream.labels), width), f"stream {r} has shape {stream.signal.shape}")
        hold(bool(((stream.labels >= -1) & (stream.labels < classes)).all()), f"stream {r} has a label without a class")
    hold(sorted(map(abs, dataset.mirror)) in ([], [*range(1, width + 1)]), "mirror is not a signed permutation")
    if series:
        hold(series.horizon > 0 and series.per_unit > 0, f"horizon {series.horizon}, {series.per_unit} counts per unit")
        hold(bool(series.target) and all(0 <= c < width for c in series.target), f"targets {series.target}")
        closed = series.lyapunov > 0
        closes = series.horizon == 1 and series.target == tuple(range(width))
        hold(closes or not closed, "a closed loop must forecast all channels one step ahead")
        hold(closed == (series.free_run > 0), "set free_run and lyapunov together, or neither")
    hold(len(dataset.quantities) in (0, width), f"{len(dataset.quantities)} quantities of {width} channels")
    few = len(dataset.missing) <= MOST_MISSING and all(abs(v) <= LARGEST_MISSING for v in dataset.missing)
    hold(few, f"the values {dataset.missing[:8]} stand for none")
    hold(all(0 <= c < width for three in dataset.vectors or () for c in three), f"vectors {dataset.vectors}")
    return dataset


@dataclass(frozen=True)
class Windows:
    """W windows of T steps.

    wanted : the classes, int64 [W], or the counts to forecast, int16 [W, F, O]: F = 1 step,
        `horizon` steps after the window, or the F = free_run steps after it
    """

    counts: NDArray[np.int16]  # [W, T, C]
    wanted: NDArray
    groups: NDArray[np.int64]  # [W]
    source: NDArray[np.int64] | None = None  # [W], ascending: the number of the recording or stream of each

    def __len__(self) -> int:
        return len(self.counts)


def require_long(dataset: Dataset, length: int) -> int:
    """The number of steps that forecasts need after a window of `length` steps.

    Raises DataError if no recording is long enough for both.
    """
    ahead = max(dataset.series.horizon, dataset.series.free_run) if dataset.series else 0
    longest = max(map(len, dataset.recordings), default=0)
    if longest < length + ahead:
        raise DataError(
            f"no recording of {dataset.name} is {(length + ahead) * dataset.dt:g} s long",
            f"the longest has {longest * dataset.dt:g} s: shorten [data] window",
        )
    return ahead


def in_samples(dataset: Dataset, seconds: float, hop_seconds: float) -> tuple[int, int]:
    """The samples of a window and of a hop. Raises DataError if windows are empty or leave gaps."""
    length, hop = round(seconds / dataset.dt), round(hop_seconds / dataset.dt)
    if length < 1 or hop < 1:
        raise DataError(
            f"windows of {seconds} s every {hop_seconds} s are empty at {dataset.dt} s a sample",
            f"both must be at least {dataset.dt} s",
        )
    if hop > length and not dataset.series:
        raise DataError(f"windows of {seconds} s every {hop_seconds} s leave gaps", "choose a hop up to the window")
    return length, hop


def windows(dataset: Dataset, seconds: float, hop_seconds: float) -> Windows:
    """All complete windows of all recordings.

    Raises DataError if no recording is long enough, or if the windows are empty or leave gaps.
    """
    length, hop = in_samples(dataset, seconds, hop_seconds)
    ahead = require_long(dataset, length)
    starts = [(r, s) for r, a in enumerate(dataset.recordings) for s in range(0, len(a) - length - ahead + 1, hop)]
    source = np.array([r for r, _ in starts])
    counts = np.empty((len(starts), length, len(dataset.channels)), np.int16)
    for k, (r, s) in enumerate(starts):
        counts[k] = dataset.recordings[r][s : s + length]
    wanted = dataset.labels[source]
    if series := dataset.series:
        after = [s + length - 1 + np.arange(1, ahead + 1)[0 if series.free_run else -1 :] for _, s in starts]
        pairs = zip(source, after, strict=True)
        wanted = np.stack([dataset.recordings[r][at][:, series.target] for r, at in pairs])
    return Windows(counts, wanted, dataset.groups[source], source)
