"""The options of a command that talks to a device."""

import argparse
from contextlib import suppress

from lnp_edge.base.console import note
from lnp_edge.base.errors import ConfigError, LinkError
from lnp_edge.commands import _own_boards


def arguments(parser: argparse.ArgumentParser, baud: str) -> None:
    """baud : what the option of the line's rate is called"""
    parser.add_argument("--board", type=board, help="name of a board (lnp boards lists them)")
    _own_boards.argument(parser)
    parser.add_argument(
        "--port",
        type=port,
        help="serial port or pyserial URL of a board with this model's firmware (default: a real one's, by its USB id)",
    )
    parser.add_argument(
        baud, dest="rate", metavar="N|auto",
        help="rate of the line to the board in Bd, or the best it has (default: that of its board.toml)",
    )  # fmt: skip


def board(text: str) -> str:
    """A board. An empty name, as of a variable of a shell that is not set, is not the default."""
    if not text:
        raise argparse.ArgumentTypeError("'' is no board: lnp boards lists them")
    return text


def port(text: str) -> str:
    """A port, which a flash tool is told too: not what it would take for an option, nor what a terminal would obey."""
    if not text or text.startswith("-") or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no port, such as /dev/ttyACM0")
    return text


def at_port(args: argparse.Namespace) -> str | None:
    """The port that is named; else that of a real board at USB, if the board has ids there. None: lnp starts it.

    Raises LinkError if no port has such an id, or several.
    """
    from lnp_edge import boards
    from lnp_edge.runtime import ports

    board = boards.get(args.board) if args.board and not args.port else None
    if not board or not board.usb:
        return args.port
    if board.start != "serial":
        with suppress(LinkError):
            note(f"{board.name} is emulated; --port {ports.at_usb(board)} is the one that is connected")
        return None
    found = ports.at_usb(board)
    note(f"{board.name} is at {found}")
    return found


def rates(args: argparse.Namespace, baud: str) -> tuple[int, ...]:
    """The rates to try, the best first; none where the line stays as it is. Raises ConfigError."""
    from lnp_edge import boards
    from lnp_edge.runtime import rate
    from lnp_edge.spec.protocol import MOST_RATES

    if args.rate is None:
        return ()
    first = boards.get(args.board or "cortex-m4").baud
    most = MOST_RATES * first
    if args.rate == "auto":
        return tuple(one for one in rate.HIGHER if first < one <= most)
    if not args.rate.isdecimal() or len(args.rate) > 9 or not first <= int(args.rate) <= most:
        raise ConfigError(f"{baud} is {args.rate[:40]!r}", f"choose from {first} to {most}, or auto")
    return (int(args.rate),)
