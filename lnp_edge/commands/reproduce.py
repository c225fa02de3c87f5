"""Print the table of a task: a dense network, networks pruned in several ways,
controls, integers, and baselines without a network. Costs are those of the
integers on the emulated Cortex-M4, for a second of signal and the whole image.
Under the table stand what has not converged, the best row within each budget,
and which row is recommended: the cheapest that is not surely worse than the best.

Finished runs are kept in DIR and not repeated; a stopped training continues.
DIR also receives the table as TASK.md, and figures: of what each row scores and
costs, of learning, and of the predictions."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lnp_edge import boards, config
from lnp_edge.base.console import markdown, note, print_table, say
from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import write_whole
from lnp_edge.commands import _given, _measure
from lnp_edge.config import Config
from lnp_edge.experiments.evidence.statistics import LEVEL
from lnp_edge.experiments.executors import for_jobs, processes
from lnp_edge.experiments.rivals import Rivals, RivalTrial
from lnp_edge.experiments.rows import COSTS, Costs, Row, difference, notes
from lnp_edge.experiments.store import machine
from lnp_edge.experiments.trial import Trial
from lnp_edge.interchange import onnx_file
from lnp_edge.stages import pipeline, rival
from lnp_edge.stages.rival import Measured
from lnp_edge.task import metrics
from lnp_edge.task.dataset import Dataset
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import Split, folds, load_data, split
from lnp_edge.training.kernels.derive import trains_in_integers

if TYPE_CHECKING:
    from lnp_edge.experiments.runs import Runs

HELP = "print a task's table: dense, pruned, controls, integers, baselines"
EXAMPLE = """  lnp reproduce spar
  lnp reproduce spar --folds 5 --rows dense,lnp
  lnp reproduce lorenz --seeds 3 -o runs
  lnp reproduce spar --rows 'lnp,no recurrence' --rivals --seeds 3
  lnp reproduce hapt --rows lnp --rivals ridge_bands,cnn_3k --seeds 5
  lnp reproduce hapt --rows none
  lnp reproduce hapt --rows 'lnp,lnp blocks' --seeds 5 --against lnp
  lnp reproduce spar hapt fashion_mnist --shared"""


# Each row of the table, as changes to the configuration of a task.
ROWS: dict[str, dict[str, dict]] = {
    "dense": {"prune": {"keep": 1.0, "inputs": 1.0, "method": "lnp", "block": 1}},
    "lnp": {"prune": {"method": "lnp"}},
    "activity": {"prune": {"method": "activity"}},
    "random": {"prune": {"method": "random"}},
    "magnitude": {"prune": {"method": "magnitude"}},
    "lnp blocks": {"prune": {"method": "lnp", "block": 4}},
    "random blocks": {"prune": {"method": "random", "block": 4}},
    "homogeneous": {"prune": {"method": "lnp"}, "network": {"heterogeneous": False}},
    "fixed time constants": {"prune": {"method": "lnp"}, "train": {"train_taus": False}},
    "lnp 4 bits": {"prune": {"method": "lnp"}, "quantize": {"bits": 4}},  # see row()
    "no recurrence": {"prune": {"keep": 1.0, "method": "lnp", "block": 1}, "network": {"density": 0.0}},
}
ASKED = ("random", "magnitude", "fixed time constants", "lnp blocks", "random blocks")  # not by default
DEFAULT = ",".join(name for name in ROWS if name not in ASKED)
SHARED = {
    "dense": ROWS["dense"],
    "lnp, for this task": ROWS["lnp"],
    "lnp, one for all": {"prune": {"shared": True}},
    "no recurrence": ROWS["no recurrence"],
}
COUNTED = 4  # windows whose instructions are counted
QUICK = {"data": {"limit": 4}, "train": {"epochs": 2}, "network": {"neurons": 48}}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="+", metavar="TASK", help=f"a TOML file or one of {', '.join(config.names())}")
    parser.add_argument(
        "--rows",
        default=DEFAULT,
        help=f"some of {', '.join(ROWS)}; or none, for the baselines only (default: {DEFAULT!r})",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="number of seeds, counted up from that of the configuration (default: 1)"
    )
    parser.add_argument(
        "--folds", type=int, default=0, help="number of folds by group; 0 uses the data set's test groups (default: 0)"
    )
    parser.add_argument(
        "--against", metavar="ROW",
        help="row that the others are compared with: mean difference in integers, paired by seed (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--rivals", nargs="?", const="all",
        help=f"rivals to train and measure with each seed: some of {', '.join(rival.names())}; without a value "
        "all that suit the task (default: none)",
    )  # fmt: skip
    parser.add_argument("--shared", action="store_true", help="prune one network for all these tasks, without a task")
    parser.add_argument("--quick", action="store_true", help="a few steps on little data: the figures mean nothing")
    parser.add_argument(
        "--jobs", type=for_jobs, default=processes, metavar="N", help="number of processes (default: one per core)"
    )
    parser.add_argument(
        "-o", "--output", type=_given.path, default=Path("runs"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(args: argparse.Namespace) -> int:
    if not 1 <= args.seeds <= 1000:
        raise ConfigError(f"--seeds is {args.seeds}", "choose a number from 1 to 1000")
    unknown = set(rows := args.rows.split(",") if args.rows != "none" else []) - set(ROWS)
    if unknown:
        raise ConfigError(f"unknown row {sorted(unknown)[0][:40]!r}", f"available: {', '.join(ROWS)}")
    if args.against and args.against not in (known := list(SHARED) if args.shared else rows):
        raise ConfigError(f"--against is {args.against[:40]!r}", f"choose one of the rows: {', '.join(known)}")
    stems = [_stem(name) for name in args.tasks]
    of_files = [_stem(name) for name in set(args.tasks)]  # the same task again writes the same table
    if again := next((stem for stem in stems if of_files.count(stem) > 1), None):
        hint = "rename a file, or reproduce them apart with another -o"
        raise ConfigError(f"two tasks would write {args.output / again}.md", hint)
    pipeline.require_torch()
    bases = [configuration(name, note) for name in args.tasks]
    against = [asked_rivals(base, args.rivals) for base in bases]
    chosen = SHARED if args.shared else {name: ROWS[name] for name in rows}
    if args.shared:
        bases = [_same_network(base, bases[0]) for base in bases]
    for stem, base, names in zip(stems, bases, against, strict=True):
        base = quick(base) if args.quick else base
        found = _reproduce(stem, base, chosen, names, args)
        if args.json:
            print(json.dumps(found))
    return 0


def _stem(task: str) -> str:
    """What the files of a task are called."""
    return Path(task).stem if task.endswith(".toml") else task


def asked_rivals(base: Config, asked: str | None) -> list[str]:
    """The names of the rivals asked for by --rivals.

    Raises ConfigError for a rival that is unknown or cannot take the task, and for streams.
    """
    if asked is None:
        return []
    if base.stream.batches:
        what = f"this task of {base.data.name} is judged on streams, but rivals on windows from a reset: --rivals"
        raise ConfigError(what, "leave it out; lnp stream TASK compares networks with ridge regressions on streams")
    data = rival.data_of(base)
    if asked == "all":
        return rival.suiting(data)
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        rival.require(name, data)
    return names


def changed(base: Config, changes: dict[str, dict]) -> Config:
    """base with other values in its sections.

    Layers share the number of neurons, and density 0 leaves only the synapses between layers.
    """
    sections = {name: replace(getattr(base, name), **values) for name, values in changes.items()}
    own, layers = changes.get("network", {}), base.network.layer
    if layers and "neurons" in own:
        layers = tuple(replace(one, neurons=max(2, own["neurons"] // len(layers))) for one in layers)
    if layers and own.get("density") == 0:
        layers = tuple(replace(one, recurrent=False) for one in layers)
    found = replace(base, **sections)
    return replace(found, network=replace(found.network, layer=layers))


def quick(base: Config) -> Config:
    streams = {"stream": {"batches": 20}} if base.stream.batches else {}
    return changed(base, QUICK | streams)


def row(base: Config, change: dict[str, dict]) -> Config:
    """The configuration of a row.

    With fewer than 8 bits, training continues in integers for a quarter of the epochs, if
    training/integer.py can train the network; other networks are rounded.
    """
    found = changed(base, change)
    neurons, bits = [one.neuron for one in found.network.layers], found.quantize.bits
    if bits < 8 and trains_in_integers(neurons, found.network.skip, found.network.readout, bits):
        found = changed(found, {"quantize": {"epochs": max(1, found.train.epochs // 4)}})
    return found


def _same_network(base: Config, first: Config) -> Config:
    """base with the neurons and the time constants, in steps, of `first`, but its own read-out."""
    dt, theirs = (load_data(c).dt * c.data.frame for c in (base, first))
    network = first.network.in_steps(theirs / dt)
    network = replace(network, tau_out=base.network.tau_out, readout=base.network.readout)
    return replace(base, network=network, prune=first.prune)


def _reproduce(
    stem: str, base: Config, changes: dict[str, dict], rivals: list[str], args: argparse.Namespace
) -> list[dict]:
    """Run the missing trials of one task; print and write its table and figures, to files called `stem`."""
    from lnp_edge.experiments.runs import Runs

    dataset = load_data(base)
    parts = folds(dataset, args.folds) if args.folds else [dataset.held_out]
    seeds = range(base.seed, base.seed + args.seeds)
    configs = {name: row(base, change) for name, change in changes.items()}
    trials = {
        name: [
            Trial(f"{base.data.name} {name}, seed {seed}" + (f", fold {k + 1}" if args.folds else ""), c, part)
            for seed in seeds
            for c in [replace(configs[name], seed=seed)]
            for k, part in enumerate(parts)
        ]
        for name in configs
    }
    runs = Runs(args.output)
    results = iter(runs.all([t for group in trials.values() for t in group], args.jobs))
    splits = [split(base, dataset, part) for part in parts]
    rows = [
        _network(name, next_of(results, len(group)), runs, group, splits * args.seeds) for name, group in trials.items()
    ]
    note("baselines")
    simple_rows = _simple(splits)
    against = [[RivalTrial(name, base, seed, part, COUNTED) for seed in seeds for part in parts] for name in rivals]
    measured = iter(Rivals(args.output).all([one for group in against for one in group], args.jobs))
    rows += [_rival(next_of(measured, len(group)), len(parts), dataset) for group in against]
    held = f"{args.folds} folds by {dataset.group_name}" if args.folds else splits[0].held_out_text
    drawn = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    title = f"{base.data.name}: {held}, held out; {drawn}{'; --quick: not comparable' * args.quick}"
    stem = f"{stem}{'-shared' * args.shared}{f'-{args.folds}-folds' if args.folds else ''}"
    _write(args, dataset, title, simple_rows, rows, _unmeasured(base, simple_rows, rivals), args.output / stem)
    if not args.folds:
        for group in trials.values():
            runs.picture(group[0], splits[0].test, splits[0].test_windows)
    note(f"the table, the figures and every run are in {args.output}")
    return [row.as_dict() for row in simple_rows + rows]


def next_of(results: Iterator, count: int) -> list:
    return [next(results) for _ in range(count)]


def costs_of(model: Path, data: Split) -> Costs | None:
    """The costs of a model, kept beside it; None if no emulator counts here."""
    if not rival.available():
        return None
    windows, board = data.test_windows.counts, boards.get(rival.BOARD)
    some = windows[:: max(1, len(windows) // COUNTED)]
    meter = _measure.remembered(_measure.meter(board, some), board, some, model.with_name("costs.json"))
    quantized = onnx_file.load(model)
    cost = meter(quantized)
    return Costs(cost.ops * quantized.steps_a_second, cost.flash, cost.ram)


def _network(name: str, results: list[dict], runs: Runs, trials: list[Trial], splits: list[Split]) -> Row:
    """splits : of each trial"""
    costs = costs_of(runs.path(trials[0]).with_name("model.onnx"), splits[0])
    found = Row(name, trials=results, costs=costs)
    folds = len({trial.held_out for trial in trials})
    return _resampled(found, [runs.predictions(trial) for trial in trials], splits, folds)


def _resampled(row: Row, predicted: list[NDArray], splits: list[Split], folds: int) -> Row:
    """The row with its interval, but for a closed loop. predicted, splits : of each seed and fold"""
    if splits[0].test.series and splits[0].test.series.free_run:
        return row
    told = zip(predicted, splits, strict=True)
    by_unit = [metrics.by_unit(data.test, data.test_windows, said, data.cut) for said, data in told]
    sums = _by_seed([one for one, _ in by_unit], folds)
    interval = metrics.interval_of_mean(splits[0].test, sums)
    return replace(row, interval=interval, sums=sums, units=by_unit[-1][1])


def _rival(measured: list[Measured], folds: int, dataset: Dataset) -> Row:
    first = measured[0]
    costs = Costs(first.per_second, first.flash, first.ram)
    sums = _by_seed([np.array(one.sums) for one in measured], folds)
    interval = metrics.interval_of_mean(dataset, sums)
    return Row(first.title, measured=measured, costs=costs, interval=interval, sums=sums, units=first.units)


def _by_seed(sums: list[NDArray], folds: int) -> list[NDArray]:
    return [np.concatenate(sums[k : k + folds]) for k in range(0, len(sums), folds)]


def _simple(splits: list[Split]) -> list[Row]:
    """Baselines in floats. splits : of each fold"""
    from lnp_edge.task.baselines import simple

    found: dict[str, list[NDArray]] = {}
    for data in splits:
        for name, said in simple(data).items():
            found.setdefault(name, []).append(said)
    return [
        _resampled(Row(name, simple=list(map(pipeline.measures, splits, said))), said, splits, len(splits))
        for name, said in found.items()
    ]


def _unmeasured(base: Config, simple_rows: list[Row], rivals: list[str]) -> list[tuple[Row, str]]:
    """The baselines that no measured rival computes, each with the rival that can; see rows.notes."""
    able = rival.of_baselines(rival.data_of(base))
    found = []
    for row in simple_rows:
        name, why = able.get(row.name, ("", ""))
        if name not in rivals:
            found.append((row, "" if why or base.stream.batches else name))
    return found


def _write(
    args: argparse.Namespace, dataset: Dataset, title: str, simple_rows: list[Row], rows: list[Row],
    unmeasured: list[tuple[Row, str]], stem: Path,
) -> None:  # fmt: skip
    """Print the table and write it to stem.md with the command that made it; draw the figures."""
    from lnp_edge.experiments import figures

    metric, others = dataset.metric, metrics.shown(dataset)
    columns = ["", metrics.title(metric), "integers", "95 %", *map(metrics.title, others), "N", "synapses", *COSTS]
    cells = [row.cells(metric, others) for row in simple_rows + rows]
    if args.against:
        columns.insert(4, f"- {args.against}")
        first = next(row for row in rows if row.name == args.against)
        for line, row in zip(cells, simple_rows + rows, strict=True):
            line.insert(4, difference(row, first, metric, args.seeds))
    tables = [(columns, cells)]
    if classes := metrics.shown_by_class(dataset):
        known = [row for row in simple_rows + rows if not row.measured]
        tables.append((["", *classes], [[row.name, *row.means(classes)] for row in known]))
    said = notes(rows, dataset, unmeasured)
    if units := next((row.drawn for row in simple_rows + rows if row.drawn), ""):
        said.append(
            f"95 %: bootstrap over {units}{', and seeds' * (args.seeds > 1)}; of the integers, if there are any."
        )
    if args.against:
        said.append(f"- {args.against}: mean and {LEVEL:.0%} interval of the difference in integers, paired by seed.")
    if not args.json:
        for name, (columns, cells) in zip((title, "by class"), tables, strict=False):
            print_table(name, columns, cells)
        for one in said:
            say(one)
    rivals = ["--rivals"] if args.rivals == "all" else ["--rivals", args.rivals]
    asked = ["lnp", "reproduce", *args.tasks, *(["--rows", args.rows] if args.rows != DEFAULT else [])]
    asked += ["--seeds", str(args.seeds), *(rivals if args.rivals else [])]
    asked += ["--folds", str(args.folds)] if args.folds else []
    asked += ["--against", args.against] if args.against else []
    asked += ["--shared"] * args.shared + ["--quick"] * args.quick
    days = sorted({r["date"] for row in rows for r in row.trials}) or [time.strftime("%Y-%m-%d")]
    head = f"`{shlex.join(asked)}`, {' to '.join(sorted({days[0], days[-1]}))}, {machine()}."
    lines = [head, "", f"{title}.", ""]
    for columns, cells in tables:
        lines += [*markdown(columns, cells), ""]
    lines += [f"* {one}" for one in said] + [""] * bool(said)
    write_whole(stem.with_name(f"{stem.name}.md"), "\n".join(lines).encode())
    counted = [row for row in rows if row.costs]
    if len(counted) > 1:
        figures.pareto(counted, metric, title, stem.with_name(f"{stem.name}-pareto.png"))
    if not any(row.trials for row in rows):
        return
    curves = {row.name: row.trials[0]["history"] for row in rows if row.trials}
    figures.learning_curves(curves, stem.with_name(f"{stem.name}-curves.png"))
    lines_at = {row.name: float(np.mean([m[metric] for m in row.floats])) for row in simple_rows}
    values = {row.name: [m[metric] for m in row.floats] for row in rows if row.trials}
    figures.comparison(values, metrics.title(metric), stem.with_name(f"{stem.name}.png"), lines_at)
