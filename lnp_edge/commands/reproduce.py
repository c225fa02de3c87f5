"""Print the table of a task: a dense network, networks pruned in several ways,
controls, integers, and baselines without a network. Costs are those of the
integers on the emulated Cortex-M4, for a second of signal and the whole image.

Finished runs are kept in DIR and not repeated; a stopped training continues.
DIR also receives the table as TASK.md, and figures."""

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lnp_edge import boards, config
from lnp_edge.base.console import counted, note, out, table
from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import write_whole
from lnp_edge.commands import _measure
from lnp_edge.config import Config
from lnp_edge.experiments.executors import for_jobs, processes
from lnp_edge.experiments.trial import Trial
from lnp_edge.interchange import onnx_file
from lnp_edge.stages import pipeline, rival
from lnp_edge.stages.rival import Measured
from lnp_edge.task import metrics
from lnp_edge.task.dataset import Dataset
from lnp_edge.task.split import Split, folds, load_data, split
from lnp_edge.training.kernels.derive import trains_in_integers

HELP = "print a task's table: dense, pruned, controls, integers, baselines"
EXAMPLE = """  lnp reproduce spar
  lnp reproduce spar --folds 5 --rows dense,lnp
  lnp reproduce lorenz --seeds 3 -o runs
  lnp reproduce hapt --rows lnp --rivals ridge_bands,cnn_3k --seeds 5
  lnp reproduce hapt --rows none
  lnp reproduce spar hapt fashion_mnist --shared"""


