"""Write a built image to a real board with one of the board's tools, and read it back where the tool can.

What the tool says is not proof: lnp flash asks the board, see commands/flash.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lnp_edge import boards
from lnp_edge.base.console import note
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.base.files import refuse_unwritable, write_whole
from lnp_edge.firmware_gen import built_of, commands, elf, images
from lnp_edge.firmware_gen.folder import ERROR, read_manifest, tool_failed
from lnp_edge.spec.board import Board
from lnp_edge.spec.flasher import FAMILY, Flasher, Value
from lnp_edge.spec.plugins import nearest

TIMEOUT = 180  # s; stm32flash at 57,600 baud writes 512 KiB in about 150
MOUNTS = ("/media/*/*", "/media/*", "/run/media/*/*", "/mnt/*", "/Volumes/*")
PORT, LOADER, DRIVE = "PORT", "LOADER", "DRIVE"  # what a dry run says for what is not known
UNTOUCHED = "nothing was written: is the board connected, and the right one?"
ELSEWHERE = "remove it, or build into another folder"
HALF = "the board may hold the old program, a part of the new one, or none"
BEFORE, FIRST, AFTER = range(3)  # what a command of a tool is: it asks for the chip, writes first, or comes later


@dataclass(frozen=True)
class Job:
    """One flashing, ready to run.

    file : what the tool takes;  copy : where it writes what it reads back;  values : of the words of its commands
    """

    folder: Path
    board: Board
    tool: Flasher
    image: Path
    file: Path
    copy: Path
    origin: int
    data: bytes
    values: Mapping[str, Value]

    @property
    def commands(self) -> list[tuple[str, ...]]:
        return [self.tool.fill(command, self.values) for command in self.tool.write]

    @property
    def identify(self) -> tuple[str, ...]:
        return self.tool.fill(self.tool.identify, self.values) if self.board.identity else ()

    @property
    def read(self) -> tuple[str, ...]:
        return self.tool.fill(self.tool.read, self.values)

    @property
    def called(self) -> list[tuple[str, ...]]:
        """All commands, in their order: which chip is there, what writes, what reads back."""
        return [command for command in (self.identify, *self.commands, self.read) if command]

    @property
    def shown(self) -> str:
        """What a shell would be told to do the same; that the chip is another, and the flash as wanted, lnp sees."""
        return " && ".join([f"cd {shlex.quote(str(self.folder))}", *map(shlex.join, self.called)])

    @property
    def unknown(self) -> list[tuple[str, str, str]]:
        """Each word that stands in the commands for what is not known, what that is, and how to name it."""
        enter = f"{self.tool.enter}; " if self.tool.enter else ""
        label = f" {self.values['label']}" if "label" in self.values else ""
        drive = f"no drive{label} is mounted", f"{enter}{'or name the' if enter else 'name its'} folder: --drive DIR"
        words = {
            "port": (PORT, "no port is known", "name the board's port: --port /dev/ttyACM0"),
            "loader": (LOADER, "no port of a boot loader is known", f"{enter}its port is --loader /dev/ttyACM0"),
            "drive": (DRIVE, *drive),
        }
        return [found for word, found in words.items() if self.tool.asks(word) and self.values[word] == found[0]]

    @property
    def missing(self) -> list[str]:
        """What keeps it from running, a sentence each: what is not known, and the first program that is not there."""
        said = [f"{word} stands for what the tool needs: {what}; {hint}" for word, what, hint in self.unknown]
        return said + self.not_installed

    @property
    def not_installed(self) -> list[str]:
        """The first program that is not there and how to install it, a sentence; empty if all are there."""
        try:
            _programs(self)
        except BoardError as e:
            return [f"{e.what}: {e.try_next}"]
        return []

    @property
    def receipt(self) -> Path:
        return self.image.with_suffix(".flashed.json")


def prepare(
    folder: Path, tool: str = "", port: str = "", loader: str = "", drive: str = "", own: Sequence[str] = ()
) -> Job:
    """Check the image of a built folder and write the file that the tool takes. Nothing reaches the board.

    tool : of the board's; the first if empty
    port, loader, drive : if the tool needs one; else a dry run's words stand there
    own : the option of lnp build that names the folder of a user's own board
    """
    folder = Path(folder)
    if drive and not Path(drive).is_dir():  # cp would write a file of that name
        raise ConfigError(f"there is no folder {drive}", "--drive names where the board's drive is mounted")
    manifest = read_manifest(folder)
    board = boards.get(manifest.board)
    used = boards.flasher(_of_board(board, tool))
    image = folder / commands.output(manifest.name, board.toolchain)
    command = shlex.join(["lnp", "build", str(folder), *own])
    if not os.path.lexists(image):
        raise BoardError(f"{folder} has no image yet", f"build it first: {command}")
    elf.check(image, board)
    built_of.check(folder, image, f"build it again: {command}")
    data = elf.flash_bytes(image, board.flash.origin)
    file, copy = image.with_suffix(f".{used.image}"), image.with_suffix(".read")
    refuse_unwritable(file, ELSEWHERE)
    parameters = used.whole(board.tools[used.name])
    if used.image == "bin":
        write_whole(file, data, ELSEWHERE)
    elif used.image == "hex":
        write_whole(file, images.as_hex(data, board.flash.origin), ELSEWHERE)
    elif used.image == "uf2":
        write_whole(file, images.as_uf2(data, board.flash.origin, int(parameters[FAMILY])), ELSEWHERE)
    values: dict[str, Value] = {
        **parameters,
        "image": str(file.relative_to(folder)),
        "copy": str(copy.relative_to(folder)),
        "origin": f"0x{board.flash.origin:08X}",
        "bytes": len(data),
        "register": f"{board.identity.address:08x}" if board.identity else "",
        "port": port or PORT,
        "loader": loader or LOADER,
        "drive": (drive and str(Path(drive).absolute())) or _mounted(str(parameters.get("label", ""))) or DRIVE,
    }
    return Job(folder, board, used, image, file, copy, board.flash.origin, data, values)


def flash(job: Job) -> dict[str, object]:
    """Run the tool; returns the receipt, which the caller completes and writes.

    Raises BoardError, which says in what state the board may be, and what to do.
    """
    for _, what, hint in job.unknown:
        raise ConfigError(f"{what}, and {job.tool.name} needs one", "; ".join([hint, *job.not_installed]))
    programs = _programs(job)
    chip = _identify(job, programs[job.identify[0]]) if job.identify else None
    job.receipt.unlink(missing_ok=True)  # that of an older flashing is no longer true
    job.copy.unlink(missing_ok=True)
    words, stage = "", FIRST
    for program, *rest in job.commands:
        words += _run(job, (programs[program], *rest), stage)
        stage = AFTER
    if job.tool.says not in words:
        raise _failed(job, 0, f"it did not say {job.tool.says!r}", words, FIRST)
    verified = "by the tool" if job.tool.verifies else "not"
    if job.read:
        _run(job, (programs[job.read[0]], *job.read[1:]), AFTER)
        _compare(job)
        verified = "read back"
    return {
        "format": 1,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "board": job.board.name,
        "tool": job.tool.name,
        "version": _version(job) or _numbered(words) or "unknown",
        "commands": [list(command) for command in job.called],
        **({} if chip is None else {"chip": f"0x{chip:x}"}),
        "image": _entry(job.image),
        "written": {**_entry(job.file), "origin": job.values["origin"], "bytes": len(job.data)},
        "verified": verified,
    }


def _identify(job: Job, program: str) -> int:
    """The number of the chip that the tool has before it. Raises BoardError if it is another than the board's."""
    wanted = job.board.identity
    assert wanted
    found = job.tool.chip(_run(job, (program, *job.identify[1:]), BEFORE), job.values)
    if found is None:
        raise BoardError(f"{job.tool.name} does not say which chip is connected", UNTOUCHED)
    if found & wanted.mask != wanted.value:
        known = [(b.name, b.identity) for b in boards.readable()[0] if b.identity]
        alike = [name for name, chip in known if found & chip.mask == chip.value]
        who, board = (f", as on {' and '.join(alike)}", f": --board {alike[0]}") if alike else ("", "")
        raise BoardError(
            f"the chip that is connected is {found & wanted.mask:#x}{who}; {job.board.name} has {wanted.value:#x}",
            f"nothing was written: connect the other board, or generate for this one{board}",
        )
    return found & wanted.mask


