"""An AVR in this process: the library of simavr runs the image; its USART0 is the port, at the rate of its line.

Deterministic: the firmware runs until it sleeps and nothing is left to receive. Cycles are those of the data sheet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from typing import Any

from lnp_edge.base.errors import BoardError, LinkError
from lnp_edge.base.install import INSTALL
from lnp_edge.runtime.in_process import InProcess
from lnp_edge.spec.board import Board

# sim_avr.h and avr_uart.h of simavr 1.6
RUNNING, SLEEPING = 2, 3
INPUT, OUTPUT = 0, 1  # lines of a UART
FLAGS, LINES = (int.from_bytes(word, "big") for word in (b"uas0", b"uar0"))
STRUCT = 1024  # B of its avr_t that are searched
CLOCK = 1_000_000  # Hz, of one that was not told
BITS = 11  # of a byte on the line: simavr counts a parity too
STATUS, RECEIVED = 0xC0, 0x80  # UCSR0A and its bit RXC0; data sheets DS40002211 22.10, DS40002061 20.11
CONTROL, RECEIVES = 0xC1, 0x10  # UCSR0B and its bit RXEN0, the same
ROOM = 2  # bytes that a USART keeps until they are read: the same, receive buffer
QUIET = 3  # times of a byte, after which all that was sent has come
SLICE = 10**6  # instructions between two looks at Ctrl-C
PATIENCE = 2 * 10**9  # instructions: the longest run of a firmware that neither takes nor waits for input

Took = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
Tick = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p)
Log = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
ARGUMENTS = {
    "avr_make_mcu_by_name": (ctypes.c_char_p,),
    "avr_init": (ctypes.c_void_p,),
    "avr_terminate": (ctypes.c_void_p,),
    "avr_loadcode": (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint32),
    "avr_ioctl": (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p),
    "avr_io_getirq": (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int),
    "avr_irq_register_notify": (ctypes.c_void_p, Took, ctypes.c_void_p),
    "avr_raise_irq": (ctypes.c_void_p, ctypes.c_uint32),
    "avr_core_watch_read": (ctypes.c_void_p, ctypes.c_uint16),
    "avr_cycle_timer_register": (ctypes.c_void_p, ctypes.c_uint64, Tick, ctypes.c_void_p),
    "avr_global_logger_set": (Log,),
}
SILENT = Log(lambda _avr, _level: None)


@cache
def library() -> Any:
    name = find_library("simavr")
    if not name:
        raise BoardError("the emulator needs simavr", INSTALL["simavr"])
    found = ctypes.CDLL(name)
    found.avr_make_mcu_by_name.restype = found.avr_io_getirq.restype = ctypes.c_void_p
    for function, arguments in ARGUMENTS.items():
        getattr(found, function).argtypes = arguments
    found.avr_core_watch_read.restype = ctypes.c_uint8
    found.avr_global_logger_set(SILENT)
    return found


@cache
def _compiled() -> tuple[Callable[[int, int], int], Any]:
    """run(avr, count): the state after so many instructions, or once it sleeps or ends. And what is done while it
    sleeps: nothing, where simavr would wait so long."""
    import numba

    step = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t)(("avr_run", library()))

    @numba.njit
    def run(avr: int, count: int) -> int:
        state = RUNNING
        for _ in range(count):
            state = step(avr)
            if state != RUNNING:
                break
        return state

    @numba.cfunc(numba.void(numba.uintp, numba.uint64))
    def sleep(avr: int, cycles: int) -> None:
        pass

    return run, sleep


def _segments(image: Path, board: Board) -> list[tuple[int, bytes]]:
    """What an image loads into flash, and where to."""
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
    except ImportError:
        raise BoardError("the emulator needs pyelftools", INSTALL["pyelftools"]) from None
    try:
        with image.open("rb") as file:
            found = [(s["p_paddr"], s.data()) for s in ELFFile(file).iter_segments("PT_LOAD") if s["p_filesz"]]
        if not all(board.flash.origin <= at and at + len(code) <= board.flash.end for at, code in found):
            raise ELFError("it exceeds the flash")
    except (OSError, ELFError) as e:
        raise BoardError(f"{image} is no image for {board.name}: {e}", "build it first: lnp build DIR") from None
    return found


class Simavr(InProcess):
    """counts : whether its counter of cycles is the chip's

    late : how often the firmware had not read for so long that a line that does not wait would have lost a byte
    """

    counts = True

    def __init__(self, board: Board, image: Path):
        super().__init__()
        avr = library()
        segments = _segments(image, board)
        self._avr: Any = avr.avr_make_mcu_by_name(board.cpu.encode())
        if not self._avr:
            raise BoardError(f"this simavr has no {board.cpu}", INSTALL["simavr"])
        avr.avr_init(self._avr)
        self._run_some, sleep = _compiled()
        self._set(ctypes.c_uint64, ctypes.cast(avr.avr_callback_sleep_raw, ctypes.c_void_p).value, sleep.address)
        self._set(ctypes.c_uint32, CLOCK, board.clock_hz)
        for at, code in segments:
            avr.avr_loadcode(self._avr, code, len(code), at)
        avr.avr_ioctl(self._avr, FLAGS, ctypes.byref(ctypes.c_uint32(0)))  # prints nothing, and does not nap either
        self._line = avr.avr_io_getirq(self._avr, LINES, INPUT)
        self._quiet = self._ran = self._held = self.late = 0
        self._byte_cycles = BITS * board.clock_hz // board.baud
        self._took, self._tick = Took(lambda _line, byte, _: self._from_device.append(byte & 0xFF)), Tick(self._feed)
        avr.avr_irq_register_notify(avr.avr_io_getirq(self._avr, LINES, OUTPUT), self._took, None)
        avr.avr_cycle_timer_register(self._avr, self._byte_cycles, self._tick, None)

    def _set(self, kind: Any, old: int | None, new: int) -> None:
        """Set the one variable of its avr_t with this value: where it lies depends on the version."""
        step = ctypes.sizeof(kind)
        places = [kind.from_address(self._avr + at) for at in range(0, STRUCT, step)]
        found = [place for place in places if place.value == old]
        if len(found) != 1:
            raise BoardError("this simavr is of another version", INSTALL["simavr"])
        found[0].value = new

    def _feed(self, _avr: int, now: int, _: None) -> int:
        """Sends the next byte, if there is one and that before was read; called again after the time of a byte.

        A line that begins before the program listens would cut the first message off.
        """
        if not self._to_device or not self.memory(CONTROL) & RECEIVES:
            self._quiet += 1
        elif self.memory(STATUS) & RECEIVED:
            self._held += 1
            self.late += self._held == ROOM
        else:
            self._quiet = self._ran = self._held = 0
            library().avr_raise_irq(self._line, self._to_device.pop(0))
        return now + self._byte_cycles

    @property
    def in_waiting(self) -> int:
        """Runs first, so that whoever asks reads a whole frame: the host's clock must not run out within one."""
        if not self._from_device:
            self._run()
        return len(self._from_device)

    def memory(self, address: int) -> int:
        """A byte of its memory: a register, or RAM."""
        return library().avr_core_watch_read(self._avr, address)

    def _run(self) -> None:
        self._quiet = self._ran = 0
        while self._ran < PATIENCE:
            state = self._run_some(self._avr, SLICE)
            self._ran += self._byte_cycles if state == SLEEPING else SLICE
            if state == SLEEPING and self._quiet >= QUIET:
                return
            if state not in (RUNNING, SLEEPING):
                raise LinkError(
                    f"the emulated firmware crashed: simavr state {state}", "report this with the model file"
                )
        raise LinkError("the emulated firmware hangs", "report this with the model file")

    def close(self) -> None:
        super().close()
        if self._avr:
            library().avr_terminate(self._avr)
            self._avr = None
