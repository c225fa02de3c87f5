"""Reads the files that [data] describes into a data set.

A value is kept in float32 relative to its channel's first value, so that a pressure of 101,325 Pa
keeps its last digits. Memory is taken for the numbers, not for the text, and MAX_VALUES bounds it: a CSV file
of 1.08 GB, 30 million rows of a clock and three channels, takes 1.1 GB.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge import readers
from lnp_edge.base.console import ascii_only
from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.base.install import require
from lnp_edge.config import ChannelSettings, DataSettings
from lnp_edge.readers import NUMBER, Column, Table
from lnp_edge.recordings import continuous, counts, cut, held
from lnp_edge.recordings.cut import MAX_VALUES, Recording, Rows
from lnp_edge.recordings.find import File, find, natural
from lnp_edge.recordings.report import ChannelReport, Report
from lnp_edge.recordings.still import stretches
from lnp_edge.recordings.times import Clock
from lnp_edge.spec.model import MAX_DT, MAX_OUT, MIN_DT
from lnp_edge.spec.quantity import Quantity, is_missing
from lnp_edge.task.dataset import Dataset, Series

MAX_GROUPS = 10_000
ASKED = 12  # files that tell the rate
NO_GROUP = "all"
NOT_OF_FILES = ("window", "hop", "limit", "encoder", "front", "frame", "params")  # settings that change nothing here
_last: dict[str, Any] = {}


@dataclass
class _Reading:
    """What is known of the data set so far."""

    settings: DataSettings
    channels: tuple[str, ...] = ()
    columns: list[Column] = field(default_factory=list)  # of the channels, in the first file; with a later one's unit
    origin: NDArray[np.float64] | None = None
    labels: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    channel: list[ChannelReport] = field(default_factory=list)
    report: Report = field(default_factory=Report)
    values: int = 0  # in rows
    sampled: int = 0  # in recordings


def load(settings: DataSettings) -> tuple[Dataset, Report]:
    """The data set, and the report of what was found and left out.

    Raises ConfigError if the settings do not fit the files, and DataError for files that cannot be read.
    """
    require("pandas")
    if bool(settings.label) == bool(settings.target):
        raise ConfigError(
            "[data] needs a label or a target, not both" if settings.label else "[data] says neither label nor target",
            'write label = "a column or a name in path" to classify, or target = "a channel" to forecast it',
        )
    files, others = find(settings)
    # Commands ask several times; a file that changes meanwhile is read again.
    same = {key: value for key, value in asdict(settings).items() if key not in NOT_OF_FILES}
    stats = [(file.place, stat.st_size, stat.st_mtime_ns) for file in files for stat in [file.path.stat()]]
    key = json.dumps([same, stats])
    if _last.get("key") != key:
        _last.clear()
        _last.update(key=key, found=_load(settings, files, others))
    return _last["found"]


def _load(settings: DataSettings, files: list[File], others: list[str]) -> tuple[Dataset, Report]:
    reading = _Reading(settings)
    reading.report.files, reading.report.others = len(files), others
    reading.report.places = [file.place for file in files]
    dt = _step(files, settings)
    found = list[Recording]()
    for k, file in enumerate(files):
        found += _recordings(file, k, reading, dt)
    found = cut.joined(found, dt)
    if not found:
        raise DataError(f"no rows are left of {len(files)} files", _remedy(reading))
    return _dataset(reading, found, dt)


def _recordings(file: File, number: int, reading: _Reading, dt: float) -> list[Recording]:
    """The recordings of a file; [] if it is empty, which the report tells."""
    found, seen = list[Recording](), Counter[str]()
    try:
        rows, clock = _rows(file, reading)
    except readers.Empty:
        reading.report.empty.append(file.place)
        return []
    begin, absolute = (clock.start, clock.absolute) if clock else (0.0, False)
    missing = cut.Missing([1 if name in reading.settings.target else cut.HELD for name in reading.channels])
    for piece in cut.ordered(rows, seen):
        for label, start, end, x, lead in cut.recordings(piece, dt, reading.settings.gap, seen, missing):
            place = int(piece.group[0]), begin + start, begin + end, absolute, number
            found.append(Recording(x, label, *place, lead))
            reading.sampled += x.size
            if reading.sampled > MAX_VALUES:
                raise cut.too_many(f"the recordings up to {file.place} have more than {MAX_VALUES} values")
    reading.report.take(missing, reading.channel, file.place)
    for what, count in seen.items():
        reading.report.saw(what, count, file.place)
    return found


def _remedy(reading: _Reading) -> str:
    if reading.settings.where:
        return f"[data] where keeps only {reading.settings.where}"
    worst = max(reading.channel, key=lambda c: c.missing, default=None)
    if worst and worst.missing:
        return f"{worst.name} has no value in {worst.missing} rows: leave it out of [data] channels"
    return "check [data] label, files and channels"


def step(settings: DataSettings) -> float:
    """s from one sample to the next, without reading all files."""
    return _step(find(settings)[0], settings)


def _step(files: list[File], settings: DataSettings) -> float:
    """s from one sample to the next: as [data] rate says, or as most of some files do, rounded to a plain number."""
    if settings.rate:
        if not MIN_DT <= 1.0 / settings.rate < MAX_DT:
            what = f"write the rows a second, above {1 / MAX_DT:g} and up to {1 / MIN_DT:g}"
            raise ConfigError(f"data.rate is {settings.rate:g} Hz", what)
        return 1.0 / settings.rate
    some = files[:: max(1, len(files) // ASKED)][:ASKED]
    steps = []
    for file in some:
        try:
            rows, _ = _rows(file, _Reading(settings), blocks=1)
            pieces = list(cut.ordered(rows, Counter()))
        except readers.Empty:
            continue
        longest = max(pieces, key=len, default=None)
        if longest is None:
            continue
        if longest.t is None:
            raise ConfigError(
                f"{file.place} has no [data] time and says no rate", "write rate = 50.0, in Hz, or time = a column"
            )
        steps += [cut.step_of(longest.t)]
    steps = [step for step in steps if step > 0]
    if not steps:
        raise DataError(f"no two times differ in {len(some)} files", "check [data] time, or omit it and say the rate")
    usual = float(np.median(steps))
    if not MIN_DT <= usual < MAX_DT:
        raise DataError(
            f"the times are {usual:.3g} s apart", "check [data] time and time_unit, or omit them and say the rate"
        )
    return _plain_step(usual)


def _plain_step(step: float) -> float:
    """A step within a hundredth of a whole number of Hz, or of a plain number of s, is that; else four digits."""
    for size, back in ((1 / step, True), (step, False)):
        for digits in (1, 2, 3):
            near = float(f"{size:.{digits}g}")
            if near >= 1 and near == int(near) and abs(near / size - 1) <= 0.01:
                return 1 / near if back else near
    return float(f"{step:.4g}")


@dataclass(frozen=True)
class _Wanted:
    """The columns of a file that the settings ask for."""

    channels: list[Column]
    clocks: list[Column]
    texts: dict[str, str]  # what the settings call label, group and where, and the names of their columns

    @property
    def numbers(self) -> list[str]:
        """Names of the columns to read as numbers: the channels, and a clock of one column that has numbers."""
        found = [c.name for c in self.channels]
        clock = [c.name for c in self.clocks if c.kind == NUMBER and len(self.clocks) == 1 and c.name not in found]
        return [*found, *clock]

    @property
    def others(self) -> list[str]:
        names = dict.fromkeys([*(c.name for c in self.clocks), *self.texts.values()])
        return [name for name in names if name not in self.numbers]


def _rows(file: File, reading: _Reading, blocks: int = 0) -> tuple[Rows, Clock | None]:
    """All rows of a file, or those of its first blocks, and its clock."""
    settings, report = reading.settings, reading.report
    table = readers.open_table(file.path)
    wanted = _wanted(table, file, reading)
    clock = None
    if wanted.clocks:
        clock = Clock(file.place, settings.time[0], settings.time_unit, wanted.clocks[0].unit)
    whole, count = Store(), len(wanted.channels)
    for number, block in enumerate(table.blocks(wanted.numbers, wanted.others)):
        whole.add(_of_block(block, wanted, clock, file, reading), table.expected)
        if reading.values + whole.size * count > MAX_VALUES:
            raise DataError(f"more than {MAX_VALUES} values in {count} channels", "choose fewer channels or files")
        if number + 1 == blocks:
            break
    if not whole.size:
        raise readers.Empty(f"{file.path} has no rows", "remove it")
    for what, lines in table.passed_over.items():
        report.saw("lines that are no rows" if what == "no row" else f"lines that are {what}", lines, file.place)
    report.rows += table.rows
    reading.values += whole.size * count
    rows = whole.rows()
    if not blocks:
        kept = rows.label != cut.LEFT_OUT
        _look_at_channels(reading, rows.x if kept.all() else rows.x[kept])
    rate = table.rate or settings.rate
    if clock or not rate:
        return rows, clock
    return rows if rate == settings.rate else replace(rows, t=np.arange(len(rows)) / rate), None


def _wanted(table: Table, file: File, reading: _Reading) -> _Wanted:
    """The columns to read; the first file's are those of the data set. Raises DataError for another unit."""
    settings = reading.settings
    as_named = _renamed(table, settings, file)
    if not reading.channels:
        _choose_channels(reading, table, as_named, file)
    inside = {column.name: column for column in table.columns}
    channels = [inside[_column(name, as_named, file, "channels")] for name in reading.channels]
    clocks = [inside[_column(name, as_named, file, "time")] for name in settings.time]
    if len(clocks) > 2:
        raise ConfigError(f"data.time has {len(clocks)} columns", "give one, or a date and a time of day")
    texts: dict[str, str] = {}
    for name in filter(None, (settings.label, settings.group, *settings.where)):
        if name not in file.says:
            nor = f", nor does path = {json.dumps(settings.path)} name it" if settings.path else ""
            texts[name] = _column(name, as_named, file, f"label, group or where{nor}", of_names=True)
    reading.columns = [counts.in_one_unit(*both, file.place) for both in zip(channels, reading.columns, strict=True)]
    return _Wanted(channels, clocks, texts)


