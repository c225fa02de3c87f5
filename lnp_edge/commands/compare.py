"""Compare pruning methods by what they preserve of a network and by accuracy.

  frozen    only a linear read-out is trained, on memory tasks and other tasks
  ablation  the steps of lnp, added one by one, frozen
  trained   all weights are trained; without --quick one network of each row
            is counted on the emulated Cortex-M4
  matrices  linear networks without spikes

DIR receives report.html, one CSV file per part, and the figures. Finished
networks are kept there: after Ctrl-C the same command continues. The default
runs overnight; --quick takes three minutes, and its figures mean nothing."""

import argparse
import json
from dataclasses import astuple
from pathlib import Path

from lnp_edge import config
from lnp_edge.base.console import bars, note, out
from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import make_folder, write_whole
from lnp_edge.base.install import require
from lnp_edge.commands import _given
from lnp_edge.commands.reproduce import COUNTED, asked_rivals, changed, costs_of
from lnp_edge.commands.reproduce import QUICK as QUICK_TRAINING
from lnp_edge.experiments.executors import for_jobs, processes
from lnp_edge.experiments.rivals import Rivals, RivalTrial
from lnp_edge.experiments.rows import COSTS, Costs
from lnp_edge.experiments.runs import Runs
from lnp_edge.experiments.store import Store
from lnp_edge.experiments.store import run as run_items
from lnp_edge.experiments.trial import Trial
from lnp_edge.stages import pipeline, rival
from lnp_edge.task import metrics
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import load_data, split

HELP = "compare pruning methods, with controls: a report with figures, and CSV"
EXAMPLE = """  lnp compare --parts frozen --tasks recall,adding --seeds 20
  lnp compare --parts trained --trained-tasks spar,hapt --keep 0.1,0.05
  lnp compare --parts trained --trained-tasks hapt --keep 0.1 --rivals ridge_bands,cnn_3k"""
