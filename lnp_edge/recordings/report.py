"""What was found in the files of a data set, what was changed and what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.console import shown
from lnp_edge.recordings.cut import ENDS, LOST, Missing
from lnp_edge.recordings.still import Stretch
from lnp_edge.spec.quantity import Quantity
from lnp_edge.task.dataset import Dataset

PART = 2**18  # values at once
OFTEN = 0.01  # share of the rows at an extreme value
PILE = 5  # times the rows at the value beside it: a limit, not a slow or a coarse signal
FAR = 3.0  # standard deviations from the others: no extreme of a sensor, but a sign for "none"


@dataclass
class ChannelReport:
    """One channel, in the units of the files."""

    name: str
    unit: str = ""
    whole: bool = True  # all values are whole numbers within int16
    missing: int = 0  # rows without a value: empty, no number, infinite, or one that stands for none
    held: int = 0  # of them, those for which the value before stands
    alone: int = 0  # rows that are lost though every other channel has a value
    clipped: int = 0  # samples outside int16 after the scale of the training part
    still: list[Stretch] = field(default_factory=list)  # that hold one value far longer than usual, the longest first
    target: bool = False  # whether it is forecast
    rows: int = 0
    # By sign, the two lowest and the two highest values, most extreme first, and in how many rows each is.
    ends: dict[int, dict[float, int]] = field(default_factory=lambda: {-1: {}, 1: {}})
    total: float = 0.0
    square: float = 0.0
    quantity: Quantity = field(default_factory=Quantity)

    def look(self, x: NDArray[np.float32], origin: float) -> None:
        """Take the values of another file, x + origin, into account."""
        known = x[~np.isnan(x)]
        self.missing += len(x) - len(known)
        self.rows += len(x)
        if not len(known):
            return
        for sign in self.ends:
            self._extreme(known, origin, sign)
        for k in range(0, len(known), PART):
            part = known[k : k + PART].astype(np.float64) + origin
            self.total += float(part.sum())
            self.square += float(np.square(part).sum())

    def _extreme(self, known: NDArray, origin: float, sign: int) -> None:
        """The two most extreme values of all files, and in how many rows each is."""
        ends, left = self.ends[sign], known
        for _ in range(2):
            value = left.min() if sign < 0 else left.max()
            others = left[left != value]
            at = float(value) + origin
            ends[at] = ends.get(at, 0) + len(left) - len(others)
            if not len(left := others):
                break
        self.ends[sign] = dict(sorted(ends.items(), reverse=sign > 0)[:2])

    @property
    def low(self) -> float:
        return min(self.ends[-1], default=np.inf)

    @property
    def high(self) -> float:
        return max(self.ends[1], default=-np.inf)

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and the highest value, in the unit where there is one: the file may hold counts, as EDF does."""
        q = self.quantity
        if q.in_file and q.unit and self.unit:
            return (self.low - q.zero) * q.scale, (self.high - q.zero) * q.scale
        return self.low, self.high

    @property
    def constant(self) -> bool:
        return self.low == self.high

    @property
    def far(self) -> dict[float, int]:
        """Extreme values far from all others, and in how many rows each is: no measurements, but signs for "none"?"""
        count = self.rows - self.missing
        found = {}
        for (value, at), (beside, _) in (ends.items() for ends in self.ends.values() if len(ends) == 2):
            deviation = np.sqrt(max(self.square / count - (self.total / count) ** 2, 0.0))
            share = at / count
            if at > 1 and abs(value - beside) > FAR * max(deviation * (1 - share), 1e-12) * (1 + share):
                found[value] = at
        return found

    def remarks(self) -> list[str]:
        """Sentences about what is odd, with the remedy."""
        found = []
        count = self.rows - self.missing
        if not count:
            return [f"{self.name} has no value at all: leave it out of [data] channels"]
        if self.constant:
            return [f"{self.name} is always {self.low:g}: leave it out of [data] channels"]
        if self.alone > OFTEN * self.rows:
            found.append(
                f"{self.name} has no value in {self.missing} rows, {self.missing / self.rows:.1%}: "
                f"leaving it out of [data] channels would bring back {self.alone} rows"
            )
        if self.still:
            longest, more = self.still[0], self.still[1:]
            found.append(
                f"{self.name} stands still at {longest.value:g} for {longest.rows} rows of {longest.where}"
                + "".join(f"; at {s.value:g} for {s.rows} rows of {s.where}" for s in more[:2])
                + (f"; and {counted(len(more) - 2, 'more time')}" if len(more) > 2 else "")
                + ": is the sensor dead there? Then leave the channel out of [data] channels, or such rows or files "
                "with [data] where" + ("; it is what is forecast, so the score counts those rows" * self.target)
            )
        for (value, at), (_, rows) in (ends.items() for ends in self.ends.values()):
            share = at / count
            if value in self.far:
                found.append(
                    f"{self.name} is {value:g} in {at} rows, far from all others: if that means none, "
                    f"write [data] missing = [{value:g}]"
                )
            elif value in (s.value for s in self.still):
                continue
            elif share > OFTEN and at > PILE * rows and not (self.whole and self.high - self.low < 32):
                found.append(f"{self.name} is at a limit, {value:g}, in {share:.1%} of the rows: does the sensor clip?")
        if self.clipped:
            found.append(f"{self.name}: {self.clipped} samples are beyond int16 at this scale, and clipped")
        return found


