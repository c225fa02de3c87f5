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

With the verdict, lnp prints what the inputs reached: neurons that fired,
synapses that carried something, encoder values, and the largest state variable
as a share of what is proved. With --exhaustive, it makes runs until every
neuron has fired, or names those that did not; then it runs every count of every
input, 65,536 steps. --report writes all of it, with fingerprints of model,
firmware and toolchain.

With --baud, host and board agree on another rate of the line, up to eight times
the first, and test it; auto takes the best that both have. The first rate stays
if the line does not carry the other, or if the board has none near it. With
--faults, the line between host and device damages bytes at random: the result
must be the same, and lnp counts the faults and the requests that were sent
again. With --resume, FILE records the progress about once a second: after a
kill, a power cut or a lost port the same command continues from there, with the
same result. FILE is removed once there is a verdict."""

import argparse
import json
from dataclasses import replace

from lnp_edge.base.console import bars, out, say
from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import refuse_unwritable
from lnp_edge.commands import _device, _given
from lnp_edge.interchange import onnx_file, windows_file

HELP = "compare a device with the reference, bit for bit"
EXAMPLE = """  lnp verify model.onnx --board cortex-m4
  lnp verify model.onnx --board nucleo-f401re --port /dev/ttyACM0 --steps 1000000 --resume long.json
  lnp verify model.onnx --board nucleo-f401re --port /dev/ttyACM0 --baud auto
  lnp verify model.onnx --exhaustive --report proof.html"""
MAX_STEPS = 100_000_000
MOST_FAULTS = 0.02  # per byte; above it, not even a greeting passes


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_given.path, help="a model.onnx written by lnp quantize")
    _device.arguments(parser, "--baud")
    parser.add_argument("--steps", type=int, default=2000, help="number of steps (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the stimulus and the faults (default: 1)")
    parser.add_argument(
        "--faults", type=float, default=0.0, metavar="RATE", help="damage the line: faults per byte, such as 1e-3"
    )
    parser.add_argument(
        "--exhaustive", action="store_true", help="also all counts, and runs made to reach silent neurons"
    )
    parser.add_argument(
        "--resume", type=_given.path, metavar="FILE", help="keep how far it is in FILE, and go on from there"
    )
    parser.add_argument("--report", type=_given.path, metavar="FILE", help="write FILE.json and FILE.html")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import boards
    from lnp_edge.commands import _cost_report, _verify_report
    from lnp_edge.runtime import journal
    from lnp_edge.stages import proof

    if not 1 <= args.steps <= MAX_STEPS:
        raise ConfigError(f"--steps is {args.steps}", f"choose a number from 1 to {MAX_STEPS}")
    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}", "choose 0 or more")
    if not 0 <= args.faults <= MOST_FAULTS:
        raise ConfigError(f"--faults is {args.faults:g}", f"choose from 0 to {MOST_FAULTS} faults per byte")
    if args.report:
        _verify_report.refuse(args.report)
    if args.resume:
        refuse_unwritable(args.resume, journal.ELSEWHERE)
        if args.report and args.resume.resolve() in [path.resolve() for path in _verify_report.paths(args.report)]:
            raise ConfigError(f"--resume {args.resume} is a file of --report", journal.ELSEWHERE)
    model = onnx_file.load(args.model)
    windows = windows_file.load(model, args.model)
    args.port = _device.at_port(args)
    inputs = proof.Inputs(windows, args.steps, args.seed, args.faults, args.exhaustive, _device.rates(args, "--baud"))
    with bars() as progress:

        def begun(what: str, kind: str, total: int):
            task = progress.add_task(what, total=total, info=kind)
            return lambda steps: progress.update(task, advance=steps)

        found = proof.prove(model, args.board or "cortex-m4", inputs, args.port, args.resume, begun)
    told, cost, cycles = found.told, None, (found.windows or found.verdict).cycles_per_step or 0.0
    known = told.board in boards.names()
    if args.report:
        facts = _verify_report.facts(model, args.model, found, args)
        written = _verify_report.write(args.report, facts, found)
    if found.ok and known:  # else the program that runs is not the one whose steps would be counted
        cost = _cost_report.of(model, replace(boards.get(told.board), clock_hz=told.clock_hz), windows, cycles=cycles)
    if args.json:
        print(json.dumps(found.as_dict() | {"cost": cost.as_dict() if cost else None}))
    else:
        say("\n".join(found.lines(windows_file.path_of(args.model).name)))
        if cost:
            _cost_report.show(cost)
        if found.ok and not known:
            for sentence in _cost_report.of_unknown(told.board, told.clock_hz, cycles):
                say(sentence)
        if windows is None:
            say(_cost_report.no_windows(args.model))
        if args.report:
            out.print(f"written: {' and '.join(map(str, written))}", soft_wrap=True, markup=False)
    if args.resume:
        args.resume.unlink(missing_ok=True)
    return 0 if found.ok else 1
