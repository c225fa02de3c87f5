"""The boards: each is a folder with a board.toml.

boards/common holds the start-up code, the linker script and the drivers, boards/flashers the tools that flash
real boards, one file each.
"""

from pathlib import Path

from lnp_edge.spec import board
from lnp_edge.spec import flasher as flash_tool

FOLDER = Path(__file__).parent
FLASHERS = "flashers"


def names() -> list[str]:
    """The names of all folders with a board.toml, sorted."""
    return board.names(FOLDER)


def get(name: str) -> board.Board:
    """The board of that name. Raises BoardError or ConfigError, which list the known boards."""
    found = board.find(FOLDER, name)
    for tool, values in found.tools.items():
        flasher(tool).check(values, f"{name}/board.toml")
    return found


def flashers() -> list[str]:
    """The names of all flash tools, sorted."""
    return list(flash_tool.names([FOLDER / FLASHERS]))


def flasher(name: str) -> flash_tool.Flasher:
    """The flash tool of that name. Raises BoardError or ConfigError, which list the known tools."""
    return flash_tool.find([FOLDER / FLASHERS], name)
