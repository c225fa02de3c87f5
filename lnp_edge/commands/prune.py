"""Draw a random network and prune it before training.

With [prune] block = 4, synapses stay or go in blocks of four neighbouring
targets. lnp prints how many blocks there are and how full they are.

With --board it finds the network with the most synapses that fits the board.
[prune] keep is then a minimum and [network] neurons a maximum: it uses fewer
neurons if that share of their synapses does not fit. Flash and RAM are
measured on builds with every synapse stored; a trained network needs no more.
--ops limits instructions per step, or with "/s" for a second of signal, which
an emulator counts on training data before training. A network that fires more
after training needs more instructions, so leave some room; or add --every-step,
and the limit holds even where all neurons fire. lnp also prints what fits with
a quarter of each neuron's inputs, and what fits without recurrent synapses.

To continue a stopped search, or a stopped pruning of several rounds or with
trials of time constants, run the same command again."""

import argparse
import json
import shlex
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from lnp_edge.base.console import bars, note, out, print_table, say
from lnp_edge.base.errors import ConfigError, DoesNotFit
from lnp_edge.base.files import beside, discard, make_folder, refuse_unwritable
from lnp_edge.commands import _given, _own_boards
from lnp_edge.commands._pruned import PRUNING
from lnp_edge.commands._pruned import pruned as pruned_by
from lnp_edge.config import Config
from lnp_edge.network import Network
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.pruning.steps.blocks import blocks_of
from lnp_edge.spec.board import Board
from lnp_edge.stages import budget, pipeline
from lnp_edge.stages.budget import Budget, Fitted
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import Split, load_data, split

