"""Measure what a user would try before a spiking network: ridge regressions and
other rivals, as integers and generated C on the emulated Cortex-M4.

Every rival is trained on the training groups alone. Its C runs on test windows
and on hostile ones, and each score is compared with the integer reference, bit
for bit. Accuracy is that of the integers on all test windows. Instructions are
counted; flash and RAM are those of the whole image, with start-up code, UART
driver, the buffer of a window and the stack.

What was measured is kept in DIR and not repeated, with the C of each rival in
a folder. To continue after a stop, run the same command again."""

import argparse
import json
from pathlib import Path

from lnp_edge import boards, config
from lnp_edge.base.console import counted, note, out, print_table
from lnp_edge.base.errors import ConfigError
from lnp_edge.commands import _given
from lnp_edge.experiments.executors import for_jobs, processes
from lnp_edge.experiments.rivals import Rivals, RivalTrial
from lnp_edge.firmware_gen.build import compiler
from lnp_edge.stages import rival
from lnp_edge.stages.rival import Measured
from lnp_edge.task import metrics
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import Split

HELP = "measure rivals without a spiking network, as integers and C"
EXAMPLE = "  lnp baseline spar\n  lnp baseline hapt --rivals ridge_statistics,ridge_bands"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help=f"a TOML file or one of {', '.join(config.names())}")
    parser.add_argument("--rivals", help=f"some of {', '.join(rival.names())} (default: all that suit the task)")
    parser.add_argument("--seed", type=int, help="seed of a training that draws (default: that of the configuration)")
    parser.add_argument(
        "--windows", type=int, default=rival.COMPARED, metavar="N",
        help="number of test windows whose scores are compared (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=for_jobs, default=processes, metavar="N", help="number of processes (default: one per core)"
    )
    parser.add_argument(
        "-o", "--output", type=_given.path, default=Path("runs"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(args: argparse.Namespace) -> int:
    for name, least in (("windows", 1), ("seed", 0)):
        if (value := getattr(args, name)) is not None and value < least:
            raise ConfigError(f"--{name} is {value}", f"choose at least {least}")
    compiler(boards.get(rival.BOARD).toolchain)
    settings = configuration(args.task, note, network=False)
    data = rival.data_of(settings)
    chosen = [name.strip() for name in args.rivals.split(",")] if args.rivals else rival.suiting(data)
    if not chosen:
        raise ConfigError(f"no rival can take {data.train.name}", f"known rivals: {', '.join(rival.names())}")
    for name in chosen:
        rival.require(name, data)
    seed = settings.seed if args.seed is None else args.seed
    trials = [RivalTrial(name, settings, seed, data.train.held_out, args.windows) for name in chosen]
    store = Rivals(args.output)
    rows = store.all(trials, args.jobs)
    folders = {trial.rival: store.c_folder(trial) for trial in trials}
    lower = metrics.lower_is_better(data.test.metric)
    rows.sort(key=lambda row: row.value if lower else -row.value)
    if args.json:
        print(json.dumps([row.as_dict() for row in rows]))
    else:
        _print(data, rows)
        for row in rows:
            if folders[row.name].is_dir():  # figures from before version 0.2 have none
                out.print(f"C of {row.name}: {folders[row.name]}", soft_wrap=True, markup=False)
    return 0 if not any(row.differ for row in rows) else 1


def _print(data: Split, rows: list[Measured]) -> None:
    metric = data.test.metric
    title = f"{data.train.name}: {data.held_out_text}, held out"
    columns = ["", metrics.title(metric), "95 %", "a window", "a second", "flash", "RAM"]
    cells = [
        [
            row.name, f"{row.value:.3f}", f"{row.low:.2f}–{row.high:.2f}", counted(row.instructions),
            counted(row.per_second), f"{row.flash}", f"{row.ram}",
        ]
        for row in rows
    ]  # fmt: skip
    print_table(title, columns, cells)
    out.print(f"95 %: bootstrap over {rows[0].units}. Instructions a window and a second of signal,")
    out.print(f"flash and RAM in B: counted on the emulated {rows[0].board}.")
    for row in rows:
        if row.differ:
            out.print(f"NOT equal: {row.title} differs from its reference in {row.differ} of {row.compared} windows")
    if not any(row.differ for row in rows):
        out.print(f"Every score of {rows[0].compared} windows equals the integer reference, for each row.")
