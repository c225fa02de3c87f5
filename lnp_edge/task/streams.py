"""Continuous streams in which the class changes: where they come from, and how decisions on them are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError
from lnp_edge.task import metrics
from lnp_edge.task.dataset import Dataset, Stream, Windows

SETTLED = 4.0  # s after a change, from which a decision counts as settled
UNLABELLED = -1


def of(dataset: Dataset, orders: int = 1) -> tuple[Stream, ...]:
    """The streams of a data set; without any, recordings of each group joined so that the class changes.

    orders : how often each group's recordings are joined, in another order each time
    """
    if dataset.streams:
        return dataset.streams
    groups = sorted(set(dataset.groups.tolist()))
    return tuple(_joined(dataset, group, order) for group in groups for order in range(orders))


def parts(dataset: Dataset) -> tuple[Stream, ...]:
    """What training cuts stretches from: the streams of a data set, or else its recordings."""
    return dataset.streams or tuple(
        Stream(a, np.full(len(a), label, np.int64), group)
        for a, label, group in zip(dataset.recordings, dataset.labels.tolist(), dataset.groups.tolist(), strict=True)
    )


def _joined(dataset: Dataset, group: int, order: int) -> Stream:
    """All recordings of a group, one after the other. The class changes as long as there is another one."""
    rng = np.random.default_rng([group, order])
    left: dict[int, list[int]] = {}
    for r in rng.permutation(np.flatnonzero(dataset.groups == group)).tolist():
        left.setdefault(int(dataset.labels[r]), []).append(r)
    chosen: list[int] = []
    last = None
    while left:
        # The class with most recordings first, or two of it would be left over.
        others = [label for label in left if label != last] or list(left)
        last = max(others, key=lambda label: (len(left[label]), rng.random()))
        chosen.append(left[last].pop())
        if not left[last]:
            del left[last]
    signal = np.concatenate([dataset.recordings[r] for r in chosen])
    return Stream(signal, np.repeat(dataset.labels[chosen], [len(dataset.recordings[r]) for r in chosen]), group)


def ends(length: int, window: int, hop: int) -> NDArray[np.int64]:
    """The samples before each decision of a stream of `length` samples: SEMANTICS.md section 7."""
    return np.arange(window, length + 1, hop)


def windows(streams: Sequence[Stream], window: int, hop: int) -> Windows:
    """The samples before each decision that has a label. Raises DataError if there is none."""
    counts, wanted, groups, source = [], [], [], []
    for number, stream in enumerate(streams):
        for end in ends(len(stream.labels), window, hop):
            if stream.labels[end - 1] != UNLABELLED:
                counts.append(stream.signal[end - window : end])
                wanted.append(stream.labels[end - 1])
                groups.append(stream.group)
                source.append(number)
    if not counts:
        raise DataError("no decision on a stream has a label", "shorten [data] window")
    return Windows(np.stack(counts), np.array(wanted), np.array(groups), np.array(source))


def labelled(stream: Stream, window: int, hop: int) -> NDArray[np.int64]:
    """The label of the last sample before each decision, -1 without one."""
    return stream.labels[ends(len(stream.labels), window, hop) - 1]


class Judge:
    """Counts what decisions on streams are worth; add() each stream, then measures().

    accuracy      : share of right decisions, of all that have a label
    settled       : the same, of those at least SETTLED s after the class changed
    delay_<q>     : s from a change of class to the first right decision, quantiles over the changes; a change
                    that is missed takes for ever
    missed        : share of the changes without a right decision until the next change
    false_changes : decisions an hour that change to a class that is not there
    unknown       : share of unknown decisions
    rejected      : share of the right decisions that are unknown
    known         : share of right decisions, of those that are not unknown
    """

    def __init__(self, dt: float, window: int, hop: int):
        self.dt, self.window, self.hop = dt, window, hop
        self.counts: Counter[str] = Counter()
        self.delays: list[float] = []
        self.by_stream: list[tuple[int, int, int]] = []  # group, right and labelled decisions

    def add(self, stream: Stream, said: NDArray[np.int64], unknown: NDArray[np.bool_] | None = None) -> None:
        """said [D] : the classes decided;  unknown [D] : whether each is unknown"""
        end = ends(len(stream.labels), self.window, self.hop)
        wanted = stream.labels[end - 1]
        has = wanted != UNLABELLED
        unsure = np.zeros(len(said), bool) if unknown is None else unknown
        right = (said == wanted) & has
        edges = np.flatnonzero(np.diff(stream.labels, prepend=np.int64(-2)))  # first samples of stretches
        begin = edges[np.searchsorted(edges, end - 1, side="right") - 1]
        late = has & ((end - begin) * self.dt >= SETTLED)
        moved = np.diff(said, prepend=said[:1]) != 0
        found = {
            "labelled": has, "right": right, "late": late, "late right": late & right,
            "false": moved & has & ~right, "unknown": has & unsure,
            "right unknown": right & unsure, "right known": right & ~unsure,
        }  # fmt: skip
        for name, which in found.items():
            self.counts[name] += int(which.sum())
        self.by_stream.append((stream.group, int(right.sum()), int(has.sum())))
        self._changes(stream, end, said, edges)

    def _changes(self, stream: Stream, end: NDArray, said: NDArray, edges: NDArray) -> None:
        before = None
        for first, last in zip(edges, [*edges[1:], len(stream.labels)], strict=True):
            label = int(stream.labels[first])
            if label == UNLABELLED:
                continue
            within = (end > first) & (end <= last)
            if before not in (None, label) and within.any():
                good = np.flatnonzero(within & (said == label))
                self.delays.append((end[good[0]] - first) * self.dt if len(good) else np.inf)
            before = label

    def interval(self) -> tuple[float, float, str] | None:
        """A 95 % interval of the accuracy and what was resampled, as of metrics.interval; None of too few streams."""
        group, *sums = np.array([one for one in self.by_stream if one[2]], np.int64).reshape(-1, 3).T
        names, of = np.unique(group, return_inverse=True)
        what = "groups"
        if len(names) < metrics.FEWEST:
            of, what = np.arange(len(group)), "streams"
        if len(units := np.unique(of)) < metrics.FEWEST:
            return None
        right, all_of_them = (np.bincount(of, one) for one in sums)
        rng = np.random.default_rng(1)
        draws = rng.integers(0, len(units), (metrics.DRAWS, len(units)))
        low, high = np.quantile(right[draws].sum(1) / all_of_them[draws].sum(1), (0.025, 0.975))
        return float(low), float(high), f"{len(units)} {what}"

    def measures(self) -> dict[str, float]:
        n = self.counts
        hours = n["labelled"] * self.hop * self.dt / 3600
        found = {
            "accuracy": _share(n["right"], n["labelled"]),
            "settled": _share(n["late right"], n["late"]),
            "missed": float(np.mean(np.isinf(self.delays))) if self.delays else np.nan,
            "false_changes": n["false"] / hours if hours else np.nan,
            "unknown": _share(n["unknown"], n["labelled"]),
            "rejected": _share(n["right unknown"], n["right"]),
            "known": _share(n["right known"], n["labelled"] - n["unknown"]),
            "changes": float(len(self.delays)),
            "hours": hours,
        }
        for q in (50, 90, 95):
            found[f"delay_{q}"] = float(np.quantile(self.delays, q / 100, method="higher")) if self.delays else np.nan
        return found


def _share(some: int, all_of_them: int) -> float:
    return some / all_of_them if all_of_them else np.nan
