"""Verify that a device computes the same as the reference: every state word of
every step, and its tables in flash.

The stimulus is seeded and covers extreme inputs: rest, noise, jumps and full
scale. It comes in runs of at most 500 steps, each after a reset; of a stream,
all but the first two are joined to runs of up to a million steps. Then come the
windows of training data that lnp quantize wrote beside the model, and a
self-test of what steps do not run: reset, save, load and its refusals, argmax,
the encoder at each of its steps, decisions from single samples, requests that
must be refused. On an emulated board the program of lnp generate --app runs
too: its decisions are compared.
Last, the cost: the instructions of a step are counted on both kinds of data,
and compared with the board's clock, flash and RAM.

Beside the verdict stands what the inputs reached: neurons that fired, synapses
that carried something, encoder values, the largest state variable as a share of
what is proved. With --exhaustive, runs are made until all fired, or it is said
which did not; then every count of every input is run, 65,536 steps. --report
writes all of it, with fingerprints of model, firmware and toolchain.

With --faults, the line between host and device damages bytes at random: the
result must be the same, and what passed is told."""

import argparse
import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

from lnp_edge.base.console import bars, out
from lnp_edge.base.errors import ConfigError, LinkError
from lnp_edge.commands import _device
from lnp_edge.interchange import onnx_file, windows_file

HELP = "compare a device with the reference, bit for bit"
EXAMPLE = """  lnp verify model.onnx --board cortex-m4
  lnp verify model.onnx --board nucleo-f401re --port /dev/ttyACM0 --steps 20000
  lnp verify model.onnx --exhaustive --report proof.html"""
