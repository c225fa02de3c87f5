"""A program that takes single steps from any saved state: the same step as in the firmware, asked differently."""

from __future__ import annotations

from lnp_edge.firmware_gen import folder
from lnp_edge.firmware_gen.generate import generate as generate_firmware
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel


def generate(model: QuantizedModel, board: Board) -> dict[str, str]:
    """Every file of the program, by its path, for build.build."""
    files = generate_firmware(model, board, app=True)
    files["main.c"] = (CSRC / "states_main.c.in").read_text("utf-8")
    return folder.program("net", board, files)
