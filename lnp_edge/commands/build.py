"""Compile a generated folder and report how much of the board's memory it uses."""

import argparse
import json
from pathlib import Path

from lnp_edge.base.console import out

HELP = "compile a generated folder"
EXAMPLE = "  lnp build firmware"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder written by lnp generate")
    parser.add_argument("--json", action="store_true", help="print the sizes as JSON")


def run(args: argparse.Namespace) -> int:
    from lnp_edge.firmware_gen.build import build

    sizes = build(args.folder)
    if args.json:
        print(json.dumps(sizes.as_dict()))
    else:
        for line in sizes.lines():
            out.print(line)
    return 0
