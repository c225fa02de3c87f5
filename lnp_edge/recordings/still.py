"""Stretches in which a channel holds one value far longer than it usually does: a sensor that is dead or stuck.

What is usual is the channel's own: an hour, or a temperature in whole degrees, stands still all the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from lnp_edge.recordings.cut import Recording
from lnp_edge.recordings.held import Parts

ROWS = 100  # at least
TIMES = 50  # as long as the runs of equal values in which a quarter of the channel's rows lie
BACK = 0.9  # share of the rows at an extreme value in such stretches: less, and it is a limit that is often reached
LONGEST = 4096  # rows of a run, from which it counts as so long
PART = 2**18  # rows at once


@dataclass(frozen=True)
class Stretch:
    value: float  # as in the files
    rows: int
    file: str
    group: str
    begin: float  # s, since 1970 if absolute; else within the file
    absolute: bool
    part: str  # training, test, or both

    @property
    def where(self) -> str:
        when = f"{self.begin:g} s"
        if self.absolute:
            when = datetime.fromtimestamp(self.begin, UTC).replace(tzinfo=None).isoformat(" ", "seconds")
        return f"{self.file}{f', {self.group}' if self.group else ''}, from {when}, in {self.part}"


def stretches(
    found: Sequence[Recording], parts: Parts, origin: NDArray, places: Sequence[str], groups: Sequence[str], dt: float
) -> list[list[Stretch]]:
    """Of each channel the stretches to doubt, the longest first. parts : of `found`, in the same order"""
    ends = np.cumsum([len(r.x) for r in parts.recordings])
    starts = np.cumsum([0, *(len(r.x) for r in found)])
    every = []
    for c in range(len(origin)):
        doubtful = []
        for rows, k, at in _unusual([r.x[:, c] for r in found]):
            r = found[k]
            first, last = np.searchsorted(ends, starts[k] + np.array([at, at + rows - 1]), side="right").tolist()
            tests = sorted({parts.test[p] for p in range(first, last + 1)})
            doubtful.append(Stretch(
                float(r.x[at, c]) + float(origin[c]), rows, places[r.file], groups[r.group] if len(groups) > 1 else "",
                r.start + at * dt, r.absolute, " and ".join(("training", "test")[t] for t in tests),
            ))  # fmt: skip
        every.append(doubtful)
    return every


def _unusual(columns: Sequence[NDArray[np.float32]]) -> list[tuple[int, int, int]]:
    """Rows, column and first row of each run that is far longer than is usual, the longest first."""
    usual, long = np.zeros(LONGEST + 1), list[tuple[int, int, int]]()
    for k, column in enumerate(columns):
        for at, rows in _runs(column):
            usual += np.bincount(np.minimum(rows, LONGEST), rows, LONGEST + 1)
            chosen = rows >= ROWS
            long += [(n, k, a) for n, a in zip(rows[chosen].tolist(), at[chosen].tolist(), strict=True)]
    long.sort(key=lambda run: (-run[0], run[1:]))
    if not long or usual.sum() == long[0][0]:
        return []
    usual[min(long[0][0], LONGEST)] -= long[0][0]
    common = int(np.searchsorted(np.cumsum(usual), usual.sum() / 4))
    long = [run for run in long if run[0] >= TIMES * common]
    for value in {min(float(x.min()) for x in columns), max(float(x.max()) for x in columns)}:
        at_value = [run for run in long if columns[run[1]][run[2]] == value]
        count = sum(int(np.count_nonzero(x == np.float32(value))) for x in columns)
        if sum(rows for rows, *_ in at_value) < BACK * count:
            long = [run for run in long if run not in at_value]
    return long


def _runs(x: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """First row and length of each run of equal values, some at once."""
    begin = 0
    for k in range(0, len(x) - 1, PART):
        edges = k + 1 + np.flatnonzero(x[k + 1 : k + 1 + PART] != x[k : k + PART][: len(x) - 1 - k])
        if len(edges):
            at = np.concatenate([[begin], edges])
            yield at[:-1], np.diff(at)
            begin = int(edges[-1])
    yield np.array([begin]), np.array([len(x) - begin])
