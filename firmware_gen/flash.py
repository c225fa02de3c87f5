"""Write a built image to a real board with the board's own tool.

What the tool says is not proof: lnp flash asks the board, see commands/flash.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from lnp_edge import boards
from lnp_edge.base.errors import BoardError
from lnp_edge.base.files import write_whole
from lnp_edge.base.install import INSTALL
from lnp_edge.firmware_gen import commands, elf
from lnp_edge.firmware_gen.folder import read_manifest, tool_failed

TIMEOUT = 120  # s
ERROR = re.compile(r"\berror\b", re.I)


def flash(folder: Path, dry_run: bool = False) -> str:
    """Write the image of a built folder to its board; returns the command that did.

    With dry_run it only writes the .bin file and returns the command that would flash it.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    board = boards.get(manifest.board)
    if not board.flash_tool:
        raise BoardError(
            f"lnp has no tool that flashes {board.name}",
            "write its .elf with the tool that came with the board, then: lnp verify MODEL --port PORT",
        )
    image = commands.output(manifest.name, board.toolchain)
    binary = image.removesuffix(".elf") + ".bin"
    call = [board.flash_tool, "--reset", "write", binary, f"0x{board.flash.origin:08X}"]  # as for st-flash
    shown = f"cd {shlex.quote(str(folder))} && {shlex.join(call)}"
    if not (folder / image).is_file():
        raise BoardError(f"{folder} has no image yet", f"build it first: lnp build {shlex.quote(str(folder))}")
    write_whole(folder / binary, elf.flash_bytes(folder / image, board.flash.origin))
    if not dry_run:
        _run(call, folder)
    return shown


def _run(call: list[str], folder: Path) -> None:
    if not shutil.which(call[0]):
        raise BoardError(f"{call[0]} is not installed", INSTALL[call[0]])
    try:
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise BoardError(f"{call[0]} gave no result in {TIMEOUT} s", "reconnect the board and try again") from None
    words = done.stdout + done.stderr
    if done.returncode != 0 or ERROR.search(words):  # some tools say so and return 0
        raise tool_failed(folder, call[0], done.returncode, words, "is the board connected by USB?")
