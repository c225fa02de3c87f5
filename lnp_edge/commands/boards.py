"""List the boards there are."""

import argparse
import json
from dataclasses import asdict

from lnp_edge.console import out, table

HELP = "list the boards there are"
EXAMPLE = "  lnp boards"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    import boards

    found = [boards.get(name) for name in boards.names()]
    if args.json:
        print(json.dumps([asdict(b) for b in found]))
        return 0
    kib = [[b.name, b.cpu, f"{b.flash.size >> 10}", f"{b.ram.size >> 10}", b.start, b.description] for b in found]
    out.print(table("", ["board", "cpu", "flash KiB", "RAM KiB", "start", "what it is"], kib))
    return 0
