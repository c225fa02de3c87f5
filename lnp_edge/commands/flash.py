"""Write a built folder's image to its board, with a tool that the board's file
names, and ask the board which model it runs.

The image is checked before: the folder must hold the sources that it was built
of, and it must fit the board's memory. It is read back after, by lnp or by the
tool, where the tool can. What was done is kept beside the image, in
lnp_NAME.flashed.json. A tool may fail and say nothing: so the board is asked,
at the one serial port at USB that has an id of this board, or at the only one
if the board names no ids; else name it with --port. With --model, it is tested
too: exit code 1 if it fails."""

from __future__ import annotations

import argparse
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from lnp_edge.base.console import command_line, note, out
from lnp_edge.base.errors import ConfigError, LinkError
from lnp_edge.base.files import read_bounded
from lnp_edge.commands import _device, _given, _own_boards

if TYPE_CHECKING:
    from lnp_edge.firmware_gen.flash import Job
    from lnp_edge.runtime.selftest import SelfTest
    from lnp_edge.spec.board import Board
    from lnp_edge.spec.model import QuantizedModel

HELP = "write a built folder's image to its board, and ask the board for its model"
EXAMPLE = """  lnp flash firmware --dry-run
  lnp flash firmware --port /dev/ttyACM0 --model model.onnx
  lnp flash firmware --tool pyocd --port /dev/ttyACM0"""
FINGERPRINT = re.compile(r"^#define LNP_\w+_FINGERPRINT 0x([0-9A-F]{8})u$", re.M)
MOST_HEADER = 2**20  # bytes


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=_given.path, metavar="DIR", help="a folder built by lnp build")
    _own_boards.argument(parser)
    what = "one of the board's tools (default: the first; lnp doctor has all)"
    parser.add_argument("--tool", type=_given.text, help=what)
    parser.add_argument("--port", type=_device.port, help="serial port of the board (default: the one at USB)")
    parser.add_argument(
        "--model", type=_given.path, help="its model.onnx: the board then runs the self-test of lnp verify"
    )
    parser.add_argument("--loader", type=_device.port, help="serial port of its boot loader, if that is another")
    what = "where the drive of a UF2 boot loader is mounted"
    parser.add_argument("--drive", type=_given.text, metavar="DIR", help=what)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the flash command, and what it lacks, without running it"
    )


def run(args: argparse.Namespace) -> int:
    from lnp_edge import boards
    from lnp_edge.firmware_gen.flash import flash, prepare, write_receipt
    from lnp_edge.firmware_gen.folder import read_manifest

    manifest = read_manifest(args.folder)
    board = boards.get(manifest.board)
    if board.start != "serial" and not board.flash_tool:
        out.print(f"nothing to flash: {board.name} starts with the image", soft_wrap=True, markup=False)
        return 0
    wanted = _told(args.folder, manifest.name) if manifest.serves else ""
    model = _model_of(args.model, args.folder, wanted) if args.model else None
    ends, own = (args.loader or "", args.drive or ""), _own_boards.words(args)
    job = prepare(args.folder, args.tool or "", args.port or "", *ends, own)
    asked = job.tool.asks("port") or (manifest.serves and not args.dry_run)
    port = args.port or (_port(job, args.dry_run) if asked else "")
    if port != (args.port or ""):
        job = prepare(args.folder, args.tool or "", port, *ends, own)
    if args.dry_run:
        command_line(job.shown)
        for line in job.missing:
            note(line)
        return 0
    receipt = flash(job) | {"port": port}
    if not manifest.serves:
        said = f"written: {job.shown}\nNot asked what it runs: a program of your own does not answer."
    else:
        try:
            greeted = _fingerprint(port, board)
        except LinkError as e:
            raise LinkError(f"{job.tool.name} wrote the image, but {e.what}", e.try_next) from None
        if greeted != wanted:
            raise LinkError(
                f"{job.tool.name} reported no error, but {port} runs model {greeted.lower()}, not this one",
                "reconnect the board and flash it again; is this its port?",
            )
        receipt |= {"model": greeted.lower()}
        said = f"flashed: {job.shown}\n{port} runs model {greeted.lower()}"
    tested = _self_test(model, board.name, port) if model else None
    if tested:
        receipt |= {"self_test": tested.as_dict()}
        said += "\n" + "\n".join(tested.lines())
    out.print(said, soft_wrap=True, markup=False)
    write_receipt(job, receipt)
    out.print(f"verified: {receipt['verified']}; kept in {job.receipt}", soft_wrap=True, markup=False)
    return 0 if tested is None or tested.ok else 1


def _model_of(path: Path, folder: Path, wanted: str) -> QuantizedModel:
    """The model of a file. Raises ConfigError if the folder is of another, or a program that runs no self-test."""
    from lnp_edge.interchange import onnx_file

    if not wanted:
        raise ConfigError(f"{folder} is a program of your own, which runs no self-test", "leave --model out")
    model = onnx_file.load(path)
    if f"{model.fingerprint:08X}" != wanted:
        raise ConfigError(f"{folder} was not generated from {path}", "name its own model, or generate it again")
    return model


def _told(folder: Path, name: str) -> str:
    """The fingerprint of the model that a folder was generated from, as its header writes it."""
    header, hint = folder / f"lnp_{name}.h", "generate the folder again: lnp generate"
    found = FINGERPRINT.findall(read_bounded(header, MOST_HEADER, ConfigError, hint).decode(errors="replace"))
    if len(found) != 1:
        raise ConfigError(f"{header} is not what lnp generate wrote: it names no model", hint)
    return found[0]


def _self_test(model: QuantizedModel, board: str, port: str) -> SelfTest:
    from lnp_edge.runtime import selftest
    from lnp_edge.stages import devices

    with devices.device(model, board, port) as device:
        return selftest.run(model, device, 1)


def _port(job: Job, dry_run: bool) -> str:
    """The port at USB that is the board's. Raises LinkError if none is known; a dry run then goes without one."""
    from lnp_edge.runtime.ports import at_usb

    try:
        return at_usb(job.board)
    except LinkError as e:
        if dry_run:
            return ""
        raise LinkError(e.what, "; ".join([e.try_next, *job.not_installed])) from None


def _fingerprint(port: str, board: Board) -> str:
    """The fingerprint of the model that the board at a port runs, as the header writes it."""
    from lnp_edge.runtime.link import DEADLINE, Link
    from lnp_edge.runtime.ports import open_board
    from lnp_edge.spec.protocol import REPLIES

    with closing(open_board(board, None, port)) as line:
        raw = Link(line, port, DEADLINE).ask("hello")
    at = REPLIES["hello"].offsets()["fingerprint"]
    return f"{int.from_bytes(raw[at : at + 4], 'little'):08X}"
