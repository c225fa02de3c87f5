"""Write a built folder's image to its board, with the board's own tool, and ask
the board which model it runs.

A tool may fail and say nothing. Without --port, the one serial port there is
is asked; if there are several, name it."""

import argparse
import re
from contextlib import closing
from pathlib import Path

from lnp_edge.base.console import out
from lnp_edge.base.errors import LinkError
from lnp_edge.commands import _own_boards

HELP = "write a built folder's image to its board, and ask the board for its model"
EXAMPLE = "  lnp flash firmware --dry-run\n  lnp flash firmware --port /dev/ttyACM0"
FINGERPRINT = re.compile(r"^#define LNP_\w+_FINGERPRINT 0x([0-9A-F]{8})u$", re.M)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder built by lnp build")
    _own_boards.argument(parser)
    parser.add_argument("--port", help="serial port of the board (default: the only one)")
    parser.add_argument("--dry-run", action="store_true", help="print the flash command without running it")


def run(args: argparse.Namespace) -> int:
    from lnp_edge import boards
    from lnp_edge.firmware_gen.flash import flash
    from lnp_edge.firmware_gen.folder import read_manifest

    manifest = read_manifest(args.folder)
    board = boards.get(manifest.board)
    if board.start in ("unicorn", "qemu", "process") and not board.flash_tool:
        said = f"nothing to flash: {board.name} starts with the image"
    elif args.dry_run:
        said = flash(args.folder, dry_run=True)
    elif not manifest.serves:
        said = f"written: {flash(args.folder)}\nNot asked what it runs: a program of your own does not answer."
    else:
        port = args.port or _only_port()
        shown = flash(args.folder)
        greeted = _fingerprint(port, board.baud)
        wanted = FINGERPRINT.findall((args.folder / f"lnp_{manifest.name}.h").read_text("utf-8"))
        if [greeted] != wanted:
            raise LinkError(
                f"{board.flash_tool} reported no error, but {port} runs model {greeted.lower()}, not this one",
                "reconnect the board and flash it again; is this its port?",
            )
        said = f"flashed: {shown}\n{port} runs model {greeted.lower()}"
    out.print(said, soft_wrap=True, markup=False)
    return 0


def _only_port() -> str:
    from serial.tools.list_ports import comports

    found = [port.device for port in comports()]
    if len(found) != 1:
        what = f"there are {len(found)} serial ports" if found else "there is no serial port"
        raise LinkError(f"{what}, so the board cannot be asked what it runs", "name its port: --port /dev/ttyACM0")
    return found[0]


def _fingerprint(port: str, baud: int) -> str:
    """The fingerprint of the model that the board at a port runs, as the header writes it."""
    from lnp_edge.runtime.link import DEADLINE, Link
    from lnp_edge.runtime.ports import open_serial
    from lnp_edge.spec.protocol import REPLIES

    with closing(open_serial(port, baud)) as line:
        raw = Link(line, port, DEADLINE).ask("hello")
    at = REPLIES["hello"].offsets()["fingerprint"]
    return f"{int.from_bytes(raw[at : at + 4], 'little'):08X}"
