"""What is not the same on Linux, macOS and Windows: locks, processors, and children that end with their parent.

What a system has is asked of Python's modules, not of the system's name: docs/platforms.md says what works where.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from lnp_edge.base import stopping
from lnp_edge.base.errors import LnpError

fcntl: ModuleType | None
termios: ModuleType | None
try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None

LOCKS = fcntl is not None
AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # of os.open: a named pipe without a writer does not block it
BYTES = getattr(os, "O_BINARY", 0)  # of os.open: Windows leaves line ends as they are
# Of subprocess.Popen: kill -9 of this process ends the child too. Windows refuses the option.
CHILD: dict[str, Any] = {"preexec_fn": stopping.end_with_parent} if hasattr(os, "fork") else {}


def lock(handle: int, wait: bool = False) -> None:
    """Lock an open file or folder against other processes. A lock ends with its process, however that ends.

    Raises BlockingIOError if another process has it and this one is not to wait. A disk or a system that knows no
    locks has none.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        pass


@contextmanager
def terminal() -> Iterator[None]:
    """Within it, what a terminal or a serial port refuses is an OSError: Unix has an error of its own for it."""
    try:
        yield
    except Exception as e:
        if termios is None or not isinstance(e, termios.error):
            raise
        raise OSError(*e.args) from None


def processors() -> int:
    """How many processors this process may use: a container or taskset leaves it fewer than the computer has."""
    with suppress(AttributeError, OSError):  # macOS, Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_megabytes() -> float:
    """The most memory that this process had; NaN where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def need_unix(command: str) -> None:
    """Raise LnpError on a system that does not start processes as Unix does."""
    if not hasattr(os, "fork"):
        raise LnpError(f"{command} needs Linux or macOS", "run it there, or in the Windows Subsystem for Linux")
