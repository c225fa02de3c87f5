"""The firmware of a rival (lnp_edge.rivals): its C, a loop around it, and the board's files."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lnp_edge.firmware_gen import folder, startup
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.spec.board import Board

NAME = "rival"


def generate(files: dict[str, str], shape: tuple[int, int, int], board: Board) -> dict[str, str]:
    """Every file of the firmware, by its path, for build.build.

    files : the rival's C; shape : steps and channels of a window, and the number of scores
    """
    found = sources(files, shape)
    found |= {
        "lnp_config.h": startup.config(board),
        "lnp_board.h": (CSRC / "lnp_board.h").read_text("utf-8"),
        "main.c": (CSRC / "rival_main.c.in").read_text("utf-8"),
    }
    return folder.program(NAME, board, found | startup.files(board))


def sources(files: dict[str, str], shape: tuple[int, int, int], said: Sequence[str] = ()) -> dict[str, str]:
    """What a program of one's own needs: the rival's C and its header. said : of each score, what it is of"""
    return files | {"lnp_rival.h": _header(shape, said)}


def _header(shape: tuple[int, int, int], said: Sequence[str]) -> str:
    steps, channels, scores = shape
    names = "".join(f"// scores[{k}] is of {json.dumps(name)}\n" for k, name in enumerate(said))
    return f"""#ifndef LNP_RIVAL_H
#define LNP_RIVAL_H

#include <stddef.h>
#include <stdint.h>

#define LNP_RIVAL_STEPS {steps}u
#define LNP_RIVAL_CHANNELS {channels}u
#define LNP_RIVAL_SCORES {scores}u

{names}// counts: a row of LNP_RIVAL_CHANNELS for each of LNP_RIVAL_STEPS steps.
void lnp_rival_scores(const int16_t *counts, int32_t *scores);

#endif
"""
