"""Say which compilers, emulators, packages and serial ports are there, and the command that gets what is missing."""

import argparse
import grp
import json
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lnp_edge.console import out, table

HELP = "say what is there, what is missing and how to get it"
EXAMPLE = "  lnp doctor"

PROGRAMS = {
    "cc": ("native compiler for --board host", "sudo apt-get install gcc"),
    "make": ("builds a generated folder without Python", "sudo apt-get install make"),
    "arm-none-eabi-gcc": ("Arm compiler", "sudo apt-get install gcc-arm-none-eabi"),
    "qemu-system-arm": ("emulator of mps2-an386", "sudo apt-get install qemu-system-arm"),
    "st-flash": ("flashes ST boards", "sudo apt-get install stlink-tools"),
}
PACKAGES = {
    "ziglang": ("Arm and native compiler, no root", 'pip install "lnp-edge[mcu]"'),
    "unicorn": ("emulator of cortex-m4, no root", 'pip install "lnp-edge[mcu]"'),
    "pyelftools": ("reads images", 'pip install "lnp-edge[mcu]"'),
    "torch": ("training only", "pip install torch --index-url https://download.pytorch.org/whl/cpu"),
    "onnxruntime": ("tests of model.onnx only", "pip install onnxruntime"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    rows = [_program(name, *facts) for name, facts in PROGRAMS.items()]
    rows += [_package(name, *facts) for name, facts in PACKAGES.items()]
    rows += _ports()
    if args.json:
        keys = ("what", "found", "for", "get")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        out.print(table("", ["what", "found", "for", "if missing"], rows))
    return 0


def _program(name: str, use: str, get: str) -> list[str]:
    path = shutil.which(name)
    return [name, path or "missing", use, "" if path else get]


def _package(name: str, use: str, get: str) -> list[str]:
    try:
        return [name, version(name), use, ""]
    except PackageNotFoundError:
        return [name, "missing", use, get]


def _ports() -> list[list[str]]:
    from serial.tools.list_ports import comports

    rows = []
    for port in comports():
        path = Path(port.device)
        if os.access(path, os.R_OK | os.W_OK):
            rows.append([port.device, "ready", port.description, ""])
        else:
            group = _group(path)
            rows.append([port.device, "no permission", port.description, f"sudo usermod -aG {group} $USER"])
    return rows or [["serial ports", "none", "real boards and sensors", "plug one in"]]


def _group(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (KeyError, OSError):  # a group without a name, as in containers; or just unplugged
        return "dialout"
