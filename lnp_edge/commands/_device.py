"""The options of a command that talks to a device."""

import argparse

from lnp_edge.commands import _own_boards


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", help="name of a board (lnp boards lists them)")
    _own_boards.argument(parser)
    parser.add_argument("--port", help="serial port or pyserial URL of a board that runs this model's firmware")
