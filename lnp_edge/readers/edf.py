"""EDF and BDF (Kemp et al. 1992, doi.org/10.1016/0013-4694(92)90009-7; edfplus.info; biosemi.com).

A signal is a column, at the rate of the fastest one: slower ones hold their value. A signal of at most 16 bits gives
the counts as they were recorded, with unit, zero and scale; one of 24 bits gives physical values. Annotations with a
duration are the column "annotation". In a recording with breaks (EDF+D), the column "time" says where they are.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError
from lnp_edge.readers import (
    BLOCK_ROWS,
    MAX_COLUMNS,
    NUMBER,
    TEXT,
    Block,
    Column,
    Empty,
    Table,
    damaged,
    finite_or_nan,
    named_columns,
)

ENDINGS = (".edf", ".bdf")
MAX_NOTES = 2**18  # annotations of a file: two days of heartbeats
MAX_NOTE_BYTES = 2**26  # with what no annotation fills
FIXED, PER_SIGNAL = 256, 256  # bytes of the header
# Of each signal: the fields one after the other, all signals of each; then 32 reserved bytes.
FIELDS = {
    "label": 16, "transducer": 80, "unit": 8, "physical_min": 8, "physical_max": 8, "digital_min": 8, "digital_max": 8,
    "filter": 80, "samples": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Signal:
    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    samples: int  # in a record
    first: int  # byte in a record

    @property
    def gain(self) -> float:
        """Physical units a count; 1 if the file does not say."""
        low, high = self.digital
        found = (self.physical[1] - self.physical[0]) / (high - low) if low != high else 0.0
        return found if 1e-30 <= abs(found) <= 1e30 else 1.0

    @property
    def zero(self) -> float:
        """The count of the physical value 0; 0 if the file does not say."""
        found = self.digital[0] - self.physical[0] / self.gain
        return found if abs(found) <= 1e12 and self.physical[0] != self.physical[1] else 0.0

    @property
    def counts(self) -> bool:
        """Whether it fits int16."""
        return min(self.digital) >= -32768 and max(self.digital) <= 32767

    def column(self, column: Column) -> Column:
        if not self.counts:
            return column
        up = self.gain > 0  # a falling signal is ~count, which fits int16 too
        return replace(column, zero=self.zero if up else -1 - self.zero, scale=abs(self.gain))

    def values(self, digital: NDArray[np.int32]) -> NDArray:
        """Counts, or physical values where these do not fit int16."""
        if self.counts:
            digital = np.clip(digital, -32768, 32767)  # of 24 bits, some may be beyond what the file declares
            return digital if self.gain > 0 else ~digital
        return (digital - self.zero) * self.gain


def open_table(path: Path) -> Table:
    try:
        return _open(path)
    except (ValueError, OverflowError, MemoryError, OSError) as e:
        raise damaged(path, e) from None


def _open(path: Path) -> Table:
    with open(path, "rb") as file:
        fixed = file.read(FIXED)
        wide = fixed[:8] == b"\xffBIOSEMI"
        if len(fixed) < FIXED or not (wide or fixed[:8].strip() == b"0"):
            raise ValueError("it does not begin as EDF or BDF does")
        count, records = _whole(fixed[252:256]), _whole(fixed[236:244])
        if not 0 < count <= MAX_COLUMNS:
            raise ValueError(f"it has {count} signals")
        signals = _signals(file.read(PER_SIGNAL * count), count, 3 if wide else 2)
        seconds = float(_text(fixed[244:252]))
        begin, size = FIXED + PER_SIGNAL * count, sum(s.samples for s in signals) * (3 if wide else 2)
        there = (path.stat().st_size - begin) // size
    missing = max(0, records - there)
    records = min(records, there) if records >= 0 else there  # -1: the recorder was not stopped
    notes = [s for s in signals if s.label == ("BDF" if wide else "EDF") + " Annotations"]
    signals = [s for s in signals if s not in notes]
    if not records or not signals:
        raise Empty(f"{path} has no samples", "remove it")
    fastest = max(s.samples for s in signals)
    if not (0 < seconds < math.inf and 1e-9 <= fastest / seconds <= 1e12):
        raise ValueError(f"a record of {fastest} samples lasts {seconds:g} s")
    raw = np.memmap(path, np.uint8, "r", begin, (records, size))
    starts, found = _annotations(path, raw, notes, 3 if wide else 2)
    found = [note for note in found if note[1] > 0 and note[2]]
    broken = fixed[192:197] in (b"EDF+D", b"BDF+D")
    if broken and (len(starts) != records or (np.diff(starts) < 0).any()):
        raise ValueError("its records have breaks, but not each says when it begins")
    columns = named_columns([s.label for s in signals], [NUMBER] * len(signals), [s.unit for s in signals])
    columns = [s.column(c) for s, c in zip(signals, columns, strict=True)]
    more = [Column("time", "s")] * broken + [Column("annotation", "", TEXT)] * bool(found)
    taken = {column.name for column in columns}
    if any(column.name in taken for column in more):
        raise ValueError("a signal is called time or annotation")
    first = starts[0] if starts else 0.0
    begins = np.array(starts) if broken else first + seconds * np.arange(records, dtype=np.float64)
    named = dict(zip([c.name for c in columns], signals, strict=True))
    rate = 0.0 if broken else fastest / seconds
    return _Edf(path, [*columns, *more], rate, named, raw, 3 if wide else 2, begins, seconds, found, missing)


def _signals(header: bytes, count: int, width: int) -> list[Signal]:
    if len(header) < PER_SIGNAL * count:
        raise ValueError(f"its header of {count} signals is cut off")
    fields: dict[str, list[str]] = {}
    at = first = 0
    for name, size in FIELDS.items():
        fields[name] = [_text(header[at + k * size : at + (k + 1) * size]) for k in range(count)]
        at += count * size
    found = []
    for k in range(count):
        samples = int(fields["samples"][k])
        physical = float(fields["physical_min"][k]), float(fields["physical_max"][k])
        if samples < 1 or not all(map(math.isfinite, physical)):
            raise ValueError(f"signal {k + 1} has {samples} samples a record, from {physical[0]:g} to {physical[1]:g}")
        digital = int(fields["digital_min"][k]), int(fields["digital_max"][k])
        found.append(Signal(fields["label"][k], fields["unit"][k], physical, digital, samples, first))
        first += samples * width
    return found


def _text(field: bytes) -> str:
    return field.decode("latin-1").strip(" \0")


def _whole(field: bytes) -> int:
    return int(_text(field))


def _annotations(
    path: Path, raw: NDArray[np.uint8], notes: Sequence[Signal], width: int
) -> tuple[list[float], list[tuple[float, float, str]]]:
    """The begin of each record, s, if it says so; and (onset, duration, text). An annotation is

    onset [0x15 duration] 0x14 text 0x14 [text 0x14 ...] 0x00

    and the first of a record, without a text, is the record's own begin.
    """
    if sum(s.samples for s in notes) * width * len(raw) > MAX_NOTE_BYTES:
        raise DataError(f"{path} has more than {MAX_NOTE_BYTES} bytes of annotations", "write several files")
    starts, found = list[float](), list[tuple[float, float, str]]()
    room = MAX_NOTES + len(raw)  # each record has one that says when it begins
    for signal in notes:
        for record in raw[:, signal.first : signal.first + signal.samples * width]:
            for part in re.finditer(rb"[^\0]+", record.tobytes()):
                room -= max(1, part[0].count(b"\x14") - 1)
                if room < 0:
                    raise DataError(f"{path} has more than {MAX_NOTES} annotations", "write several files")
                when, *texts = part[0].split(b"\x14")
                onset, _, duration = when.partition(b"\x15")
                try:
                    begin, length = float(onset), float(duration or 0)
                except ValueError:
                    continue
                if part.start() == 0 and signal is notes[0] and math.isfinite(begin):
                    starts.append(begin)
                text = " ".join(t.decode("utf-8", "replace").strip() for t in texts if t)
                if text and math.isfinite(begin + length):
                    found.append((begin, length, text))
    return starts, found


class _Edf(Table):
    def __init__(
        self,
        path: Path,
        columns: Sequence[Column],
        rate: float,
        signals: dict[str, Signal],
        raw: NDArray[np.uint8],  # [records, bytes]
        width: int,  # bytes of a sample
        starts: NDArray[np.float64],  # s, of each record
        seconds: float,  # of a record
        notes: Sequence[tuple[float, float, str]],
        missing: int,  # records, in a file that was cut off
    ):
        super().__init__(path, columns, True, rate)
        self.signals, self.raw, self.width, self.starts, self.seconds = signals, raw, width, starts, seconds
        self.fastest = max(s.samples for s in signals.values())  # samples of a record
        self.expected, self.missing = len(raw) * self.fastest, missing * self.fastest
        self.changes, self.texts = _painted(notes)

    def blocks(self, numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        self.rows, total = 0, len(self.raw) * self.fastest
        if self.missing:
            self.passed_over["missing at the end"] = self.missing
        most = max(1024, BLOCK_ROWS * 16 // max(16, len(numbers)))
        for k in range(0, total, most):
            record, within = np.divmod(np.arange(k, min(total, k + most)), self.fastest)
            t = self.starts[record] + within * (self.seconds / self.fastest)
            self.rows += len(t)
            yield {name: self._column(name, record, within, t, name in numbers) for name in (*numbers, *others)}

    def _column(self, name: str, record: NDArray, within: NDArray, t: NDArray, number: bool) -> NDArray:
        if name == "annotation":
            found = self.texts[np.searchsorted(self.changes, t, "right") - 1]
        elif name == "time":
            found = t
        else:
            signal = self.signals[name]
            at = signal.first + within * signal.samples // self.fastest * self.width
            found = signal.values(_integers([self.raw[record, at + byte] for byte in range(self.width)]))
        return finite_or_nan(found) if number else found.astype(object)


def _painted(notes: Sequence[tuple[float, float, str]]) -> tuple[NDArray[np.float64], NDArray]:
    """The times, s, at which the annotation changes, from -inf on, and the text from each on; "" without one.

    Where annotations overlap, it is that with the latest onset; of those with one onset, the shortest.
    """
    notes = sorted(notes, key=lambda note: (note[0], -note[1], note[2]))
    edges = {edge for begin, length, _ in notes for edge in (begin, begin + length)}
    changes, texts = [-math.inf, *sorted(edges)], [""]
    waiting, under_way = 0, list[tuple[int, float]]()  # heap of (-number, end): the latest is on top
    for t in changes[1:]:
        while waiting < len(notes) and notes[waiting][0] <= t:
            heapq.heappush(under_way, (-waiting, notes[waiting][0] + notes[waiting][1]))
            waiting += 1
        while under_way and under_way[0][1] <= t:
            heapq.heappop(under_way)
        texts.append(notes[-under_way[0][0]][2] if under_way else "")
    return np.array(changes), np.array(texts, object)


def _integers(low_to_high: Sequence[NDArray[np.uint8]]) -> NDArray[np.int32]:
    """Signed integers of two or three bytes."""
    *low, high = (part.astype(np.int32) for part in low_to_high)
    found = (high ^ 128) - 128  # the sign
    for part in reversed(low):
        found = found * 256 + part
    return found
