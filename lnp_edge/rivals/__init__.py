"""Rivals of the networks, one per file: what a user would try first, as integer models with generated C.

A file defines

    TITLE       the name of its row in a table, at most 24 characters
    BASELINE    the name of the row of task.baselines.simple that it is in integers; optional
    suits(data: Split) -> str
                "" if the rival can take this task; else why not, in a few words
    fit(data: Split, seed: int, progress: Progress | None = None) -> Rival
                trained on data.train alone; the docstring of the file states how it is quantised.
                progress(fraction, text), if given, is told how far it is. A rival that draws nothing
                takes no seed: it is trained once for all seeds

and a Rival has

    scores(counts int16 [W, T, C]) -> int32 [W, K]
                the integer reference. The class is the index of the largest score, the lowest of
                equal ones. For a series the scores are forecasts, one for each target, in
                1/FORECAST_ONE of a count.
    c_files() -> {name: text}
                portable C11 without floats, heap or library calls. One file includes lnp_rival.h,
                which the harness (lnp_edge.stages.rival) writes, and defines

                    void lnp_rival_scores(const int16_t *counts, int32_t *scores)

                with LNP_RIVAL_STEPS rows of LNP_RIVAL_CHANNELS counts and LNP_RIVAL_SCORES scores.
                Tables are const arrays, all other memory is static: the stack has 2,048 B. Names
                match [A-Za-z][A-Za-z0-9_.]*, and end in .c or .h. It must compile clean under the
                flags of firmware_gen.commands.WARNINGS.

Scores equal the reference bit for bit for every int16 input, and no C expression overflows: the
harness compares them, tests run the C under UBSan. Modules whose names start with an underscore
are helpers. torch is imported in lnp_edge.training alone, and only inside fit.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FORECAST_ONE = 256  # a count, in the scores of a series


class Rival(Protocol):
    """A trained rival in integers."""

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]: ...

    def c_files(self) -> dict[str, str]: ...