TRAINED_TASKS = "symbol_recall-cuba_lif,symbol_xor,symbol_adding,spar-cuba_lif"
PARTS = ("frozen", "ablation", "trained", "matrices")
MEASURES = {"recall": ["recall", "recall as pruned", "xor", "recall, lost samples"], "adding": ["adding 4", "adding 8"]}
ABLATED_AT = 0.1
PICTURED = ("lnp", "random, same abscissa", "magnitude")
# What is not asked for, without and with --quick.
FULL = {
    "keep": "0.5,0.3,0.1,0.05,0.02", "seeds": 20, "trained_seeds": 5, "neurons": 200,
    "tasks": "recall,adding,lorenz,spar", "trained_tasks": TRAINED_TASKS,
    "kinds": "heterogeneous,homogeneous,clustered",
}  # fmt: skip
QUICK = {
    "keep": "0.3,0.1", "seeds": 2, "trained_seeds": 1, "neurons": 60, "tasks": "recall", "trained_tasks": "spar",
    "kinds": "heterogeneous",
}  # fmt: skip
COUNTED_AS = (
    f"{', '.join(COSTS)}: integers on the emulated {rival.BOARD}, the whole image; one network of each row, of the "
    "first seed, on a few windows of the test. With --quick no network is counted."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--tasks", help=f"frozen tasks: recall, adding or the name of any task (default: {FULL['tasks']})"
    )
    parser.add_argument("--trained-tasks", metavar="TASKS", help=f"names of tasks (default: {TRAINED_TASKS})")
    parser.add_argument(
        "--keep", metavar="SHARES", help=f"shares of the recurrent synapses to keep (default: {FULL['keep']})"
    )
    parser.add_argument("--kinds", help=f"kinds of networks (default: {FULL['kinds']})")
    parser.add_argument("--seeds", type=int, metavar="N", help=f"number of frozen networks (default: {FULL['seeds']})")
    parser.add_argument(
        "--trained-seeds", type=int, metavar="N", help=f"number of trained networks (default: {FULL['trained_seeds']})"
    )
    parser.add_argument("--neurons", type=int, metavar="N", help=f"of a frozen network (default: {FULL['neurons']})")
    parser.add_argument(
        "--against", default="lnp", metavar="METHOD", help="method that the others are compared with (default: lnp)"
    )
    parser.add_argument(
        "--rivals", nargs="?", const="all",
        help=f"rivals to train and measure beside the trained networks: some of {', '.join(rival.names())}; without a "
        "value all that suit each task (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small defaults and little data: the figures mean nothing",
    )
    parser.add_argument(
        "--jobs", type=for_jobs, default=processes, metavar="N", help="number of processes (default: one per core)"
    )
    parser.add_argument(
        "-o", "--output", type=_given.path, default=Path("comparison"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print every result as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge.experiments.evidence import report, trials

    require("matplotlib")
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    parts, kinds, keeps = _asked(args)
    if "frozen" in parts:
        for name in args.tasks.split(","):
            trials.known_task(name)
    if "ablation" in parts:
        require("optuna", "torch")
    if "trained" in parts:
        pipeline.require_torch()
        for name in _chosen("--trained-tasks", args.trained_tasks, tuple(config.names())):
            load_data(configuration(name))  # report unreadable data before the work starts
            asked_rivals(configuration(name), args.rivals)
    elif args.rivals:
        raise ConfigError(
            f"--rivals is {args.rivals[:40]!r}, but rivals stand beside trained networks alone",
            "add trained to --parts, or omit --rivals",
        )
    make_folder(args.output)
    found, sections = {}, []
    work = {"frozen": _frozen, "ablation": _ablation, "trained": _trained, "matrices": _matrices}
    for part in parts:
        found[part], shown = work[part](args, keeps, kinds)
        report.write_csv(found[part], args.output / f"{part}.csv")
        sections += shown
    intro = [
        f"lnp compare, {', '.join(parts)}. Means over seeds with 95 % confidence intervals. Differences are paired "
        "by seed; those whose interval excludes zero are coloured, and marked + or − in the tables by synapses kept. "
        "Larger is better unless stated otherwise."
    ]
    write_whole(args.output / "report.html", report.page("Pruning methods compared", intro, sections))
    if args.json:
        print(json.dumps(found))
    else:
        for _, parts_shown in sections:
            for table in parts_shown:
                if not isinstance(table, report.Figure):
                    text = table if isinstance(table, str) else table.markdown()
                    out.print(text, markup=False, soft_wrap=True)
    note(f"{args.output}/report.html has the figures, {args.output}/*.csv every network")
    return 0


def _asked(args: argparse.Namespace) -> tuple[list[str], list[str], list[float]]:
    """The parts, kinds and shares asked for. Raises ConfigError for an invalid option."""
    from lnp_edge.experiments.evidence import methods, trials

    parts, kinds = _chosen("--parts", args.parts, PARTS), _chosen("--kinds", args.kinds, tuple(trials.KINDS))
    if "trained" in parts and kinds == ["clustered"]:
        raise ConfigError("clustered networks are not trained", "add another kind to --kinds, or omit the part trained")
    for name, least, most in (("seeds", 1, 1000), ("trained_seeds", 1, 1000), ("neurons", 2, 2000)):
        if not least <= getattr(args, name) <= most:
            option = name.replace("_", "-")
            raise ConfigError(f"--{option} is {getattr(args, name)}", f"choose a number from {least} to {most}")
    _chosen("--against", args.against, tuple(methods.METHODS), several=False)
    return parts, kinds, _shares(args.keep)


def _chosen(option: str, text: str, known: tuple[str, ...], several: bool = True) -> list[str]:
    names = text.split(",") if several else [text]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"{option} has {unknown[0][:40]!r}", f"choose from {', '.join(known)}")
    return names


def _shares(text: str) -> list[float]:
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < share <= 1 for share in found):
        raise ConfigError(f"--keep is {text[:40]!r}", "give shares of the synapses, such as 0.3,0.1")
    return found


