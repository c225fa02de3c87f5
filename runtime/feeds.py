"""Where the bytes of a stream come from: a file, a pipe, or a serial port that may go away and come back."""

from __future__ import annotations

import codecs
import io
import os
import re
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import serial

from lnp_edge import readers
from lnp_edge.base import system
from lnp_edge.base.errors import DataError, LinkError
from lnp_edge.readers.csv_text import encoding_of
from lnp_edge.runtime.ports import open_serial

TEXT = "csv_text"  # the reader of rows of text
TICK = 0.05  # s; an empty read of a live source takes so long
CHUNK = 65536  # bytes
LINE_LIMIT = 65536  # bytes
AGAIN = 1.0  # s from one attempt to open a port again to the next
_END = re.compile(rb"\r\n|\n|\r")
WINDOWS_PORT = re.compile(r"(\\\\\.\\)?COM[1-9]\d{0,2}", re.I)


@dataclass(frozen=True)
class Back:
    """A port that was lost is open again."""

    seconds: float


class Feed(Protocol):
    live: bool  # whether bytes come when they are made
    port: bool  # whether it is a serial port, which may begin within a line, and goes on for ever

    def read(self) -> bytes | Back | None:
        """The next bytes; none if there are none for TICK; None at the end."""

    def close(self) -> None: ...


class FileFeed:
    live = port = False

    def __init__(self, file: BinaryIO):
        self._file = file

    def begins(self) -> bytes:
        return self._file.peek(64) if isinstance(self._file, io.BufferedReader) else b""

    def read(self) -> bytes | Back | None:
        return self._file.read(CHUNK) or None

    def lines(self) -> Iterator[bytes]:
        """Its lines, or parts of LINE_LIMIT bytes."""
        while line := self._file.readline(LINE_LIMIT):
            yield line

    def close(self) -> None:
        self._file.close()


class PipeFeed:
    live, port = True, False

    def __init__(self, number: int, own: bool = True):
        self._number, self._own = number, own

    def read(self) -> bytes | Back | None:
        if sys.platform != "win32" and not select.select([self._number], [], [], TICK)[0]:  # there, of sockets only
            return b""
        return os.read(self._number, CHUNK) or None

    def close(self) -> None:
        if self._own:
            os.close(self._number)


class PortFeed:
    live = port = True

    def __init__(self, place: str, baud: int, tell: Callable[[str], None]):
        self._place, self._baud, self._tell = place, baud, tell
        self._port: serial.SerialBase | None = None

    def read(self) -> bytes | Back | None:
        """Opens the port if it is not open. Raises LinkError if that fails, but waits for one that was open."""
        if self._port is None:
            self._port = open_serial(self._place, self._baud)
        try:
            return self._port.read(max(1, self._port.in_waiting))
        except OSError:
            lost = time.monotonic()
            self._tell(f"lost {self._place}: opening it again every {AGAIN:g} s until it is back")
        self.close()
        said = set[str]()
        while True:
            time.sleep(AGAIN)
            try:
                self._port = open_serial(self._place, self._baud)
            except LinkError as e:
                if e.what not in said and "no such port" not in e.what:
                    self._tell(e.what)
                said.add(e.what)
                continue
            away = time.monotonic() - lost
            self._tell(f"{self._place} is back after {away:.0f} s")
            return Back(away)

    def close(self) -> None:
        if self._port is not None:
            with suppress(OSError):
                self._port.close()


def open_feed(place: str, baud: int, tell: Callable[[str], None]) -> Feed:
    """The feed of "-", a file, a named pipe, a serial port or a pyserial URL.

    Raises DataError for a file that cannot be opened; a port is opened when it is read.
    """
    if place == "-":
        return _standard_input()
    if "://" in place or _is_character_device(place):
        return PortFeed(place, baud, tell)
    try:
        number = os.open(place, os.O_RDONLY | system.BYTES)
        if stat.S_ISFIFO(os.fstat(number).st_mode):
            return PipeFeed(number)
        file = os.fdopen(number, "rb")
        _refuse_other_formats(place, file)
        return FileFeed(file)
    except (OSError, ValueError) as e:
        raise DataError(
            f"cannot read {place}: {getattr(e, 'strerror', None) or e}",
            "give a CSV file, - for standard input, or a serial port",
        ) from None


def _refuse_other_formats(place: str, file: BinaryIO) -> None:
    """Raises DataError for a file of recordings that a reader other than that of text knows by its ending."""
    ending = next((e for e, reader in readers.endings().items() if place.lower().endswith(e) and reader != TEXT), None)
    if ending:
        file.close()
        what = f"lnp run reads text, {place} is {ending[1:].upper()}"
        raise DataError(what, "write its rows as CSV, a column for each channel")


def _standard_input() -> Feed:
    try:
        number = sys.stdin.fileno()
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return PipeFeed(number, own=False)
    except (OSError, ValueError):
        pass
    return FileFeed(sys.stdin.buffer)


def _is_character_device(place: str) -> bool:
    if WINDOWS_PORT.fullmatch(place) and not Path(place).is_file():
        return True
    try:
        return stat.S_ISCHR(os.stat(place).st_mode) and Path(place) != Path(os.devnull)
    except (OSError, ValueError):
        return False


class Lines:
    """Cuts bytes into lines of bounded length, as text. Ends of lines are those of Unix, Windows or old Macs.

    text : whether the first bytes tell the encoding, as those of a file do
    """

    def __init__(self, text: bool):
        self._look = text
        self._encoding = "utf-8"
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begin()

    def _begin(self) -> None:
        self._rest, self._dropping, self._after_return = b"", False, False

    def cut(self) -> None:
        """Drop the line that has begun."""
        self._begin()

    def push(self, data: bytes) -> list[str | None]:
        """The lines that some bytes complete; None for one that is too long."""
        if self._look and data:
            self._look = False
            self._encoding, mark = encoding_of(data)
            data = data[mark:]
            if self._encoding.startswith("utf-16"):
                self._decoder = codecs.getincrementaldecoder(self._encoding)("replace")
                self._encoding = "utf-8"
        if self._decoder:
            data = self._decoder.decode(data).encode("utf-8", "replace")
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        self._after_return |= data.endswith(b"\r")
        *whole, rest = _END.split(data)
        found: list[str | None] = []
        for line in whole:
            line, self._rest = self._rest + line, b""
            if not self._dropping:
                found.append(None if len(line) > LINE_LIMIT else self._text(line))
            self._dropping = False
        self._rest += b"" if self._dropping else rest
        if len(self._rest) > LINE_LIMIT:
            self._rest, self._dropping = b"", True
            found.append(None)
        return found

    def end(self) -> list[str | None]:
        """The last line, if no end of a line follows it."""
        rest, self._rest = self._rest, b""
        return [self._text(rest)] if rest else []

    def _text(self, line: bytes) -> str:
        """A line that is no UTF-8 is of Windows' code page, as in files: a later line may show it first."""
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError:
            return line.decode("cp1252", "replace")