def write_receipt(job: Job, receipt: dict[str, object]) -> None:
    hint = "the board is flashed all the same; make room"
    write_whole(job.receipt, (json.dumps(receipt, indent=1) + "\n").encode(), hint)


def _of_board(board: Board, tool: str) -> str:
    if not board.tools:
        raise BoardError(
            f"{board.name} names no tool that flashes it",
            f"write [tool] name = ... into its board.toml: {', '.join(boards.flashers())}; see docs/flashing.md",
        )
    if tool and tool not in board.tools:
        raise ConfigError(
            f"{board.name} has no [tool.{tool[:40]}]",
            f"{nearest(tool, board.tools)}available: {', '.join(board.tools)}; to add it, write that section into its "
            "board.toml",
        )
    return tool or board.flash_tool


def _mounted(label: str) -> str:
    """The folder that a UF2 boot loader's drive is mounted at, or ""."""
    if not label:
        return ""
    places = (path for pattern in MOUNTS for path in Path("/").glob(pattern.lstrip("/")))
    return next((str(p) for p in places if p.name == label and (p / "INFO_UF2.TXT").is_file()), "")


def find_program(name: str) -> str:
    """The path of a program, "" if there is none."""
    beside = str(Path(sys.executable).parent)  # of pip, where that is not on the path
    return shutil.which(name) or shutil.which(name, path=beside) or ""


