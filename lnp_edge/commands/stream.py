"""Judge a task as streams are judged: the network is never reset, classes change,
and a decision falls due at every hop.

Trains the task's network on streams and on windows, fits the rule of decisions
on training groups, and judges all on the streams of held-out groups, with
ridge regressions beside them. Where a data set has no continuous recordings,
those of each group are joined so that the class changes. What is finished is
kept in DIR and not repeated; a stopped training continues."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lnp_edge import boards, config
from lnp_edge.base.console import counted, note, out, print_table, say
from lnp_edge.base.errors import ConfigError
from lnp_edge.commands import _given, _measure
from lnp_edge.config import Config
from lnp_edge.experiments.executors import for_jobs, processes
from lnp_edge.interchange import onnx_file
from lnp_edge.stages import pipeline, rival
from lnp_edge.task import streams
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import Split, load_data, split

HELP = "judge a task on streams: accuracy, delays and false changes"
EXAMPLE = "  lnp stream spar-stream\n  lnp stream hapt-stream --left-out 6 -o runs --json"
RULED = "  with its rule"
METHODS = "windows", "stream", "ridge", "leaky"
COLUMNS = ["", "all", "settled", "delay, s", "missed", "false", "instr."]
MORE = ["", "95 % of all", "flash B", "RAM B"]


def arguments(parser: argparse.ArgumentParser) -> None:
    streaming = [name for name in config.names() if config.named(name).stream.batches]
    parser.add_argument("task", metavar="TASK", help=f"a TOML file with [stream] or one of {', '.join(streaming)}")
    parser.add_argument("--seed", type=int, help="of the networks (default: that of the configuration)")
    parser.add_argument(
        "--left-out", type=int, default=1, metavar="N",
        help="classes that are left out in training, one after the other, to count strangers (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=for_jobs, default=processes, metavar="N", help="number of processes (default: one per core)"
    )
    parser.add_argument(
        "-o", "--output", type=_given.path, default=Path("runs"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print all measures as JSON")


def run(args: argparse.Namespace) -> int:
    pipeline.require_torch()
    from lnp_edge.experiments import on_streams, store
    from lnp_edge.experiments.runs import Runs

    settings = configuration(args.task, note)
    if not settings.stream.batches:
        raise ConfigError(f"{args.task} trains on windows", "set [stream] batches = 1200, or choose spar-stream")
    if args.seed is not None:
        if args.seed < 0:
            raise ConfigError(f"--seed is {args.seed}", "choose 0 or more")
        settings = replace(settings, seed=args.seed)
    data = split(settings, load_data(settings))
    most = len(data.train.classes) if len(data.train.classes) > 2 else 0
    if not 0 <= args.left_out <= most:
        raise ConfigError(f"--left-out is {args.left_out}", f"choose a number from 0 to {most}")
    names = [*METHODS, *(f"stranger {k}" for k in range(args.left_out))]
    methods = [on_streams.Method(name, settings, args.output) for name in names]
    _, trained = Runs(args.output).all([method.trial() for method in methods[:2]], args.jobs)
    found = store.run(methods, on_streams.work, store.Store(args.output), args.jobs, "methods")
    rows = [row for result in found for row in result["rows"]]
    _count(settings, data, methods[0].model_file(), [row for row in rows if row["name"].startswith("windows")])
    own = [row for result in found[1:2] for row in result["rows"]]
    _count(settings, data, methods[1].model_file(), own)
    for row in own:
        row |= {"rule_warning": trained.get("rule_warning", "")} if row["name"] == RULED else {}
    strangers = {name: share for result in found for name, share in result.get("strangers", {}).items()}
    report: dict[str, Any] = {
        "task": args.task, "seed": settings.seed, "held_out": data.held_out_text, "rows": rows,
        "strangers": strangers, "levels": found[1]["levels"], "orders": 0 if data.test.streams else on_streams.ORDERS,
    }  # fmt: skip
    if args.json:
        print(json.dumps(report))
    else:
        _print(settings, data, report)
    note(f"every result and {methods[1].model_file()} are kept")
    return 0


def _count(settings: Config, data: Split, path: Path, rows: list[dict[str, Any]]) -> None:
    """Add the instructions for a second of signal to the rows of a model."""
    if not rival.available():
        return
    model = onnx_file.load(path)
    board = boards.get(rival.BOARD)
    counts = data.test_streams[0].signal[None] if model.decision.stream else data.test_windows.counts
    some = _measure.some(counts, data.task.front.frame)
    meter = _measure.remembered(_measure.meter(board, some), board, some, path.with_name("cost.json"))
    cost = meter(model)
    for row in rows:
        row |= {"per_second": cost.ops * model.steps_a_second, "flash": cost.flash, "ram": cost.ram}


def _print(settings: Config, data: Split, report: dict[str, Any]) -> None:
    first = report["rows"][0]
    title = f"{settings.data.name}: {data.held_out_names}, held out; seed {settings.seed}"
    print_table(title, COLUMNS, [_cells(row) for row in report["rows"]])
    print_table("", MORE, [_more(row) for row in report["rows"]])
    hop, hours = data.task.hop * data.train.dt, f"{first['hours']:.2f} labelled hours"
    out.print(f"A decision every {hop:g} s; {first['changes']:.0f} changes of class in {hours}.")
    if report["orders"]:
        out.print("The streams are joined from pieces: the recordings of each group, so that")
        out.print(f"the class changes, in {report['orders']} orders.")
    out.print(f"all: share of right decisions; settled: from {streams.SETTLED:g} s after a change; delay: to the")
    out.print("first right decision, of 50/90/95 % of the changes; missed: changes without one;")
    out.print("false: decisions an hour for another class that is not there; instr.:")
    out.print("instructions a second of signal, on the emulated Cortex-M4, as flash and RAM.")
    if first.get("units"):
        out.print(f"95 %: bootstrap over {first['units']}.")
    before = ""
    for row in report["rows"]:
        if warning := row.get("rule_warning"):
            say(f"{before}, {row['name'].strip()}: {warning}.")
        before = row["name"] if row["name"][0] != " " else before
    if rule := next((row for row in report["rows"] if row["name"] == RULED), None):
        unknown, rejected, known = (_said(rule[key], ".1%") for key in ("unknown", "rejected", "known"))
        shares = f"{unknown} of all decisions unknown, {rejected} of the right ones"
        out.print(f"\nThe rule calls {shares};")
        out.print(f"{known} of the known are right. Of what it should not know, it calls unknown:")
    for name, share in report["strangers"].items():
        out.print(f"  {_said(share, '.1%'):>6} of {name}")
    out.print("Confidence: percent promised, percent right (decisions):")
    for part in range(0, len(report["levels"]), 4):
        told = (f"{p:.0f}, {_said(r, '.0f')} ({n:.0f})" for p, r, n in report["levels"][part : part + 4])
        out.print("  " + "   ".join(told))


def _said(value: float | None, form: str) -> str:
    """A number, or a dash for what is not finite: see on_streams.work."""
    return "–" if value is None else format(value, form)


def _cells(row: dict[str, Any]) -> list[str]:
    all_of_them, settled, missed = (_said(row[key], ".3f") for key in ("accuracy", "settled", "missed"))
    delays = "/".join(_said(row[key], ".1f") for key in ("delay_50", "delay_90", "delay_95"))
    instructions = counted(row["per_second"]) if "per_second" in row else ""
    return [row["name"], all_of_them, settled, delays, missed, _said(row["false_changes"], ".0f"), instructions]


def _more(row: dict[str, Any]) -> list[str]:
    ends = f"{_said(row['low'], '.2f')}–{_said(row['high'], '.2f')}" if "low" in row else ""
    return [row["name"], ends, *(f"{row.get(kind, '')}" for kind in ("flash", "ram"))]
