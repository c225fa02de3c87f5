"""Count the instructions of a function on a core that only QEMU has: a plugin of our own counts.

It needs a QEMU that takes plugins, as Debian's does, and a C compiler of this computer.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lnp_edge.base.errors import BoardError
from lnp_edge.firmware_gen.build import compiler
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.runtime.emulator import FAMILIES, Block, Instruction
from lnp_edge.runtime.ports import PtyProcess, qemu_command
from lnp_edge.spec.board import Board

INTERRUPTS = {"uart_interrupt", "lnp_uart_take"}  # of boards/common: when they run depends on this computer
SOURCE = CSRC / "qemu_count.c.in"
CALLS, BLOCKS = 1 << 16, 1 << 14  # as in the plugin's result_t
RESULT = np.dtype([
    ("on", "u4"), ("calls", "u4"), ("blocks", "u4"), ("spare", "u4"), ("of_call", "u4", CALLS),
    ("block", [("address", "u4"), ("instructions", "u4"), ("times", "u4")], BLOCKS),
])  # fmt: skip


class QemuCount:
    """What finished calls ran while `with` was active: InstructionCount of runtime/emulator.py says it more fully."""

    def __init__(self, found: Any, code: dict[int, bytes], board: Board):
        self._found, self._code, self._family = found, code, FAMILIES[board.family]

    def __enter__(self) -> QemuCount:
        self._found["on"] = 1
        return self

    def __exit__(self, *_: object) -> None:
        self._found["on"] = 0

    @property
    def calls(self) -> list[int]:
        count = int(self._found["calls"][0])
        if count > CALLS:
            raise RuntimeError("more calls than there is room for")
        return self._found["of_call"][0][:count].tolist()

    @property
    def total(self) -> Counter[Block]:
        """How often each block ran: where it begins, and its instructions."""
        found = self._found["block"][0]
        return Counter({(int(b["address"]), int(b["instructions"])): int(b["times"]) for b in found if b["times"]})

    def instructions(self, block: Block) -> list[Instruction]:
        """The address and the bytes of each instruction of a block."""
        at, count = block
        base = max(start for start in self._code if start <= at)
        code, found = self._code[base], list[Instruction]()
        for _ in range(count):
            first = code[at - base : at - base + 4]
            found.append((at, first[: 4 if self._family.long(first[:2]) else 2]))
            at += len(found[-1][1])
        return found


@contextmanager
def counting(board: Board, image: Path, function: str) -> Iterator[tuple[PtyProcess, QemuCount]]:
    """The image on QEMU, and what counts. Raises BoardError without a compiler, or if QEMU takes no plugins."""
    symbols, code = _read(image)
    begin, _ = symbols[function]
    skipped = [
        f",skip={low:#x}-{low + size:#x}"
        for low, size in (symbols[name] for name in sorted(INTERRUPTS & symbols.keys()))
    ]
    plugin, out = image.with_name("qemu_count.so"), image.with_name("qemu_count.out")
    command = [*compiler("host"), "-shared", "-fPIC", "-O2", "-o", str(plugin), "-x", "c", str(SOURCE)]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != 0:
        raise BoardError(f"{SOURCE.name} cannot be compiled: {done.stderr.strip()[:200]}", "install gcc")
    out.write_bytes(bytes(RESULT.itemsize))
    ends = [f",end={at:#x}" for at in _returns(code, begin)]
    file, found_in = (str(path).replace(",", ",,") for path in (plugin, out))  # QEMU's way to write a comma
    options = f"{file},begin={begin:#x}{''.join((*ends, *skipped))},out={found_in}"
    found = np.memmap(out, RESULT, "r+", shape=(1,))
    port = PtyProcess([*qemu_command(board, image), "-plugin", options])
    try:
        yield port, QemuCount(found, code, board)
    finally:
        port.close()


def _read(image: Path) -> tuple[dict[str, tuple[int, int]], dict[int, bytes]]:
    """Where each function begins, and its bytes; and the bytes of the image by where they lie."""
    from elftools.elf.elffile import ELFFile

    with image.open("rb") as file:
        elf = ELFFile(file)
        table: Any = elf.get_section_by_name(".symtab")
        functions = [s for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"]
        symbols = {s.name: (s["st_value"] & ~1, s["st_size"]) for s in functions}
        return symbols, {s["p_vaddr"]: s.data() for s in elf.iter_segments("PT_LOAD") if s["p_filesz"]}


def _returns(code: dict[int, bytes], function: int) -> list[int]:
    """Where calls of a function return to: behind each BL to it. Armv7-M ARM A7.7.18."""
    found = []
    for base, data in code.items():
        words = np.frombuffer(data[: len(data) & ~1], "<u2").astype(np.int64)
        one, two = words[:-1], words[1:]
        sign = one >> 10 & 1
        i1, i2 = 1 - ((two >> 13 & 1) ^ sign), 1 - ((two >> 11 & 1) ^ sign)
        jump = -sign * (1 << 24) + (i1 << 23 | i2 << 22 | (one & 0x3FF) << 12 | (two & 0x7FF) << 1)
        behind = base + 4 + 2 * np.arange(len(one))
        is_call = (one & 0xF800 == 0xF000) & (two & 0xD000 == 0xD000) & (behind + jump == function)
        found += behind[is_call].tolist()
    return found
