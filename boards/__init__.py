"""The boards, one folder each with a board.toml; boards/common holds start-up, linker script and drivers."""

from pathlib import Path

from lnp_edge.spec import board

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every folder with a board.toml, sorted."""
    return board.names(FOLDER)


def get(name: str) -> board.Board:
    """The board of that name. Raises BoardError or ConfigError, saying what there is."""
    return board.find(FOLDER, name)
