"""The option that adds boards of the user's own; lnp_edge.cli acts on it."""

import argparse

from lnp_edge.commands import _given


def argument(parser: argparse.ArgumentParser) -> None:
    what = "a folder with boards of your own: NAME/board.toml, common/DRIVER.c; the variable LNP_BOARDS does the same"
    parser.add_argument("--boards", type=_given.path, metavar="DIR", help=what)


def words(args: argparse.Namespace) -> list[str]:
    """The option as it was given, for a command that is told to come next."""
    return ["--boards", str(args.boards)] if args.boards else []
