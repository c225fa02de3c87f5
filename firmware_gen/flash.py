"""Write a built image to a real board with the board's own tool."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from lnp_edge import boards
from lnp_edge.base.errors import BoardError
from lnp_edge.base.install import INSTALL
from lnp_edge.firmware_gen import commands, elf
from lnp_edge.firmware_gen.folder import read_manifest, tool_failed

TIMEOUT = 120  # s


def flash(folder: Path, dry_run: bool = False) -> str:
    """Flash the image of a built folder; returns what was done, as text.

    With dry_run it only writes the .bin file and returns the command that would flash it.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    board = boards.get(manifest.board)
    if board.start != "serial":
        return f"nothing to flash: {board.name} starts with the image"
    image = commands.output(manifest.name, board.toolchain)
    binary = image.removesuffix(".elf") + ".bin"
    call = [board.flash_tool, "--reset", "write", binary, f"0x{board.flash.origin:08X}"]  # as for st-flash
    shown = f"cd {shlex.quote(str(folder))} && {shlex.join(call)}"
    if not (folder / image).is_file():
        raise BoardError(f"{folder} has no image yet", f"build it first: lnp build {shlex.quote(str(folder))}")
    (folder / binary).write_bytes(elf.flash_bytes(folder / image, board.flash.origin))
    if dry_run:
        return shown
    _run(call, folder)
    return f"flashed: {shown}"


def _run(call: list[str], folder: Path) -> None:
    if not shutil.which(call[0]):
        raise BoardError(f"{call[0]} is not installed", INSTALL[call[0]])
    try:
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise BoardError(f"{call[0]} gave no result in {TIMEOUT} s", "reconnect the board and try again") from None
    if done.returncode != 0:
        words = done.stdout + done.stderr
        raise tool_failed(folder, call[0], done.returncode, words, "is the board connected by USB?")