MAX_STEPS = 100_000_000
TRIES, TRY = 400, 200  # runs to reach silent neurons, and their steps
TROUBLE = ("damaged here", "damaged there", "recovered")
MOST_FAULTS = 0.02  # per byte; above it, not even a greeting passes


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a model.onnx written by lnp quantize")
    _device.arguments(parser)
    parser.add_argument("--steps", type=int, default=2000, help="number of steps (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the stimulus and the faults (default: 1)")
    parser.add_argument(
        "--faults", type=float, default=0.0, metavar="RATE", help="damage the line: faults per byte, such as 1e-3"
    )
    parser.add_argument(
        "--exhaustive", action="store_true", help="also all counts, and runs made to reach silent neurons"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write FILE.json and FILE.html")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import boards
    from lnp_edge.commands import _cost_report, _verify_report
    from lnp_edge.commands._verify_report import Found
    from lnp_edge.runtime import coverage, decisions, selftest
    from lnp_edge.runtime.verify import Verdict, stimulus, verify

    if not 1 <= args.steps <= MAX_STEPS:
        raise ConfigError(f"--steps is {args.steps}", f"choose a number from 1 to {MAX_STEPS}")
    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}", "choose 0 or more")
    if not 0 <= args.faults <= MOST_FAULTS:
        raise ConfigError(f"--faults is {args.faults:g}", f"choose from 0 to {MOST_FAULTS} faults per byte")
    if args.report:
        _verify_report.refuse_unknown(args.report)
    model = onnx_file.load(args.model)
    windows = windows_file.load(model, args.model)
    name, real = args.board or "cortex-m4", [] if windows is None else list(model.rows(windows))
    firmware: dict[str, str] = {}
    counter, cannot = coverage.Counter(model), tuple[str, ...]()
    on_real = generated = tested = decided = None

    def agrees(*parts) -> bool:
        return all(part is None or part.ok for part in parts)

    with (
        _device.device(model, name, args.port, args.faults, args.seed, firmware) as device,
        bars() as progress,
    ):
        told = device.greeting
        if args.port is None and (told.board, told.clock_hz) != (name, boards.get(name).clock_hz):
            what = f"the firmware for {name} calls itself {told.board}, at {told.clock_hz} Hz"
            raise LinkError(what, "report this with the model file")
        total = args.steps + sum(map(len, real))
        task = progress.add_task(f"verify on {told.board}", total=total, info="steps")

        def compared(runs) -> Verdict:
            return verify(model, device, runs, lambda steps: progress.update(task, advance=steps))

        report = compared(stimulus(model, args.steps, args.seed))
        on_real = compared(real) if real and report.ok else None
        if agrees(report, on_real):
            task = progress.add_task(f"self-test on {told.board}", info="checks", total=len(selftest.CHECKS))
            done = lambda _: progress.update(task, advance=1)  # noqa: E731
            tested = selftest.run(model, device, args.seed, done, every=args.exhaustive)
        if agrees(report, on_real, tested):
            for counts in chain(stimulus(model, args.steps, args.seed), real, [selftest.counts_at_edges(model)]):
                counter.take(counts)
            if args.exhaustive:
                found = list(coverage.search(counter, TRIES, TRY, args.seed))
                every = selftest.counts_at_edges(model, every=True)
                task = progress.add_task("all counts and more", info="steps", total=len(every) + sum(map(len, found)))
                generated = compared([every, *found])
                cannot = tuple(coverage.cannot(model, counter.silent()))
        link = _link(device)
    if args.port is None:
        with _device.opened(model, name, None, app=True) as line:
            decided = decisions.compare(model, line, decisions.samples_for(model, args.seed))
    reached = counter.coverage() if counter.steps else None
    all_found = Found(report, on_real, generated, tested, decided, reached, cannot, link)
    good = all_found.ok
    cost, cycles = None, (on_real or report).cycles_per_step or 0.0
    known = told.board in boards.names()
    if args.report:
        facts = _verify_report.facts(model, args.model, told, firmware, args)
        written = _verify_report.write(args.report, facts, all_found)
    if good and known:  # else the program that runs is not the one whose steps would be counted
        cost = _cost_report.of(model, replace(boards.get(told.board), clock_hz=told.clock_hz), windows, cycles=cycles)
    if args.json:
        print(json.dumps(all_found.as_dict() | {"cost": cost.as_dict() if cost else None}))
        return 0 if good else 1
    lines = report.lines()
    if on_real:
        *before, last = on_real.lines()
        place = f"counts[{len(on_real.classes) - 1}] of {windows_file.path_of(args.model).name}"
        which = f"{len(real)} real window{'s' * (len(real) > 1)}" if on_real.ok else place
        lines += [*before, f"{last}, on {which}"]
    if generated:
        *before, last = generated.lines()
        lines += [*before, f"{last}, on all counts and {len(generated.classes) - 1} generated runs"]
    for part in (tested, decided, reached):
        lines += part.lines() if part else []
    if args.exhaustive and reached:
        lines += reached.missing()
        lines += (
            [f"their largest drive, held for 4,000 steps, does not make them fire: {', '.join(cannot)}"]
            if cannot
            else []
        )
    lines += [f"likely cause: {all_found.cause}"] if all_found.cause else []
    if args.faults or any(link["link"][key] for key in TROUBLE):
        lines += [f"{what}: {', '.join(f'{n} {kind}' for kind, n in count.items())}" for what, count in link.items()]
    out.print("\n".join(lines), soft_wrap=True, markup=False)
    if cost:
        _cost_report.show(cost)
    if good and not known:
        for sentence in _cost_report.of_unknown(told.board, told.clock_hz, cycles):
            out.print(sentence, soft_wrap=True, markup=False)
    if windows is None:
        out.print(_cost_report.no_windows(args.model), soft_wrap=True, markup=False)
    if args.report:
        out.print(f"written: {' and '.join(map(str, written))}", soft_wrap=True, markup=False)
    return 0 if good else 1


def _link(device) -> dict[str, dict[str, int]]:
    """What has passed on the line, and what damaged it, if anything did."""
    from lnp_edge.runtime.faults import FaultyPort

    faults = {"faults": dict(sorted(device.port.count.items()))} if isinstance(device.port, FaultyPort) else {}
    return {"link": device.traffic.as_dict()} | faults
