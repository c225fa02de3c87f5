"""The firmware of a rival (lnp_edge.rivals): its C, a loop around it, and the board's files."""

from __future__ import annotations

from lnp_edge.firmware_gen import commands, folder, startup
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.spec.board import Board

NAME = "rival"


def generate(files: dict[str, str], shape: tuple[int, int, int], board: Board) -> dict[str, str]:
    """Every file of the firmware, by its path, for build.build.

    files : the rival's C; shape : steps and channels of a window, and the number of scores
    """
    found = dict(files)
    found |= {
        "lnp_rival.h": _header(shape),
        "lnp_config.h": _config(board),
        "lnp_board.h": (CSRC / "lnp_board.h").read_text("utf-8"),
        "main.c": (CSRC / "rival_main.c.in").read_text("utf-8"),
    }
    found |= startup.files(board)
    sources = sorted(path for path in found if path.endswith(".c"))
    headers = sorted(path for path in found if path.endswith(".h"))
    found["Makefile"] = commands.makefile(board, NAME, sources, headers)
    found[folder.MANIFEST] = folder.manifest(NAME, board, found)
    return found


def _header(shape: tuple[int, int, int]) -> str:
    steps, channels, scores = shape
    return f"""#ifndef LNP_RIVAL_H
#define LNP_RIVAL_H

#include <stddef.h>
#include <stdint.h>

#define LNP_RIVAL_STEPS {steps}u
#define LNP_RIVAL_CHANNELS {channels}u
#define LNP_RIVAL_SCORES {scores}u

// counts: a row of LNP_RIVAL_CHANNELS for each of LNP_RIVAL_STEPS steps.
void lnp_rival_scores(const int16_t *counts, int32_t *scores);

#endif
"""


def _config(board: Board) -> str:
    head = f"// Generated: the constants of boards/{board.name}/board.toml."
    guard = ["#ifndef LNP_CONFIG_H", "#define LNP_CONFIG_H"]
    return "\n".join([head, *guard, "", *startup.constants(board), "", "#endif", ""])
