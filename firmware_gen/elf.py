"""What an ELF image loads where, the memory that it uses, and its bytes for a flash tool. System V ABI, 4 and 5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from elftools.common.exceptions import ELFError
from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile

from lnp_edge.base.errors import BoardError
from lnp_edge.base.files import read_bounded
from lnp_edge.spec.board import Board, Region

T = TypeVar("T")
MOST_BYTES = 2**28  # of an image, with what a debugger reads


@dataclass(frozen=True)
class Usage:
    flash: int  # bytes: code, tables and the initial values of variables
    ram: int  # bytes: variables and the reserved stack


@dataclass(frozen=True)
class Segment:
    """What is loaded to one place, and where it is when it runs: for variables that is elsewhere, and may be more."""

    address: int
    data: bytes
    runs_at: int
    size: int


def usage(image: Path) -> Usage:
    flash = ram = 0
    for nobits, writable, size in read(image, _sections):
        flash += 0 if nobits else size
        ram += size if nobits or writable else 0
    return Usage(flash, ram)


def flash_bytes(image: Path, origin: int) -> bytes:
    """The content of flash from `origin` on; gaps are 0xFF, as in erased flash."""
    found = bytearray()
    for segment in read(image, _segments):
        at = segment.address - origin
        if not segment.data:
            continue
        if not 0 <= at <= 2**30:
            raise BoardError(
                f"{image} loads to {segment.address:#x}, outside the flash", "generate it and build it again"
            )
        found += b"\xff" * (at + len(segment.data) - len(found))
        found[at : at + len(segment.data)] = segment.data
    return bytes(found)


def check(image: Path, board: Board) -> None:
    """Raise BoardError unless all that it loads lies in the board's flash, and runs or is read there or in its RAM."""
    used = [segment for segment in read(image, _segments) if segment.size]
    for segment in used:
        for at, size, places in (
            (segment.address, len(segment.data), (board.flash,)),
            (segment.runs_at, segment.size, tuple(dict.fromkeys((board.flash, board.tables, board.ram)))),
        ):
            if size and not any(_within(at, size, place) for place in places):
                where = " and ".join(f"{p.origin:#x} to {p.end - 1:#x}" for p in places)
                raise BoardError(
                    f"{image} uses {at:#x} to {at + size - 1:#x}, {board.name} has {where}",
                    "generate it for this board and build it again; nothing was written",
                )
    if not used:
        raise BoardError(f"{image} loads nothing", "build the folder again; nothing was written")


def _within(at: int, size: int, place: Region) -> bool:
    return place.origin <= at and at + size <= place.end


def read(image: Path, part: Callable[[ELFFile], T]) -> T:
    """Part of an image, or what follows from it. Raises BoardError if it is none, or is cut off."""
    data = read_bounded(image, MOST_BYTES, BoardError, "build the folder again")
    try:
        return part(ELFFile(BytesIO(data)))
    except (ELFError, ValueError, TypeError, AttributeError, KeyError) as e:  # it raises any of these for damaged bytes
        raise BoardError(f"{image} is no whole ELF image: {str(e)[:80]}", "build the folder again") from None


def _sections(image: ELFFile) -> list[tuple[bool, bool, int]]:
    """Of each section in memory: whether the file has none of it, whether it lies among variables, and its size.

    Its own flag does not tell: avr-gcc 14 marks a .data of constants alone, which is copied to RAM, as read-only.
    """
    variables = [s for s in image.iter_segments("PT_LOAD") if s["p_flags"] & P_FLAGS.PF_W]
    return [
        (s["sh_type"] == "SHT_NOBITS", any(v.section_in_segment(s) for v in variables), s["sh_size"])
        for s in image.iter_sections()
        if s["sh_flags"] & SH_FLAGS.SHF_ALLOC
    ]


def _segments(image: ELFFile) -> list[Segment]:
    found = []
    for s in image.iter_segments("PT_LOAD"):
        data = s.data()
        if len(data) != s["p_filesz"]:
            raise ELFError("it is cut off")
        found.append(Segment(s["p_paddr"], data, s["p_vaddr"], s["p_memsz"]))
    return found
