"""The command that gets each tool: one place, for errors and for lnp doctor."""

from importlib.util import find_spec

from lnp_edge.base.errors import LnpError

# torch by this index: on Linux the package index's own build brings gigabytes of CUDA that nothing here uses.
TORCH = "pip install torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu"
MCU = "pip install ziglang unicorn pyelftools"

INSTALL = {
    "cc": "sudo apt-get install gcc",
    "make": "sudo apt-get install make",
    "arm-none-eabi-gcc": "sudo apt-get install gcc-arm-none-eabi",
    "qemu-system-arm": "sudo apt-get install qemu-system-arm",
    "st-flash": "sudo apt-get install stlink-tools",
    "ziglang": MCU,
    "unicorn": MCU,
    "pyelftools": MCU,
    "torch": TORCH,
    "scikit-learn": "pip install scikit-learn",
    "matplotlib": "pip install matplotlib",
    "onnxruntime": "pip install onnxruntime",
    "pillow": "pip install pillow",
    "optuna": "pip install optuna",
}


def require(*packages: str) -> None:
    """Raises LnpError with the command that gets the first of these that is not installed."""
    for package in packages:
        if find_spec({"scikit-learn": "sklearn"}.get(package, package)) is None:
            raise LnpError(f"this needs {package}, which is not installed", INSTALL[package])
