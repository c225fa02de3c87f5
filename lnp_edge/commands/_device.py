"""The options of a command that talks to a device."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--board", help="name of a board (lnp boards lists them)")
    parser.add_argument("--port", help="serial port or pyserial URL of a board that runs this model's firmware")
