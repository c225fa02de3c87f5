"""Recordings whose label changes, as the streams that they are: see task/streams.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lnp_edge.recordings.held import Parts
from lnp_edge.task.dataset import Stream
from lnp_edge.task.streams import UNLABELLED

Counts = NDArray[np.int16]


def streams(parts: Parts, whole: list[Counts], in_counts: Callable[[NDArray[np.float32]], Counts]) -> list[Stream]:
    """A stream of each run of recordings that continue one another in one part; [] if no class changes in any.

    whole : the counts of each recording, which become views of the streams, so that memory holds them once
    """
    runs: list[list[int]] = []
    for k, recording in enumerate(parts.recordings):
        if recording.lead is not None and runs and parts.groups[k] == parts.groups[k - 1]:
            runs[-1].append(k)
        else:
            runs.append([k])
    if not any(len({parts.recordings[k].label for k in run}) > 1 for run in runs):
        return []
    found = []
    for run in runs:
        pieces, labels = list[Counts](), list[int]()
        for k in run:
            recording = parts.recordings[k]
            if pieces and recording.lead is not None:
                pieces.append(in_counts(recording.lead))
                labels.append(UNLABELLED)
            pieces.append(whole[k])
            labels.append(recording.label)
        lengths = list(map(len, pieces))
        signal, ends = np.concatenate(pieces), np.cumsum(lengths)
        for k, end in zip(run, ends[::2].tolist(), strict=True):
            whole[k] = signal[end - len(whole[k]) : end]
        found.append(Stream(signal, np.repeat(np.array(labels, np.int64), lengths), parts.groups[run[0]]))
    return found
