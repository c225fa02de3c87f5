"""From the rows of a file to recordings of equal steps: order, duplicates, gaps, labels, rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError

RESTART = 100  # steps: a clock that goes back further was started again, and a new recording begins
FEW = 0.01  # of the rows: with more restarts the rows are in no order, and are sorted
JITTER = 0.5  # of a step: what lies within is a regular step
REGULAR = 0.8  # share of regular steps below which the times themselves are used, not their order
SAME_RATE = 0.02  # rates that differ less are the same; a crystal is better, a busy phone is not
LEFT_OUT = -2  # the label of rows that [data] where leaves out: recordings end there
ENOUGH = 1_000_000  # rows that the usual step is taken from
BRIDGED = 2.5  # steps: one missing row is interpolated, more end the recording; [data] gap changes it
MAX_VALUES = 2**28  # a gigabyte of float32
LOST, ENDS = "rows without a value of each channel", "recordings that end where a value is missing for long"
HELD = 10  # samples in a row without a value, for which a channel's last one stands; [data] gap changes it


@dataclass(frozen=True)
class Rows:
    """The rows of one file; t, label and group [T], x float32 [T, C]. t is None if the file has no clock."""

    t: NDArray[np.float64] | None
    x: NDArray[np.float32]
    label: NDArray[np.int16]  # -1: none; LEFT_OUT
    group: NDArray[np.int16]

    def __getitem__(self, at) -> Rows:
        return Rows(None if self.t is None else self.t[at], self.x[at], self.label[at], self.group[at])

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Recording:
    x: NDArray[np.float32]  # [T, C]
    label: int
    group: int
    start: float  # s, since 1970 if absolute; else within the file
    end: float  # s, of the last row
    absolute: bool
    file: int
    # The rows without a label [T, C], mostly none, since the recording before in the list, which this one
    # continues; None if it continues none.
    lead: NDArray[np.float32] | None = None


@dataclass
class Missing:
    """What is missing in a file. most : samples in a row that each channel is held for; filled by recordings()"""

    most: Sequence[int]
    gaps: list[float] = field(default_factory=list)  # s without rows, of each that ends a recording
    held: Counter[int] = field(default_factory=Counter)  # values of each channel that its last one stands for
    alone: Counter[int] = field(default_factory=Counter)  # rows that only this channel loses


def too_many(what: str) -> DataError:
    """The error for samples that would not fit into memory, most of them between the rows of the files."""
    return DataError(what, "check [data] time, and lower gap or rate")


def step_of(t: NDArray[np.float64]) -> float:
    """The usual step of times, s: the mean of those within half of the median; 0 if there is none.

    Milliseconds round 33.3 to 33: the median alone would be wrong by a hundredth.
    """
    some = t[:ENOUGH]
    steps = np.diff(some[np.isfinite(some)])
    steps = steps[steps > 0]
    if not len(steps):
        return 0.0
    middle = float(np.median(steps))
    near = steps[np.abs(steps - middle) <= JITTER * middle]
    return float(near.mean()) if len(near) else middle


def ordered(rows: Rows, seen: Counter) -> Iterator[Rows]:
    """Pieces of a file whose times rise, without duplicates. Counts in `seen` what was done.

    Rows of one group lie side by side. A clock of coarse stamps, such as whole seconds at 25 Hz, is spread evenly.
    """
    for group in np.unique(rows.group):
        mine = rows[rows.group == group] if (rows.group != group).any() else rows
        if mine.t is None:
            yield mine
            continue
        if none := int(np.isnan(mine.t).sum()):
            seen["rows without a time"] += none
            mine = mine[~np.isnan(mine.t)]
        if len(mine):
            yield from _pieces(mine, seen)


def _pieces(rows: Rows, seen: Counter) -> Iterator[Rows]:
    assert rows.t is not None
    step = step_of(rows.t)
    steps = np.diff(rows.t)
    back = np.flatnonzero(steps < -RESTART * step) + 1
    if len(back) > max(1, FEW * len(rows)):
        back = back[:0]
    if len(back):
        seen["restarts of the clock"] += len(back)
    for part in _between(back, len(rows)):
        piece = rows[part]
        assert piece.t is not None
        if wrong := int((np.diff(piece.t) < 0).sum()):
            seen["rows out of order"] += wrong
            piece = piece[np.argsort(piece.t, kind="stable")]
        assert piece.t is not None
        piece = replace(piece, t=_together(piece.t))
        assert piece.t is not None
        same = np.diff(piece.t) == 0
        if len(same) and same.mean() > 0.5:
            seen["rows with a coarse time"] += int(same.sum())
            piece = replace(piece, t=_spread(piece.t))
        elif same.any():
            seen["rows with a time that occurs twice"] += int(same.sum())
            piece = piece[np.concatenate([[True], ~same])]
        yield piece


def _together(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of rows that a radio sends in bursts: all rows of a burst get the time of its first."""
    steps = np.diff(t[:ENOUGH])
    pauses = steps > 5 * np.median(steps) if len(steps) else np.zeros(0, bool)
    if pauses.sum() < 5 or not 0.05 < pauses.mean() < 0.5:
        return t
    usual = np.median(steps[pauses])
    if np.mean(np.abs(steps[pauses] - usual) < JITTER * usual) < REGULAR:
        return t  # gaps, not the rhythm of a radio
    steps = np.diff(t)
    pauses = steps > 0.5 * usual
    first = np.concatenate([[0], np.flatnonzero(pauses) + 1])
    return np.repeat(t[first], np.diff(np.append(first, len(t))))


