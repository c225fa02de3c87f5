"""The log of a run, one JSON object a line: a head, then samples, gaps and predictions as they come.

The last entry of a line, crc, is the CRC-32 of what precedes it; lines of older logs have none.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base import system
from lnp_edge.base.console import ascii_only
from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.base.files import parse_json
from lnp_edge.base.version import VERSION
from lnp_edge.spec.model import QuantizedModel

BEGINS = b'{"lnp_log":'
FORMAT = 1
LONGEST = 65536  # bytes of a line that is read
MOST_VALUES = 2**20  # for parse_json, which allows a value in 16 bytes
LATEST = 1e12  # s


class Sample(NamedTuple):
    counts: NDArray[np.int16]  # [C]
    t: float  # s since the stream began


class Gap(NamedTuple):
    """What comes does not follow on what came."""

    seconds: float  # that are missing
    why: str


def now() -> str:
    """The time of the clock on the wall, ISO 8601, local with the offset."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


class Log:
    """Appends to a log; each line is written whole or not at all.

    Raises ConfigError for a file that is no log, or one of other channels, and if another run writes it.
    """

    def __init__(self, path: Path, model: QuantizedModel, source: str):
        self._path = path
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | system.AT_ONCE | system.BYTES
            self._file = os.open(path, flags, 0o666)
        except (OSError, ValueError) as e:
            raise ConfigError(
                f"cannot write {path}: {getattr(e, 'strerror', None) or e}", "choose another --log"
            ) from None
        try:
            self._prepare(model)
        except BaseException:
            os.close(self._file)
            raise
        self.write({
            "lnp_log": FORMAT, "time": now(), "version": VERSION, "fingerprint": f"{model.fingerprint:08x}",
            "source": source, "channels": list(model.channels), "dt": model.sample_dt, "hop": model.hop,
        })  # fmt: skip

    def _prepare(self, model: QuantizedModel) -> None:
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise ConfigError(f"--log {self._path} is not a regular file", "choose another --log")
        try:
            system.lock(self._file)
        except BlockingIOError:
            raise ConfigError(f"another run writes {self._path}", "choose another --log") from None
        size = os.fstat(self._file).st_size
        if not size:
            return
        head = self._read(LONGEST, 0).partition(b"\n")[0]
        channels = _table(head).get("channels") if head.startswith(BEGINS) else None
        if not isinstance(channels, list):
            raise ConfigError(f"--log {self._path} exists and is no log of lnp run", "choose another --log")
        if len(channels) != len(model.channels):
            what = f"--log {self._path} is of {len(channels)} channels, the model has {len(model.channels)}"
            raise ConfigError(what, "choose another --log")
        if self._read(1, size - 1) != b"\n":  # a run that was killed as it wrote
            self._put(b"\n")

    def _read(self, most: int, at: int) -> bytes:
        os.lseek(self._file, at, os.SEEK_SET)  # what is written is appended all the same
        return os.read(self._file, most)

    def event(self, event: Sample | Gap) -> None:
        if isinstance(event, Sample):
            counts = ",".join(map(str, event.counts.tolist()))
            self._put(_sealed(f'{{"t":{event.t!r},"x":[{counts}]}}'))
        else:
            self.write({"gap": event.seconds, "why": event.why})

    def write(self, table: dict) -> None:
        self._put(_sealed(json.dumps(table)))

    def _put(self, line: bytes) -> None:
        try:
            size, written = os.fstat(self._file).st_size, 0
            try:
                written = os.write(self._file, line)
            finally:
                if 0 < written < len(line):  # the disk is full
                    os.ftruncate(self._file, size)
        except OSError as e:
            raise DataError(f"cannot write {self._path}: {e.strerror}", "free space on its disk") from None
        if written < len(line):
            raise DataError(f"cannot write {self._path}: no space left", "free space on its disk")

    def close(self) -> None:
        os.close(self._file)


def replay(
    lines: Iterator[bytes], name: str, model: QuantizedModel, tell: Callable[[str], None]
) -> Iterator[Sample | Gap]:
    """The samples and gaps of a log; a gap where another run begins, and in place of a line that is damaged.

    Raises DataError for another number of channels.
    """
    any_sample, broken, goes_on = False, "", False
    for line in lines:
        part, goes_on = goes_on, not line.endswith(b"\n")
        table = {} if part else _table(line)
        if "lnp_log" in table:
            channels = table.get("channels")
            count = len(channels) if isinstance(channels, list) else 0
            if count != len(model.channels):
                what = f"{name} is a log of {count} channels, the model has {len(model.channels)}"
                raise DataError(what, "replay it with a model of the same channels")
            if table.get("fingerprint") != f"{model.fingerprint:08x}":
                tell(f"{name} was written with another model: its decisions may differ")
            broken = "another run" if any_sample else ""
            continue
        if "prediction" in table:
            continue
        sample = _sample(table, len(model.channels))
        if sample is None:
            gap = _seconds(table.get("gap"))
            if gap is None:
                broken = "a damaged line of the log"
            elif any_sample:
                yield Gap(gap, ascii_only(str(table.get("why"))[:200]))
                any_sample, broken = False, ""
            continue
        if broken and any_sample:
            yield Gap(0.0, broken)
        any_sample, broken = True, ""
        yield sample


def _sealed(table: str) -> bytes:
    """The line of a JSON table that is not empty."""
    body = table.removesuffix("}").encode()
    return b'%s,"crc":%d}\n' % (body, zlib.crc32(body))


def _table(line: bytes) -> dict:
    """The table of a line; {} of one that is damaged."""
    body, sealed, crc = line[:LONGEST].rstrip(b"\n").rpartition(b',"crc":')
    if sealed and crc != b"%d}" % zlib.crc32(body):
        return {}
    try:
        found = parse_json(line[:LONGEST], MOST_VALUES)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _sample(table: dict, channels: int) -> Sample | None:
    x, t = table.get("x"), _seconds(table.get("t"))
    if not isinstance(x, list) or len(x) != channels or t is None:
        return None
    if not all(type(value) is int and -32768 <= value <= 32767 for value in x):
        return None
    return Sample(np.array(x, np.int16), t)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < LATEST else None
