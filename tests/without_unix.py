"""A process in which lnp_edge finds no more than Windows has: python without_unix.py FOLDER, for test_platforms.py.

Other packages are imported first: their own way of doing without is not the matter.
"""

import builtins
import importlib
import os
import select
import shutil
import signal
import sys
from pathlib import Path

OTHERS = ["multiprocessing.pool", "numba", "onnx", "rich.progress", "scipy.stats", "serial", "torch", "unicorn"]
MODULES = {"fcntl", "grp", "pty", "pwd", "readline", "resource", "termios", "tty"}
NAMES = {
    os: "fork forkpty openpty ttyname O_NONBLOCK O_CLOEXEC set_blocking pread geteuid getuid sched_getaffinity mkfifo",
    signal: "SIGHUP SIGKILL SIGALRM SIGPIPE pthread_sigmask setitimer",
    select: "poll",
}


def hide():
    for name in OTHERS:
        importlib.import_module(name)
    os.environ["USERNAME"] = "anna"  # Windows sets it, and torch asks for it
    found = builtins.__import__

    def without(name, globals=None, *rest, **more):
        if name in MODULES and (globals or {}).get("__name__", "").startswith("lnp_edge"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return found(name, globals, *rest, **more)

    builtins.__import__ = without
    for module, names in NAMES.items():
        for name in names.split():
            delattr(module, name)
    shutil._use_fd_functions = False  # Python's own rmtree goes by descriptors where Unix is
    serial = sys.modules["serial"]

    def no_port(name, **options):
        """As pyserial says it there: its error has no number."""
        raise serial.SerialException(f"could not open port {name!r}: FileNotFoundError(2, 'cannot find it', None, 2)")

    serial.serial_for_url = no_port


def lnp(*words, code=0):
    from lnp_edge.cli import main

    assert main(list(words)) == code, words


def chain():
    Path("a.toml").write_text("[network]\nneurons = 8\n[train]\nepochs = 1\n[data]\nlimit = 2\nhop = 4.0\n")
    lnp("prune", "a.toml", "-o", "pruned.safetensors")
    lnp("train", "pruned.safetensors", "-o", "trained.safetensors")
    lnp("quantize", "trained.safetensors", "-o", "model.onnx")
    lnp("generate", "model.onnx", "--board", "cortex-m4", "-o", "firmware")
    lnp("build", "firmware")
    lnp("verify", "model.onnx", "--board", "cortex-m4", "--steps", "20")
    lnp("boards")
    lnp("doctor")
    for command, *rest in (["verify", "--board", "host"], ["mutate"], ["soak"], ["run", "--source", "COM99"]):
        lnp(command, "model.onnx", *rest, code=2)


if __name__ == "__main__":
    hide()
    os.chdir(sys.argv[1])
    chain()
