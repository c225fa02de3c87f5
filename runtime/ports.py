"""Open the port of a device: an emulator in this process, a program on a pty, or a real port."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import serial

from lnp_edge.base import system
from lnp_edge.base.errors import BoardError, LinkError
from lnp_edge.base.files import temporary_place
from lnp_edge.base.install import INSTALL
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.runtime.link import Port
from lnp_edge.runtime.pico import Pico
from lnp_edge.runtime.simavr import Simavr
from lnp_edge.spec.board import Board

if TYPE_CHECKING:
    from serial.tools.list_ports_common import ListPortInfo

GREETS_WITHIN = 10.0  # s; a program that says nothing is opened all the same, for the link to say what is wrong

NO_PTY = "mount /dev/pts, or take a board that needs none, such as --board cortex-m4: lnp boards lists them"
COMES_BACK, ASKED_EVERY = 60.0, 0.1  # s; a port that goes away for longer is gone


def open_board(board: Board, image: Path | None, port: str | None = None) -> Port:
    """The given port of a board; without one, start the image on an emulated board."""
    if port:
        return open_serial(port, board.baud, board.opens_ms)
    if board.start == "serial":
        raise LinkError(f"{board.name} is a real board", "name its port: --port /dev/ttyACM0 (lnp doctor lists ports)")
    if image is None:
        raise BoardError(f"no image for {board.name}", "build it first: lnp build DIR")
    if board.start == "unicorn":
        return Emulator(board, image)
    if board.start == "rp2040py":
        return Pico(board, image)
    if board.start == "simavr":
        return Simavr(board, image)
    if board.start == "qemu":
        return PtyProcess(qemu_command(board, image))
    return PtyProcess([str(image)])


def qemu_command(board: Board, image: Path) -> list[str]:
    program, *options = board.qemu
    qemu = shutil.which(program)
    if not qemu:
        raise BoardError(f"{program} is not installed", INSTALL[program])
    return [
        qemu, *options, "-display", "none", "-monitor", "none",
        "-chardev", "stdio,id=uart,signal=off", "-serial", "chardev:uart", "-kernel", str(image),
    ]  # fmt: skip


def at_usb(board: Board) -> str:
    """The port at USB that is the board's: the one with its ids; the only one, if its serial adapter can be any.

    Raises LinkError if there is none, or several.
    """
    from serial.tools.list_ports import comports

    there = [port for port in comports() if port.vid is not None]  # not the computer's own, such as ttyS0
    found = [port.device for port in there if not board.usb or _usb_id(port) in board.usb]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise LinkError(f"{' and '.join(found)} may each be that of {board.name}", f"name its port: --port {found[0]}")
    ids = f" ({', '.join(board.usb)})" if board.usb else ""
    what = f"no serial port at USB{ids} is that of {board.name}"
    raise LinkError(what, "connect it, or name its port: --port /dev/ttyACM0 (lnp doctor lists ports)")


def _usb_id(port: ListPortInfo) -> str:
    return f"{port.vid:04x}:{port.pid or 0:04x}"  # on Windows the product may be unknown


def open_serial(port: str, baud: int, opens_ms: int = 0) -> serial.SerialBase:
    """Open a serial port or a pyserial URL (socket://...). Raises LinkError, which says why not.

    opens_ms : how long a board that this resets may take until it greets: its boot loader would take what is sent
    """
    try:
        link = serial.serial_for_url(port, baudrate=baud, timeout=0.05, write_timeout=5, do_not_open=True)
        if hasattr(link, "exclusive"):
            link.exclusive = True
        with system.terminal():
            link.open()
        _greeted(link, opens_ms)
        return link
    except (OSError, ValueError) as e:
        raise LinkError(*_why(port, e)) from None
    except (KeyError, TypeError, re.error) as e:  # pyserial's own mistakes, over the options of a URL
        raise LinkError(f"cannot open {port}: pyserial fails with {type(e).__name__}", "correct its address") from None


def open_again(port: Port, opens_ms: int = 0, sleep: Callable[[float], None] = time.sleep) -> None:
    """Open a serial port again that went away. Raises LinkError if it does not come back. opens_ms : see open_serial"""
    for _ in range(round(COMES_BACK / ASKED_EVERY)):
        try:
            port.close()
            with system.terminal():
                port.open()  # type: ignore[attr-defined]
            _greeted(port, opens_ms)
            return
        except OSError as e:
            why = str(e)
        sleep(ASKED_EVERY)
    raise LinkError(f"the port went away for {COMES_BACK:g} s: {why}", "check the cable and run the command again")


def _greeted(link: Port, opens_ms: int) -> None:
    """Wait until a board that restarts as its port is opened says something, so long at most."""
    end = time.monotonic() + opens_ms / 1000
    while time.monotonic() < end and not link.in_waiting:
        time.sleep(0.01)


def _why(port: str, e: Exception) -> tuple[str, str]:
    number, text = getattr(e, "errno", None), str(e)
    if number == 13:
        return (
            f"cannot open {port}: permission denied",
            f"join the group that owns it, then log in again: sudo usermod -aG {owner_group(Path(port))} $USER",
        )
    if number in (11, 16) or "exclusive" in text:
        return f"cannot open {port}: another program uses it", f"find it with: fuser {port}"
    if "PermissionError" in text:  # Windows, where pyserial tells no number
        return f"cannot open {port}: another program uses it", "close it: a serial monitor, another lnp"
    if number == 2 or "FileNotFoundError" in text:
        return f"cannot open {port}: there is no such port", "lnp doctor lists the available ports"
    return f"cannot open {port}: {text}", "lnp doctor lists the available ports"


def owner_group(path: Path) -> str:
    """The group that may open a port; dialout if the port is gone, or its group root or unnamed."""
    try:
        import grp

        group = path.stat().st_gid
        return grp.getgrgid(group).gr_name if group else "dialout"
    except (KeyError, OSError, ImportError):  # Windows has no groups
        return "dialout"


@contextmanager
def spoken_to(program: str) -> Iterator[None]:
    """Within it, a port that fails is a LinkError of a program that lnp itself started: there is no cable to check."""
    try:
        yield
    except OSError as e:  # pyserial's SerialException is one
        raise LinkError(f"lost {program}: {e}", "run the command again, on a less busy machine") from None


def _ended(program: str, said: IO[bytes]) -> BoardError:
    """The error for a program that has ended before anyone asked it, in its words."""
    said.seek(0)
    lines = said.read(1000).decode(errors="replace").splitlines()
    what = f"{Path(program).name} ended at once: {lines[0] if lines else 'it said nothing'}"
    return BoardError(what, "check machine in its board.toml, and run lnp doctor")


class PtyProcess(serial.Serial):
    """A program whose standard input and output are a pty, opened here like a serial port.

    It is open once the program has written: firmware greets when it starts, and QEMU drops what is
    sent to a UART that is not yet enabled.
    """

    emulated = True
    deadline = 60.0  # s until a request without a valid reply fails: only a busy machine keeps it waiting

    def __init__(self, command: list[str]):
        super().__init__(baudrate=115200, timeout=0.05, write_timeout=self.deadline)
        self._process: subprocess.Popen | None = None
        with tempfile.TemporaryFile(dir=temporary_place()) as said:
            self._start(command, said)
            try:
                waiting = select.poll()
                waiting.register(self.fd, select.POLLIN)
                if any(event & select.POLLHUP for _, event in waiting.poll(1000 * GREETS_WITHIN)):
                    raise _ended(command[0], said)
            except BaseException:  # Ctrl-C leaves no program behind
                self.close()
                raise

    def _start(self, command: list[str], said: IO[bytes]) -> None:
        try:
            import tty

            master, slave = os.openpty()
        except (OSError, ImportError, AttributeError) as e:
            why = e.strerror if isinstance(e, OSError) else "this system has none"
            raise BoardError(f"cannot open a pty: {why}", NO_PTY) from None
        try:
            tty.setraw(slave)
            self.port = os.ttyname(slave)
            self.open()  # first, for it throws away what was written
            self._process = subprocess.Popen(
                command,
                stdin=master,
                stdout=master,
                stderr=said,
                start_new_session=True,
                **system.CHILD,
            )
        except (OSError, ValueError) as e:
            self.close()
            raise BoardError(f"cannot start {command[0]}: {e}", "run lnp doctor") from None
        finally:
            os.close(master)
            os.close(slave)

    def close(self) -> None:
        super().close()
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
