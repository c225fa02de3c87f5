"""Lines of text to rows of counts: one line at a time, in the dialects that loggers and sensors write."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError
from lnp_edge.readers import NUMBER, Column, key, named_columns, other_unit
from lnp_edge.readers.csv_text import INFINITE, MISSING, SPACES, cells_of, is_comment, is_date
from lnp_edge.recordings.times import CLOCK
from lnp_edge.spec.quantity import Quantity, is_missing, rounded

HOLD, SKIP, STOP = "hold", "skip", "stop"
DELIMITERS = (",", ";", "\t", "|", SPACES)  # in the order of preference
SWITCH = 3  # rows in a row with another delimiter, until it is taken
LOW, HIGH = -32768, 32767
HINT = "give counts, scaled like the training data"
# Where a comma separates no cells it is a decimal comma.
_NUMBER = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d{1,4})?", re.ASCII)
# What a line is that is passed over, alone and as several.
REASONS = {
    "where": ("row that --where leaves out", "rows that --where leaves out"),
    "no row": ("line that is no row", "lines that are no rows"),
    "outside": (f"row with a value outside {LOW}..{HIGH}", f"rows with values outside {LOW}..{HIGH}"),
    "not whole": ("row with a value that is no whole number", "rows with values that are no whole numbers"),
    "missing": ("row without a value of each channel", "rows without a value of each channel"),
    "header": ("repeated header", "repeated headers"),
    "too long": ("line that is too long", "lines that are too long"),
    "cut": ("first line of a port, which may be cut", "first lines of a port, which may be cut"),
}


class Row(NamedTuple):
    counts: NDArray[np.int16]  # [C]
    held: int  # channels whose last value stands for a missing one
    stamp: str | None  # the cell of its time


class Lost(NamedTuple):
    """A row that cannot be used: what follows it does not follow on what came before."""

    why: str


@dataclass(frozen=True)
class Layout:
    delimiter: str  # "" if a row has one cell
    width: int  # cells of a row
    columns: tuple[int, ...]  # the cell of each channel
    names: tuple[Column, ...] = ()  # of all cells; () without a header


class Parser:
    """Finds the layout in the first lines that show it, and follows if it changes.

    place   : what errors call the source
    missing : what becomes of an empty cell, or a value that stands for none: HOLD takes the channel's last
        value, SKIP loses the row, STOP raises DataError
    none    : values that stand for none, see quantity.is_missing
    window  : rows; a channel whose value is held for so many is told of
    group   : the column that named the group in training, if there is one: several must not be mixed
    where   : a column and its value, of the rows to take
    strict  : whether names over the columns must be the channels' names; a serial port's banner may
        look like a header

    passed : lines that were passed over, by reason
    held, clipped : cells
    refused : what was wrong with the first line that was passed over, and what to try
    """

    def __init__(
        self,
        place: str,
        channels: tuple[str, ...],
        quantities: tuple[Quantity, ...] = (),
        missing: str = HOLD,
        strict: bool = True,
        none: tuple[float, ...] = (),
        window: int = 2**20,
        group: str = "",
        where: tuple[str, str] | None = None,
    ):
        self.place, self.channels, self.missing, self.strict = place, channels, missing, strict
        self._none, self._window = none, window
        self._group, self._where = group, where
        self._who, self._met, self._turn = "", set[str](), 0  # the present group, those so far, rows of the present one
        quantities = quantities or (Quantity(),) * len(channels)
        self.quantities = quantities
        self._whole = [q.in_file for q in quantities]
        self._zero = np.array([0.0 if q.in_file else q.zero for q in quantities])
        self._scale = np.array([1.0 if q.in_file else q.scale for q in quantities])
        keys = [key(c) for c in channels]
        self._keys = keys if len(set(keys)) == len(keys) else None
        self.passed = Counter[str]()
        self.rows = self.lines = self.held = self.clipped = 0
        self.refused: tuple[str, str] | None = None
        self.said: list[str] = []  # remarks for the user, taken away by who tells them
        self.layout: Layout | None = None
        self.times: tuple[int, ...] | None = None  # the cells of the time; None before the first row
        self._foreign: list[str] = []  # the names before the first row that are not the channels'
        self._last: list[float] | None = None
        self._held = np.zeros(len(channels), np.int64)  # rows in a row
        self._others = 0

    @property
    def clock(self) -> tuple[str, str]:
        """Name and unit of the column of time, as the header says."""
        if not self.times or not self.layout or not self.layout.names:
            return "", ""
        return self.layout.names[self.times[0]].name, self.layout.names[self.times[0]].unit

    def pass_over(self, reason: str) -> None:
        self.lines += 1
        self.passed[reason] += 1
        if reason == "too long":
            hint = f"name the model's channels in a first line: {','.join(self.channels)}"
            self.refused = self.refused or (f"{self.place} line {self.lines} is too long", hint)

    def parse(self, text: str) -> Row | Lost | None:
        """The row of a line; None if it is none.

        Raises DataError for an empty cell with STOP, and for names that are not the channels'.
        """
        self.lines += 1
        text = text.strip(" \r\n").lstrip("\ufeff")
        if not text.strip():
            return None
        if is_comment(text):  # numpy.savetxt writes a header as a comment
            self._take_header(text.lstrip("#%/ \t"))
            return None
        cells = self._fitting(text)
        values = (
            [_number(cells[k], self.layout.delimiter) for k in self.layout.columns] if self.layout and cells else []
        )
        if cells and None not in values:
            self._others = 0
            return self._row(cells, values)
        if self._take_header(text):
            return None
        if other := self._other_layout(text):
            self._others += 1
            if self.layout is None or self._others >= SWITCH:
                self._others = 0
                self._check_names(other, text)
                self.layout, self.times = other, None
                return self.parse_again(text)
            return self._lose("no row", f"{text[:30]!r} has another delimiter", "use one")
        if cells and self._words_are_missing(cells, values):
            return self._row(cells, values)
        return self._refuse(text)

    def parse_again(self, text: str) -> Row | Lost | None:
        self.lines -= 1
        return self.parse(text)

    def may_be_header(self, text: str) -> bool:
        return is_comment(text) or self._header(text) is not None

    def _fitting(self, text: str) -> list[str] | None:
        """The cells of a line that has the layout's number of them. A delimiter may end it."""
        if not self.layout:
            return None
        cells = [text] if not self.layout.delimiter else cells_of(text, self.layout.delimiter)
        if len(cells) == self.layout.width + 1 and not cells[-1]:
            cells.pop()
        return cells if len(cells) == self.layout.width else None

    def _words_are_missing(self, cells: list[str], values: list[float | None]) -> bool:
        """Whether a channel, or the time, is a number: then a word such as "err" in another cell is a missing value, as
        in a file. A word with a digit is none: a number that was damaged on its way."""
        assert self.layout
        words = (cells[k] for k, value in zip(self.layout.columns, values, strict=True) if value is None)
        if any(letter.isdigit() for word in words for letter in word):
            return False
        times = [_number(cells[k], self.layout.delimiter) for k in self.times or ()]
        return any(value is not None and math.isfinite(value) for value in (*values, *times))

    def _chosen(self, cells: list[str], name: str, value: str) -> bool:
        at = self._cell(name)
        if at is None:
            names = ", ".join(c.name for c in self.layout.names) if self.layout and self.layout.names else "no header"
            raise DataError(
                f"{self.place} line {self.lines}: no column {name[:40]!r}, for --where", f"its columns: {names[:200]}"
            )
        return cells[at].casefold() == value.casefold()

    def _another(self, cells: list[str]) -> str:
        """That the row is of another group than the one before; "" if not. Raises DataError where groups take turns."""
        at = self._cell(self._group)
        who = "" if at is None else cells[at]
        self._turn += 1
        if who == self._who:
            return ""
        before, turn, self._who, self._turn = self._who, self._turn - 1, who, 1
        if who in self._met and turn < self._window:
            raise DataError(
                f"{self.place} line {self.lines}: {self._group} is {who[:40]} again after {before[:40]}: "
                "rows of several are mixed",
                f"--where {shlex.quote(f'{self._group}={who[:40]}')} takes those of one",
            )
        self._met.add(who)
        return f"{self._group} is {who[:40]} now" if before else ""

    def _cell(self, name: str) -> int | None:
        """Where a column is, by its name without unit and case."""
        assert self.layout
        return next((k for k, c in enumerate(self.layout.names) if c.name.casefold() == key(name)), None)

    def _row(self, cells: list[str], values: list[float | None]) -> Row | Lost | None:
        if self._where and not self._chosen(cells, *self._where):
            self.passed["where"] += 1
            return None
        if self._group and (new := self._another(cells)):
            return Lost(new)
        found = [math.nan if v is None else v for v in values]
        gone = is_missing(np.array(found), self._none)
        if gone.any() and (lost := self._fill(cells, found, np.flatnonzero(gone).tolist())):
            return lost
        self._tell_of_held(gone)
        if self.times is None:
            self._find_times(cells)
        for k, value in enumerate(found):
            if self._whole[k]:
                if not value.is_integer():
                    return self._lose("not whole", f"{value:g} is not a whole number", HINT)
                if not LOW <= value <= HIGH:
                    return self._lose("outside", f"{value:g} is outside {LOW}..{HIGH}", HINT)
        with np.errstate(over="ignore"):
            exact = np.array(found) / self._scale + self._zero
        counts = rounded(exact)
        exact = np.rint(exact)
        if beyond := int(np.count_nonzero(exact != counts)):
            if not self.clipped:
                k = int(np.argmax(exact != counts))
                self.said.append(f"{self.channels[k]} is {found[k]:g}: beyond what the model's counts hold, clipped")
            self.clipped += beyond
        self._last = found
        self.rows += 1
        stamp = " ".join(cells[k] for k in self.times) if self.times else None
        return Row(counts, int(gone.sum()), stamp)

    def _fill(self, cells: list[str], found: list[float], empty: list[int]) -> Lost | None:
        """Fill the empty cells of a row, or lose it."""
        assert self.layout
        value, cell = found[empty[0]], cells[self.layout.columns[empty[0]]]
        sign = f"{value:.9g}, which stands for no value"
        what = sign if value == value else "empty" if cell.lower() in MISSING else f"{cell[:20]!r}, which is no number"
        said = f"{self.channels[empty[0]]} is {what}"
        if self.missing == STOP:
            raise DataError(f"{self.place} line {self.lines}: {said}", "--missing hold or skip go on after it")
        if self.missing == SKIP or self._last is None:
            return self._lose("missing", said, "--missing hold takes the last value")
        for k in empty:
            found[k] = self._last[k]
        if not self.held:
            self.said.append(f"{said}: its last value is held")
        self.held += len(empty)
        return None

    def _tell_of_held(self, gone: NDArray[np.bool_]) -> None:
        """Tell of a channel that has had no value for a window: decisions rest on what it was last."""
        self._held = np.where(gone, self._held + 1, 0)
        for k in np.flatnonzero(self._held == self._window).tolist():
            self.said.append(
                f"{self.channels[k]} has had no value for {self._window} rows, a window: predictions rest on its last "
                "one; --missing skip makes none then"
            )

    def _lose(self, reason: str, what: str, hint: str) -> Lost:
        self.passed[reason] += 1
        self.refused = self.refused or (f"{self.place} line {self.lines}: {what}", hint)
        return Lost(what)

    def _refuse(self, text: str) -> Lost | None:
        """Pass over a line that is no row; it was one, if most of it is numbers."""
        delimiter = self.layout.delimiter if self.layout else next((d for d in DELIMITERS if d in text), ",")
        cells = cells_of(text, delimiter) if delimiter else [text]
        numbers = sum(_number(cell, delimiter) is not None for cell in cells)
        names = not numbers and not self.layout and (len(cells) > 1 or len(self.channels) == 1)
        self._foreign = cells if names else []
        if self.refused is None or names:
            self.refused = self._what_is_wrong(text, cells, numbers)
        self.passed["no row"] += 1
        if self.layout and 2 * numbers > len(cells):
            return Lost(f"half a row, {text[:30]!r}")
        return None

    def _what_is_wrong(self, text: str, cells: list[str], numbers: int) -> tuple[str, str]:
        place, count = f"{self.place} line {self.lines}", len(self.channels)
        names = f"name the model's channels in a first line: {','.join(self.channels)}"
        if not self.strict:
            names += "; if the sensor sent it before the port was opened, reset the sensor"
        if not numbers and (len(cells) > 1 or count == 1):
            present = {key(cell) for cell in cells}
            missing = next((c for c in self.channels if key(c) not in present), self.channels[0])
            return f"{place}: no column {missing!r}", names
        if numbers == len(cells) != count:
            return f"{place} has {len(cells)} values, the model {count} channels", names
        return f"{place}: {text[:40]!r} is no row of {count} numbers", names

    # ---- layouts

    def _take_header(self, text: str) -> bool:
        found = self._header(text)
        if found is None:
            return False
        if self.layout:
            self.passed["header"] += 1
        if found != self.layout:
            self.layout, self.times = found, None
            self._say_units(found)
        return True

    def _header(self, text: str) -> Layout | None:
        """The layout that a line of names gives, if all channels are among them."""
        for delimiter in DELIMITERS:
            cells = cells_of(text, delimiter)
            if cells and not cells[-1]:
                cells.pop()  # as a delimiter may end each row
            if len(cells) < len(self.channels) or all(_number(cell, delimiter) is not None for cell in cells):
                continue
            names = named_columns(cells, [NUMBER] * len(cells))
            columns = self._places(cells, names)
            if columns:
                if len(cells) == 1:
                    delimiter = ""
                return Layout(delimiter, len(cells), columns, tuple(names))
        return None

    def _places(self, cells: list[str], names: list[Column]) -> tuple[int, ...] | None:
        """Where the channels are among cells of names: exactly so, or without unit and case."""
        there = [column.name.casefold() for column in names]
        for known, wanted in ((cells, self.channels), (there, self._keys or ())):
            again = next((one for one in wanted if known.count(one) > 1), None)
            if again and self.strict:
                what = f"{self.place} line {self.lines}: {again[:40]!r} names {known.count(again)} columns"
                raise DataError(what, "name each column once")
        if all(c in cells for c in self.channels):
            return tuple(cells.index(c) for c in self.channels)
        if self._keys and all(one in there for one in self._keys):
            return tuple(there.index(one) for one in self._keys)
        return None

    def _other_layout(self, text: str) -> Layout | None:
        """The layout of a line of numbers: with another delimiter than the present one, or without a header."""
        for delimiter in DELIMITERS:
            cells = cells_of(text, delimiter)
            if len(cells) < 2 and (len(self.channels) > 1 or "," in text):
                continue
            if self.layout and self.layout.names:
                fits, columns = len(cells) == self.layout.width, self.layout.columns
            else:
                if cells and not cells[-1]:
                    cells.pop()  # a delimiter ends each row
                columns = tuple(k for k, cell in enumerate(cells) if not is_date(cell))
                fits = len(columns) == len(self.channels)
            if fits and all(_number(cells[k], delimiter) is not None for k in columns):
                if all(cells[k].lower() in MISSING for k in columns):
                    continue
                names = self.layout.names if self.layout else ()
                return Layout(delimiter, len(cells), columns, names)
        return None

    def _check_names(self, layout: Layout, text: str) -> None:
        """Refuse, or tell of, columns whose names are others than the channels'."""
        if layout.names or len(self._foreign) != layout.width:
            return
        if self.strict:
            assert self.refused
            raise DataError(*self.refused)
        names = ",".join(self._foreign)[:40]
        self.said.append(f"{names!r} does not name the channels: they are taken in the order {','.join(self.channels)}")

    def _find_times(self, cells: list[str]) -> None:
        """Choose the cells of the time: dates, a date and a time of day, or a number whose name says so."""
        assert self.layout
        others = [k for k in range(self.layout.width) if k not in self.layout.columns]
        dates = [k for k in others if is_date(cells[k])]
        self.times = ()
        for n, k in enumerate(dates):
            then = dates[n + 1 : n + 2]
            if ":" in cells[k] or (then and ":" in cells[then[0]]):
                self.times = (k,) if ":" in cells[k] else (k, *then)
                return
        for k in others:
            named = self.layout.names and CLOCK.search(self.layout.names[k].name)
            if named and _number(cells[k], self.layout.delimiter) is not None:
                self.times = (k,)
                return

    def _say_units(self, layout: Layout) -> None:
        for k, quantity in zip(layout.columns, self.quantities, strict=True):
            if said := other_unit(layout.names[k], quantity):
                self.said.append(said)
                return

    def begin(self) -> None:
        """Hold no value, and look for the time anew: the source may have changed."""
        self.times = None
        self.forget()

    def forget(self) -> None:
        """Hold no value: what was before a gap stands for nothing after it."""
        self._last, self._held = None, 0 * self._held

    def take_back(self, row: Row) -> Lost:
        """Lose the last row, whose held values were from before a gap."""
        self.rows, self.held = self.rows - 1, self.held - row.held
        self.forget()
        return self._lose("missing", "a value is missing since the gap", "--missing hold takes none from before a gap")

    def without_times(self) -> None:
        """Take no column as the time until the layout changes."""
        self.times = ()

    def summary(self) -> list[str]:
        """What was passed over, held and clipped, in words."""
        passed = [f"{n} {REASONS[reason][n > 1]}" for reason, n in self.passed.items()]
        found = [f"passed over: {', '.join(passed)}"] if passed else []
        found += [f"held: {self.held} missing value{'s' * (self.held > 1)}"] if self.held else []
        found += [f"clipped: {self.clipped} value{'s' * (self.clipped > 1)}"] if self.clipped else []
        return found


def _number(cell: str, delimiter: str) -> float | None:
    """The number in a cell, NaN if it is empty, None if it is something else."""
    if delimiter != ",":
        cell = cell.replace(",", ".")
    if _NUMBER.fullmatch(cell):
        return float(cell)
    return float(cell) if cell.lower() in INFINITE else math.nan if cell.lower() in MISSING else None