def _spread(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times that many rows share, spread evenly to the next; a pause of more than five stamps stays one."""
    stamps, first, counts = np.unique(t, return_index=True, return_counts=True)
    if len(stamps) < 2:
        raise DataError(f"all {len(t)} rows have one time", "omit [data] time, and say the rate")
    ticks = np.diff(stamps)
    tick = float(np.median(ticks))
    usual = float(np.median(counts))
    own = np.append(np.where(ticks < 5 * tick, ticks, tick), tick)
    # The first and the last stamp may be cut: fewer rows than usual keep the usual step.
    step = own / np.where(np.arange(len(stamps)) % (len(stamps) - 1) == 0, np.maximum(counts, usual), counts)
    begin = stamps.copy()
    begin[0] += step[0] * max(0.0, usual - counts[0])
    return np.repeat(begin, counts) + (np.arange(len(t)) - np.repeat(first, counts)) * np.repeat(step, counts)


Cut = tuple[int, float, float, NDArray[np.float32], NDArray[np.float32] | None]


def recordings(rows: Rows, dt: float, gap: float, seen: Counter, missing: Missing) -> Iterator[Cut]:
    """Yield label, start, end, samples and lead (see Recording) of each recording in a piece, every dt s.

    gap : s without rows that are bridged by a straight line, and without a value that are held; 0: BRIDGED
        steps, and missing.most samples

    Where a channel has no value (NaN), its last one is held, as lnp run does; for a longer time its rows count as
    missing. A recording ends where the label changes. Rows with a regular clock are samples as they are: their
    times only say how many are missing. If the clock's step is not dt, or not regular, the samples are
    interpolated linearly, after a mean over dt where that is the longer step, so that faster vibrations do not
    appear as slow ones.
    """
    own = dt if rows.t is None else step_of(rows.t) or dt
    if rows.t is None:
        at = np.arange(len(rows), dtype=np.float64)
        regular = True
    else:
        at = np.zeros(len(rows.t))
        steps = np.diff(rows.t)
        steps /= own
        regular = not len(steps) or float(np.mean(np.abs(steps[:ENOUGH] - 1) <= JITTER)) >= REGULAR
        if regular:
            np.maximum(np.rint(steps, out=steps), 1.0, out=steps)
            np.cumsum(steps, out=at[1:])
            del steps
        else:
            at = (rows.t - rows.t[0]) / own
            seen["files with irregular times"] += 1
    bridged = max(gap / own, 1.5) if gap else BRIDGED if regular else BRIDGED * dt / own
    apart = np.diff(at)
    gaps = np.flatnonzero(apart > bridged)
    missing.gaps += ((apart[gaps] - 1) * own).tolist()
    rows = replace(rows, x=_held(rows.x, at, gaps, [bridged - 1] * rows.x.shape[1] if gap else missing.most, missing))
    none = np.isnan(rows.x)
    whole = ~none.any(1)
    if lost := int((~whole).sum()):
        seen[LOST] += lost
        missing.alone.update(np.nonzero(none[none.sum(1) == 1])[1].tolist())
    kept, at = (rows, at) if not lost else (rows[whole], at[whole])
    if not len(kept):
        return
    apart = np.diff(at)
    there = np.flatnonzero(whole)
    cuts = np.flatnonzero(apart > bridged)
    if ends := int((np.searchsorted(gaps, there[cuts]) == np.searchsorted(gaps, there[cuts + 1])).sum()):
        seen[ENDS] += ends
    edges = np.flatnonzero((apart > bridged) | (np.diff(kept.label) != 0)) + 1
    lead = None
    for part in _between(edges, len(kept)):
        label = int(kept.label[part.start])
        if label == LEFT_OUT or (part.start and apart[part.start - 1] > bridged):
            lead = None
        if label < 0:
            what = "rows that [data] where leaves out" if label == LEFT_OUT else "rows without a label"
            seen[what] += part.stop - part.start
            if lead is None:
                continue
        x, place = kept.x[part], at[part]
        samples = 1 + int((place[-1] - place[0]) * own / dt)
        if samples * x.shape[1] > MAX_VALUES:
            raise too_many(f"a recording would have {samples} samples")
        if label >= 0 and regular and place[-1] - place[0] + 1 > len(x):
            seen["rows filled by a straight line"] += int(place[-1] - place[0] + 1 - len(x))
        start, end = (0.0, 0.0) if kept.t is None else (float(kept.t[k]) for k in (part.start, part.stop - 1))
        if regular and abs(own / dt - 1) <= SAME_RATE:
            grid = np.arange(place[0], place[-1] + 1)
            even = x if len(grid) == len(x) else _line(grid, place, x)
        else:
            seen["rows resampled"] += len(x) if label >= 0 else 0
            even = _resampled(place * own, x, dt, own)
        if label < 0:
            lead = even
            continue
        yield label, start, end, even, lead
        lead = even[:0]


def _held(
    x: NDArray[np.float32], at: NDArray[np.float64], gaps: NDArray[np.intp], most: Sequence[float], missing: Missing
) -> NDArray[np.float32]:
    """x in which a channel's last value stands where it has none (NaN) for at most so many steps.

    at : of each row, in steps;  gaps : rows before a gap, over which no value is held, nor before the first row
        after it that has a value of each channel
    """
    none: NDArray[np.bool_] = np.isnan(x)
    if not none.any():
        return x
    x, whole = x.copy(), np.cumsum(~none.any(1))  # rows so far that have a value of each channel
    ends = whole == np.repeat([0, *whole[gaps]], np.diff([0, *(gaps + 1), len(x)]))  # none since the gap
    ends[gaps] = True
    for c, column in enumerate(x.T):
        gone = np.flatnonzero(np.isnan(column))
        new = np.concatenate([[True], (np.diff(gone) > 1) | ends[gone[:-1]]]) if len(gone) else np.zeros(0, bool)
        first, last = gone[new], gone[np.append(new[1:], True)] if len(gone) else gone
        short = (first > 0) & ~ends[first - 1] & (at[last] - at[first - 1] <= most[c])
        before = np.repeat(np.where(short, first - 1, first), last - first + 1)
        column[gone] = column[before]
        missing.held[c] += int((last - first + 1)[short].sum())
    return x


def _between(edges: NDArray[np.intp], size: int) -> list[slice]:
    """The parts of `size` rows between edges, as slices: these copy nothing."""
    bounds = [0, *edges.tolist(), size]
    return [slice(a, b) for a, b in pairwise(bounds)]


def _resampled(t: NDArray[np.float64], x: NDArray[np.float32], dt: float, own: float) -> NDArray[np.float32]:
    grid = t[0] + dt * np.arange(int((t[-1] - t[0]) / dt + 1e-6) + 1)
    if dt < 1.5 * own:
        return _line(grid, t, x)
    # The mean of a straight line through the samples over dt around each step, from its integral.
    total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(
        np.diff(t)[:, None] * (x[1:].astype(np.float64) + x[:-1]) / 2, axis=0)])  # fmt: skip
    low, high = np.maximum(grid - dt / 2, t[0]), np.minimum(grid + dt / 2, t[-1])
    return ((_line(high, t, total) - _line(low, t, total)) / np.maximum(high - low, 1e-12)[:, None]).astype(np.float32)


def _line(grid: NDArray, at: NDArray, x: NDArray) -> NDArray:
    found = np.stack([np.interp(grid, at, column) for column in x.T], axis=1)
    return found.astype(x.dtype)


def joined(found: list[Recording], dt: float) -> list[Recording]:
    """The recordings, those of the same group and label as one where dated files continue each other.

    Where the label changes from one file to the next, the recording of the next continues that before it.
    """

    def goes_on(before: Recording, after: Recording) -> bool:
        dated = before.absolute and after.absolute and before.file != after.file
        return dated and before.group == after.group and abs(after.start - before.end - dt) <= JITTER * dt

    dated = sorted((r for r in found if r.absolute), key=lambda r: (r.group, r.start))
    chains: list[list[Recording]] = []
    for one in dated:
        last = chains[-1][-1] if chains else None
        if last and last.label == one.label and goes_on(last, one):
            chains[-1].append(one)
        else:
            chains.append([one])
    chains += [[r] for r in found if not r.absolute]
    order = {id(r): k for k, r in enumerate(found)}
    chains.sort(key=lambda c: order[id(c[0])])
    kept = list[Recording]()
    for k, chain in enumerate(chains):
        first, last = chain[0], chains[k - 1][-1] if k else None
        lead = first.lead if last and order[id(first)] == order[id(last)] + 1 else None
        if lead is None and last and goes_on(last, first):
            lead = first.x[:0]
        x = first.x if len(chain) == 1 else np.concatenate([r.x for r in chain])
        kept.append(replace(first, x=x, end=chain[-1].end, lead=lead))
    return kept
