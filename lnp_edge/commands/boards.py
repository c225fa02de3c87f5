"""List the available boards: what starts them and what is proved of them, core
and memory, and what they are."""

import argparse
import json
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from lnp_edge import boards
from lnp_edge.base.console import described, fail, out, print_trimmed
from lnp_edge.base.errors import BoardError
from lnp_edge.commands import _own_boards
from lnp_edge.spec.board import CPUS, Board

HELP = "list the available boards"
EXAMPLE = "  lnp boards"
SIZES = len("2048 + 1024")


def arguments(parser: argparse.ArgumentParser) -> None:
    _own_boards.argument(parser)
    parser.add_argument("--json", action="store_true", help="print the boards as JSON")


def run(args: argparse.Namespace) -> int:
    found, wrong = boards.readable()
    if args.json:
        print(json.dumps([asdict(b) | {"proof": boards.proof(b, found)} for b in found]))
    else:
        _show(found)
    for name, e in wrong.items():
        fail(BoardError(f"{name} is left out: {e.what}", e.try_next))
    return 2 if wrong else 0  # the list is not whole: its user can mend that, and a script must not take it for whole


def _show(found: list[Board]) -> None:
    groups = dict[str, list[Board]]()
    for b in found:
        how = "real boards, at a serial port" if b.start == "serial" else f"started here, by {b.start}"
        groups.setdefault(f"{how}; {boards.proof(b, found)}", []).append(b)
    names = max(len(b.name) for b in found)
    for what, alike in sorted(groups.items(), key=lambda group: group[0].startswith("real")):
        out.print(Text(what, style="dim"), soft_wrap=True)
        print_trimmed(Padding(Group(*(_shown(b, names) for b in alike)), (0, 0, 1, 2)))
    out.print("KiB of flash and of RAM.")


def _shown(b: Board, names: int) -> RenderableType:
    size = "" if b.cpu == "host" else f"{b.flash.size >> 10} + {b.ram.size >> 10}"
    row = [Text(b.name.ljust(names), style="bold"), Text(b.cpu.ljust(max(map(len, CPUS)))), Text(size.ljust(SIZES))]
    return described(row, Text(b.description))
