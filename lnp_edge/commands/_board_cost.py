"""The cost of a model on a board, as a command measures and prints it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from lnp_edge.base.console import counted, out, table
from lnp_edge.commands import _measure
from lnp_edge.firmware_gen.build import Sizes, share
from lnp_edge.firmware_gen.generate import STACK_BYTES
from lnp_edge.interchange import windows_file
from lnp_edge.runtime.verify import stimulus
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages.cost import BoardCost, in_words

COLUMNS = ["", "steps", "mean", "largest", "mean ms", "largest ms"]


def of(
    model: QuantizedModel, board: Board, real: NDArray[np.int16] | None, sizes: Sizes | None = None,
    cycles: float = 0.0, what: str = "training data",
) -> BoardCost:  # fmt: skip
    """The cost over real windows [W, T, C], if there are any, and over the stimulus of lnp verify.

    what : the real data in words; the rest as for _measure.cost
    """
    data = {}
    if real is not None:
        data[what] = list(model.rows(_measure.some(real, _measure.COST_STEPS * model.front.frame)))
    data["synthetic"] = list(stimulus(model, _measure.COST_STEPS, seed=1))
    return _measure.cost(model, board, data, sizes, cycles)


def no_windows(model: Path) -> str:
    return f"No real data: lnp quantize writes some beside the model, as {windows_file.path_of(model).name}."


def show(cost: BoardCost) -> None:
    """Print the table and what it means. Sentences are folded between words, at 80 columns too."""
    board, counts = cost.board, cost.counted
    if counts:
        rows = [
            [one.data, f"{one.steps:,}", f"{one.mean:,.0f}", f"{one.largest:,}",
             in_words(cost.ms(one.mean)), in_words(cost.ms(one.largest))]
            for one in counts
        ]  # fmt: skip
        out.print(
            table(
                f"Instructions of a step, and its time on {board.name} at {board.clock_hz / 1e6:g} MHz", COLUMNS, rows
            )
        )
    for sentence in _sentences(cost):
        out.print(Text(sentence))


def _sentences(cost: BoardCost) -> Iterator[str]:
    if cost.flash:
        used = [f"Flash {share(cost.flash, cost.board.flash.size)}", f"RAM {share(cost.ram, cost.board.ram.size)}"]
        if cost.open_windows > cost.in_ram:
            used[1] += f" with one window and about {share(cost.ram_of_app, cost.board.ram.size)}"
            used[1] += f" in an app, where {cost.open_windows} are open"
        used += [f"stack {cost.stack:,} of {STACK_BYTES:,} B"] if cost.stack else []
        yield f"{', '.join(used)}."
    if cost.counted:
        low, high = cost.an_instruction
        of_what = "hop" if cost.model.decision.stream else "window"
        yield (
            f"Instructions: {counted(cost.a_window)} a {of_what}, {counted(cost.a_second)} a second of signal, "
            f"counted on {cost.counted_on}. Each takes {low:g} to {high:g} cycles (assumed; no waits for flash)."
        )
    if cost.cycles:
        yield f"The board's own counter: {cost.cycles:,.0f} cycles a step on average, {in_words(cost.mean_ms)} ms."
    if cost.counted:
        yield cost.verdict
    if cost.missing:
        yield f"Cost: {cost.missing}."
