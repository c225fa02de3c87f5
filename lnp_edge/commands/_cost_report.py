"""The cost of a model on a board, as a command measures and prints it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.console import counted, print_table, say
from lnp_edge.commands import _measure
from lnp_edge.firmware_gen.build import Sizes, of_ram, share
from lnp_edge.firmware_gen.generate import stack_bytes
from lnp_edge.firmware_gen.stack import Stack
from lnp_edge.interchange import windows_file
from lnp_edge.runtime.verify import stimulus
from lnp_edge.spec import layout
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages.cost import BoardCost, Range

COLUMNS = ["", "steps", "mean", "largest", "mean ms", "largest ms"]


def of(
    model: QuantizedModel, board: Board, real: NDArray[np.int16] | None, sizes: Sizes | None = None,
    cycles: float = 0.0, what: str = "training data", serves: bool = True,
) -> BoardCost:  # fmt: skip
    """The cost over real windows [W, T, C], if there are any, and over the stimulus of lnp verify.

    what : the real data in words; the rest as for _measure.cost
    """
    data = {}
    if real is not None:
        data[what] = list(model.rows(_measure.some(real, model.front.frame, _measure.COST_STEPS)))
    data["synthetic"] = list(stimulus(model, _measure.COST_STEPS, seed=1))
    return _measure.cost(model, board, data, sizes, cycles, serves)


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
        if cost.forced:
            rows.append(["bound", "", "", f"{cost.forced.bound:,}", "", in_words(cost.bound_ms)])
        title = f"Instructions of a step, and its time on {board.name} at {board.clock_hz / 1e6:g} MHz"
        print_table(title, COLUMNS, rows)
    for sentence in _sentences(cost):
        say(sentence)


def _sentences(cost: BoardCost) -> Iterator[str]:
    if cost.flash:
        flash, ram = cost.board.limits
        used, windows = f"Flash {share(cost.flash, flash)}, RAM {of_ram(cost.ram, ram)}", cost.model.open_windows
        app = cost.serves and windows > 1
        yield f"{used}: it answers lnp verify, with one network." if app else f"{used}."
        if cost.untested:
            yield "That is without the self-test of lnp verify: lnp build prints the bytes with it."
        if app:
            yield (
                f"An app (lnp generate --app) has no link, but {windows} networks, one for each window that is open: "
                f"RAM {of_ram(cost.ram_of_app, ram)}{': it does not fit' * bool(ram and cost.ram_of_app > ram)}."
            )
        yield from _stack(cost)
        each = ", ".join(f"{name} {size:,}" for name, size in cost.tables.items())
        whole, state = sum(cost.tables.values()), layout.state_bytes(cost.model)
        yield f"Tables in flash {whole:,} B: {each}. State of a network in RAM {state:,} B."
    if cost.counted:
        of_what = "hop" if cost.model.decision.stream else "window"
        yield (
            f"Instructions: {counted(cost.a_window)} a {of_what}, {counted(cost.a_second)} a second of signal, "
            f"counted on {cost.counted_on}. Each takes {in_words(cost.an_instruction)} cycles ({_source(cost)})."
        )
    if cost.counted and cost.board.joules_a_cycle:
        low, high = (uj * cost.model.steps_a_second for uj in cost.microjoules)
        yield (
            f"Energy of the core, an estimate: {in_words(cost.microjoules)} uJ a step, {in_words((low, high))} uJ a "
            f"second of signal, at {cost.board.ua_per_mhz} uA/MHz (data sheet, typical) and "
            f"{cost.board.supply_mv / 1e3:g} V."
        )
    if cost.cycles:
        yield by_counter(cost.cycles, cost.board.clock_hz)
    if cost.counted:
        yield verdict(cost)
    elif cost.cycles:
        yield on_average(cost)
    if cost.missing:
        yield f"Cost: {cost.missing}."


def _stack(cost: BoardCost) -> Iterator[str]:
    """What the program can take of its stack, and what it took."""
    found, took = cost.deepest, f"{cost.stack:,} B while steps were counted" if cost.stack else ""
    if found:
        yield f"Stack: {'; '.join(filter(None, (in_bytes(found), took)))}."
    elif took:
        yield f"Stack: {took}, of {stack_bytes(cost.model, cost.board):,} B."


def in_bytes(stack: Stack) -> str:
    """A stack in words."""
    if stack.deepest is None:
        return f"{stack.size:,} B, no bound is known: {stack.why}"
    said = f"at most {stack.deepest:,} of {stack.size:,} B, by the calls in the program"
    return said if stack.deepest <= stack.size else f"{said}: it may overflow in {' > '.join(stack.path)}"


def _source(cost: BoardCost) -> str:
    if cost.cycles:
        return "by the board's own counter"
    if cost.counted[0].cycles[1]:
        return "bounds by the core's manual; flash waits on top"
    product = "the product of a small Cortex-M0 takes 32; " * (cost.board.cpu == "cortex-m0")
    return f"assumed; {product}flash waits on top"


def of_unknown(board: str, clock_hz: int, cycles: float) -> list[str]:
    """What can be said of a device whose board is not among those of this installation."""
    measured = [by_counter(cycles, clock_hz)] if cycles else []
    return [*measured, f"Cost: this installation does not know the board {board}."]


def by_counter(cycles: float, clock_hz: int) -> str:
    ms = 1e3 * cycles / clock_hz
    return f"The board's own counter: {cycles:,.0f} cycles a step on average, {in_words((ms, ms))} ms."


def on_average(cost: BoardCost) -> str:
    """Whether the board keeps up, of which only the cycles of a mean step are known."""
    model, share = cost.model, cost.cycles / cost.board.clock_hz * cost.model.steps_a_second
    windows = f", with {model.open_windows} windows open" if model.open_windows > 1 else ""
    how = "too slow" if share > 1 else "in time, if no step is much longer"
    return f"At {frequency(1 / model.sample_dt)}{windows}, that is {percent((share, share))} of the processor: {how}."


def verdict(cost: BoardCost) -> str:
    """Whether the board keeps up with the model's rate."""
    model, interval = cost.model, 1e3 * cost.model.sample_dt
    every = f"{interval:.3g} ms" if interval < 1e3 else f"{interval / 1e3:.3g} s"
    least, most = (model.open_windows * ms for ms in cost.bound_ms)
    forced = cost.forced
    known = [f"{model.open_windows} windows are open"] if model.open_windows > 1 else []
    where = ", where every neuron fires"
    if forced and forced.fired < forced.neurons:
        where = f" if no more than {forced.fired} of {forced.neurons} fire"
        known.insert(0, "no state that was tried makes more fire")
    are_open = f" ({'; '.join(known)})" if known else ""
    if forced:
        longest = f"A step takes at most {in_words((most, most))} ms{where}{are_open}"
    else:
        longest = f"The largest counted takes {in_words((least, most))} ms{are_open}"
    buffer = ", so buffer samples meanwhile" if cost.verdict.endswith("late") else ""
    return (
        f"{frequency(1e3 / interval)} leaves {every}. {longest}: "
        f"{cost.verdict}{buffer}, {percent(cost.share)} of the processor."
    )


def frequency(hz: float) -> str:
    """A rate with three digits: 25 Hz, 2 kHz, 1.67 mHz."""
    for unit, name in ((1e3, "kHz"), (1.0, "Hz")):
        if hz >= unit:
            return f"{hz / unit:.3g} {name}"
    return f"{1e3 * hz:.3g} mHz"


def in_words(found: Range) -> str:
    """A range such as "1.2 to 2.4", with two digits; one value if both are the same."""
    low, high = (f"{float(f'{value:.2g}'):g}" for value in found)
    return low if low == high else f"{low} to {high}"


def percent(share: Range) -> str:
    return "under 0.01 %" if share[1] < 1e-4 else f"{in_words((100 * share[0], 100 * share[1]))} %"
