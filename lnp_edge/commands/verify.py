"""Verify that a device computes the same as the reference: every state word of
every step, and its tables in flash.

The stimulus is seeded and covers extreme inputs: rest, noise, jumps and full
scale. It comes in runs of at most 500 steps, each after a reset; of a stream,
all but the first two are joined to runs of up to a million steps. The C
functions argmax, save and load are not run. On an emulated board the program
of lnp generate --app runs too: its decisions from single samples are compared."""

import argparse
import json
from pathlib import Path

from lnp_edge.base.console import bars, out
from lnp_edge.base.errors import ConfigError
from lnp_edge.commands import _device
from lnp_edge.interchange import onnx_file

HELP = "compare a device with the reference, bit for bit"
EXAMPLE = """  lnp verify model.onnx --board cortex-m4
  lnp verify model.onnx --board nucleo-f401re --port /dev/ttyACM0 --steps 20000"""
MAX_STEPS = 100_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a model.onnx written by lnp quantize")
    _device.arguments(parser)
    parser.add_argument("--steps", type=int, default=2000, help="number of steps (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the stimulus (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge.runtime import decisions
    from lnp_edge.runtime.verify import stimulus, verify

    if not 1 <= args.steps <= MAX_STEPS:
        raise ConfigError(f"--steps is {args.steps}", f"choose a number from 1 to {MAX_STEPS}")
    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}", "choose 0 or more")
    model = onnx_file.load(args.model)
    with _device.device(model, args.board or "cortex-m4", args.port) as device, bars() as progress:
        task = progress.add_task(f"verify on {device.greeting.board}", total=args.steps, info="steps")
        runs = stimulus(model, args.steps, args.seed)
        report = verify(model, device, runs, lambda steps: progress.update(task, advance=steps))
    decided = None
    if args.port is None:
        with _device.opened(model, args.board or "cortex-m4", None, app=True) as line:
            decided = decisions.compare(model, line, decisions.samples_for(model, args.seed))
    if args.json:
        print(json.dumps(report.as_dict() | {"decisions": decided and decided.as_dict()}))
    else:
        out.print("\n".join(report.lines() + (decided.lines() if decided else [])), soft_wrap=True)
    return 0 if report.ok and (decided is None or decided.ok) else 1
