"""A process that is told to end ends, with its code, and takes its children along."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial, partialmethod
from pathlib import Path

import pytest
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base import stopping
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.runtime.ports import open_board

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc, and prctl")
LONG = 60  # s; only a process that hangs takes as long
CODES = {"INT": 130, "TERM": 143, "HUP": 129}


@pytest.fixture(autouse=True)
def heard():
    """Signals that the shell made this process ignore, in the background or under nohup, are heard by it and its
    children: what a handler catches is as usual again in a new program."""
    before = {k: signal.getsignal(k) for k in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)}
    ignored = [k for k, handler in before.items() if handler is signal.SIG_IGN]
    for k in ignored:
        signal.signal(k, signal.default_int_handler if k == signal.SIGINT else lambda *_: None)
    yield
    for k in ignored:
        signal.signal(k, signal.SIG_IGN)


def started(script, *words):
    """A Python process that has printed "ready". Its children are known by a variable that they inherit."""
    head = "import os, signal, subprocess, sys, time\nfrom lnp_edge.base import stopping\n"
    mark = {"LNP_TEST_OF": f"{os.getpid()}-{id(script)}", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", head + textwrap.dedent(script), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | mark, text=True)
    assert process.stdout.readline() == "ready\n"
    return process, mark["LNP_TEST_OF"]


def alive(mark):
    """The processes that carry the mark, but for zombies: those have no environment left."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [path.parent.name] if mark.encode() in path.read_bytes() else []
        except OSError:
            continue
    return found


def ended(process, mark, within=0):
    """The exit code; so many seconds afterwards no child is left."""
    try:
        code = process.wait(LONG)
        until = time.monotonic() + within
        while (left := alive(mark)) and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        process.stdout.close()
        for pid in alive(mark):
            os.kill(int(pid), signal.SIGKILL)
    assert left == []
    return code


@pytest.mark.parametrize("name", CODES)
def test_a_process_ends_where_a_library_catches_every_exception(name):
    process, mark = started(
        """
        stopping.guard()
        said = False
        while True:
            try:
                said = said or print("ready", flush=True) is None
                time.sleep(60)
            except BaseException:
                pass
        """
    )
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert ended(process, mark) == CODES[name]


def test_an_interrupted_command_ends_with_130_and_its_grandchildren_with_it():
    """The shell between ends first, or is asked in vain; the one below it would stay."""
    process, mark = started(
        """
        stopping.guard()
        try:
            child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000; :"], start_new_session=True)
            other = subprocess.Popen(["sh", "-c", "sleep 1000; true"])
            print("ready", flush=True)
            child.wait()
        except KeyboardInterrupt as e:
            stopping.leave(e)
        """
    )
    process.send_signal(signal.SIGINT)
    assert ended(process, mark) == 130


def test_a_signal_in_a_callback_from_c_shows_no_traceback():
    """Numba's compiler calls back: the exception is lost there. What else a callback loses is told."""
    process, mark = started(
        """
        import ctypes
        stopping.guard()
        os.dup2(1, 2)
        calls = []

        def compare(a, b):
            calls.append(a)
            if len(calls) == 1:
                raise ValueError("of a callback")
            if len(calls) == 2:
                signal.raise_signal(signal.SIGTERM)
            return 0

        print("ready", flush=True)
        ctypes.CDLL(None).qsort((ctypes.c_int * 8)(), 8, 4, ctypes.CFUNCTYPE(*[ctypes.c_int] * 3)(compare))
        time.sleep(60)
        """
    )
    assert process.wait(LONG) == 143
    told = process.stdout.read()
    assert ended(process, mark) == 143
    assert "ValueError: of a callback" in told and "Stopped" not in told and told.endswith("\nstopped\n")


