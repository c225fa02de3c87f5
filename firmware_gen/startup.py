"""The files that a board adds: its UART driver, start-up code and linker script."""

from __future__ import annotations

from string import Template

from lnp_edge import boards
from lnp_edge.base.errors import BoardError
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel

COMMON = boards.FOLDER / "common"
# tests/firmware_gen/test_build.py checks that the frames of all functions of a build fit together.
STACK_BYTES = 2048
INPUTS = 448  # of a step that it has room for
NOT_DRIVERS = ("cortex_m", "memory")
WATCHDOG = "_watchdog"  # ends the name of a watchdog's driver


def stack_bytes(model: QuantizedModel) -> int:
    """Bytes of RAM that are kept for the stack: a step has its inputs there, 2 bytes each."""
    return STACK_BYTES + 16 * (max(0, len(model.inputs) - INPUTS + 7) // 8)


def files(board: Board, stack: int = STACK_BYTES) -> dict[str, str]:
    """The board's files, from boards/common/. Raises BoardError if the driver does not exist."""
    found = _driver(board, "UART", board.uart)
    if board.cpu == "host":
        return found
    found |= {f"{stem}.c": (COMMON / f"{stem}.c").read_text("utf-8") for stem in NOT_DRIVERS}
    found["lnp.ld"] = Template((COMMON / "cortex_m.ld").read_text("utf-8")).safe_substitute(
        flash_origin=f"0x{board.flash.origin:08X}",
        flash_size=board.flash.size,
        ram_origin=f"0x{board.ram.origin:08X}",
        ram_size=board.ram.size,
        stack_bytes=stack,
    )
    return found


def _driver(board: Board, kind: str, name: str) -> dict[str, str]:
    stems = {p.stem for p in COMMON.glob("*.c")} - {*NOT_DRIVERS}
    drivers = sorted(stem for stem in stems if stem.endswith(WATCHDOG) == (kind == "watchdog"))
    if name not in drivers:
        raise BoardError(
            f"{board.name}: no {kind} driver is called {name!r}",
            f"available: {', '.join(drivers)} (a new one goes into boards/common/)",
        )
    return {f"{name}.c": (COMMON / f"{name}.c").read_text("utf-8")}


def watchdog(board: Board) -> tuple[dict[str, str], list[str]]:
    """Files and lines of lnp_config.h for a board's watchdog; none without one."""
    if not board.watchdog:
        return {}, []
    lines = [f"#define LNP_WATCHDOG_{k.upper()} {v}u" for k, v in sorted(board.watchdog_registers.items())]
    return _driver(board, "watchdog", board.watchdog), [f"#define LNP_WATCHDOG_MS {board.watchdog_ms}u", *lines]


def constants(board: Board) -> list[str]:
    """The lines of lnp_config.h that the board's files need."""
    registers = [f"#define LNP_UART_{k.upper()} 0x{v:X}u" for k, v in sorted(board.registers.items())]
    return [f"#define LNP_CLOCK_HZ {board.clock_hz}u", f"#define LNP_BAUD {board.baud}u", *registers]


def config(board: Board) -> str:
    """lnp_config.h of a program without the link."""
    head = f"// Generated: the constants of boards/{board.name}/board.toml."
    guard = ["#ifndef LNP_CONFIG_H", "#define LNP_CONFIG_H"]
    return "\n".join([head, *guard, "", *constants(board), "", "#endif", ""])
