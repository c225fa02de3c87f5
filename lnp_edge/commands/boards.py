"""List the available boards."""

import argparse
import json
from dataclasses import asdict

from rich.text import Text

from lnp_edge.base.console import listing, out
from lnp_edge.commands import _own_boards

HELP = "list the available boards"
EXAMPLE = "  lnp boards"


def arguments(parser: argparse.ArgumentParser) -> None:
    _own_boards.argument(parser)
    parser.add_argument("--json", action="store_true", help="print the boards as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import boards

    found = [boards.get(name) for name in boards.names()]
    if args.json:
        print(json.dumps([asdict(b) | {"proof": boards.proof(b, found)} for b in found]))
        return 0
    rows = []
    for b in found:
        size = "" if b.cpu == "host" else f"{b.flash.size >> 10} + {b.ram.size >> 10} KiB"
        real = b.start == "serial"
        how = "a real board, at --port" if real else f"started here, by {b.start}"
        words = Text(b.description).append(f"\n{how}; {boards.proof(b, found)}", style="dim")
        rows.append([Text(b.name, style="bold"), Text(b.cpu), Text(size), words])
    out.print(listing(rows))
    out.print("KiB of flash and of RAM.")
    return 0
