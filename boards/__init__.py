"""The boards: each is a folder with a board.toml.

boards/common holds the start-up code, the linker script and the drivers.
"""

from pathlib import Path

from lnp_edge.spec import board

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The names of all folders with a board.toml, sorted."""
    return board.names(FOLDER)


def get(name: str) -> board.Board:
    """The board of that name. Raises BoardError or ConfigError, which list the known boards."""
    return board.find(FOLDER, name)
