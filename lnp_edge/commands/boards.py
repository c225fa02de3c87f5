"""List the available boards."""

import argparse
import json
from dataclasses import asdict

from lnp_edge.base.console import out

HELP = "list the available boards"
EXAMPLE = "  lnp boards"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the boards as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import boards

    found = [boards.get(name) for name in boards.names()]
    if args.json:
        print(json.dumps([asdict(b) for b in found]))
        return 0
    for b in found:
        size = "" if b.cpu == "host" else f"{b.flash.size >> 10} KiB flash, {b.ram.size >> 10} KiB RAM, "
        out.print(f"{b.name:<16}{b.cpu}, {size}starts by {b.start}\n{'':<16}{b.description}", soft_wrap=True)
    return 0