def _of_block(block: readers.Block, wanted: _Wanted, clock: Clock | None, file: File, reading: _Reading) -> Rows:
    settings, size = reading.settings, len(next(iter(block.values())))
    keep = np.ones(size, bool)
    for name, allowed in settings.where.items():
        keep &= _is_one_of(block, wanted.texts, file, name, allowed, size)
    x = np.stack([block[own.name] for own in wanted.channels], axis=1)
    x[is_missing(x, settings.missing)] = np.nan
    for c, (own, first) in enumerate(zip(wanted.channels, reading.columns, strict=True)):
        if (first.zero, first.scale) != (own.zero, own.scale):
            x[:, c] = counts.rescaled(x[:, c], own, first)
    labels = _codes(block, wanted.texts, file, settings.label, reading.labels, MAX_OUT, size)
    return Rows(
        clock.seconds(_joined(block, [c.name for c in wanted.clocks])) if clock else None,
        _relative(reading, x, keep),
        np.where(keep, labels, cut.LEFT_OUT).astype(np.int16),
        _codes(block, wanted.texts, file, settings.group, reading.groups, MAX_GROUPS, size),
    )


class Store:
    """Rows that grow a block at a time, in arrays of the expected size: concatenating parts would hold all twice.

    The system gives memory to a page of an array when it is first written, so too large an array costs nothing.
    """

    def __init__(self) -> None:
        self.size = 0
        self._fields: dict[str, NDArray] = {}

    def add(self, rows: Rows, expected: int) -> None:
        needed = self.size + len(rows)
        for name in ("t", "x", "label", "group"):
            new = getattr(rows, name)
            if new is None:
                continue
            old = self._fields.get(name)
            if old is None or len(old) < needed:
                room = max(needed, min(expected, MAX_VALUES), len(old) if old is not None else 0) * 5 // 4
                grown = np.empty((room, *new.shape[1:]), new.dtype)
                if old is not None:
                    grown[: self.size] = old[: self.size]
                self._fields[name] = old = grown
            old[self.size : needed] = new
        self.size = needed

    def rows(self) -> Rows:
        found = {name: a[: self.size] for name, a in self._fields.items()}
        return Rows(found.get("t"), found["x"], found["label"], found["group"])


