"""Measure the cost of a model on a board: builds it for its bytes, runs it for its instructions."""

import hashlib
import json
import math
from collections.abc import Iterable
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge import boards
from lnp_edge.base.errors import BoardError
from lnp_edge.base.files import read_result, write_result
from lnp_edge.commands import _forced
from lnp_edge.firmware_gen import link, stack
from lnp_edge.firmware_gen.build import Sizes, build, compiler
from lnp_edge.firmware_gen.folder import scratch
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import windows_file
from lnp_edge.runtime import code
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator, InstructionCount
from lnp_edge.spec.board import COUNTED_AS, CPUS, Board
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages.cost import BoardCost, Counted, Meter, Use

STEPS = 400  # number of steps whose instructions are counted
COST_STEPS = 1000  # of each kind of data, in a report: counting makes a step five times as slow
ROOM = 2**26  # B of flash and of RAM: a model that is too large is built too, to see by how much


def meter(board: Board, windows: NDArray[np.int16] | None = None, bound: bool = False) -> Meter:
    """A function that measures a model.

    windows : counts [W, T, C] to run; None: instructions are not counted
    bound : whether a model's instructions are the bound of a step, see _forced.py, not the mean

    Raises BoardError if the compiler is missing or no emulator counts instructions for this board.
    """
    twin = None if windows is None else counting_board(board)
    compiler(board.toolchain, board.family)

    def measured(model: QuantizedModel) -> Use:
        with scratch() as folder:
            sizes = built(model, board, board.toolchain, folder / "board")
            if twin is None or windows is None:
                return Use(sizes.flash, sizes.ram)
            same = sizes if twin.name == board.name else built(model, twin, board.toolchain, folder / "twin")
            calls = instructions(same, twin, model, windows)
        ops = _forced.measure(model, roomy(twin), board.toolchain).bound if bound else np.mean(calls)
        return Use(sizes.flash, sizes.ram, float(ops), max(calls))

    return measured


def remembered(meter: Meter, board: Board, windows: NDArray[np.int16] | None, path: Path, bound: bool = False) -> Meter:
    """A meter that keeps its measurements in a file: nothing is built twice, even after Ctrl-C.

    Raises ConfigError for a file of another origin.
    """
    stepped = b"bound" * bound + (b"" if windows is None else windows.tobytes())
    found = read_result(path, lambda costs: all(map(_is_cost, costs.values()))) or {}

    def measured(model: QuantizedModel) -> Use:
        sources = json.dumps(generate(model, roomy(board), selftest=False)).encode()
        key = hashlib.sha256(sources + stepped).hexdigest()
        if key not in found:
            found[key] = astuple(meter(model))
            write_result(path, found)
        return Use(*found[key])

    return measured


def _is_cost(found: object) -> bool:
    counts = found if isinstance(found, list) else []
    return [type(x) for x in counts] == [int, int, float, int] and min(counts) >= 0 and max(counts) < math.inf


def counting_board(board: Board) -> Board:
    """The emulated board that counts for this one: itself, or one with a CPU that takes the same instructions.

    Raises BoardError if there is none.
    """
    emulated = [b for b in boards.readable()[0] if b.start == "unicorn"]
    for found in sorted(emulated, key=lambda b: b.name != board.name):
        if found.cpu == COUNTED_AS.get(board.cpu, board.cpu):
            return found
    cores = ", ".join(cpu for cpu in CPUS if COUNTED_AS.get(cpu, cpu) in {b.cpu for b in emulated})
    raise BoardError(
        f"nothing counts the instructions of {board.name} ({board.cpu})",
        f"omit --ops, or take a board whose core is one of {cores}",
    )


def some(windows: NDArray[np.int16], frame: int, steps: int = STEPS) -> NDArray[np.int16]:
    """At most so many steps: whole windows spread over the data, or the beginning of one. frame : samples of a step"""
    return windows_file.some(windows, frame, steps, steps)


def built(
    model: QuantizedModel, board: Board, toolchain: str, folder: Path, more: tuple[str, ...] = (), app: bool = False
) -> Sizes:
    """The firmware of a model, which may be larger than the board. more : flags of the compiler that come last"""
    write(generate(model, roomy(board), app=app, selftest=False), folder)
    return build(folder, toolchain, more=more)


def cost(
    model: QuantizedModel,
    board: Board,
    data: dict[str, list[NDArray[np.int16]]],
    sizes: Sizes | None = None,
    cycles: float = 0.0,
    serves: bool = True,
) -> BoardCost:
    """What the model costs on the board. What cannot be measured here is left out, and said.

    data : what it is in words, and runs of rows [T, n_in], each from reset; what represents the model first
    sizes : of the firmware on the board; None: it is built
    cycles : of a step, by the board's own counter
    serves : whether sizes are of the program that lnp verify asks
    """
    found = BoardCost(model, board, cycles=cycles, serves=serves)
    if sizes:
        found = replace(found, flash=sizes.flash, ram=sizes.ram, ram_of_app=sizes.ram)
        found = replace(found, deepest=stack.of(sizes.image, board) if board.family else None)
    with scratch() as folder:
        try:
            if serves and (sizes or board.family):
                found = replace(found, ram_of_app=built(model, board, board.toolchain, folder / "app", app=True).ram)
            if board.cpu == "host":
                return replace(found, missing="this computer counts no instructions, --board cortex-m4 does")
            own = None if sizes else built(model, board, board.toolchain, folder / "board")
            if own:
                deepest = stack.of(own.image, board)
                untested = bool(link.selftest(model, board))
                found = replace(found, flash=own.flash, ram=own.ram, deepest=deepest, untested=untested)
            twin = counting_board(board)
            same = own if own and twin.name == board.name else built(model, twin, board.toolchain, folder / "twin")
            counted, taken = list[Counted](), 0
            for what, runs in data.items():
                one, used = _counted(same, twin, model, runs)
                taken = max(taken, used)
                calls, (low, high) = one.calls, one.cycles(one.total) if twin.cpu == code.CPU else (0, 0)
                cycles_a_step = low / len(calls), high / len(calls)
                counted.append(Counted(what, len(calls), float(np.mean(calls)), max(calls), cycles_a_step))
            forced = _forced.measure(model, roomy(twin), board.toolchain)
        except BoardError as e:
            return replace(found, missing=e.what)
    found = replace(found, counted=tuple(counted), counted_on=twin.name, stack=taken if serves else 0)
    return found if max(one.largest for one in counted) > forced.bound else replace(found, forced=forced)


def roomy(board: Board) -> Board:
    """The board with so much memory that a model which is too large is built and runs too."""
    flash, ram = (replace(region, size=max(region.size, ROOM)) for region in (board.flash, board.ram))
    return replace(board, flash=flash, ram=ram)


def instructions(built: Sizes, board: Board, model: QuantizedModel, windows: NDArray[np.int16]) -> list[int]:
    """The instructions of each step of each window, from a state of zeros, on an emulated board."""
    return _counted(built, board, model, model.rows(windows))[0].calls


def _counted(
    built: Sizes, board: Board, model: QuantizedModel, runs: Iterable[NDArray[np.int16]]
) -> tuple[InstructionCount, int]:
    """What each step of each run took, and the bytes of the stack that the program took."""
    with closing(Emulator(roomy(board), built.image)) as emulator:
        device = Device(emulator, model)
        with emulator.count("lnp_net_step") as counted:
            for rows in runs:
                device.reset()
                device.steps(rows)
        return counted, emulator.stack_used
