"""A Cortex-M or RISC-V core in this process: unicorn runs the image, with a CMSDK UART, and counts instructions.

Needs only pip, no root. Deterministic: the firmware runs until it polls for a byte and there is
none.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from lnp_edge.base.errors import BoardError, LinkError
from lnp_edge.base.install import INSTALL
from lnp_edge.base.stopping import deferred
from lnp_edge.runtime import code
from lnp_edge.runtime.in_process import InProcess
from lnp_edge.spec.board import ARM, PAGE, PRIVATE, RISCV, Board

SYSTEM_BYTES = 0x10_0000  # Armv7-M ARM B3.1: private peripheral bus
DATA, STATE = 0x0, 0x4  # DDI 0479: CMSDK APB UART registers
RX_FULL = 0x2
PAINT = b"\xa5"
TRANSLATED = 2**25  # B of translated code: by default 1 GiB, without which unicorn ends this process
BESIDE = 2**24  # B of all else that unicorn takes: 10 MiB, with a thread
Block = tuple[int, int]  # address and bytes
Instruction = tuple[int, bytes]  # address and code
PATIENCE_US = 60_000_000  # the longest run of a firmware that neither replies nor waits for input


@dataclass(frozen=True)
class Family:
    """What unicorn calls a family of cores and its registers, and what its addresses and instructions are.

    state : the bit of an address that is set where it is jumped to
    long : whether an instruction that begins with these two bytes has four
    """

    constants: str
    arch: str
    mode: tuple[str, ...]
    cpu: str
    pc: str
    sp: str
    link: str
    state: int
    long: Callable[[bytes], bool]


FAMILIES = {
    # Armv7-M ARM A5.1: a halfword that begins with 0b11101, 0b11110 or 0b11111 starts an instruction of 32 bits.
    ARM: Family(
        "arm", "UC_ARCH_ARM", ("UC_MODE_THUMB", "UC_MODE_MCLASS"), "UC_CPU_ARM_{}",
        "UC_ARM_REG_PC", "UC_ARM_REG_SP", "UC_ARM_REG_LR", 1, lambda code: code[1] >> 3 in (0b11101, 0b11110, 0b11111),
    ),
    # RISC-V ISA manual I, 1.5: the lowest two bits of one of 16 bits are not both set.
    RISCV: Family(
        "riscv", "UC_ARCH_RISCV", ("UC_MODE_RISCV32",), "UC_CPU_RISCV32_SIFIVE_E31",
        "UC_RISCV_REG_PC", "UC_RISCV_REG_SP", "UC_RISCV_REG_RA", 0, lambda code: code[0] & 3 == 3,
    ),
}  # fmt: skip


class Emulator(InProcess):
    """`count` counts the instructions of one function. Raises BoardError without unicorn, memory, or a sound image."""

    def __init__(self, board: Board, image: Path):
        try:
            import unicorn
            from elftools.common.exceptions import ELFError
            from elftools.elf.elffile import ELFFile
        except ImportError as e:
            package = "unicorn" if e.name == "unicorn" else "pyelftools"
            raise BoardError(f"the emulator needs {package}", INSTALL[package]) from None
        self._unicorn, self._family = unicorn, FAMILIES[board.family]
        self._known = import_module(f"unicorn.{self._family.constants}_const")
        super().__init__()
        self._polled = False
        self._fault = ""
        self._size: dict[Block, int] = {}  # in instructions
        room = TRANSLATED + BESIDE + SYSTEM_BYTES + board.flash.size + board.ram.size
        try:
            mmap.mmap(-1, room).close()
        except OSError as e:
            what = f"the emulator of {board.name} needs {room >> 20} MiB of memory: {e.strerror}"
            raise BoardError(what, "end other programs, or raise the limit that ulimit -v shows") from None
        mode = sum(getattr(unicorn, name) for name in self._family.mode)
        uc: Any = unicorn.Uc(getattr(unicorn, self._family.arch), mode)
        self._uc = uc
        uc.ctl_set_tcg_buffer_size(TRANSLATED)
        uc.ctl_set_cpu_model(self._named(self._family.cpu.format(board.cpu.upper().replace("-", "_"))))
        for region in (board.flash, board.ram):
            uc.mem_map(region.origin, region.size)
        uc.mem_map(PRIVATE, SYSTEM_BYTES)
        uc.mmio_map(board.registers["base"], PAGE, self._uart_read, None, self._uart_write, None)
        try:
            with image.open("rb") as file:
                elf = ELFFile(file)
                for segment in elf.iter_segments("PT_LOAD"):
                    uc.mem_write(segment["p_paddr"], segment.data())
                symbols: Any = elf.get_section_by_name(".symtab")
                if symbols is None:
                    raise ELFError("it has no symbols")
                self._symbols = {s.name: s["st_value"] for s in symbols.iter_symbols()}
                start = elf["e_entry"]
        except (OSError, ELFError, unicorn.UcError) as e:  # UcError: the image exceeds the memory
            raise BoardError(f"{image} is no image for {board.name}: {e}", "build it first: lnp build DIR") from None
        if board.family == ARM:  # which begins as its vectors say
            stack, start = (int.from_bytes(uc.mem_read(board.flash.origin + at, 4), "little") for at in (0, 4))
            uc.reg_write(self._named(self._family.sp), stack)
        else:
            stack = self._symbols["lnp_stack_top"]
        self._stack = board.ram.origin, stack - board.ram.origin  # at the bottom of RAM, as every linker script has it
        if not 0 < self._stack[1] <= board.ram.size:
            raise BoardError(f"{image} begins with its stack at {stack:#x}, outside the RAM", "build it again")
        uc.mem_write(self._stack[0], PAINT * self._stack[1])
        self._pc = start | self._family.state
        self._never = board.flash.origin + board.flash.size - 2  # executable, but never run
        uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)

    def _uart_read(self, uc, offset, size, data) -> int:
        if offset == DATA:
            self._polled = False
            return self._to_device.pop(0) if self._to_device else 0
        if offset == STATE:
            if self._to_device:
                return RX_FULL
            if self._polled:
                uc.emu_stop()
            self._polled = True
        return 0

    def _uart_write(self, uc, offset, size, value, data) -> None:
        if offset == DATA:
            self._polled = False
            self._from_device.append(value & 0xFF)

    def _interrupt(self, uc, number, data) -> None:
        self._fault = f"exception {number} at {self._register('pc'):#010x}"
        uc.emu_stop()

    def _named(self, name: str) -> int:
        return getattr(self._known, name)

    def _register(self, which: str) -> int:
        return self._uc.reg_read(self._named(getattr(self._family, which)))

    def _run(self) -> None:
        self._polled = False
        with deferred(self._uc.emu_stop):
            try:
                self._uc.emu_start(self._pc, self._never, timeout=PATIENCE_US)
            except self._unicorn.UcError as e:
                self._fault = f"{e} at {self._register('pc'):#010x}"
            self._pc = self._register("pc") | self._family.state
        if self._fault:
            raise LinkError(f"the emulated firmware crashed: {self._fault}", "report this with the model file")

    def put(self, variable: str, data: bytes) -> None:
        """Write bytes into a variable of the program."""
        self._uc.mem_write(self._symbols[variable], data)

    def get(self, variable: str, size: int) -> bytes:
        """The first bytes of a variable of the program."""
        return bytes(self._uc.mem_read(self._symbols[variable], size))

    @property
    def stack_used(self) -> int:
        """Bytes of the stack that the firmware has written to since it began."""
        return len(bytes(self._uc.mem_read(*self._stack)).lstrip(PAINT))

    def size(self, block: Block) -> int:
        """The number of instructions in a block."""
        if block not in self._size:
            self._size[block] = len(self.instructions(block))
        return self._size[block]

    def instructions(self, block: Block) -> list[Instruction]:
        """The address and the bytes of each instruction of a block."""
        address, size = block
        code, at, found = bytes(self._uc.mem_read(address, size)), 0, []
        while at < size:
            end = at + (4 if self._family.long(code[at : at + 2]) else 2)
            found.append((address + at, code[at:end]))
            at = end
        return found

    def count(self, function: str) -> InstructionCount:
        """Count the instructions of each call of a function within a `with`, callees included."""
        return InstructionCount(self, function)


class InstructionCount:
    """What each finished call ran, with conditional instructions that were skipped.

    calls : the instructions of each
    total, most : how often each block of instructions ran, {(address, bytes): times}: in all calls,
        and in the call in which it ran most often
    """

    def __init__(self, emulator: Emulator, function: str):
        self.emulator, self._begin = emulator, emulator._symbols[function] & ~emulator._family.state
        self.calls: list[int] = []
        self.total, self.most = Counter[Block](), dict[Block, int]()

    def __enter__(self) -> InstructionCount:
        e = self.emulator
        e._uc.ctl_flush_tb()
        self._hook = e._uc.hook_add(e._unicorn.UC_HOOK_BLOCK, self._counter())
        return self

    def __exit__(self, *_: object) -> None:
        self.emulator._uc.hook_del(self._hook)

    def instructions(self, block: Block) -> list[Instruction]:
        """The address and the bytes of each instruction of a block that ran."""
        return self.emulator.instructions(block)

    def cycles(self, blocks: Mapping[Block, int]) -> tuple[int, int]:
        """The fewest and the most that blocks took, each so many times; see code.cycles."""
        found = [(times, code.cycles(c for _, c in self.instructions(block))) for block, times in blocks.items()]
        return sum(n * low for n, (low, _) in found), sum(n * high for n, (_, high) in found)

    def _counter(self) -> Callable[[Any, int, int, object], None]:
        """The function that unicorn calls at every block: thousands of times a step, so its variables are local."""
        begin, ran = self._begin, dict[Block, int]()
        family, back = self.emulator._family, 0
        link, state = self.emulator._named(family.link), family.state

        def block(uc: Any, address: int, size: int, data: object) -> None:
            nonlocal back
            if not back:
                if address != begin:
                    return
                back = uc.reg_read(link) & ~state
            elif address == back:
                self._finished(ran)
                ran.clear()
                back = 0
                return
            one = address, size
            ran[one] = ran.get(one, 0) + 1

        return block

    def _finished(self, ran: dict[Block, int]) -> None:
        size, most = self.emulator.size, self.most
        self.calls.append(sum(times * size(block) for block, times in ran.items()))
        for block, times in ran.items():
            self.total[block] += times
            if times > most.get(block, 0):
                most[block] = times