def _run_cells(args: argparse.Namespace, cells: list, title: str) -> list[dict]:
    """The result of each cell, with the cell's name in the table."""
    from lnp_edge.experiments.evidence import trials

    found = run_items(cells, trials.measure, Store(args.output / "networks"), args.jobs, title)
    return [result | {"method": cell.method} for cell, result in zip(cells, found, strict=True)]


def _frozen(args: argparse.Namespace, keeps: list[float], kinds: list[str]) -> tuple[list[dict], list]:
    from lnp_edge.experiments import figures
    from lnp_edge.experiments.evidence import report, trials
    from lnp_edge.experiments.evidence.methods import METHODS

    tasks = tuple(args.tasks.split(","))
    cells = trials.grid(METHODS, keeps, kinds, args.seeds, tasks, args.neurons)
    results = _run_cells(args, cells, "frozen networks")
    measures = [m for task in tasks for m in MEASURES.get(task, [task])]
    sections = []
    for kind in kinds:
        here = [r for r in results if r["kind"] == kind]
        picture = args.output / f"frozen-{kind}.png"
        figures.by_kept(here, measures, picture)
        says = "Mean and 95 % confidence interval over the seeds. The gain is chosen in the same way for each network."
        tables = [report.by_kept(here, f"{kind}, by synapses kept", m, args.against, keeps) for m in measures]
        tables += [
            report.comparison(here, f"{kind}, {100 * keep:g}% kept", measures, args.against, keep=keep)
            for keep in keeps
        ]
        sections.append((f"Frozen: {kind} networks", [report.Figure("By synapses kept", picture, says), *tables]))
    pictures = args.output / "networks.png"
    example = trials.Cell("", METHODS["lnp"], kinds[0], 1, (), args.neurons)
    with bars() as progress:
        progress.add_task("one network", total=None, info="figure of its spectra")
        pictured = {name: s for name, s in METHODS.items() if name in PICTURED}
        figures.networks(trials.examples(example, pictured, ABLATED_AT), pictures)
    says = f"Seed 1, {ABLATED_AT:.0%} kept. Exponents in 1 per step; eigenvalues of the rate model's loop gain."
    sections.append(("One network before and after", [report.Figure("", pictures, says)]))
    return results, sections


def _ablation(args: argparse.Namespace, keeps: list[float], kinds: list[str]) -> tuple[list[dict], list]:
    from lnp_edge.experiments.evidence import report, trials
    from lnp_edge.experiments.evidence.methods import ABLATION

    cells = trials.grid(ABLATION, [ABLATED_AT], ["heterogeneous"], args.seeds, ("recall",), args.neurons)
    results = _run_cells(args, cells, "ablated networks")
    title = f"heterogeneous, {ABLATED_AT:.0%} kept"
    table = report.comparison(results, title, MEASURES["recall"], "1: synapses", keep=ABLATED_AT)
    return results, [("Ablation: the steps of Lyapunov noise pruning", [table])]


def _trained(args: argparse.Namespace, keeps: list[float], kinds: list[str]) -> tuple[list[dict], list]:
    from lnp_edge.experiments import figures
    from lnp_edge.experiments.evidence import report

    results, sections = [], []
    for task in args.trained_tasks.split(","):
        metric = load_data(configuration(task)).metric
        lower = metric == "rmse_ratio"
        shown = [metric, f"{metric}, integers"]
        rivals = _rivals(args, task, metric)
        for kind in [k for k in kinds if k != "clustered"]:
            here = _trainings(args, task, metric, kind, keeps)
            results += here
            name = f"{task}, {kind}"
            picture = args.output / f"trained-{task}-{kind}.png"
            figures.by_kept(here, shown, picture)
            says = "Mean and 95 % confidence interval over the seeds. All weights are trained."
            here = here + rivals
            tables = [report.by_kept(here, f"{name}, by synapses kept", m, args.against, keeps, lower) for m in shown]
            tables += [
                report.comparison(here, f"{name}, {100 * keep:g}% kept", shown, args.against, lower, keep=keep)
                for keep in keeps
            ]
            smaller = " (smaller is better)" if lower else ""
            parts = [report.Figure("By synapses kept", picture, says), *tables]
            parts += [COUNTED_AS] * any(COSTS[0] in row for row in here)
            sections.append((f"Trained: {name}, {metrics.title(metric)}{smaller}", parts))
        results += rivals
    return results, sections


