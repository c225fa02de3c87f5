"""How deep the stack of an image can be: the frames of its functions, added up over the calls in its instructions.

What a function keeps on the stack the compiler says (DWARF 5, 6.4); of assembly alone it is counted in its
instructions. A call of a pointer may reach every function whose address is somewhere in the image. No function begins
while it runs already: one that calls itself has no bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from lnp_edge.firmware_gen import elf
from lnp_edge.spec.board import ARM, AVR, Board

EXCEPTION = 36  # B that a Cortex-M pushes where an interrupt begins, one word of it to align them: ARM B1.5.6
MOST_CALLS = 100_000  # that are followed: of a firmware some hundreds
ENTRY, VECTORS, TOP = "Reset_Handler", "lnp_vectors", "lnp_stack_top"  # of boards/common
STOPS = b"\xfe\xe7"  # B to itself


@dataclass(frozen=True)
class Stack:
    """deepest : B at most; None: unknown, and `why` says so.  size : B that are kept for it
    path : the functions of the deepest call, the outermost first"""

    deepest: int | None
    size: int
    path: tuple[str, ...] = ()
    why: str = ""


@dataclass
class Function:
    name: str
    end: int
    frame: int = 0  # B
    calls: set[int] = field(default_factory=set)  # where the functions begin that it calls, or goes on with
    by_pointer: bool = False  # whether it calls a pointer


Functions = dict[int, Function]  # by where they begin


def of(image: Path, board: Board) -> Stack:
    """The stack of an image; of Arm and RISC-V cores alone with a bound. Raises BoardError if it is none."""
    if board.family == AVR:
        return Stack(None, elf.read(image, _reserved), why="the calls of a program for AVR are not read")
    return elf.read(image, lambda file: _stack(file, board))


def _reserved(file: ELFFile) -> int:
    section: Any = file.get_section_by_name(".stack")
    return section["sh_size"] if section else 0


def _stack(file: ELFFile, board: Board) -> Stack:
    symbols: Any = file.get_section_by_name(".symtab")
    symbols, arm = list(symbols.iter_symbols()), int(board.family == ARM)
    places = {s.name: s["st_value"] for s in symbols}
    if missing := next((name for name in (ENTRY, TOP) if name not in places), ""):
        return Stack(None, 0, why=f"the image has no {missing}")
    functions: Functions = {
        begin: Function(s.name, begin + s["st_size"])
        for s in symbols
        if s["st_info"]["type"] == "STT_FUNC" and s["st_size"]
        for begin in [s["st_value"] & ~arm]
    }
    vectors = {at for s in symbols if s.name == VECTORS for at in range(s["st_value"], s["st_value"] + s["st_size"])}
    loaded = (s for s in file.iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_ALLOC and s["sh_type"] != "SHT_NOBITS")
    parts = [(s["sh_addr"], s.data()) for s in loaded]
    marks = sorted((s["st_value"], s.name[1]) for s in symbols if s.name[:2] in ("$t", "$d"))
    frames = _frames(file, 13 if arm else 2)
    taken, handlers, stops = set[int](), set[int](), set[int]()
    for begin, content in parts:
        for at in range(-begin % 4, len(content) - 3, 4):
            word = int.from_bytes(content[at : at + 4], "little")
            if word & 1 == arm and word - arm in functions:
                (handlers if begin + at in vectors else taken).add(word - arm)
        for first, one in functions.items():
            if begin <= first < begin + len(content):
                code = content[first - begin : one.end - begin]
                taken |= (_thumb if arm else _riscv)(first, one, code, functions, marks)
                one.frame = frames.get(first) or one.frame
                if code[:2] == STOPS:
                    stops.add(first)
    entry = places[ENTRY] & ~arm
    taken.discard(entry)
    handlers -= {entry, *stops}
    return _deepest(functions, taken, entry, handlers, places[TOP] - board.ram.origin)


def _deepest(functions: Functions, taken: set[int], entry: int, handlers: set[int], size: int) -> Stack:
    """handlers : of interrupts, which do not interrupt each other"""
    known, left = dict[int, tuple[int, tuple[str, ...]]](), MOST_CALLS

    def deep(at: int, above: frozenset[int]) -> tuple[int, tuple[str, ...], frozenset[int]]:
        """B, names, and the functions above that were left out, as they run already."""
        nonlocal left
        if at in known:
            return *known[at], frozenset()
        left -= 1
        one, most, path, passed = functions[at], 0, tuple[str, ...](), frozenset[int]()
        for callee in sorted(one.calls | (taken if one.by_pointer else set())) if left > 0 else ():
            if callee in above or callee == at:
                passed |= {callee}
                continue
            below, names, over = deep(callee, above | {at})
            passed |= over
            if below > most:
                most, path = below, names
        passed -= {at}
        if not passed:
            known[at] = one.frame + most, (one.name, *path)
        return one.frame + most, (one.name, *path), passed

    if itself := next((f.name for at, f in functions.items() if at in _reached(functions, f.calls)), ""):
        return Stack(None, size, why=f"{itself} calls itself")
    depth, path, _ = deep(entry, frozenset())
    depth += max((EXCEPTION + deep(at, frozenset())[0] for at in handlers), default=0)
    return Stack(depth, size, path) if left > 0 else Stack(None, size, why="too many calls of pointers")


def _reached(functions: Functions, some: set[int]) -> set[int]:
    """The functions that some reach, and they themselves, without calls of pointers."""
    found, new = set[int](), set(some)
    while new:
        found |= new
        new = set[int]().union(*(functions[at].calls for at in new)) - found
    return found


def _frames(file: ELFFile, sp: int) -> dict[int, int]:
    """How far the stack pointer goes in each function that the compiler describes. sp : its number"""
    if not file.has_dwarf_info():
        return {}
    dwarf: Any = file.get_dwarf_info()
    entries = dwarf.CFI_entries() if dwarf.has_CFI() else []
    found = dict[int, int]()
    for entry in entries:
        if hasattr(entry, "cie") and entry.cie is not None and "initial_location" in entry.header:
            rows = [row["cfa"] for row in entry.get_decoded().table]
            if all(cfa.reg == sp for cfa in rows):
                found[entry.header["initial_location"]] = max((cfa.offset for cfa in rows), default=0)
    return found


def _thumb(first: int, one: Function, code: bytes, functions: Functions, marks: list[tuple[int, str]]) -> set[int]:
    """Fill in a function's calls and frame from instructions of Armv7-M (ARM A5, A7); the functions whose addresses it
    makes. marks : where instructions begin ($t), and data among them ($d)"""
    taken, low, at, kinds = set[int](), dict[int, int](), 0, dict(marks)
    kind = next((k for place, k in reversed(marks) if place <= first), "t")
    while at + 2 <= len(code):
        here = first + at
        kind = kinds.get(here, kind)
        w = int.from_bytes(code[at : at + 2], "little")
        at += 2
        if kind == "d":
            continue
        if w >> 11 < 0b11101:
            target = None
            if w >> 11 == 0b11100:  # B
                target = here + 4 + 2 * _signed(w, 11)
            elif w >> 12 == 0b1101 and w >> 8 & 15 < 14:  # B<c>
                target = here + 4 + 2 * _signed(w, 8)
            elif w & 0xFF80 == 0x4780 or (w & 0xFF80 == 0x4700 and w >> 3 & 15 != 14):  # BLX, BX but not to LR
                one.by_pointer = True
            elif w & 0xFE00 == 0xB400:  # PUSH
                one.frame += 4 * (w & 0x1FF).bit_count()
            elif w & 0xFF80 == 0xB080:  # SUB SP
                one.frame += 4 * (w & 0x7F)
            _goes(one, first, target, functions)
            continue
        v = int.from_bytes(code[at : at + 2], "little")
        at += 2
        if w >> 11 == 0b11110 and v & 0x8000:
            s, sign = (w >> 10 & 1), -(w >> 10 & 1)
            if v & 0x1000:  # BL, B
                i1, i2 = (~((v >> 13) ^ s) & 1), (~((v >> 11) ^ s) & 1)
                offset = sign << 24 | i1 << 23 | i2 << 22 | (w & 0x3FF) << 12 | (v & 0x7FF) << 1
            elif w >> 6 & 0xE != 0xE:  # B<c>
                offset = sign << 20 | (v >> 11 & 1) << 19 | (v >> 13 & 1) << 18 | (w & 0x3F) << 12 | (v & 0x7FF) << 1
            else:
                continue
            _goes(one, first, here + 4 + offset, functions, v & 0xD000 == 0xD000)
        elif w == 0xE92D:  # PUSH
            one.frame += 4 * v.bit_count()
        elif w & 0xFFBF == 0xED2D:  # VPUSH
            one.frame += 4 * (v & 0xFF)
        elif w & 0xFBFF in (0xF1AD, 0xF2AD) and v & 0x8F00 == 0x0D00:  # SUB SP, A5.3.2: a byte that is rotated, or not
            imm = (w >> 10 & 1) << 11 | (v >> 12 & 7) << 8 | v & 0xFF
            whole = w & 0x200 or imm < 256
            one.frame += imm if whole else (0x80 | imm & 0x7F) << (32 - (imm >> 7))
        elif w & 0xFB70 == 0xF240 and not v & 0x8000:  # MOVW, MOVT
            half = (w & 15) << 12 | (w >> 10 & 1) << 11 | (v >> 12 & 7) << 8 | v & 0xFF
            if not w & 0x80:
                low[v >> 8 & 15] = half
            else:
                taken.add((half << 16 | low.get(v >> 8 & 15, 0)) & ~1)
    return taken & functions.keys()


def _riscv(first: int, one: Function, code: bytes, functions: Functions, marks: list[tuple[int, str]]) -> set[int]:
    """The same from instructions of RV32IMAC: The RISC-V Instruction Set Manual, volume I, 2.2 and 16.8."""
    taken, at, known = set[int](), 0, dict[int, int]()
    while at + 2 <= len(code):
        here, w = first + at, int.from_bytes(code[at : at + 4], "little")
        wide = w & 3 == 3
        at += 4 if wide else 2
        if wide:
            rd, rs, imm, op = w >> 7 & 31, w >> 15 & 31, _signed(w >> 20, 12), w & 0x7F
            if op == 0x6F:  # JAL
                offset = -(w >> 31) << 20 | (w >> 12 & 0xFF) << 12 | (w >> 20 & 1) << 11 | (w >> 21 & 0x3FF) << 1
                _goes(one, first, here + offset, functions, rd != 0)
            elif op == 0x63:  # branches
                offset = -(w >> 31) << 12 | (w >> 7 & 1) << 11 | (w >> 25 & 0x3F) << 5 | (w >> 8 & 15) << 1
                _goes(one, first, here + offset, functions)
            elif op == 0x67 and rs in known:  # JALR after AUIPC
                _goes(one, first, known[rs] + imm, functions, rd != 0)
            elif op == 0x67:
                one.by_pointer |= rd != 0 or rs not in (1, 5)
            elif op in (0x17, 0x37):  # AUIPC, LUI
                known[rd] = ((w & ~0xFFF) + (here if op == 0x17 else 0)) & 0xFFFFFFFF
                continue
            elif op == 0x13 and not w >> 12 & 7:  # ADDI
                taken.add(known.get(rs, 0) + imm)
                one.frame -= min(imm, 0) * (rd == rs == 2)
            known.pop(rd, None)
            continue
        w, rs = w & 0xFFFF, w >> 7 & 31
        if w & 3 == 1 and w >> 13 in (1, 5):  # C.JAL, C.J
            _goes(one, first, here + _cj(w), functions, w >> 13 == 1)
        elif w & 0xF07F == 0x9002 and rs:  # C.JALR
            one.by_pointer |= rs not in known
            _goes(one, first, known.get(rs), functions, True)
        elif w & 0xF07F == 0x8002:  # C.JR
            one.by_pointer |= rs not in (1, 5, *known)
            _goes(one, first, known.get(rs), functions)
        elif w >> 13 == 3 and w & 3 == 1 and rs != 2:  # C.LUI
            known[rs] = _signed(w >> 2 & 31 | (w >> 12 & 1) << 5, 6) << 12 & 0xFFFFFFFF
        elif w >> 13 == 0 and w & 3 == 1:  # C.ADDI
            imm = _signed(w >> 2 & 31 | (w >> 12 & 1) << 5, 6)
            taken.add(known.pop(rs, 0) + imm)
            one.frame -= min(imm, 0) * (rs == 2)
        elif w & 0xEF83 == 0x6101:  # C.ADDI16SP
            imm = (w >> 12 & 1) << 9 | (w >> 3 & 3) << 7 | (w >> 5 & 1) << 6 | (w >> 2 & 1) << 5 | (w >> 6 & 1) << 4
            one.frame -= min(_signed(imm, 10), 0)
    return taken & functions.keys()


def _cj(w: int) -> int:
    """The offset of C.J and C.JAL."""
    places = (12, 8, 10, 9, 6, 7, 2, 11, 5, 4, 3)  # of its bits, the highest, which is bit 11, first
    value = 0
    for place in places:
        value = value << 1 | w >> place & 1
    return _signed(value, 11) * 2


def _goes(one: Function, first: int, target: int | None, functions: Functions, calls: bool = False) -> None:
    """Note a call, or a jump to another function."""
    if target in functions and (calls or not first <= target < one.end):
        one.calls.add(target)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)
