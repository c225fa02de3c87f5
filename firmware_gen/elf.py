"""The memory that an ELF image uses, and its bytes for a flash tool. System V ABI, 4 and 5."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lnp_edge.base.errors import BoardError

T = TypeVar("T")
SHT_NOBITS = 8  # sh_type
SHF_WRITE, SHF_ALLOC = 0x1, 0x2  # sh_flags
PT_LOAD = 1  # p_type


@dataclass(frozen=True)
class Usage:
    flash: int  # bytes: code, tables and the initial values of variables
    ram: int  # bytes: variables and the reserved stack


def usage(image: Path) -> Usage:
    flash = ram = 0
    for kind, flags, size in _whole(image, _sections):
        if not flags & SHF_ALLOC:
            continue
        flash += 0 if kind == SHT_NOBITS else size
        ram += size if kind == SHT_NOBITS or flags & SHF_WRITE else 0
    return Usage(flash, ram)


def flash_bytes(image: Path, origin: int) -> bytes:
    """The content of flash from `origin` on; gaps are 0xFF, as in erased flash."""
    found = bytearray()
    for address, segment in _whole(image, _segments):
        at = address - origin
        if not segment:
            continue
        if not 0 <= at <= 2**30:
            raise BoardError(f"{image} loads to {address:#x}, outside the flash", "generate it and build it again")
        found += b"\xff" * (at + len(segment) - len(found))
        found[at : at + len(segment)] = segment
    return bytes(found)


def _whole(image: Path, part: Callable[[bytes], list[T]]) -> list[T]:
    try:
        return part(_read(image))
    except (struct.error, IndexError):
        raise BoardError(f"{image} is cut off", "make room on its disk and build the folder again") from None


def _read(image: Path) -> bytes:
    try:
        data = image.read_bytes()
    except OSError as e:
        raise BoardError(f"cannot read {image}: {e.strerror}", "build the folder again") from None
    if data[:4] != b"\x7fELF" or data[4] not in (1, 2) or data[5] != 1:
        raise BoardError(f"{image} is not a little-endian ELF file", "build the folder again")
    return data


def _sections(data: bytes) -> list[tuple[int, int, int]]:
    """(type, flags, size) of each section."""
    wide = data[4] == 2
    (offset,) = struct.unpack_from("<Q" if wide else "<I", data, 0x28 if wide else 0x20)
    each, count = struct.unpack_from("<HH", data, 0x3A if wide else 0x2E)
    header = struct.Struct("<IIQQQQ" if wide else "<IIIIII")
    found = []
    for k in range(count):
        _, kind, flags, _, _, size = header.unpack_from(data, offset + k * each)
        found.append((kind, flags, size))
    return found


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    """(load address, bytes) of each loaded segment of a 32-bit image."""
    (offset,) = struct.unpack_from("<I", data, 0x1C)
    each, count = struct.unpack_from("<HH", data, 0x2A)
    found = []
    for k in range(count):
        kind, at, _, address, size = struct.unpack_from("<IIIII", data, offset + k * each)
        if kind == PT_LOAD:
            found.append((address, data[at : at + size]))
    return found
