"""Write a folder of C that runs a model on a board; `make` builds it without
Python. Or, with --as, a library for a project of your own.

It says how the synapses of each projection lie in flash, what other layouts
would take, and which parts of a step have a loop in assembly, where the core
has its instructions.

Without --app, the program answers lnp verify and lnp run. With it, the program
is the beginning of your own: it takes samples and acts on decisions, in two
functions that you replace. A library has no program and no board: it comes in
the layout of CMake, Arduino or another, with an example and a README."""

import argparse
import shlex

from lnp_edge.base.console import note
from lnp_edge.base.errors import ConfigError
from lnp_edge.commands import _given, _own_boards
from lnp_edge.interchange import onnx_file
from lnp_edge.spec import layout
from lnp_edge.spec.board import IN_ASSEMBLY

HELP = "write C firmware for a model and a board"
EXAMPLE = """  lnp generate model.onnx --board nucleo-f401re -o firmware
  lnp build firmware
  lnp generate model.onnx --board nucleo-f401re --app -o my_program
  lnp generate model.onnx --as arduino -o lnp_net"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_given.path, help="a model.onnx written by lnp quantize")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--board", help="name of a board (lnp boards lists them)")
    where.add_argument(
        "--as", dest="kind", metavar="KIND", help="a library instead: cmake, arduino, ... (any other word lists all)"
    )
    _own_boards.argument(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=_given.path,
        required=True,
        metavar="DIR",
        help="a new folder, or one written by lnp generate",
    )
    parser.add_argument("--app", action="store_true", help="a program that takes samples and acts on decisions")
    parser.add_argument("--name", default="net", help="part of every C identifier: lnp_NAME_step (default: net)")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import boards
    from lnp_edge.firmware_gen import library
    from lnp_edge.firmware_gen.generate import generate, write
    from lnp_edge.firmware_gen.network import loops

    if args.kind is not None and args.app:
        raise ConfigError("--app is a program, and --as writes a library", "leave one of them out")
    board = None if args.kind is not None else boards.get(args.board)
    model = onnx_file.load(args.model)
    if board is None:
        files = library.generate(model, args.kind, args.name)
        following = f"{args.output / 'README.md'} says how to use it"
    else:
        files = generate(model, board, args.name, args.app)
        command = ["lnp", "build", str(args.output), "--model", str(args.model), *_own_boards.words(args)]
        following = shlex.join(command)
    write(files, args.output)
    for p in model.projections:
        note(layout.chosen(model, p))
    if board is None or board.cpu in IN_ASSEMBLY:
        note(loops(model, board.family if board else ""))
    note(f"written: {len(files)} files in {args.output}    next: {following}")
    return 0
