"""Compile a generated folder and report how much of the board's memory it uses,
and how deep its stack can be.

With --model, also what a step costs: its instructions on an emulated board of
the same core, and the time that they take at the board's clock."""

import argparse
import json
import shlex
from pathlib import Path

from lnp_edge.base.console import note, say
from lnp_edge.base.errors import ConfigError
from lnp_edge.commands import _given, _own_boards

HELP = "compile a generated folder"
EXAMPLE = "  lnp build firmware --model model.onnx"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=_given.path, metavar="DIR", help="a folder written by lnp generate")
    parser.add_argument("--model", type=_given.path, help="the model.onnx of this folder: report its cost too")
    _own_boards.argument(parser)
    parser.add_argument("--json", action="store_true", help="print the sizes as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import boards
    from lnp_edge.commands import _cost_report
    from lnp_edge.firmware_gen import commands, folder, network, stack
    from lnp_edge.firmware_gen.build import build
    from lnp_edge.interchange import onnx_file, windows_file

    windows = cost = None
    manifest = folder.check(args.folder)
    if args.model:
        model = onnx_file.load(args.model)
        windows = windows_file.load(model, args.model)
        if not manifest.holds(network.files(model, manifest.name)):
            command = ["lnp", "generate", str(args.model), "--board", manifest.board, "--name", manifest.name]
            command += ["--app"] * (not manifest.serves) + _own_boards.words(args) + ["-o", str(args.folder)]
            hint = f"generate it again: {shlex.join(command)}"
            raise ConfigError(f"{args.folder} holds another model than {args.model}", hint)
    sizes = build(args.folder)
    if args.model:
        cost = _cost_report.of(model, boards.get(manifest.board), windows, sizes, serves=manifest.serves)
    board = boards.get(manifest.board)
    deepest = stack.of(sizes.image, board) if board.family else None
    if args.json:
        of_stack = {"stack_at_most": deepest and deepest.deepest, "stack_size": deepest and deepest.size}
        print(json.dumps(sizes.as_dict() | of_stack | {"cost": cost and cost.as_dict()}))
        return 0
    lines = [*sizes.lines(), *([f"stack  {_cost_report.in_bytes(deepest)}"] if deepest else [])]
    for line in lines[: 1 if cost else None]:
        say(line)
    if cost:
        _cost_report.show(cost)
        if windows is None:
            say(_cost_report.no_windows(args.model))
    if not manifest.serves:
        how = commands.running(boards.get(manifest.board), manifest.name, str(args.folder), _own_boards.words(args))
        note(f"run it: {', '.join(filter(None, how))}")
    if not cost:
        command = ["lnp", "build", str(args.folder), "--model", _model_of(args.folder), *_own_boards.words(args)]
        note(f"what a step costs: {shlex.join(command)}")
    return 0


def _model_of(built: Path) -> str:
    """The model of a generated folder, if it lies here or beside it; else a name to replace."""
    from lnp_edge.base.errors import LnpError
    from lnp_edge.firmware_gen import folder, network
    from lnp_edge.interchange import onnx_file

    manifest = folder.read_manifest(built)
    for path in sorted([*Path().glob("*.onnx"), *built.parent.glob("*.onnx")]):
        try:
            if manifest.holds(network.files(onnx_file.load(path), manifest.name)):
                return str(path)
        except LnpError:
            continue
    return "MODEL.onnx"
