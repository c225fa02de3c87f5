"""Ctrl-C, SIGTERM and SIGHUP end a command within a second, whatever it does, and leave no process behind.

Python raises KeyboardInterrupt where the interpreter runs next. That may be late, after a long computation in C,
or in vain: in a callback from C, or where a library catches everything. So a thread waits for GRACE, and then ends
the process. A callback tells what it lost with a traceback, which is no news then.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

STOPS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one way to end a process
GRACE = 0.5  # s for a command to end by itself
SCRATCH: set[Path] = set()  # folders that are removed whatever happens
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)

_guarded = False


def guard() -> None:
    """Watch over this process: once, in its main thread. Signals that the caller ignores stay ignored."""
    global _guarded
    if _guarded:
        return
    _guarded = True
    reader, writer = os.pipe()
    if hasattr(os, "set_blocking"):  # Windows, before Python 3.12
        os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    before = sys.unraisablehook
    sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, Stopped) else before(lost)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a child leaves behind is then a child of ours
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()


def release() -> None:
    """The work is done: a signal ends what the interpreter still does."""
    for number in STOPS:
        if signal.getsignal(number) == _stop:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: object) -> NoReturn:
    for other in STOPS:
        signal.signal(other, signal.SIG_IGN)  # a second one must not stop the tidying up
    _end_children()  # first: a compiler that ends alone leaves its own children behind
    raise Stopped(number)


class Stopped(KeyboardInterrupt):
    """A signal that ends this process."""

    def __init__(self, number: int):
        super().__init__()
        self.code = 128 + number


def leave(e: KeyboardInterrupt) -> int:
    """What a command that was interrupted exits with. A guarded process ends here: tidying up takes a while."""
    code = e.code if isinstance(e, Stopped) else 128 + signal.SIGINT
    print("\nstopped", file=sys.stderr)
    if _guarded:
        _exit(code)
    return code


def _watch(reader: int) -> None:
    while (number := os.read(reader, 1)[0]) not in STOPS:
        pass
    time.sleep(GRACE)
    with suppress(OSError):
        os.write(2, b"\nstopped\n")
    _exit(128 + number)


def _exit(code: int) -> NoReturn:
    _end_children()
    for folder in list(SCRATCH):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def _end_children() -> None:
    for attempt in range(100):  # one may have begun another
        alive = _descendants()
        for pid in alive:
            with suppress(OSError):
                os.kill(pid, signal.SIGTERM if attempt < 10 else KILL)  # compilers remove what they began
        if not alive:
            return
        time.sleep(0.005)


def _descendants() -> list[int]:
    """The processes that this one started, and theirs, as far as /proc tells."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


@contextmanager
def deferred(stop: Callable[[], Any]) -> Iterator[None]:
    """Call `stop` on a signal that comes within, and run its handler at the end.

    A callback from C may lose the exception that a handler raises.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, Any]] = []

    def note(number: int, frame: object) -> None:
        came.append((number, frame))
        stop()

    before = {number: handler for number in STOPS if callable(handler := signal.getsignal(number))}
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        before[signal.Signals(came[0][0])](*came[0])


def end_with_parent() -> None:
    """In a child: it is killed when the thread that began it ends, even by kill -9. Linux; elsewhere it lives on."""
    _prctl(PR_SET_PDEATHSIG, KILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(option, value, 0, 0, 0)


_LIBC: Any = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before a fork, not after it
