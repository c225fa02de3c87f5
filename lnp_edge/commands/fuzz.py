"""Feed mutated inputs to the firmware's C that takes bytes from outside.

The decoder of frames (cobs), the link with whole conversations (link), and load
with steps after it (load) are built for this computer with sanitizers. Inputs
are mutated from a corpus: one of every message, states at every limit, and what
--corpus keeps from before. Input number N of a seed is always the same. It
ends at the first input that a sanitizer or the harness finds wrong, and prints
it as a line for the corpus; exit code 1."""

import argparse
import json

from lnp_edge.base.console import bars, out, say
from lnp_edge.base.errors import ConfigError
from lnp_edge.commands import _given, _own_boards
from lnp_edge.interchange import onnx_file

HELP = "feed mutated bytes to the firmware's link and load, with sanitizers"
EXAMPLE = """  lnp fuzz model.onnx
  lnp fuzz model.onnx -n 100000000 --seed 2 --corpus corpus.txt"""
MOST = 2**32 - 1


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_given.path, help="a model.onnx written by lnp quantize")
    _own_boards.argument(parser)
    parser.add_argument("-n", type=int, default=100_000, help="inputs of each target (default: 100000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the mutations (default: 1)")
    parser.add_argument("--target", type=_given.text, help="cobs, link or load alone")
    parser.add_argument(
        "--corpus", type=_given.path, help="inputs to begin with: lines of a target and hexadecimal bytes"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge.commands import _fuzz
    from lnp_edge.firmware_gen.folder import scratch

    if not 1 <= args.n <= MOST:
        raise ConfigError(f"-n is {args.n}", f"choose a number from 1 to {MOST}")
    if not 0 <= args.seed <= MOST:
        raise ConfigError(f"--seed is {args.seed}", f"choose a number from 0 to {MOST}")
    if args.target not in (None, *_fuzz.TARGETS):
        raise ConfigError(f"--target is {args.target[:40]!r}", f"choose one of {', '.join(_fuzz.TARGETS)}")
    model = onnx_file.load(args.model)
    kept = _fuzz.read(args.corpus) if args.corpus else {target: [] for target in _fuzz.TARGETS}
    targets = [args.target] if args.target else list(_fuzz.TARGETS)
    finding, done = None, dict.fromkeys(targets, 0)
    with scratch() as folder, bars() as progress:
        program = _fuzz.build(model, folder)
        for target in targets:
            inputs = _fuzz.corpus(model, target, kept[target])
            task = progress.add_task(target, total=args.n, info="inputs")
            while done[target] < args.n and not finding:
                count = min(_fuzz.AT_ONCE, args.n - done[target])
                finding = _fuzz.run(program, model, target, inputs, args.seed, done[target], count)
                done[target] += count
                progress.update(task, advance=count)
    if args.json:
        told = finding.as_dict() if finding else None
        print(json.dumps({"ok": finding is None, "seed": args.seed, "inputs": done, "finding": told}))
    elif finding:
        out.print(f"{finding.what}\n{finding.target} {finding.input}", soft_wrap=True, markup=False)
    else:
        each = ", ".join(f"{n:,} of {target}" for target, n in done.items())
        say(f"nothing found in {each} (seed {args.seed})")
    return 1 if finding else 0
