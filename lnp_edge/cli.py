"""The `lnp` command; lnp_edge.commands has one module per command."""
# ruff: noqa: E402

from __future__ import annotations

import gc
import os

# One BLAS thread per process: two threads on two busy cores were nine times slower. This must be
# set before numpy is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Imports and the compilation of kernels make millions of objects that stay. With Python's own (700, 10, 10) a sixth of
# the time of either went into looking for what may be freed.
gc.set_threshold(50_000, 20, 100)

import argparse
import errno
import io
import re
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

from lnp_edge import boards
from lnp_edge.base import stopping
from lnp_edge.base.console import fail
from lnp_edge.base.errors import ConfigError, LnpError
from lnp_edge.base.version import VERSION

# In the order of use; each module has HELP, EXAMPLE, arguments(parser) and run(args) -> exit code.
COMMANDS = (
    "demo", "new", "data", "prune", "train", "quantize", "generate", "build", "flash", "verify", "run",
    "mutate", "fuzz", "soak", "reproduce", "stream", "baseline", "compare", "bench", "boards", "doctor",
)  # fmt: skip

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
CRASHED = 70  # sysexits.h: EX_SOFTWARE. Python's default 1 already means that the answer is no.


ROAD = """lnp-edge: recurrent spiking networks for microcontrollers, verified bit for bit.

  see it work            lnp demo --quick        about a minute
  use your own data      lnp new my.toml --data FOLDER
                         lnp train my.toml -o trained.safetensors
                         lnp quantize trained.safetensors -o model.onnx
  put it on a board      lnp boards              which there are
                         lnp generate model.onnx --board BOARD -o firmware
                         lnp build firmware
                         lnp flash firmware
                         lnp verify model.onnx --board BOARD --port PORT
  run it on a stream     lnp run model.onnx --source recording.csv

lnp --help lists all commands, lnp COMMAND --help has an example of each."""
INVALID = re.compile(r"argument COMMAND: invalid choice: '(.*?)' \(choose from (.*)\)", re.S)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print a usage error in two lines, like every other error; of a name that is unknown, the nearest."""
        hint = f"{self.prog} --help shows how"
        if found := INVALID.search(message):
            near = get_close_matches(found[1], re.findall(r"[\w-]+", found[2]), 1)
            message = f"lnp has no command {found[1][:60]!r}"
            hint = f"did you mean {near[0]!r}? {hint}" if near else hint
        fail(ConfigError(message, hint))
        sys.exit(2)


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands: only their modules are imported, which takes a second for all."""
    top = Parser(
        prog="lnp",
        description="Recurrent spiking networks for microcontrollers: pruned before training, verified bit for bit.",
        epilog="Exit codes: 0 done, 1 the answer is no (mismatch, does not fit), 2 you can fix it, "
        f"{CRASHED} lnp itself failed (please report it).",
    )
    top.add_argument("--version", action="version", version=f"lnp-edge {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in names:
        module = import_module(f"lnp_edge.commands.{name}")
        sub = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            epilog=f"example:\n{module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(sub)
        sub.set_defaults(run=module.run, refuse=sub.error)
    return top


def main(argv: list[str] | None = None) -> int:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (as long as the process)
    for stream in (sys.stdout, sys.stderr):  # a terminal without UTF-8 shows ? for other characters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        if argv is None:  # a process of its own
            stopping.guard()
        words = sys.argv[1:] if argv is None else argv
        if not words:
            print(ROAD, flush=True)
            return 0
        args, unknown = parser(words[:1] if words[0] in COMMANDS else COMMANDS).parse_known_args(words)
        if unknown:
            args.refuse(f"unrecognized arguments: {' '.join(unknown)}")
        with boards.beside(getattr(args, "boards", None)):
            code = args.run(args)
        sys.stdout.flush()
        return code
    except LnpError as e:
        fail(e)
        return e.exit_code
    except KeyboardInterrupt as e:
        return stopping.leave(e)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as e:  # from this process or, through its future, from a worker
        if isinstance(e, OSError) and e.errno in FULL:
            fail(ConfigError(f"cannot write: {e.strerror}", "make room, or write elsewhere"))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left cannot be written at the end either
            return 2
        if isinstance(e, OSError) and e.errno == errno.ENAMETOOLONG:
            fail(ConfigError(f"cannot use {str(e.filename)[:60]}...: {e.strerror}", "choose a shorter name"))
            return 2
        traceback.print_exc()
        print("lnp itself failed: please report it with these lines and the output of lnp doctor", file=sys.stderr)
        return CRASHED


if __name__ == "__main__":
    sys.exit(main())
