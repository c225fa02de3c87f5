"""Readers give the columns of a file in blocks of bounded size, one format per file; adding a file adds a format.

A reader defines

    ENDINGS             the ends of its files' names, in lower case: (".csv", ".txt")
    open_table(path)    a Table of the file, of which it has read no more than the head

It raises DataError for a file that it cannot read, whatever is in it, and never unpickles. Heavy
libraries are imported in open_table.
"""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base import system
from lnp_edge.base.console import ascii_only
from lnp_edge.base.errors import DataError
from lnp_edge.spec import plugins
from lnp_edge.spec.quantity import MAX_UNIT_TEXT, Quantity, is_missing

BLOCK_ROWS = 65_536
MAX_COLUMNS = 4096
MAX_NAME = 60  # characters of a column's name
NUMBER, TEXT, TIME = "number", "text", "time"  # kinds of columns
_UNIT = re.compile(r"\s*[\[(]([^\[\]()]*)[\])]\s*$")

Block = dict[str, NDArray]


class Empty(DataError):
    """A file without a single row, as a logger leaves that was switched off at once."""


@dataclass(frozen=True)
class Column:
    """zero, scale : physical = (value - zero) * scale, if the values are counts within int16 and the file says so"""

    name: str  # without its unit
    unit: str = ""
    kind: str = NUMBER
    zero: float | None = None
    scale: float | None = None


class Table(ABC):
    """The columns of one file.

    named       : whether the file names them; else they are called "1", "2", ...
    rate        : Hz, if the file says so; else 0
    rows        : read so far
    expected    : about how many there are; 0 if unknown
    passed_over : what was not a row so far, with the number of lines of each reason
    """

    def __init__(self, path: Path, columns: Sequence[Column], named: bool = True, rate: float = 0.0):
        if len(columns) > MAX_COLUMNS:
            raise DataError(f"{path} has {len(columns)} columns", f"{MAX_COLUMNS} at most: write fewer to the file")
        self.path, self.columns, self.named, self.rate = path, tuple(columns), named, rate
        self.rows, self.expected, self.passed_over = 0, 0, Counter[str]()

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @abstractmethod
    def blocks(self, numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        """Yield arrays of equal length for the columns, of at most a few megabytes.

        numbers : columns to read as float64; NaN where a cell is empty or is no number
        others  : columns to read as they are: text (object), integers, or datetime64
        """


def endings() -> dict[str, str]:
    """The reader of each ending."""
    names = plugins.names(__name__)
    return {ending: name for name in names for ending in plugins.get(__name__, name).ENDINGS}


def open_table(path: Path) -> Table:
    """The table of a file, by its ending. Raises DataError if there is no reader, or for a damaged file."""
    known = endings()
    found = [name for ending, name in known.items() if path.name.lower().endswith(ending)]
    if not found:
        raise DataError(f"no reader for {path.name}", f"known endings: {', '.join(sorted(known))}")
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | system.AT_ONCE)) as file:
            info = os.fstat(file.fileno())
    except (OSError, ValueError) as e:
        raise DataError(f"cannot read {path}: {getattr(e, 'strerror', None) or e}", "check the file") from None
    if not stat.S_ISREG(info.st_mode):
        raise DataError(f"{path} is not a regular file", "give files that can be read twice")
    if info.st_size == 0:
        raise Empty(f"{path} is empty", "remove it")
    return plugins.get(__name__, found[0]).open_table(path)


def damaged(path: Path, why: object) -> DataError:
    """The error for a file that is not what its ending says."""
    reason = ascii_only(str(why).strip().partition("\n")[0][:100]) or type(why).__name__
    return DataError(f"{path} cannot be read: {reason}", "remove it, or write it again")


def named_columns(names: Sequence[str], kinds: Sequence[str], units: Sequence[str] = ()) -> list[Column]:
    """Columns from a header: "acc x [m/s^2]" has the unit m/s^2; a name that occurs again gets a number."""
    found, seen, taken = list[Column](), Counter[str](), set[str]()
    for k, (raw, kind) in enumerate(zip(names, kinds, strict=True)):
        plain = ascii_only(raw.strip())
        bracket = _UNIT.search(plain)
        name = (plain[: bracket.start()] if bracket else plain)[:MAX_NAME].strip() or f"{k + 1}"
        unit = units[k].strip(" []()") if units else bracket[1].strip() if bracket else ""
        own = name
        while name in taken:  # also where the file itself has a column "x.2"
            seen[own] += 1
            name = f"{own}.{seen[own] + 1}"
        taken.add(name)
        found.append(Column(name, ascii_only(unit)[:MAX_UNIT_TEXT], kind))
    return found


def key(name: object) -> str:
    """A name without unit and case."""
    return named_columns([str(name)], [NUMBER])[0].name.casefold()


def other_unit(column: Column, quantity: Quantity) -> str:
    """What to say if a column has physical values in another unit than a model's channel; "" if not."""
    if quantity.in_file or not (column.unit and quantity.unit) or column.unit.casefold() == quantity.unit.casefold():
        return ""
    return f"{column.name} is in {column.unit}, the model was trained on {ascii_only(quantity.unit)}"


def finite_or_nan(values: NDArray) -> NDArray[np.float64]:
    """Float64 in which what is not finite, or as large as no value is, is NaN."""
    with np.errstate(all="ignore"):
        found = np.asarray(values, np.float64)
        return np.where(is_missing(found, ()), np.nan, found)
