"""List the compilers, emulators, packages and serial ports of this computer, and
the commands that install what is missing or too old. With --get, run one."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.text import Text

from lnp_edge import boards
from lnp_edge.base.console import described, mark, note, out, print_trimmed
from lnp_edge.base.errors import ConfigError, LnpError
from lnp_edge.base.install import INSTALL, upgrade, wanted
from lnp_edge.commands import _given, _own_boards
from lnp_edge.firmware_gen.commands import COMPILERS, LLVM
from lnp_edge.spec.board import ARM, AVR, RISCV, Board
from lnp_edge.spec.plugins import nearest

HELP = "list installed and missing tools, and how to install them"
EXAMPLE = """  lnp doctor
  lnp doctor --get ziglang"""

TITLES = {ARM: "Arm", RISCV: "RISC-V", AVR: "AVR"}
OTHERS = {LLVM[0]: "another compiler for Arm and RISC-V: LLVM's own", LLVM[1]: "the linker of clang"}
MISSING = "missing"
MOST_FOUND = 28  # characters of a path; a longer one is in --json
INSTALLS = "install"  # the second or third word of a command, and of no sentence that says where to get something
PACKAGES = {
    "ziglang": "compiler for Arm, RISC-V and --board host, no root",
    "pyelftools": "reads images",
    "torch": "training only",
    "scikit-learn": "baseline of a training",
    "pandas": "own data: CSV, clocks",
    "pyarrow": "own data: Parquet",
    "matplotlib": "figures of lnp reproduce and compare",
    "onnxruntime": "runs model.onnx elsewhere; tests",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    _own_boards.argument(parser)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--get", type=_given.text, metavar="NAME", help="install what the list says how")
    either.add_argument("--json", action="store_true", help="print the list as JSON")


def run(args: argparse.Namespace) -> int:
    if args.get:
        return _get(args.get)
    rows = _tools() + _ports()
    if args.json:
        keys = ("what", "found", "for", "get")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        names = max(len(what) for what, *_ in rows)
        for what, found, use, get in rows:
            place = found if len(found) < MOST_FOUND else "found"
            words = Text(use).append(f"\n{get}", style="bold") if get else Text(use)
            cells = [mark(not get), Text(what.ljust(names)), Text(place.ljust(MOST_FOUND - 1))]
            print_trimmed(described(cells, words))
    return 0


def _tools() -> list[list[str]]:
    """What, where it is found, what it is for, and how to install it if it is not, or is too old."""
    known, _ = boards.readable()
    rows = [_row(name, shutil.which(name), use) for name, use in (programs(known) | OTHERS).items()]
    emulated = ", ".join(b.name for b in known if b.start == "unicorn")
    picos = ", ".join(b.name for b in known if b.start == "rp2040py")
    packages = PACKAGES | {"unicorn": f"emulator of {emulated}, no root", "rp2040py": f"emulator of {picos}, no root"}
    rows += [_package(name, _version(name), use) for name, use in packages.items()]
    return rows + _flashers()


def _get(name: str) -> int:
    """Run the command that installs what is missing. Raises LnpError if that fails, or is no command."""
    known = {what: (found, get) for what, found, _, get in _tools()}
    if name not in known:
        raise ConfigError(f"lnp doctor lists no {name[:40]!r}", f"{nearest(name, known)}choose from its list")
    found, get = known[name]
    if not get:
        out.print(f"{name} is there: {found}", soft_wrap=True, markup=False)
        return 0
    command = _words(get)
    if not command or not shutil.which(command[0]):
        raise LnpError(f"lnp cannot install {name} here", get)
    told = shlex.join(command)
    note(told)
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as e:
        raise LnpError(f"cannot run {told}: {e.strerror}", get) from None
    if code != 0:
        how = f"failed with code {code}" if code > 0 else f"was ended by signal {-code}"
        raise LnpError(f"{told} {how}", "mend what it says above, then run this again")
    found, get = {what: (found, get) for what, found, _, get in _tools()}[name]
    if get:
        hint = "what it says above may name the reason"
        if found == MISSING:
            hint = "add the folder that it was installed into to the variable PATH; lnp doctor lists what is found"
        raise LnpError(f"{told} ended without an error, but {name} is {found}", hint)
    out.print(f"installed: {name}", soft_wrap=True, markup=False)
    return 0


def _words(get: str) -> list[str]:
    """The words of a command that installs something, to be run here; none of a sentence."""
    try:
        words = shlex.split(get)
    except ValueError:  # an apostrophe, which is no quotation mark
        return []
    if INSTALLS not in words[1:3]:
        return []
    if words[0] == "pip":  # of this Python, whatever is on the path
        return [sys.executable, "-m", *words]
    if words[0] == "sudo" and not shutil.which("sudo"):  # as in a container, where one is root
        return words[1:]
    return words


def _flashers() -> list[list[str]]:
    """The flash tools that a board names, and those that are installed."""
    from lnp_edge.firmware_gen.flash import find_program

    named = {tool for b in boards.readable()[0] for tool in b.tools}
    rows = []
    for tool in map(boards.flasher, boards.flashers()):
        found = find_program(tool.write[0][0])
        if found or tool.name in named:
            use, get = f"flash tool: {tool.description}", "" if found else tool.install
            rows.append([tool.name, found or MISSING, use, get])
    return rows


def programs(known: list[Board]) -> dict[str, str]:
    """What these boards are built, emulated and flashed with, and what each program is for."""
    found = {"cc": "native compiler for --board host", "make": "builds a generated folder without Python"}
    for b in known:
        if b.family:
            found[COMPILERS[b.family]] = f"compiler for {TITLES[b.family]}"
    of = dict[tuple[str, str], list[str]]()
    for b in known:
        if b.start == "qemu":
            of.setdefault((b.qemu[0], "emulator of"), []).append(b.name)
        if b.start == "simavr":
            of.setdefault(("simavr", "emulator of"), []).append(b.name)
    return found | {program: f"{what} {', '.join(names)}" for (program, what), names in of.items()}


def debian() -> dict[str, str]:
    """What builds and emulates the boards that ship, and the Debian package of each: ./run installs them."""
    known, _ = boards.readable()
    return {program: INSTALL[program].removeprefix("sudo apt-get install ") for program in programs(known)}


def _row(name: str, found: str | None, use: str) -> list[str]:
    return [name, found or MISSING, use, "" if found else INSTALL[name]]


def _package(name: str, found: str | None, use: str) -> list[str]:
    """As _row; a package of another release than lnp's own metadata ask for is no better than none."""
    needs = wanted(name, found) if found else ""
    return [name, f"{found}, needs {needs}", use, upgrade(name)] if needs else _row(name, found, use)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _ports() -> list[list[str]]:
    from serial.tools.list_ports import comports

    from lnp_edge.runtime.ports import owner_group

    rows = []
    for port in comports():
        path, what = Path(port.device), "serial port" if port.description == "n/a" else port.description
        if os.access(path, os.R_OK | os.W_OK):
            rows.append([port.device, "ready", what, ""])
        else:
            group = owner_group(path)
            rows.append([port.device, "no permission", what, f"sudo usermod -aG {group} $USER"])
    return rows or [["serial ports", "none", "real boards and sensors", "plug one in"]]
