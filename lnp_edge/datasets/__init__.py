"""Sensor data sets: one module each with load(root=None) -> Dataset, found by its presence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lnp_edge.errors import DataError

Windows = tuple[NDArray[np.int16], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Dataset:
    """R recordings of raw sensor counts, one label each. Channels ..x, ..y, ..z in a row are a vector."""

    name: str
    dt: float  # s
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    recordings: tuple[NDArray[np.int16], ...]  # each [T, C]
    labels: NDArray[np.int64]  # [R]
    groups: NDArray[np.int64]  # [R] person
    held_out: tuple[int, ...]  # groups kept for the final test
    mirror: tuple[int, ...] = ()  # sign of each channel that makes a left arm's recording a right arm's, if known

    def of_groups(self, groups) -> Dataset:
        """The recordings of these people only."""
        keep = np.flatnonzero(np.isin(self.groups, list(groups)))
        return replace(
            self,
            recordings=tuple(self.recordings[r] for r in keep),
            labels=self.labels[keep],
            groups=self.groups[keep],
        )


def check(dataset: Dataset) -> Dataset:
    """The data set, or DataError naming what no network could learn from. Every load() goes through this."""

    def hold(condition: bool, what: str) -> None:
        if not condition:
            raise DataError(f"data set {dataset.name}: {what}", f"mend lnp_edge/datasets/{dataset.name}.py or its file")

    count, width = len(dataset.recordings), len(dataset.channels)
    hold(dataset.dt > 0 and width > 0 and len(dataset.classes) > 1, "dt, channels or classes are empty")
    hold(len(dataset.labels) == count == len(dataset.groups), f"{count} recordings, {len(dataset.labels)} labels")
    for r, recording in enumerate(dataset.recordings):
        hold(recording.dtype == np.int16, f"recording {r} is {recording.dtype}, not int16")
        hold(recording.shape[1:] == (width,), f"recording {r} has shape {recording.shape}, not [T, {width}]")
        hold(0 <= dataset.labels[r] < len(dataset.classes), f"recording {r} has label {dataset.labels[r]}")
    return dataset


def windows(dataset: Dataset, seconds: float, hop_seconds: float) -> Windows:
    """Every whole window of every recording: counts int16 [W, T, C], labels [W], groups [W].

    Raises DataError if no recording is long enough.
    """
    length, hop = round(seconds / dataset.dt), round(hop_seconds / dataset.dt)
    if length < 1 or hop < 1:
        raise DataError(
            f"windows of {seconds} s every {hop_seconds} s are empty at {dataset.dt} s a sample",
            f"both must be at least {dataset.dt} s",
        )
    if hop > length:
        raise DataError(f"windows of {seconds} s every {hop_seconds} s leave gaps", "the hop is at most the window")
    counts, source = [], []
    for r, recording in enumerate(dataset.recordings):
        for start in range(0, len(recording) - length + 1, hop):
            counts.append(recording[start : start + length])
            source.append(r)
    if not counts:
        raise DataError(
            f"no recording of {dataset.name} is {seconds} s long",
            f"the longest has {max(map(len, dataset.recordings), default=0) * dataset.dt:g} s",
        )
    return np.stack(counts), dataset.labels[source], dataset.groups[source]
