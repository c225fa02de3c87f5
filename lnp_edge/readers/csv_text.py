"""Text tables: CSV, TSV and columns between spaces, in the dialects that loggers and spreadsheets write.

The dialect is found in the first 64 KiB. DuckDB's sniffer was tried: it fails on lines of junk and on files
between spaces. pandas then parses the rows: a wheel of 12 MB, whose parser is in C, takes blocks and
knows decimal commas.

A line is a row if it has the file's number of cells and a number in at least one column that is asked for, or
no word in any. Every other line is passed over and counted; if there are more of these than rows, the file is refused.
A quoted cell cannot hold a line's end: a quote that is never closed would swallow the rest of the file.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from lnp_edge.base.console import ascii_only
from lnp_edge.base.errors import DataError
from lnp_edge.base.install import require
from lnp_edge.readers import (
    MAX_COLUMNS,
    NUMBER,
    TEXT,
    TIME,
    Block,
    Column,
    Empty,
    Table,
    damaged,
    finite_or_nan,
    named_columns,
)  # fmt: skip

ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".log")

HEAD = 65536  # bytes that the dialect is found in
CHUNK = 2**21  # bytes read at once
LONGEST = 2**18  # bytes of a line
LOOKED_AT = 300  # lines of the head
COMMENTS = ("#", "%", "//")
INFINITE = tuple(sign + word for sign in ("", "+", "-") for word in ("inf", "infinity"))
ERRORS = ("#n/a", "#num!", "#value!", "#div/0!", "#ref!", "#name?", "#null!")  # of spreadsheets: begin no comment
MISSING = ("", "nan", "na", "n/a", "null", "none", "-", "--", *INFINITE, *ERRORS, "nodata")
SPACES = " "  # as a delimiter: any number of blanks
# In the order of preference where two explain the file alike.
DIALECTS = tuple((d, p) for d in (",", ";", "\t", "|", SPACES, "") for p in ".,")
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NUMBERS = {p: re.compile(rf"[+-]?(\d+([{p}]\d*)?|[{p}]\d+)([eE][+-]?\d+)?") for p in ".,"}
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp][Mm])?"
_DATE = re.compile(rf"\d{{1,4}}([-./])\d{{1,2}}\1\d{{1,4}}([T ]+{_CLOCK}( ?[Zz]|[+-]\d\d:?\d\d)?)?|{_CLOCK}")


@dataclass(frozen=True)
class Dialect:
    encoding: str
    mark: int  # bytes of the byte order mark
    newline: bytes  # b"\n", or b"\r" of old spreadsheets
    delimiter: str  # "" if there is one column
    decimal: str
    width: int  # cells of a row
    skip: int  # lines before the first row
    junk: int  # of these, neither header nor comment nor blank
    columns: dict[int, Column]  # by their place; not what a delimiter at the end of each row leaves empty
    named: bool


def open_table(path: Path) -> Table:
    require("pandas")
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as e:
        raise damaged(path, e.strerror) from None
    return _Text(path, sniff(path, head, len(head) < HEAD))


@lru_cache(128)  # lnp new reads each file some eight times
def sniff(path: Path, head: bytes, whole: bool = True) -> Dialect:
    """The dialect of a file that begins with `head`. whole : whether that is the whole file."""
    encoding, mark = encoding_of(head)
    text = head[mark:].decode(encoding, "replace")
    newline = b"\n" if "\n" in text or "\r" not in text else b"\r"
    lines = text.replace("\r\n", "\n").split(newline.decode())
    if not whole and len(lines) > 1:
        lines.pop()  # may be cut
    lines = [line[:LONGEST] for line in lines[: 10 * LOOKED_AT]]
    told = [k for k, line in enumerate(lines) if line.strip() and not is_comment(line.lstrip())]
    if not told:
        raise Empty(f"{path} has no rows", "remove it")
    looked = [lines[k] for k in told[-LOOKED_AT:] if "\0" not in lines[k]]  # the last: banners come first
    best = max((_explained(looked, d, p) for d, p in DIALECTS), key=lambda found: found[0])
    score, delimiter, decimal, width = best
    if width > MAX_COLUMNS:
        raise DataError(f"{path} has {width} columns", f"{MAX_COLUMNS} at most: write fewer to the file")
    cells = [(k, cells_of(lines[k], delimiter)) for k in told]
    kinds = _kinds([row for _, row in cells if len(row) == width], decimal)
    first = next((k for k, row in cells if _is_row(row, kinds, width, decimal)), None)
    if score <= 0 or first is None:
        if len(told) == 1 or (cells and len(cells[0][1]) > 1 and len(told) <= 2):
            raise Empty(f"{path} has a header and no rows", "remove it")
        shown = ascii_only(lines[told[0]].strip()[:40])
        raise DataError(f"{path} has no rows of numbers: it begins with {shown!r}", "remove it, or choose [data] files")
    names, units, plain = _header(lines[:first], delimiter, kinds)
    if names and len(names) == width - 1:  # rows end with a delimiter that the header lacks
        names, units = [*names, ""], units and [*units, ""]
    found = named_columns(names or [str(k + 1) for k in range(width)], kinds, units)
    empty = [
        not any(column) for column in zip(*(row for k, row in cells if k >= first and len(row) == width), strict=True)
    ]
    columns = {k: one for k, one in enumerate(found) if not (names and not names[k] and empty[k])}
    junk = sum(k < first for k in told) - plain
    return Dialect(encoding, mark, newline, delimiter, decimal, width, first, junk, columns, bool(names))


def encoding_of(head: bytes) -> tuple[str, int]:
    """The encoding of a text that begins with `head`, and the bytes of its byte order mark."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    half = len(head) // 2
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if half > 8 and head[start::2].count(0) > 0.9 * half and head[1 - start :: 2].count(0) < 0.1 * half:
            return name, 0
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
        return "utf-8", 0
    except UnicodeDecodeError:
        return "cp1252", 0


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of a line, without blanks and quotes; [] if a quote is never closed."""
    if delimiter == SPACES:
        cells = line.split()
    elif line.count('"') % 2:
        return []
    elif not delimiter:
        cells = [line]
    elif '"' in line:
        try:
            cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:
            cells = []
    else:
        cells = line.split(delimiter)
    return [cell.strip().strip('"') for cell in cells]


def is_comment(line: str) -> bool:
    """Whether a line is a comment."""
    return line.startswith(COMMENTS) and not line[:8].lower().startswith(ERRORS)


def is_date(cell: str) -> bool:
    """Whether a cell is a date or a time of day."""
    return bool(_DATE.fullmatch(cell))


def _explained(lines: list[str], delimiter: str, decimal: str) -> tuple[float, str, str, int]:
    """How well a dialect explains the lines: the share of the usual number of cells, times that of typed cells."""
    rows = [cells_of(line, delimiter) for line in lines]
    counts = Counter(len(row) for row in rows if row)
    width, most = max(counts.items(), key=lambda kv: (kv[1], kv[0]), default=(0, 0))
    if width < (2 if delimiter else 1):
        return 0.0, delimiter, decimal, width
    usual = [row for row in rows if len(row) == width]
    rest = usual[1:] or usual  # the first may be a header
    typed = [_is_number(cell, decimal) or is_date(cell) for row in rest for cell in row if cell]
    if not any(typed):
        return 0.0, delimiter, decimal, width
    if not delimiter and any("," in line and not _is_number(line.strip(), decimal) for line in lines):
        return 0.0, delimiter, decimal, width  # "a,b" above "1,5": the comma separates
    return round(most / len(rows) * sum(typed) / len(typed), 6), delimiter, decimal, width


def _is_number(cell: str, decimal: str) -> bool:
    return bool(_NUMBERS[decimal].fullmatch(cell)) or (bool(cell) and cell.lower() in MISSING)


def _kinds(rows: list[list[str]], decimal: str) -> list[str]:
    """The kind of each column: that of most of its cells that are not empty."""
    found = []
    for cells in zip(*rows, strict=True):
        full = [cell for cell in cells if cell.lower() not in MISSING]
        numbers = sum(bool(_NUMBERS[decimal].fullmatch(cell)) for cell in full)
        dates = sum(is_date(cell) for cell in full)
        found.append(TIME if 2 * dates > len(full) else NUMBER if 2 * numbers >= len(full) else TEXT)
    return found


def _is_row(cells: list[str], kinds: list[str], width: int, decimal: str) -> bool:
    """Whether most cells of the columns of numbers are numbers."""
    if len(cells) != width or NUMBER not in kinds:
        return False
    wanted = [cell for cell, kind in zip(cells, kinds, strict=True) if kind == NUMBER and cell]
    return bool(wanted) and 2 * sum(_is_number(cell, decimal) for cell in wanted) > len(wanted)


def _header(before: list[str], delimiter: str, kinds: list[str]) -> tuple[list[str], list[str], int]:
    """The names and the units of the columns, from the lines before the first row; [] if they are not there.

    Also how many of these lines are no comments. numpy.savetxt writes a header as a comment.
    """
    found: list[tuple[list[str], bool]] = []
    for line in reversed(before):
        if not line.strip():
            continue
        comment = is_comment(line.lstrip())
        row = cells_of(line.lstrip("#%/ \t") if comment else line, delimiter)
        wide = len(row) in (len(kinds), len(kinds) - 1) and row[0]
        if not wide or any(_NUMBERS["."].fullmatch(cell) for cell in row) or len(found) == 2:
            break
        found.append((row, comment))
    rows = [row for row, _ in found]
    # Of two, the first has the names and the second the units, unless it is a banner, filled up with delimiters.
    if len(rows) == 2 and (len(rows[0]) != len(rows[1]) or rows[1].count("") > rows[0].count("")):
        rows = rows[:1]
    plain = sum(not comment for _, comment in found[: len(rows)])
    names = rows[-1] if rows else []
    return names, rows[0] if len(rows) == 2 else [], plain


class _Text(Table):
    def __init__(self, path: Path, dialect: Dialect):
        super().__init__(path, tuple(dialect.columns.values()), dialect.named)
        self.dialect = dialect

    def blocks(self, numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        at = {column.name: k for k, column in self.dialect.columns.items()}
        self.rows, self.passed_over = 0, Counter({"no row": self.dialect.junk} if self.dialect.junk else {})
        skip, size, consumed = self.dialect.skip, self.path.stat().st_size, 0
        try:
            for whole in self._whole_lines():
                consumed += len(whole)
                if skip:
                    whole, skip = _without(whole, skip)
                if kept := self._kept(whole):
                    block = self._parsed(kept, [at[n] for n in numbers], [at[n] for n in others], [*numbers, *others])
                    self.expected = round(self.rows * max(1.0, size / consumed))
                    yield block
        except OSError as e:
            raise damaged(self.path, e.strerror) from None
        junk = self.passed_over.total()
        if junk > self.rows:
            raise DataError(
                f"{self.path}: {junk} of {junk + self.rows} lines are not rows of {self.dialect.width} columns",
                "remove what is no table from it, or choose [data] files",
            )

    def _chunks(self) -> Iterator[bytes]:
        """The file as UTF-8 or another superset of ASCII, with b"\\n" at the ends of lines."""
        decoder = None
        if self.dialect.encoding.startswith("utf-16"):
            decoder = codecs.getincrementaldecoder(self.dialect.encoding)("replace")
        with open(self.path, "rb") as file:
            file.seek(self.dialect.mark)
            while chunk := file.read(CHUNK):
                if decoder:
                    chunk = decoder.decode(chunk).encode("utf-8", "replace")
                yield chunk.replace(b"\r", b"\n") if self.dialect.newline == b"\r" else chunk

    def _whole_lines(self) -> Iterator[bytes]:
        """Blocks of whole lines. A line without an end in sight is passed over, so that memory is bounded."""
        rest, dropping = b"", False
        for chunk in self._chunks():
            if dropping:
                chunk = chunk[chunk.find(b"\n") + 1 :] if b"\n" in chunk else b""
                dropping = not chunk
            data = rest + chunk
            cut = data.rfind(b"\n") + 1
            whole, rest = data[:cut], data[cut:]
            if len(rest) > LONGEST:
                rest, dropping = b"", True
                self.passed_over["too long"] += 1
            if whole:
                yield whole
        if rest:
            yield rest + b"\n"

    def _kept(self, whole: bytes) -> bytes:
        """The lines that have the right number of cells; counts the others."""
        a = np.frombuffer(whole, np.uint8)
        ends = np.flatnonzero(a == 10)
        starts = np.concatenate([[0], ends[:-1] + 1])
        blank = (ends == starts) | ((ends == starts + 1) & (a[starts] == 13))
        comment = np.isin(a[starts], [ord(mark) for mark in "#%"])
        for k in np.flatnonzero(comment).tolist():
            comment[k] = is_comment(whole[starts[k] : starts[k] + 8].decode("latin-1"))
        if self.dialect.delimiter in ("", SPACES) or b'"' in whole:
            counts = np.array([self._count(line) for line in islice(whole.split(b"\n"), len(ends))])
        else:
            marks = np.flatnonzero(a == ord(self.dialect.delimiter))
            counts = np.searchsorted(marks, ends) - np.searchsorted(marks, starts) + 1
        good = counts == self.dialect.width
        if b"\0" in whole:
            good[np.searchsorted(ends, np.flatnonzero(a == 0))] = False
        good &= ~blank & ~comment
        if junk := np.count_nonzero(~good & ~blank & ~comment):
            self.passed_over["no row"] += int(junk)
        return whole if good.all() else a[np.repeat(good, ends - starts + 1)].tobytes()

    def _count(self, line: bytes) -> int:
        delimiter = self.dialect.delimiter
        if b'"' not in line:
            return len(line.split()) if delimiter == SPACES else line.count(delimiter.encode()) + 1 if delimiter else 1
        if line.count(b'"') % 2:
            return 0
        return len(cells_of(line.decode("latin-1"), delimiter))

    def _parsed(self, kept: bytes, numbers: list[int], others: list[int], names: Sequence[str]) -> Block:
        import pandas

        d, order = self.dialect, [*numbers, *others]
        spelled = [s for m in MISSING for s in {m, m.upper(), m.capitalize(), m.replace("nan", "NaN")}]
        try:
            frame = pandas.read_csv(
                io.BytesIO(kept), header=None, names=range(d.width), usecols=sorted({*order}),
                sep=r"\s+" if d.delimiter == SPACES else d.delimiter or "\x01", decimal=d.decimal,
                dtype=dict.fromkeys(others, object), na_values={k: spelled if k in numbers else [""] for k in order},
                keep_default_na=False, quoting=csv.QUOTE_MINIMAL if b'"' in kept else csv.QUOTE_NONE,
                skipinitialspace=True, low_memory=False, index_col=False,
                encoding="utf-8" if d.encoding.startswith("utf") else d.encoding, encoding_errors="replace",
            )  # fmt: skip
        except (ValueError, OverflowError, pandas.errors.ParserError) as e:
            raise damaged(self.path, e) from None
        given = [frame[k] for k in numbers]
        values = [_floats(one, d.decimal) for one in given]
        arrays = [*values, *(frame[k].to_numpy(object) for k in others)]
        if values:  # a line of words with the right number of cells: a second header, a banner
            none = np.all([np.isnan(v) for v in values], axis=0)
            words = np.zeros(len(none), bool)
            words[none] = np.any([[_is_word(cell, d.decimal) for cell in one[none]] for one in given], axis=0)
            if words.any():
                self.passed_over["no row"] += int(words.sum())
                arrays = [a[~words] for a in arrays]
        block = dict(zip(names, arrays, strict=True))
        self.rows += len(arrays[0]) if arrays else 0
        return block


def _without(whole: bytes, skip: int) -> tuple[bytes, int]:
    """The block without its first `skip` lines, and how many are left to skip."""
    lines = whole.split(b"\n", skip)
    return (lines[-1], 0) if len(lines) > skip else (b"", skip - len(lines) + 1)


def _is_word(cell: object, decimal: str) -> bool:
    """Whether a cell is neither a number, however large, nor says that there is none."""
    return isinstance(cell, str) and bool(cell.strip()) and not _is_number(cell.strip(), decimal)


def _floats(series, decimal: str) -> np.ndarray:
    """Float64 of a column; NaN where a cell is not a number."""
    import pandas

    if series.dtype.kind not in "iufb":
        text = series.astype(object)
        if decimal == ",":
            text = text.map(lambda cell: cell.replace(",", ".") if isinstance(cell, str) else cell)
        series = pandas.to_numeric(text, errors="coerce")
    return finite_or_nan(series.to_numpy(np.float64, na_value=np.nan))