def _renamed(table: Table, settings: DataSettings, file: File) -> dict[str, str]:
    """The columns of a file by the name that the settings may call them."""
    names = table.names
    if not settings.columns or table.named:
        return {name: name for name in names}
    if len(settings.columns) != len(names):
        raise ConfigError(f"{file.place} has {len(names)} columns, data.columns {len(settings.columns)}", "name each")
    return dict(zip(settings.columns, names, strict=True))


def _choose_channels(reading: _Reading, table: Table, as_named: dict[str, str], file: File) -> None:
    settings = reading.settings
    taken = {readers.key(n) for n in (*settings.time, settings.label, settings.group, *settings.where) if n}
    inside = {column.name: column for column in table.columns}
    numbers = [n for n, own in as_named.items() if inside[own].kind == NUMBER and readers.key(n) not in taken]
    chosen = tuple(settings.channels) or tuple(numbers)
    if not chosen:
        raise DataError(f"{file.place} has no column of numbers", f"its columns: {_list(as_named)}")
    if len(set(chosen)) < len(chosen):
        raise ConfigError("data.channels names a channel twice", "name each once")
    for kind, names in (("target", settings.target), ("scale", settings.scale), ("vectors", sum(settings.vectors, ()))):
        for name in names:
            if name not in chosen:
                raise ConfigError(f"data.{kind} has {name[:40]!r}, which is no channel", f"channels: {_list(chosen)}")
    reading.channels = chosen
    reading.columns = [inside[_column(name, as_named, file, "channels")] for name in chosen]
    reading.channel = [ChannelReport(name) for name in chosen]
    reading.origin = np.full(len(chosen), np.nan)