# Each row of the table, as changes to the configuration of a task.
ROWS: dict[str, dict[str, dict]] = {
    "dense": {"prune": {"keep": 1.0, "method": "lnp"}},
    "lnp": {"prune": {"method": "lnp"}},
    "activity": {"prune": {"method": "activity"}},
    "random": {"prune": {"method": "random"}},
    "magnitude": {"prune": {"method": "magnitude"}},
    "homogeneous": {"prune": {"method": "lnp"}, "network": {"heterogeneous": False}},
    "fixed time constants": {"prune": {"method": "lnp"}, "train": {"train_taus": False}},
    "lnp 4 bits": {"prune": {"method": "lnp"}, "quantize": {"bits": 4}},  # see row()
    "no recurrence": {"prune": {"keep": 1.0, "method": "lnp"}, "network": {"density": 0.0}},
}
DEFAULT = ",".join(name for name in ROWS if name not in ("random", "magnitude", "fixed time constants"))
SHARED = {
    "dense": ROWS["dense"],
    "lnp, for this task": ROWS["lnp"],
    "lnp, one for all": {"prune": {"shared": True}},
    "no recurrence": ROWS["no recurrence"],
}
COSTS = ["instr. a second", "flash B", "RAM B"]
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
        "--rivals", default=[], type=lambda text: [name.strip() for name in text.split(",")],
        help=f"rivals to train and measure with each seed: some of {', '.join(rival.names())} (default: none)",
    )  # fmt: skip
    parser.add_argument("--shared", action="store_true", help="prune one network for all these tasks, without a task")
    parser.add_argument("--quick", action="store_true", help="a few steps on little data: the figures mean nothing")
    parser.add_argument(
        "--jobs", type=for_jobs, default=processes, metavar="N", help="number of processes (default: one per core)"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("runs"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(args: argparse.Namespace) -> int:
    if not 1 <= args.seeds <= 1000:
        raise ConfigError(f"--seeds is {args.seeds}", "choose a number from 1 to 1000")
    unknown = set(rows := args.rows.split(",") if args.rows != "none" else []) - set(ROWS)
    if unknown:
        raise ConfigError(f"unknown row {sorted(unknown)[0][:40]!r}", f"available: {', '.join(ROWS)}")
    pipeline.require_torch()
    bases = [config.named(name) for name in args.tasks]
    for base in bases if args.rivals else []:
        data = rival.data_of(base)
        for name in args.rivals:
            rival.require(name, data)
    chosen = SHARED if args.shared else {name: ROWS[name] for name in rows}
    if args.shared:
        bases = [_same_network(base, bases[0]) for base in bases]
    for base in bases:
        base = quick(base) if args.quick else base
        found = _reproduce(base, chosen, args)
        if args.json:
            print(json.dumps(found))
    return 0


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


def _reproduce(base: Config, changes: dict[str, dict], args: argparse.Namespace) -> list[dict]:
    """Run the missing trials of one task; print and write its table and figures."""
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
        Row(name, [], next_of(results, len(group)), cost=_cost(runs.path(group[0]).with_name("model.onnx"), splits[0]))
        for name, group in trials.items()
    ]
    note("baselines")
    simple_rows = [Row(name, said, []) for name, said in _simple(splits).items()]
    rows += [_rival(name, [rival.data_of(base, part) for part in parts], seeds) for name in args.rivals]
    held = f"{args.folds} folds by {dataset.group_name}" if args.folds else splits[0].held_out_text
    drawn = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    title = f"{base.data.name}: {held}, held out; {drawn}"
    stem = f"{base.data.name}{'-shared' * args.shared}{f'-{args.folds}-folds' if args.folds else ''}"
    _write(args, dataset, title, simple_rows, rows, args.output / stem)
    if not args.folds:
        for group in trials.values():
            runs.picture(group[0], splits[0].test, splits[0].test_windows)
    note(f"the table, the figures and every run are in {args.output}")
    return [row.as_dict() for row in simple_rows + rows]


@dataclass(frozen=True)
class Row:
    """The measures of a method: of a baseline, or of each trial."""

    name: str
    simple: list[dict[str, float]]
    trials: list[dict]  # results of runs.py
    measured: list[Measured] = field(default_factory=list)  # of a rival, for each seed and fold
    cost: list[str] = field(default_factory=lambda: [""] * len(COSTS))  # of the first

    @property
    def floats(self) -> list[dict[str, float]]:
        return self.simple or [r["float_measures"] for r in self.trials]

    def cells(self, metric: str, others: list[str]) -> list[str]:
        wide = len(others)
        integers = [r["measures"] for r in self.trials] + [{m.metric: m.value} for m in self.measured]
        kinds = ("neurons", "synapses") if self.trials else ()
        last = [f"{np.mean([r[kind] for r in self.trials]):.0f}" for kind in kinds]
        others = [] if self.measured else others
        return [
            self.name, _spread(self.floats, metric), _spread(integers, metric),
            *(f"{np.mean([m[k] for m in integers or self.floats]):.3f}" for k in others),
            *[""] * (wide - len(others)), *(last or [""] * 2), *self.cost,
        ]  # fmt: skip

    def as_dict(self) -> dict:
        measured = [one.as_dict() for one in self.measured]
        return {"name": self.name, "simple": self.simple, "trials": self.trials, "measured": measured}


def next_of(results, count: int) -> list[dict]:
    return [next(results) for _ in range(count)]


def _spread(measures: list[dict[str, float]], key: str) -> str:
    """The mean, with the standard deviation if there are several."""
    values = [m[key] for m in measures]
    if not values:
        return ""
    return f"{np.mean(values):.3f}" + (f"±{np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def _cost(model: Path, data: Split) -> list[str]:
    """The cells of COSTS for a model; empty if no emulator counts here."""
    if not rival.available():
        return [""] * len(COSTS)
    windows = data.test_windows.counts
    some = windows[:: max(1, len(windows) // COUNTED)]
    cost = _measure.meter(boards.get(rival.BOARD), some)(onnx_file.load(model))
    return [counted(cost.ops * data.task.steps / data.cut[1]), f"{cost.flash}", f"{cost.ram}"]


def _rival(name: str, splits: list[Split], seeds: range) -> Row:
    """A rival trained and measured with each seed, on each fold."""
    found = []
    for seed in seeds:
        for data in splits:
            found.append(rival.measure(name, data, seed, most=COUNTED))
            note(f"{name}, seed {seed}: {found[-1].value:.3f}")
    first = found[0]
    return Row(first.title, [], [], found, [counted(first.per_second), f"{first.flash}", f"{first.ram}"])


def _simple(splits: list[Split]) -> dict[str, list[dict[str, float]]]:
    from lnp_edge.task.baselines import simple

    found: dict[str, list[dict[str, float]]] = {}
    for data in splits:
        for name, said in simple(data).items():
            found.setdefault(name, []).append(pipeline.measures(data, said))
    return found


def _write(
    args: argparse.Namespace, dataset: Dataset, title: str, simple_rows: list[Row], rows: list[Row], stem: Path
) -> None:
    """Print the table and write it to stem.md with the command that made it; draw the figures."""
    from lnp_edge.experiments import figures
    from lnp_edge.experiments.runs import machine

    metric, others = dataset.metric, metrics.shown(dataset)
    columns = ["", metrics.title(metric), "integers", *map(metrics.title, others), "N", "synapses", *COSTS]
    cells = [row.cells(metric, others) for row in simple_rows + rows]
    if not args.json:
        out.print(table(title, columns, cells))
    asked = [*args.tasks, f"--rows {args.rows!r}" * (args.rows != DEFAULT), f"--seeds {args.seeds}"]
    asked += [
        f"--rivals {','.join(args.rivals)}" * bool(args.rivals),
        f"--folds {args.folds}" * bool(args.folds),
        "--shared" * args.shared,
        "--quick" * args.quick,
    ]
    days = sorted({r["date"] for row in rows for r in row.trials}) or [time.strftime("%Y-%m-%d")]
    head = f"`lnp reproduce {' '.join(filter(None, asked))}`, {' to '.join(sorted({days[0], days[-1]}))}, {machine()}."
    ruled = [columns, ["---", *["---:"] * (len(columns) - 1)], *cells]
    lines = [head, "", f"{title}.", "", *("| " + " | ".join(line) + " |" for line in ruled), ""]
    write_whole(stem.with_name(f"{stem.name}.md"), "\n".join(lines).encode())
    if not any(row.trials for row in rows):
        return
    curves = {row.name: row.trials[0]["history"] for row in rows if row.trials}
    figures.learning_curves(curves, stem.with_name(f"{stem.name}-curves.png"))
    lines_at = {row.name: float(np.mean([m[metric] for m in row.floats])) for row in simple_rows}
    values = {row.name: [m[metric] for m in row.floats] for row in rows if row.trials}
    figures.comparison(values, metrics.title(metric), stem.with_name(f"{stem.name}.png"), lines_at)