def _trainings(args: argparse.Namespace, task: str, metric: str, kind: str, keeps: list[float]) -> list[dict]:
    """One row per network; {"failed": why} if it cannot be pruned, trained or quantised."""
    from lnp_edge.experiments.evidence import trials
    from lnp_edge.experiments.evidence.methods import METHODS, TRAINED

    grid = trials.grid(METHODS | TRAINED, keeps, [kind], args.trained_seeds, (), args.neurons)
    todo = []
    for cell in grid:
        changes = [QUICK_TRAINING] * args.quick + [{} if cell.density else {"network": {"density": 0.0}}]
        settings = trials.trained_config(task, kind, cell.seed, cell.prune, changes)
        todo.append(Trial(f"{task}, {kind} {cell.method} {cell.prune.keep:g} seed {cell.seed}", settings))
    runs = Runs(args.output / "trained", failures=True)
    results = runs.all(todo, args.jobs)
    rows = [
        {"task": task, "kind": kind, "method": cell.method, "keep": cell.prune.keep, "seed": cell.seed}
        | trials.trained_row(found, metric)
        for cell, found in zip(grid, results, strict=True)
    ]
    if not args.quick:
        _count(rows, todo, runs)
    return rows


def _count(rows: list[dict], trials: list[Trial], runs: Runs) -> None:
    """Add to the rows what networks cost: one of each method and share, of the first seed that has not failed."""
    data = split(trials[0].config, load_data(trials[0].config))
    first = {
        (r["method"], r["keep"]): (r, t) for r, t in reversed(list(zip(rows, trials, strict=True))) if "failed" not in r
    }
    with bars() as progress:
        shown = progress.add_task("costs", total=len(first), info="")
        for row, trial in first.values():
            if found := costs_of(runs.path(trial).with_name("model.onnx"), data):
                row |= _as_columns(found)
            progress.update(shown, advance=1, info=trial.name)


def _as_columns(costs: Costs) -> dict[str, float]:
    return dict(zip(COSTS, astuple(costs), strict=True))


def _rivals(args: argparse.Namespace, task: str, metric: str) -> list[dict]:
    """A row for each rival and seed. None has a kind of network, or a share of synapses."""
    base = configuration(task)
    base = changed(base, QUICK_TRAINING) if args.quick else base
    seeds, names = range(1, args.trained_seeds + 1), asked_rivals(base, args.rivals)
    todo = [RivalTrial(name, base, seed, load_data(base).held_out, COUNTED) for name in names for seed in seeds]
    found = Rivals(args.output).all(todo, args.jobs) if todo else []
    return [
        {"task": task, "method": one.title, "seed": item.seed, f"{metric}, integers": one.value}
        | (_as_columns(Costs(one.per_second, one.flash, one.ram)) if item.seed == seeds[0] else {})
        for item, one in zip(todo, found, strict=True)
    ]


def _matrices(args: argparse.Namespace, keeps: list[float], kinds: list[str]) -> tuple[list[dict], list]:
    from lnp_edge.experiments.evidence import matrices, report

    shares, seeds, n = [0.5, 0.2], min(args.seeds, 10), 100 if args.quick else 500
    todo = [matrices.Matrix(n, seed, tuple(shares)) for seed in range(1, seeds + 1)]
    found = run_items(todo, matrices.measure, Store(args.output / "networks"), args.jobs, "matrices")
    results = [row for rows in found for row in rows["rows"]]
    tables = [
        report.comparison(
            results,
            f"N = {n}, {100 * keep:g}% of the pairs",
            ["spectral_error", "covariance_error"],
            "noise",
            True,
            keep=keep,
        )
        for keep in shares
    ]
    return results, [
        ("Matrices: worst-case spectral error of diagonally dominant networks (smaller is better)", tables)
    ]
