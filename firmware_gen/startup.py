"""The files that a board adds: its UART driver, start-up code and linker script."""

from __future__ import annotations

from string import Template

from lnp_edge import boards
from lnp_edge.spec.board import AVR, Board
from lnp_edge.spec.model import QuantizedModel

COMMON = boards.FOLDER / "common"
# tests/firmware_gen/test_build.py checks that the frames of all functions of a build fit together.
STACK_BYTES = 2048
HELIUM_BYTES = 512  # that csrc/lnp_helium.h takes: halfwords of 256 targets
AVR_STACK_BYTES = 512  # without the inputs of a step: its RAM is small, and so are its registers
INPUTS = 448  # of a step that it has room for


def stack_bytes(model: QuantizedModel, board: Board) -> int:
    """Bytes of RAM that are kept for the stack: a step has its inputs there, 2 bytes each."""
    if board.family == AVR:
        return AVR_STACK_BYTES + 2 * len(model.inputs)
    return STACK_BYTES + 16 * (max(0, len(model.inputs) - INPUTS + 7) // 8)


def files(board: Board, stack: int = STACK_BYTES) -> dict[str, str]:
    """The board's files, from boards/common/. Raises BoardError if the driver does not exist."""
    found = _driver(board, boards.UART, board.uart)
    if not board.family:
        return found
    block = board.chip + boards.ENDS[boards.BOOT]  # found by its name, for few chips have one
    if block in boards.drivers():
        found |= _driver(board, boards.BOOT, block)
    found |= {f"{stem}.c": boards.text(COMMON / f"{stem}.c") for stem in _stems(board)}
    found["lnp.ld"] = Template(boards.text(COMMON / f"{board.family}.ld")).safe_substitute(
        flash_origin=f"0x{board.flash.origin:08X}",
        flash_size=board.flash.size,
        tables_origin=f"0x{board.tables.origin:08X}",
        ram_origin=f"0x{board.ram.origin:08X}",
        ram_size=board.ram.size,
        stack_bytes=stack + (HELIUM_BYTES if board.cpu == "cortex-m55" else 0),
    )
    return found


def _stems(board: Board) -> tuple[str, ...]:
    return (board.family,) if board.family == AVR else ("memory", board.family)  # avr-libc has what memory.c has


def _driver(board: Board, kind: str, name: str) -> dict[str, str]:
    return {f"{name}.c": boards.text(boards.driver(board, kind, name))}


def watchdog(board: Board) -> tuple[dict[str, str], list[str]]:
    """Files and lines of lnp_config.h for a board's watchdog; none without one."""
    if not board.watchdog:
        return {}, []
    lines = [f"#define LNP_WATCHDOG_{k.upper()} {v}u" for k, v in sorted(board.watchdog_registers.items())]
    return _driver(board, boards.WATCHDOG, board.watchdog), [f"#define LNP_WATCHDOG_MS {board.watchdog_ms}u", *lines]


def constants(board: Board) -> list[str]:
    """The lines of lnp_config.h that the board's files need."""
    registers = [f"#define LNP_UART_{k.upper()} 0x{v:X}u" for k, v in sorted(board.registers.items())]
    cpu = board.cpu.upper().replace("-", "_")
    return [
        f"#define LNP_CPU_{cpu}",
        f"#define LNP_CLOCK_HZ {board.clock_hz}u",
        f"#define LNP_BAUD {board.baud}u",
        *registers,
    ]


def config(board: Board) -> str:
    """lnp_config.h of a program without the link."""
    head = f"// Generated: the constants of boards/{board.name}/board.toml."
    guard = ["#ifndef LNP_CONFIG_H", "#define LNP_CONFIG_H"]
    return "\n".join([head, *guard, "", *constants(board), "", "#endif", ""])