HELP = "draw a network and prune it before training"
A_SECOND = "/s"
FULL = 0.9  # share of blocks that is synapses, below which a denser start is advised
EXAMPLE = """  lnp prune demo.toml -o pruned.safetensors
  lnp train pruned.safetensors -o trained.safetensors
  lnp prune demo.toml --board nucleo-f401re --flash 64k --ram 8k --ops 20k
  lnp prune spar --board cortex-m4 --ops 400k/s
  lnp prune spar --board cortex-m4 --ops 60k --every-step"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", help="TOML file or name of a task; [prune] sets the method and the share of synapses to keep"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=_given.path,
        default=Path("pruned.safetensors"),
        metavar="FILE",
        help="default: %(default)s",
    )
    parser.add_argument("--board", help="keep as many synapses as fit this board (lnp boards lists the boards)")
    _own_boards.argument(parser)
    parser.add_argument("--flash", metavar="SIZE", help="flash for the firmware, such as 64k (default: all)")
    parser.add_argument("--ram", metavar="SIZE", help="RAM for the firmware and its stack, such as 8k (default: all)")
    parser.add_argument(
        "--ops", metavar="COUNT",
        help="mean instructions per step, such as 20k, or a second, such as 400k/s (default: any)",
    )  # fmt: skip
    parser.add_argument(
        "--every-step",
        action="store_true",
        help="--ops limits the bound of a step, where all neurons fire, not the mean",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import pruning

    refuse_unwritable(args.output)
    settings = configuration(args.config, note)
    if pipeline.after_training(settings):
        raise ConfigError(
            f"{settings.prune.method!r} prunes a trained network, but lnp prune does not train",
            f"lnp train {shlex.quote(args.config)} trains, prunes and trains again; or choose another [prune] method",
        )
    goal, fitting = _goal(args), beside(args.output, "fit")
    if goal:
        budget.require_one_layer(settings)
    data = split(settings, load_data(settings))
    if goal:
        board, limits = goal
        if limits.ops is not None and args.ops.strip().endswith(A_SECOND):
            limits = replace(limits, ops=limits.ops / data.steps_a_second, steps_a_second=data.steps_a_second)
        fitted, others = _fit(settings, data, board, limits, fitting)
        settings, dense, pruned = fitted.config, fitted.dense, fitted.network
    else:
        dense = pipeline.new_network(settings, data)
        pruned = pruned_by(settings, data, dense, args.output)
    with bars() as progress:
        progress.add_task("measure", total=None, info="before and after")
        report = pruning.describe(dense, pruned)
    size = settings.prune.block
    blocks = _blocks(pruned, size) if size > 1 else {}
    if args.json:
        more = {"blocks": blocks} if blocks else {}
        print(json.dumps(asdict(report) | more | (_as_dict(fitted, others, board, limits) if goal else {})))
    else:
        rows = [
            [name, f"{m.neurons}", f"{m.inputs}", f"{m.synapses}", f"{m.abscissa:.4g}", f"{m.radius:.4g}"]
            for name, m in (("dense", report.before), (settings.prune.method, report.after))
        ]
        print_table("", ["", "neurons", "from the input", "between neurons", "abscissa", "radius"], rows)
        if removed := report.before.neurons - report.after.neurons:
            out.print(f"Of {report.before.neurons} neurons {removed} were removed, with all their synapses.")
        if blocks:
            say(_in_words(blocks, settings))
        if goal:
            _show(args.config, fitted, others, board, limits)
    history = {"prune": {"method": settings.prune.method, "synapses_before": report.before.synapses}}
    network_file.save(NetworkFile(pruned, settings, history), args.output)
    discard(beside(args.output, PRUNING), fitting)
    note(f"written: {args.output}    next: lnp train {shlex.quote(str(args.output))}")
    return 0


def _blocks(network: Network, size: int) -> dict[str, float]:
    """How many blocks hold the synapses, and which share of the weights they store is synapses."""
    found = blocks_of(network, size)
    return {"size": size, "count": len(found.size), "filled": network.w_rec.nnz / (size * max(1, len(found.size)))}


def _in_words(blocks: dict[str, float], settings: Config) -> str:
    count, size, filled = blocks["count"], blocks["size"], blocks["filled"]
    said = f"The synapses lie in {count} blocks of {size} neighbouring targets, and fill {filled:.1%} of them."
    if filled < FULL and settings.network.density < 1:
        said += " Blocks fill when the start is dense: set [network] density = 1, and lower [prune] keep."
    return said


def _goal(args: argparse.Namespace) -> tuple[Board, Budget] | None:
    """The board and the budget asked for; by default all flash and RAM of the board."""
    from lnp_edge import boards

    given = [f"--{name}" for name in ("flash", "ram", "ops") if getattr(args, name) is not None]
    given += ["--every-step"] * args.every_step
    if args.board is None:
        if given:
            raise ConfigError(f"{given[0]} needs a board", "name one with --board (lnp boards lists them)")
        return None
    if args.every_step and args.ops is None:
        raise ConfigError("--every-step needs a limit", "set one with --ops, such as --ops 60k")
    board = boards.get(args.board)
    sizes = {}
    for name, size in (("flash", board.flash.size), ("ram", board.ram.size)):
        text = getattr(args, name)
        sizes[name] = size if text is None else budget.parse(text, f"--{name}", 1024)
        if sizes[name] > size:
            raise ConfigError(f"--{name} is {sizes[name]} B, {board.name} has {size}", f"omit --{name} to use all")
    count = None if args.ops is None else budget.parse(args.ops.strip().removesuffix(A_SECOND), "--ops", 1000)
    return board, Budget(**sizes, ops=count, bound=args.every_step)


def _fit(settings: Config, data: Split, board: Board, limits: Budget, folder: Path) -> tuple[Fitted, list[Fitted]]:
    """The network that fits, and those of budget.smaller."""
    from lnp_edge.commands import _measure

    windows = None if limits.ops is None else _measure.some(data.train_windows.counts, data.task.front.frame)
    meter = _measure.meter(board, windows, limits.bound)
    make_folder(folder)
    meter = _measure.remembered(meter, board, windows, folder / "costs.checkpoint", limits.bound)
    with bars() as progress:
        task = progress.add_task(f"fit {board.name}", total=None, info="")

        def show(what: str) -> None:
            progress.update(task, advance=1, info=what)

        try:
            fitted = budget.fit(settings, data, limits, meter, show, folder)
        except DoesNotFit:
            discard(folder)
            raise
        others = []
        for other in budget.smaller(settings, data):
            with suppress(DoesNotFit):
                others.append(budget.fit(other, data, limits, meter, show, folder))
    return fitted, others


def _rows(fitted: Fitted, limits: Budget) -> dict[str, tuple[float, float]]:
    """The budget and the use, by name."""
    found: dict[str, tuple[float, float]] = {
        "flash": (limits.flash, fitted.cost.flash),
        "ram": (limits.ram, fitted.cost.ram),
    }
    if limits.ops is not None:
        name, rate = ("ops", 1.0) if limits.steps_a_second is None else ("ops_a_second", limits.steps_a_second)
        found[name] = round(limits.ops * rate), round(fitted.cost.ops * rate)
    return found


def _as_dict(fitted: Fitted, others: list[Fitted], board: Board, limits: Budget) -> dict:
    rows = {name: {"budget": most, "used": used} for name, (most, used) in _rows(fitted, limits).items()}
    longest = {} if limits.ops is None else {"longest_step": fitted.cost.longest}
    found = {"board": board.name, **_settings(fitted), **rows, **longest}
    used = [{name: used for name, (_, used) in _rows(other, limits).items()} for other in others]
    found["others"] = [_settings(other) | cost for other, cost in zip(others, used, strict=True)]
    return {"fit": found}


def _settings(fitted: Fitted) -> dict[str, float]:
    """What to set in a configuration for this network."""
    network, pruning = fitted.config.network, fitted.config.prune
    return {"neurons": network.neurons, "density": network.density, "keep": pruning.keep, "inputs": pruning.inputs}


def _show(task: str, fitted: Fitted, others: list[Fitted], board: Board, limits: Budget) -> None:
    names = {
        "flash": "flash, B", "ram": "RAM with stack, B", "ops": "instructions per step",
        "ops_a_second": "instructions a second",
    }  # fmt: skip
    if limits.bound:
        names |= {name: f"{names[name]}, at most" for name in ("ops", "ops_a_second")}
    rows = [
        [names[name], f"{most:.0f}", f"{used}", f"{most - used:.0f}"]
        for name, (most, used) in _rows(fitted, limits).items()
    ]
    print_table(f"on {board.name}, with every synapse stored", ["", "budget", "used", "left"], rows)
    if fitted.too_much:
        asked = configuration(task)
        was, now = asked.network.neurons, fitted.config.network.neurons
        out.print(f"{was} neurons -> {now}: {asked.prune.keep:.0%} of the synapses of {was} need {fitted.too_much}")
    out.print(f"{budget.RESERVE} B of flash are reserved: training can make the code longer")
    out.print(f"keep = {fitted.config.prune.keep:.4f} of the recurrent synapses of {fitted.dense.n} neurons")
    if limits.ops is not None:
        out.print(f"longest step: {fitted.cost.longest} instructions, before training, which changes the firing rate")
    counted = [names[name] for name in list(_rows(fitted, limits))[2:]]
    columns = ["neurons", "density", "keep", "inputs", "flash, B", "RAM, B", *("instructions" for _ in counted)]
    cells = [
        [f"{value:.4g}" for value in _settings(one).values()] + [f"{used}" for _, used in _rows(one, limits).values()]
        for one in (fitted, *others)
    ]
    print_table(", ".join(["what fits", *counted]) + ": the first is written", columns, cells)
    say("Prefer another where it is as accurate: set neurons and density in [network], keep and inputs in [prune].")
    if fitted.config.network.density and any(not one.config.network.density for one in others):
        out.print(
            "Before training nothing says whether recurrence is worth its cost. What does, and recommends a row: "
            f"lnp reproduce {shlex.quote(task)} --rows 'lnp,no recurrence' --seeds 5",
            markup=False, soft_wrap=True,
        )  # fmt: skip
