"""Measure the speed of the reference, of a training step compared with other
libraries (--train), or of pruning at several sizes (--prune), and compare it
with the aims. Or count where the instructions of a step on a Cortex-M4 go
(--costs), or what a step of the reference workload and of three trained
networks, or of a model of your own, costs on several cores (--kernels), or in
libraries that a user would try first (--peers), with every compiler that is
installed. A stopped run starts again from the beginning, but for the trainings
of --kernels: ratios are between measurements of one run."""

import argparse
import json
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lnp_edge.base.console import bars, note, out, print_measured, print_table, say
from lnp_edge.commands import _given, _own_boards
from lnp_edge.experiments.executors import for_jobs, processes

HELP = "measure the speed of the reference, of training or of pruning, or count a device's instructions"
KINDS = ("", " --train", " --prune", " --costs", " --kernels", " --kernels model.onnx", " --peers")
EXAMPLE = "\n".join(f"  lnp bench{kind}" for kind in KINDS)
STEPS, ROUNDS = 4000, 15
AIMS = {"first_call_s": 2.0, "ns_per_neuron_step": 5.0, "ns_per_event": 1.5}  # first call: from the cache


def arguments(parser: argparse.ArgumentParser) -> None:
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--train", action="store_true", help="time of a training step, compared with other libraries")
    kind.add_argument("--prune", action="store_true", help="time, memory and error of pruning, up to 100,000 neurons")
    kind.add_argument(
        "--costs", action="store_true", help="instructions of each part of a step on an emulated Cortex-M4"
    )
    kind.add_argument(
        "--kernels", nargs="?", type=_given.text, const=False, metavar="MODEL",
        help="instructions and bytes of the reference workload, and of SPAR and HAPT; or those of a model.onnx",
    )  # fmt: skip
    kind.add_argument(
        "--peers", action="store_true", help="the reference workload in CMSIS-NN, emlearn and Qualia's SNN, and in ours"
    )
    parser.add_argument("--quick", action="store_true", help="small, without other libraries or trained networks")
    parser.add_argument(
        "-o", "--output", type=_given.path, default=Path("runs"), metavar="DIR",
        help="keeps the trainings of --kernels (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=for_jobs, default=processes, metavar="N", help="processes of --kernels (default: one per core)"
    )
    _own_boards.argument(parser)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    if args.train:
        return _train(args)
    if args.prune:
        return _prune(args)
    if args.costs:
        return _costs(args)
    if args.kernels is not None:
        return _kernels(args)
    if args.peers:
        return _peers(args)
    found = measure()
    if args.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            aim = f"   aim: at most {AIMS[key]:g}" if key in AIMS else ""
            out.print(f"{key:<28}{value:<8.3g}{aim}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from lnp_edge.training import bench, bench_peers

    if not args.quick:
        packages = " ".join(package for needed in bench_peers.PACKAGES.values() for package in needed)
        note(f"installing into {bench_peers.folder()}, unless present ({bench_peers.DOWNLOAD}): {packages}")
    with bars() as progress:
        task = progress.add_task("training steps", total=None, info="")

        def show(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, info=what)

        quick: dict = {"sizes": (128,), "rounds": 3, "peers": False} if args.quick else {}
        rows = bench.measure(progress=show, **quick)
        stack = bench.stack(128, 3) if args.quick else bench.stack(256, bench.ROUNDS)
    verdicts = bench.ratios(rows)
    if args.json:
        # JSON has no nan: a row that failed has no time.
        found = [vars(row) | {"ms": None if row.failed else row.ms} for row in rows]
        print(json.dumps({"rows": found, "ratios": verdicts, "stack": stack}))
        return 0
    sizes = sorted({row.n for row in rows})
    lines: dict[tuple, list[str]] = {}
    for row in rows:
        density = f"{row.densities[0]:.0%}" if len(row.densities) == 1 else "any"
        line = lines.setdefault((row.name, density), [row.name, density])
        line.append("failed" if row.failed else f"{row.ms:.1f}")
        if row.n == sizes[-1]:
            line.append("" if row.failed else f"{row.kept / 1e6:.1f}")
    title = f"CPU ms per training step: batch {bench.BATCH}, {bench.STEPS} steps, {bench.INPUTS} inputs"
    columns = ["", "density", *(f"N={n}" for n in sizes), f"MB at {sizes[-1]}"]
    print_table(title, columns, list(lines.values()))
    for why in dict.fromkeys(f"{row.name}: {row.failed}" for row in rows if row.failed):
        out.print(why, markup=False)
    for v in verdicts:
        aim = "" if v["aim"] is None else f"   aim: {v['aim']:g}, {'met' if v['met'] else 'missed'}"
        out.print(f"{v['density']:>4.0%}  N={v['neurons']:<4} {v['times']:5.1f} times as fast as {v['best']}{aim}")
    for v in verdicts:
        out.print(f"{v['density']:>4.0%}  N={v['neurons']:<4} adlif / cuba_lif: {v['adaptive']:.2f} of the time")
    met = "met" if stack["times"] >= stack["aim"] else "missed"
    layers = f"two layers of {stack['neurons']}, {bench.SPARSE:.0%}"
    out.print(f"{layers}: {stack['times']:.1f} times as fast as plain PyTorch   aim: {stack['aim']:g}, {met}")
    return 0


def _prune(args: argparse.Namespace) -> int:
    from lnp_edge.experiments.evidence import scale

    rows: list[scale.Measured] = []
    with bars() as progress:
        task = progress.add_task("pruning", total=len(scale.cases(args.quick)), info="")
        for row in scale.measure(args.quick):
            rows.append(row)
            progress.update(task, advance=1, info=f"{row.what}, N={row.neurons}")
    exponent = scale.growth(rows)
    if args.json:
        found = [{k: None if v != v else v for k, v in vars(row).items()} | {"met": row.met} for row in rows]
        print(json.dumps({"rows": found, "growth": None if exponent != exponent else exponent}))
        return 0
    cells = []
    for r in rows:
        aims = [f"{most:.0f} {unit}" for most, unit in ((r.aim, "s"), (r.aim_megabytes, "MB")) if most == most]
        verdict = f"{', '.join(aims)}: {'met' if r.met else 'missed'}" if aims else ""
        took = [f"{r.neurons}", f"{r.synapses}", f"{r.seconds:.1f}", f"{r.megabytes:.0f}"]
        cells.append([r.what, *took, verdict, r.remark])
    print_table("Pruning, one core", ["", "neurons", "synapses", "CPU s", "MB", "aim", ""], cells)
    if exponent == exponent:
        out.print(f"time of the edge step grows as neurons**{exponent:.2f}, {scale.DEGREE} synapses each")
    return 0


def _costs(args: argparse.Namespace) -> int:
    from lnp_edge.commands import _costs

    chains = _costs.toolchains()
    with bars() as progress:
        task = progress.add_task("costs", total=None, info="")

        def show(what: str) -> None:
            progress.update(task, advance=1, info=what)

        costs = _costs.measure(chains, show)
    if args.json:
        print(json.dumps([vars(cost) for cost in costs]))
        return 0
    columns = ["instructions of", *chains, *(f"{what}, {chain}" for what in ("flash", "RAM") for chain in chains)]
    rows = [
        [cost.what, *(f"{cost.instructions[chain]:.1f}" for chain in chains),
         *(f"{size[chain]}" if size else "" for size in (cost.flash, cost.ram) for chain in chains)]
        for cost in costs
    ]  # fmt: skip
    print_table("A step on the emulated Cortex-M4", columns, rows)
    out.print("Each is the difference of two models that differ by that alone. A sample's cost has its encoder in it.")
    out.print("Flash and RAM, B: of 6 channels, more than with the samples themselves, one a step.")
    return 0


def _kernels(args: argparse.Namespace) -> int:
    from lnp_edge.commands import _costs, _kernels

    chains = _costs.toolchains()
    with bars() as progress:
        task = progress.add_task("kernels", total=None, info="")

        def show(what: str) -> None:
            progress.update(task, advance=1, info=what)

        rows, trained = [], []
        if args.kernels:
            trained = _kernels.of_file(Path(args.kernels).name, Path(args.kernels), chains, show)
        else:
            rows = _kernels.measure(chains, _kernels.SIZES[:1] if args.quick else _kernels.SIZES, show, args.jobs)
    if not args.kernels and not args.quick and find_spec("torch"):
        note("three trainings take some three minutes, unless they are already in " + str(args.output))
        trained = _kernels.trained(chains, args.output)
    if args.json:
        more = [vars(row) | {"a_window": cost.a_window, "a_second": cost.a_second} for row, cost in trained]
        print(json.dumps({"workload": [vars(row) for row in rows], "trained": more}))
        return 0
    every = [*rows, *(row for row, _ in trained)]
    for columns, cells in _kernels.tables(rows, trained):
        print_measured(columns, cells, _kernels.WORDS, _kernels.KEYS)
    print_measured(*_kernels.parts(every), (*_kernels.WORDS, _kernels.KEYS), _kernels.KEYS)
    for line in _kernels.notes(every):
        say(line)
    return 0


def _peers(args: argparse.Namespace) -> int:
    from lnp_edge.commands import _costs, _peers

    _peers.check()
    chains = _costs.toolchains()
    with bars() as progress:
        task = progress.add_task("peers", total=None, info="")

        def show(what: str) -> None:
            progress.update(task, advance=1, info=what)

        rows = _peers.measure(chains[:1] if args.quick else chains, show)
    if args.json:
        print(json.dumps([vars(row) for row in rows]))
        return 0
    print_measured(*_peers.table(rows), _peers.WORDS, _peers.KEYS)
    for line in _peers.notes(rows):
        say(line)
    return 0


def measure() -> dict[str, float]:
    """ns per neuron and step, without synapses, and ns per synaptic event, from the difference."""
    from lnp_edge.runtime.reference import Reference
    from lnp_edge.spec.model import CSR, INPUT, Population, Projection, QuantizedModel

    n, density, rng = 256, 0.1, np.random.default_rng(1)

    def matrix(pre: int, post: int, share: float) -> CSR:
        return CSR.from_dense(rng.integers(-127, 128, (pre, post)) * (rng.random((pre, post)) < share))

    def full(value: int, count: int) -> np.ndarray:
        return np.full(count, value, np.int32)

    hidden = {"c_syn": full(9000, n), "c_mem": full(4000, n), "v_th": full(9000, n), "bias": full(0, n)}
    model = QuantizedModel(
        encoder="affine",
        encoder_params={"offset": full(0, 6), "gain": full(256, 6), "shift": full(8, 6)},
        populations=(
            Population("hidden", "cuba_lif", n, hidden),
            Population("out", "li", 7, {"c": full(600, 7), "bias": full(0, 7)}),
        ),
        projections=(
            Projection("in", INPUT, "hidden", matrix(6, n, 1.0), 0),
            Projection("rec", "hidden", "hidden", matrix(n, n, density), 2),
            Projection("out", "hidden", "out", matrix(n, 7, 1.0), 2),
        ),
        dt=0.01, window=100, hop=50, channels=tuple("abcdef"), classes=tuple("0123456"),
    ).check()  # fmt: skip
    without = tuple(replace(p, w=CSR.from_dense(np.zeros(p.w.shape))) for p in model.projections)
    counts = rng.integers(-60, 60, (STEPS, 6)).astype(np.int16)
    silent, busy = Reference(replace(model, projections=without)), Reference(model)
    begin = time.perf_counter()
    busy.steps(counts[:1])
    first_call = time.perf_counter() - begin
    events = _events(busy, model, counts[:500])
    best = {silent: np.inf, busy: np.inf}
    for _ in range(ROUNDS):
        for runner in best:
            begin = time.perf_counter()
            runner.steps(counts, digests=False)
            best[runner] = min(best[runner], (time.perf_counter() - begin) / STEPS)
    return {
        "neurons": n,
        "first_call_s": first_call,
        "events_per_step": events,
        "ns_per_neuron_step": best[silent] / n * 1e9,
        "ns_per_event": (best[busy] - best[silent]) / events * 1e9,
        "us_per_step": best[busy] * 1e6,
    }


def _events(reference, model, counts: np.ndarray) -> float:
    """Synaptic operations per step: input synapses plus the fan-out of each spike."""
    hidden, _ = model.populations
    fan_out = sum(np.diff(p.w.indptr) for p in model.projections if p.source == hidden.name)
    reference.reset()
    spikes = 0.0
    for row in counts:
        reference.steps(row[None], digests=False)
        words = reference.state()[hidden.state_words - hidden.z_words : hidden.state_words]
        fired = np.unpackbits(words.view(np.uint8), bitorder="little")[: hidden.n]
        spikes += float(fan_out @ fired)
    return model.projection("in").w.nnz + spikes / len(counts)