def _column(name: str, as_named: dict[str, str], file: File, what: str, of_names: bool = False) -> str:
    """The column of a file that is called `name`; case and units do not count where the name itself is not there.

    of_names : whether the files' names might say it
    """
    if name in as_named:
        return as_named[name]
    found = [own for alias, own in as_named.items() if readers.key(alias) == readers.key(name)]
    if len(found) != 1:
        raise DataError(
            f"{file.place} has {'no' if not found else 'more than one'} column {name[:40]!r}, for [data] {what}",
            f"its columns: {_list(as_named)}"
            + ('; if the files\' names say it, write path = "{person}_{session}.csv"' if of_names else ""),
        )
    return found[0]


def _list(names: Sequence[str] | dict[str, str]) -> str:
    some = [ascii_only(name) for name in names]
    return ", ".join(some[:20]) + (f" and {len(some) - 20} more" if len(some) > 20 else "")


def _joined(block: readers.Block, clocks: list[str]) -> NDArray:
    if len(clocks) == 1:
        return block[clocks[0]]
    return np.array([f"{_text(d)} {_text(t)}" for d, t in zip(*(block[c] for c in clocks), strict=True)], object)


def _relative(reading: _Reading, x: NDArray[np.float64], keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """x less the whole part of each channel's first value of rows to keep, which is remembered."""
    assert reading.origin is not None
    every, x = x, x[keep]
    for c in np.flatnonzero(np.isnan(reading.origin)).tolist():
        finite = x[:, c][np.isfinite(x[:, c])]
        if len(finite):
            reading.origin[c] = np.rint(finite[0])
    for k, channel in enumerate(reading.channel):
        finite = x[:, k][np.isfinite(x[:, k])]
        if len(finite):
            channel.whole &= bool((finite == np.rint(finite)).all() and np.abs(finite).max() <= 32767)
    return (every - np.nan_to_num(reading.origin)).astype(np.float32)


def _text(value: object) -> str:
    """A label or group as text: 3.0 is "3", an empty cell is ""."""
    if value is None or value != value:
        return ""
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value):
        value = int(value)
    return ascii_only(str(value).strip())[:60]


def _codes(
    block: readers.Block, columns: dict[str, str], file: File, name: str, known: dict[str, int], most: int, size: int
) -> NDArray[np.int16]:
    """The number of each row's text; -1 where it is empty. New texts are added to `known`."""
    import pandas

    if name in columns:
        codes, values = pandas.factorize(block[columns[name]])
        texts = [_text(value) for value in values]
    else:
        codes, texts = np.zeros(size, np.intp), [file.says[name] if name else NO_GROUP]
    numbers = np.array([known.setdefault(text, len(known)) if text else -1 for text in texts] + [-1]).astype(np.int16)
    if len(known) > most:
        raise DataError(
            f"{name} has more than {most} different values, such as {', '.join(list(known)[:3])}",
            "choose a column of names for [data] label and group; to forecast a measurement, name it as target",
        )
    return numbers[codes]


def _is_one_of(
    block: readers.Block, columns: dict[str, str], file: File, name: str, allowed: Sequence[str], size: int
) -> NDArray[np.bool_]:
    import pandas

    wanted = {one.casefold() for one in allowed}
    if name not in columns:
        return np.full(size, file.says[name].casefold() in wanted)
    codes, values = pandas.factorize(block[columns[name]])
    return np.array([*(_text(value).casefold() in wanted for value in values), "" in wanted])[codes]


def _look_at_channels(reading: _Reading, x: NDArray[np.float32]) -> None:
    assert reading.origin is not None
    for channel, column, origin in zip(reading.channel, x.T, np.nan_to_num(reading.origin), strict=True):
        channel.look(column, float(origin))