@dataclass
class Report:
    """What happened, by kind and file; filled by load.py."""

    files: int = 0
    rows: int = 0
    places: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that do not match `path`
    empty: list[str] = field(default_factory=list)
    events: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    channels: list[ChannelReport] = field(default_factory=list)
    dt: float = 0.0
    gap: float = 0.0  # [data] gap
    none: tuple[float, ...] = ()  # [data] missing
    gaps: dict[str, list[float]] = field(default_factory=dict)  # s without rows, of each that ends a recording
    alike: tuple[str, str] | None = None  # label and group, if each class is one group and each group one class
    splits: str = ""  # how the test part was chosen
    # Of each recording, for a picture of the time: file, label, start in s, length in s.
    spans: list[tuple[str, int, float, float]] = field(default_factory=list)

    def saw(self, what: str, count: int, place: str) -> None:
        if count:
            self.events[what][place] += count

    def take(self, missing: Missing, channels: list[ChannelReport], place: str) -> None:
        """Take what is missing in a file into account."""
        if missing.gaps:
            self.gaps[place] = missing.gaps
        for k, channel in enumerate(channels):
            channel.held += missing.held[k]
            channel.alone += missing.alone[k]

    def of_gaps(self) -> str:
        """A sentence about the times without rows; "" if there are none."""
        if not self.gaps:
            return ""
        longest, place = max((max(gaps), place) for place, gaps in self.gaps.items())
        total = sum(map(sum, self.gaps.values()))
        count = sum(map(len, self.gaps.values()))
        least = f"{self.gap:g} s" if self.gap else "one missing row"
        several = f"{shown(total)} s in all, the longest " * (count > 1)
        found = f"{counted(count, 'gap')} of more than {least}: {several}{shown(longest)} s in {place}"
        return f"{found}; {'each' if count > 1 else 'it'} ends a recording. [data] gap = S bridges up to S s"

    def of_missing(self) -> str:
        """A sentence about the values that are missing in rows that are there; "" if there are none."""
        some = [f"{c.name} {c.missing} ({c.missing / c.rows:.1%})" for c in self.channels if c.missing]
        if not some:
            return ""
        signs = "".join(f", {value:.9g}" for value in self.none)
        names = ", ".join(some[:FEWEST]) + (f" and {len(some) - FEWEST} more channels" if len(some) > FEWEST else "")
        found = f"no value (empty, no number, infinite{signs}): {names}"
        if held := sum(c.held for c in self.channels):
            found += f"; {held} held at the channel's last one, as lnp run does"
        if lost := self.events[LOST].total():
            ends = self.events[ENDS].total()
            so = f", which ends {counted(ends, 'recording')}: [data] gap = S holds for up to S s" if ends else ""
            found += f"; {counted(lost, 'row')} left out, where none came for longer{so}"
        return found

    def remarks(self) -> list[str]:
        """A sentence for each thing that was changed, left out or is odd."""
        found = list(filter(None, [self.of_gaps(), self.of_missing()]))
        if self.alike:
            label, group = self.alike
            found.append(
                f"each {label} is one {group} and each {group} one {label}: no score can tell one from the other. "
                "Choose another [data] group, or leave it out"
            )
        if self.others:
            found.append(
                f"{counted(len(self.others), 'file')} not of the form [data] path, such as {self.others[0]}: left out"
            )
        if self.empty:
            found.append(f"{counted(len(self.empty), 'file')} without rows, such as {self.empty[0]}: left out")
        for what, by_file in self.events.items():
            if what in (LOST, ENDS):
                continue
            worst, most = by_file.most_common(1)[0]
            where = f", {most} of them in {worst}" if len(by_file) > 1 and worst else f" in {worst}" if worst else ""
            found.append(f"{what}: {by_file.total()}{where}{_THEN.get(what, '')}")
        return found + [remark for channel in self.channels for remark in channel.remarks()]


_THEN = {
    "lines that are no rows": "; passed over",
    "lines that are too long": "; passed over",
    "rows without a time": "; left out",
    "rows without a label": "; left out",
    "rows without a group": "; left out",
    "rows that [data] where leaves out": "",
    "rows out of order": "; sorted by time",
    "rows with a time that occurs twice": "; the first of each kept",
    "rows with a coarse time": "; spread evenly",
    "restarts of the clock": "; each begins a recording",
    "files with irregular times": "; resampled at even steps",
    "rows resampled": "; linearly, after a mean where the rate falls",
}


_UNITS = {"minutes": 1.0, "hours": 60.0, "days": 1440.0}  # each from FEWEST of it
FEWEST = 10


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def unit_of(minutes: float) -> tuple[str, float]:
    """The unit in which so long a time is readable, and how many of it a minute has."""
    found = [(name, 1 / size) for name, size in _UNITS.items() if minutes >= FEWEST * size]
    return found[-1] if found else ("minutes", 1.0)


@dataclass(frozen=True)
class Short:
    """What a window leaves of the recordings."""

    recordings: int  # too short
    of: int
    classes: tuple[str, ...]  # that lose all their windows in the training or the test part


def short(dataset: Dataset, samples: int) -> Short:
    """The recordings shorter than a window of so many samples, and the classes that vanish with them."""
    ahead = max(dataset.series.horizon, dataset.series.free_run) if dataset.series else 0
    long = np.array([len(a) >= samples + ahead for a in dataset.recordings])
    test = np.isin(dataset.groups, dataset.held_out)
    gone = {
        dataset.classes[k]
        for part in (test, ~test)
        for k in set(dataset.labels[part].tolist()) - set(dataset.labels[part & long].tolist())
        if dataset.classes
    }
    return Short(int((~long).sum()), len(long), tuple(sorted(gone)))


def minutes(dataset: Dataset) -> NDArray[np.float64]:
    """Minutes of each group (row) and class (column; one of a series)."""
    found = np.zeros((len(dataset.group_titles), max(1, len(dataset.classes))))
    np.add.at(found, (dataset.groups, dataset.labels), [len(a) * dataset.dt / 60 for a in dataset.recordings])
    return found