def test_a_signal_that_the_caller_ignores_stays_ignored():
    process, mark = started(
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stopping.guard()
        try:
            print("ready", flush=True)
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except KeyboardInterrupt as e:
            stopping.leave(e)
        """
    )
    assert ended(process, mark) == 143


def test_what_was_being_built_is_removed():
    process, mark = started(
        """
        from lnp_edge.firmware_gen.folder import scratch
        stopping.guard()
        with scratch() as folder:
            (folder / "x").write_text("of a compiler")
            said = False
            while True:
                try:
                    said = said or print("ready", folder, sep="\\n", flush=True) is None
                    time.sleep(60)
                except BaseException:
                    pass
        """
    )
    folder = Path(process.stdout.readline().strip())
    assert (folder / "x").exists()
    process.send_signal(signal.SIGTERM)
    assert ended(process, mark) == 143 and not folder.exists()


def test_a_program_on_a_pty_ends_with_its_parent_even_if_that_is_killed():
    process, mark = started(
        """
        from lnp_edge.runtime.ports import PtyProcess
        port = PtyProcess(["sh", "-c", "echo hello; exec sleep 1000"])
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    until = time.monotonic() + LONG
    try:
        while len(alive(mark)) < 2:  # the shell has greeted; while it becomes sleep, it has no environment
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.kill()
    assert ended(process, mark, LONG) == -signal.SIGKILL  # the system kills the child, when it comes to that


def test_a_worker_that_is_still_starting_when_its_parent_is_killed_ends():
    process, mark = started(
        """
        import multiprocessing, stops
        multiprocessing.get_context("spawn").Process(target=stops.begin_late).start()
        time.sleep(60)
        """
    )
    process.kill()
    assert ended(process, mark, LONG) == -signal.SIGKILL


def test_an_interrupt_in_a_callback_from_c_is_not_lost():
    """ctypes prints an exception of a callback and goes on: qsort would compare to the end, and nothing be raised."""
    stopped = []

    def compare(a, b):
        if not stopped:
            signal.raise_signal(signal.SIGINT)
        return 0

    compared = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(compare)
    with pytest.raises(KeyboardInterrupt), stopping.deferred(lambda: stopped.append(1)):
        ctypes.CDLL(None).qsort((ctypes.c_int * 8)(), 8, 4, compared)
    assert stopped == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("name", ["cortex-m4", "mps2-an386", "host"])
@pytest.mark.slow
def test_a_run_on_a_device_ends_at_every_moment(name, firmware):
    image = firmware(name)
    for _ in range(4):
        process, mark = started(
            """
            from pathlib import Path
            from tiny import tiny_counts, tiny_model
            from lnp_edge import boards
            from lnp_edge.runtime.device import Device
            from lnp_edge.runtime.ports import open_board
            stopping.guard()
            try:
                device = Device(open_board(boards.get(sys.argv[1]), Path(sys.argv[2])), tiny_model(1))
                print("ready", flush=True)
                while True:
                    device.steps(tiny_counts(tiny_model(1), 100))
            except KeyboardInterrupt as e:
                stopping.leave(e)
            """,
            name,
            str(image),
        )
        process.send_signal(signal.SIGINT)
        assert ended(process, mark) == 130


def test_an_emulator_that_was_interrupted_goes_on(firmware, monkeypatch):
    """At any of its calls back, of a register that is read or written."""
    model, calls, at = tiny_model(1), [], [10**9]
    counts = tiny_counts(model, 5)

    def interrupted(real, self, *words):
        calls.append(words)
        if len(calls) == at[0]:
            signal.raise_signal(signal.SIGINT)
        return real(self, *words)

    for name in ("_uart_read", "_uart_write"):
        monkeypatch.setattr(Emulator, name, partialmethod(partial(interrupted, getattr(Emulator, name))))
    device = Device(open_board(boards.get("cortex-m4"), firmware("cortex-m4")), model)

    def run():
        device.reset()
        return device.steps(counts).digests.tolist()

    wanted = run()
    calls.clear()
    assert run() == wanted
    for k in range(1, len(calls), 17):
        at[0] = len(calls) + k
        with pytest.raises(KeyboardInterrupt):
            run()
        assert run() == wanted