def _dataset(reading: _Reading, found: list[Recording], dt: float) -> tuple[Dataset, Report]:
    settings, report = reading.settings, reading.report
    classes = sorted({text for text, k in reading.labels.items() if any(r.label == k for r in found)}, key=natural)
    groups = sorted({text for text, k in reading.groups.items() if any(r.group == k for r in found)}, key=natural)
    new_label = {reading.labels[text]: k for k, text in enumerate(classes)}
    new_group = {reading.groups[text]: k for k, text in enumerate(groups)} | {-1: -1}
    ungrouped = [r for r in found if r.group < 0]
    if ungrouped:
        report.saw("rows without a group", sum(len(r.x) for r in ungrouped), "")
    found = [replace(r, label=new_label.get(r.label, 0) if settings.label else 0, group=new_group[r.group])
             for r in found if r.group >= 0]  # fmt: skip
    if settings.label and len(classes) < 2:
        what = classes[0] if classes else "empty"
        raise DataError(
            f"{settings.label} is {what} everywhere", "two classes are needed: check [data] label and where"
        )
    if not found:
        raise DataError(f"no row has a {settings.group}", "check [data] group")
    both = {(r.label, r.group) for r in found}
    if settings.label and settings.group and len(both) == len(classes) == len(groups):
        report.alike = (settings.label, settings.group)
    parts = held.split(found, settings, classes, groups)
    training = [r.x for r, test in zip(parts.recordings, parts.test, strict=True) if not test]
    step = max(1, sum(map(len, training)) // counts.FROM)
    some = np.concatenate([x[::step] for x in training]).astype(np.float64)
    assert reading.origin is not None
    origin = np.nan_to_num(reading.origin)
    in_vector = {name for three in settings.vectors for name in three}
    quantities = [
        counts.quantity(some[:, c] + origin[c], reading.channel[c].whole, settings.scale.get(name, ChannelSettings()),
                        reading.columns[c], name in in_vector)
        for c, name in enumerate(reading.channels)
    ]  # fmt: skip
    whole, clipped = [], np.zeros(len(quantities), np.int64)
    for recording in parts.recordings:
        made, beyond = counts.converted(recording.x, origin, quantities)
        whole.append(made)
        clipped += beyond
    told = zip(reading.channel, reading.columns, quantities, clipped.tolist(), strict=True)
    for channel, own, quantity, count in told:
        channel.unit, channel.quantity, channel.clipped = own.unit, quantity, count
    for channel, unusual in zip(
        reading.channel, stretches(found, parts, origin, report.places, groups, dt), strict=True
    ):
        channel.still, channel.target = unusual, channel.name in settings.target
    at = {name: c for c, name in enumerate(reading.channels)}
    series = _series(settings, at, quantities, dt) if settings.target else None
    report.channels, report.dt, report.gap, report.none = reading.channel, dt, settings.gap, settings.missing
    streams = [] if series else continuous.streams(parts, whole, lambda x: counts.converted(x, origin, quantities)[0])
    dataset = Dataset(
        name=settings.name,
        dt=dt,
        channels=tuple(f"{name}" for name in reading.channels),
        classes=() if series else tuple(classes),
        recordings=tuple(whole),
        labels=np.array([r.label for r in parts.recordings], np.int64),
        groups=np.array(parts.groups, np.int64),
        held_out=parts.held_out,
        metric="rmse_ratio" if series else _metric(parts.recordings, len(classes)),
        series=series,
        group_name=parts.group_name,
        group_titles=parts.titles,
        quantities=tuple(quantities),
        missing=settings.missing,
        vectors=tuple((at[a], at[b], at[c]) for a, b, c in settings.vectors),
        streams=tuple(streams),
    )
    report.splits = parts.why
    report.spans = [(report.places[r.file], r.label, r.start, len(r.x) * dt) for r in found]
    return dataset, report


def _metric(recordings: list[Recording], classes: int) -> str:
    """Macro F1 where one class has twice the time of another: accuracy would hide the smaller one."""
    time = np.bincount([r.label for r in recordings], [len(r.x) for r in recordings], classes)
    return "macro_f1" if time.max() > 2 * time.min() else "accuracy"


def _series(settings: DataSettings, at: dict[str, int], quantities: list[Quantity], dt: float) -> Series:
    horizon = round(settings.ahead / dt)
    if horizon < 1:
        raise ConfigError(
            f"data.ahead is {settings.ahead:g} s, less than a step of {dt:g} s", f"write ahead = {dt:g}, or more"
        )
    target = tuple(at[name] for name in settings.target)
    of = [quantities[c] for c in target]
    alike = len({(q.scale, q.unit) for q in of}) == 1
    return Series(target, horizon, 1 / of[0].scale if alike else 1.0, of[0].unit if alike else "counts")
