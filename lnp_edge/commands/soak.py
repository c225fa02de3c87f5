"""Verify for hours while everything that can go wrong does.

A second process, the host, verifies the firmware as lnp verify does, with a
journal. The line damages bytes; on average, the device restarts every 5,000
steps, and the cable is cut and the host killed (kill -9) every 10,000. Each
round has its own seeds. lnp then compares what the host found with the
reference: exit code 1 if a run was wrong, or a step lost or doubled. It works
with boards that lnp starts itself, on this computer or in an emulator."""

import argparse
import json
import time
from functools import partial

from lnp_edge.base import system
from lnp_edge.base.console import bars, say
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.commands import _given, _own_boards
from lnp_edge.interchange import onnx_file

HELP = "verify for hours while line, device and host fail"
EXAMPLE = """  lnp soak model.onnx
  lnp soak model.onnx --board cortex-m4 --hours 8 --seed 7"""
MAX_STEPS, MAX_HOURS = 100_000_000, 10_000
MOST_FAULTS = 0.02  # per byte


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_given.path, help="a model.onnx written by lnp quantize")
    parser.add_argument("--board", default="host", help="name of a board (default: host)")
    _own_boards.argument(parser)
    parser.add_argument("--steps", type=int, default=100_000, help="steps of a round (default: 100000)")
    parser.add_argument("--hours", type=float, default=0.0, help="begin rounds for so long (default: one round)")
    parser.add_argument("--faults", type=float, default=1e-3, metavar="RATE", help="faults per byte (default: 1e-3)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first round (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    system.need_unix("lnp soak")
    from lnp_edge import boards
    from lnp_edge.firmware_gen.folder import scratch
    from lnp_edge.runtime.ports import open_board
    from lnp_edge.runtime.soak import Outcome, soak
    from lnp_edge.stages import devices

    if not 1000 <= args.steps <= MAX_STEPS:
        raise ConfigError(f"--steps is {args.steps}", f"choose a number from 1000 to {MAX_STEPS}")
    if not 0 <= args.hours <= MAX_HOURS:
        raise ConfigError(f"--hours is {args.hours:g}", f"choose from 0 to {MAX_HOURS}")
    if not 0 <= args.faults <= MOST_FAULTS:
        raise ConfigError(f"--faults is {args.faults:g}", f"choose from 0 to {MOST_FAULTS} faults per byte")
    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}", "choose 0 or more")
    board = boards.get(args.board)
    if board.start == "serial":
        raise BoardError(f"{board.name} is a real board", "lnp soak restarts the device: choose an emulated board")
    model = onnx_file.load(args.model)
    begin, total, rounds = time.monotonic(), Outcome(), 0
    with scratch() as folder, bars() as progress:
        image = devices.built(model, board, folder / "firmware")
        while not rounds or time.monotonic() - begin < 3600 * args.hours:
            task = progress.add_task(f"round {rounds + 1} on {board.name}", total=args.steps, info="steps")
            done = partial(_done, progress, task)
            start = partial(open_board, board, image)
            total.add(soak(model, start, folder, args.steps, args.seed + rounds, args.faults, done))
            rounds += 1
            if not total.ok:
                break
    if args.json:
        print(json.dumps(total.as_dict() | {"board": board.name, "rounds": rounds, "seed": args.seed}))
    else:
        say("\n".join(_lines(total, args, rounds)))
    return 0 if total.ok else 1


def _done(progress, task, steps: int) -> None:
    progress.update(task, completed=steps)


def _lines(found, args: argparse.Namespace, rounds: int) -> list[str]:
    happened = ", ".join(f"{found.events[kind]} {what}" for kind, what in EVENTS.items())
    seeds = f"seed {args.seed}" if rounds == 1 else f"seeds {args.seed} to {args.seed + rounds - 1}"
    lines = [
        f"{found.steps:,} steps in {found.seconds:.0f} s, {args.faults:g} faults a byte ({seeds}): {happened}",
        *(f"{what}: {', '.join(f'{n} {kind}' for kind, n in sorted(counts.items()))}"
          for what, counts in (("link", found.link), ("faults", found.faults)) if counts),
    ]  # fmt: skip
    if found.gave_up:
        lines.append(f"the host gave up {found.gave_up} times and went on: {found.error.splitlines()[0]}")
    verdict = f"{found.wrong} of {found.runs:,} runs wrong, {found.lost} steps lost, {found.doubled} doubled"
    return [*lines, f"{verdict}: below {3 / found.steps:.0e} a step (95 %)" if found.ok else f"FAILED: {verdict}"]


EVENTS = {"restart": "restarts of the device", "cut": "cuts of the line", "kill": "kills of the host"}
