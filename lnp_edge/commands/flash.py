"""Write a built folder's image to its board, with the board's own tool."""

import argparse
from pathlib import Path

from lnp_edge.base.console import out

HELP = "write a built folder's image to its board"
EXAMPLE = "  lnp flash firmware --dry-run"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder built by lnp build")
    parser.add_argument("--dry-run", action="store_true", help="print the flash command without running it")


def run(args: argparse.Namespace) -> int:
    from lnp_edge.firmware_gen.flash import flash

    out.print(flash(args.folder, args.dry_run), soft_wrap=True)
    return 0
