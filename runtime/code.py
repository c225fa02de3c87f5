"""What the instructions of an image are: which function each belongs to, and the cycles that it may take."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OTHER = "other"
CPU = "cortex-m4"  # whose cycles are known


class Functions:
    """Which part of a function an address belongs to.

    A part is what the source calls directly, whether the compiler inlines it or not: the debugging
    information of the image says so. What belongs to no part is the function's own, and code
    elsewhere belongs to the function whose symbol covers it.
    """

    def __init__(self, image: Path, function: str):
        from elftools.elf.elffile import ELFFile

        with image.open("rb") as file:
            elf = ELFFile(file)
            symbols: Any = elf.get_section_by_name(".symtab")
            found = [
                (at, at + s["st_size"], s.name)
                for s in symbols.iter_symbols()
                if s["st_info"]["type"] == "STT_FUNC" and s["st_size"]
                for at in [s["st_value"] & ~1]
            ]
            self._whole = sorted(found)
            self._inlined = sorted(_inlined(elf.get_dwarf_info(), function)) if elf.has_dwarf_info() else []

    def name(self, address: int) -> str:
        """The part that the instruction at an address belongs to."""
        return (_range(self._inlined, address) or self.whole(address))[2]

    def whole(self, address: int) -> tuple[int, int, str]:
        """The function whose symbol covers an address: where it begins and ends, and its name."""
        return _range(self._whole, address) or (address, address, OTHER)


def cycles(codes: Iterable[bytes]) -> tuple[int, int]:
    """The fewest and the most cycles of instructions in a row on a Cortex-M4 whose memory never waits.

    DDI 0439 (r0p1) 3.3.1, table 3-1: 1 each, but for those below. A pipeline refill takes 1 to 3. A
    load or store takes 2, and 1 beside another; an IT may be folded into its neighbour. Instructions
    of the FPU are not used. One that an IT skips takes 1.
    """
    fewest = most = conditional = 0
    for code in codes:
        one, two = int.from_bytes(code[:2], "little"), int.from_bytes(code[2:], "little")
        low, high = _narrow(one) if len(code) == 2 else _wide(one, two)
        fewest, most = fewest + (min(low, 1) if conditional else low), most + high
        conditional = max(0, conditional - 1)
        if len(code) == 2 and one >> 8 == 0xBF and one & 15:  # Armv7-M ARM A7.3.2: up to the lowest 1 of the mask
            conditional = 5 - (one & -one & 15).bit_length()
    return fewest, most


JUMP, BRANCH, ACCESS, PLAIN = (2, 4), (1, 4), (1, 2), (1, 1)  # BRANCH: 1 if it is not taken


def _narrow(code: int) -> tuple[int, int]:
    """Of 16 bits. Armv7-M ARM A5.2."""
    if (code >> 12 == 0b1101 and code >> 8 & 15 < 14) or code & 0xF500 == 0xB100:  # B<c>, CBZ
        return BRANCH
    if code >> 11 == 0b11100 or code >> 8 == 0x47 or code & 0xFD87 == 0x4487:  # B, BX, BLX, ADD and MOV to PC
        return JUMP
    if code >> 12 == 0b1100 or code & 0xF600 == 0xB400:  # LDM, STM, PUSH, POP
        several = 1 + (code & (0x1FF if code >> 12 == 0b1011 else 0xFF)).bit_count()
        return (several + 1, several + 3) if code >> 8 == 0xBD else (several, several)
    if code >> 8 == 0xBF and code & 15:  # IT
        return 0, 1
    return ACCESS if 0x48 <= code >> 8 < 0xA0 else PLAIN


def _wide(one: int, two: int) -> tuple[int, int]:
    """Of 32 bits. Armv7-M ARM A5.3."""
    if one & 0xFE40 == 0xE800:  # LDM, STM, PUSH, POP
        several = 1 + two.bit_count()
        return (several + 1, several + 3) if one & 0x10 and two & 0x8000 else (several, several)
    if one & 0xFFF0 == 0xE8D0 and two & 0xFFE0 == 0xF000:  # TBB, TBH
        return 3, 5
    if one & 0xFE40 == 0xE840:  # LDRD, STRD
        return 3, 3
    if one & 0xFE00 == 0xF800:
        return (3, 5) if one & 0x70 == 0x50 and two >> 12 == 15 else ACCESS  # LDR to PC
    if one >> 11 == 0b11110 and two & 0x8000:  # B, BL; B<c>, and barriers
        return JUMP if two & 0x1000 else BRANCH
    if one & 0xFFD0 == 0xFB90 and two & 0xF0 == 0xF0:  # SDIV, UDIV
        return 2, 12
    return PLAIN


def _range(ranges: list[tuple[int, int, str]], address: int) -> tuple[int, int, str] | None:
    at = bisect_right(ranges, address, key=lambda one: one[0]) - 1
    return ranges[at] if at >= 0 and address < ranges[at][1] else None


def _inlined(dwarf: Any, function: str) -> list[tuple[int, int, str]]:
    """The ranges of what is inlined directly into a function, with its name. DWARF 5, 3.3.8."""
    found = list[tuple[int, int, str]]()
    for unit in dwarf.iter_CUs():
        for entry in unit.get_top_DIE().iter_children():
            if entry.tag == "DW_TAG_subprogram" and _name(entry) == function:
                for call in _calls(entry):
                    found += [(low, high, _name(call)) for low, high in _ranges(dwarf, unit, call)]
    return found


def _calls(entry: Any) -> list[Any]:
    """The inlined calls of a function, those in its blocks too, but not those of the inlined."""
    found = []
    for child in entry.iter_children():
        if child.tag == "DW_TAG_inlined_subroutine":
            found.append(child)
        elif child.tag == "DW_TAG_lexical_block":
            found += _calls(child)
    return found


def _name(entry: Any) -> str:
    while "DW_AT_name" not in entry.attributes and "DW_AT_abstract_origin" in entry.attributes:
        entry = entry.get_DIE_from_attribute("DW_AT_abstract_origin")
    name = entry.attributes.get("DW_AT_name")
    return name.value.decode() if name else ""


def _ranges(dwarf: Any, unit: Any, entry: Any) -> list[tuple[int, int]]:
    """The addresses of an inlined call. DWARF 5, 2.17."""
    of = entry.attributes
    if "DW_AT_ranges" in of:
        base = unit.get_top_DIE().attributes["DW_AT_low_pc"].value
        listed = dwarf.range_lists().get_range_list_at_offset(of["DW_AT_ranges"].value, unit)
        found = []
        for one in listed:
            if hasattr(one, "base_address"):
                base = one.base_address
                continue
            at = 0 if getattr(one, "is_absolute", False) else base
            found.append((at + one.begin_offset, at + one.end_offset))
        return found
    if "DW_AT_low_pc" not in of:
        return []
    low, high = of["DW_AT_low_pc"].value, of["DW_AT_high_pc"]
    return [(low, high.value if high.form == "DW_FORM_addr" else low + high.value)]
