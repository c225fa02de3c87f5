"""Read sensor counts from a CSV file, standard input or a serial sensor that sends CSV lines."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError
from lnp_edge.runtime.ports import open_serial

LINE_LIMIT = 65536  # characters
INTEGER = re.compile(r"[+-]?[0-9]{1,6}")
Row = NDArray[np.int16]


def rows(source: str, channels: tuple[str, ...], baud: int = 115_200) -> Iterator[Row]:
    """Yield rows of counts, int16 [C], from "-", a CSV file, a serial port or a pyserial URL.

    A line has one integer from -32768 to 32767 per channel, separated by commas. A first line of
    names selects the model's channels by name. Empty lines and lines that begin with # are skipped.
    Raises DataError with the line number; a serial sensor may start in the middle of a line.
    """
    if source == "-":
        yield from parse(_lines(sys.stdin.buffer), channels, "standard input")
    elif "://" in source or _is_character_device(source):
        with closing(open_serial(source, baud)) as port:
            yield from parse(_port_lines(port), channels, source, first_may_be_cut=True)
    else:
        try:
            with open(source, "rb") as file:
                yield from parse(_lines(file), channels, source)
        except OSError as e:
            raise DataError(
                f"cannot read {source}: {e.strerror}", "give a CSV file, - for standard input, or a serial port"
            ) from None


def _is_character_device(source: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(source).st_mode) and Path(source) != Path(os.devnull)
    except OSError:
        return False


def _lines(file) -> Iterator[bytes]:
    while line := file.readline(LINE_LIMIT):
        yield line


def _port_lines(port) -> Iterator[bytes]:
    buffer = bytearray()
    while True:
        try:
            buffer += port.read(max(1, port.in_waiting))
        except OSError:
            return  # unplugged: the stream ends
        *lines, rest = buffer.split(b"\n")
        buffer = rest
        yield from (bytes(line) for line in lines)
        if len(buffer) > LINE_LIMIT:
            yield bytes(buffer)
            buffer = bytearray()


def parse(
    lines: Iterator[bytes], channels: tuple[str, ...], name: str, first_may_be_cut: bool = False
) -> Iterator[Row]:
    """Yield the rows of the lines; see rows()."""
    columns, width = list(range(len(channels))), len(channels)
    seen_first = False
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8-sig", "replace").strip()
        if not text or text.startswith("#"):
            continue
        cells = [c.strip() for c in text.split(",")]
        first, seen_first = not seen_first, True
        try:
            if len(line) >= LINE_LIMIT:
                raise ValueError(f"longer than {LINE_LIMIT} bytes")
            if first and not any(_is_number(c) for c in cells):
                columns, width = _pick(cells, channels, f"{name} line {number}"), len(cells)
                continue
            row = _row(cells, columns, width)
            if first and first_may_be_cut:
                continue  # "-12,3" cut to "2,3" would be accepted
        except (ValueError, DataError) as e:
            if first and first_may_be_cut:
                continue
            if isinstance(e, DataError):
                raise
            raise DataError(
                f"{name} line {number}: {e}",
                f"write {width} integers per line, separated by commas",
            ) from None
        yield row


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _pick(header: list[str], channels: tuple[str, ...], where: str) -> list[int]:
    missing = [c for c in channels if c not in header]
    if missing:
        raise DataError(
            f"{where}: no column {missing[0]!r}", f"name the model's channels: {','.join(channels)}, or omit the names"
        )
    return [header.index(c) for c in channels]


def _row(cells: list[str], columns: list[int], width: int) -> Row:
    if len(cells) != width:
        raise ValueError(f"expected {width} values, got {len(cells)}")
    values = []
    for column in columns:
        cell = cells[column]
        if not INTEGER.fullmatch(cell) or not -32768 <= int(cell) <= 32767:
            raise ValueError(f"{cell[:20]!r} is not an integer from -32768 to 32767")
        values.append(int(cell))
    return np.array(values, np.int16)