def _programs(job: Job) -> dict[str, str]:
    """The paths of its programs. Raises BoardError, first of what writes: where nothing is installed, it is named."""
    return {command[0]: _program(job, command[0]) for command in (*job.commands, *job.called)}


def _program(job: Job, name: str) -> str:
    found = find_program(name)
    if not found:
        others = [tool for tool in job.board.tools if find_program(boards.flasher(tool).write[0][0])]
        hint = f"{job.tool.install}{f'; or take --tool {others[0]}, which is installed' if others else ''}"
        raise BoardError(f"{name} is not installed", hint)
    return found


def _version(job: Job) -> str:
    """What the tool says is its version."""
    program, *words = job.tool.version
    try:
        done = subprocess.run(
            [_program(job, program), *words], capture_output=True, text=True, errors="replace", timeout=30,
            stdin=subprocess.DEVNULL, check=False, env=_environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return _numbered(done.stdout + done.stderr)


def _numbered(words: str) -> str:
    """The first line with a version's number in it, or ""."""
    return next((line.strip()[:200] for line in words.splitlines() if re.search(r"\bv?\d+\.\d", line)), "")


def _environment() -> dict[str, str]:
    """In English: says and says_not of a tool are."""
    return {**os.environ, "LC_ALL": "C"}


def _run(job: Job, command: tuple[str, ...], stage: int) -> str:
    """Run one command of the tool; returns what it said."""
    try:
        done = subprocess.run(
            command, cwd=job.folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT,
            stdin=subprocess.DEVNULL, env=_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        state = UNTOUCHED if stage == BEFORE else f"{HALF}; {job.tool.again}"
        raise BoardError(f"{job.tool.name} gave no result in {TIMEOUT} s", state) from None
    except OSError as e:
        state = f"{HALF}; {job.tool.again}" if stage == AFTER else f"nothing was written; {job.tool.install}"
        raise BoardError(f"cannot run {command[0]}: {e.strerror}", state) from None
    except KeyboardInterrupt:
        half = f"stopped while it wrote: {HALF}; {job.tool.again}"
        note("stopped: nothing was written" if stage == BEFORE else half)
        raise
    words = done.stdout + done.stderr
    wrong = next((line.strip() for text in job.tool.says_not for line in words.splitlines() if text in line), "")
    if not wrong and not (job.tool.says and job.tool.says in words):
        wrong = next((line.strip() for line in words.splitlines() if ERROR.search(line)), "")
    if done.returncode != 0 or wrong:  # some say so and return 0
        raise _failed(job, done.returncode, wrong, words, stage)
    return words


def _failed(job: Job, code: int, why: str, words: str, stage: int) -> BoardError:
    """The error for a tool that failed: why, or what it said, and in what state the board may be.

    A tool that finds no board, but has written before, says so in the words of one that has not.
    """
    if stage == BEFORE or (stage == FIRST and any(text in words for text in job.tool.untouched)):
        state = UNTOUCHED
    else:
        state = f"{HALF}; {job.tool.again}"
    return tool_failed(job.folder, job.tool.name, code, words, state, why)


def _compare(job: Job) -> None:
    try:
        found = job.copy.read_bytes()
    except OSError as e:
        raise _failed(job, 0, f"it read nothing back: {e.strerror}", "", AFTER) from None
    if found[: len(job.data)] != job.data:
        pairs = zip(job.data, found, strict=False)
        at = next((k for k, (wrote, read) in enumerate(pairs) if wrote != read), len(found))
        read = f"0x{found[at]:02X}" if at < len(found) else "nothing"
        raise BoardError(
            f"the flash differs from the image at {job.origin + at:#x}: wrote 0x{job.data[at]:02X}, read {read}",
            f"{HALF}; {job.tool.again}",
        )
    job.copy.unlink()


def _entry(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
