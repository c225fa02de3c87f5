"""Mutants of a model's firmware, built for this computer and verified as lnp verify does."""

from __future__ import annotations

import hashlib
import re
import select
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge import boards
from lnp_edge.base import system
from lnp_edge.base.errors import BoardError, LnpError
from lnp_edge.firmware_gen import commands, mutants, network
from lnp_edge.firmware_gen.build import compiler
from lnp_edge.firmware_gen.folder import scratch
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.firmware_gen.mutants import Mutant
from lnp_edge.runtime import selftest
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.link import BAUD, Link, Lost
from lnp_edge.runtime.rate import NONE
from lnp_edge.runtime.verify import stimulus, verify
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.protocol import PAYLOAD

STEPS = 2000  # of the stimulus
DEADLINE, LONGEST, BUILD = 1.0, 60.0, 120.0  # s: until a silent mutant is one, of a whole mutant, of its compiler
PEEKED = 65536  # bytes that are said to wait, at most
DRIVER = "posix.c"  # of this computer, and no part of the product
TESTS = "lnp_selftest.c"  # runs only while it is verified
CLOCK = "    return 0;\n}\n"  # lnp_board_cycles of it
START = "uint32_t lnp_board_boot(void)\n{"
CAUSE = "return LNP_CAUSE_UNKNOWN;"
BOOT = 0xB0079E7D  # what stands there instead, with another cause
CYCLES = 70_001  # of each step, by the clock that stands there instead: more than 16 bits
HIGHEST = 921_600  # Bd, at which steps are verified
LINE = 12_000_000  # Hz, which a divider makes a rate of the line of, there too: a pty has none


def divider(baud: int) -> int:
    """What a rate of the line is made by."""
    return round(LINE / baud)


# By hand, of LINE: the rates that it has for others, 0 if none is within 2 %, or if what is asked for is slower than
# the first rate or more than eight times it.
RATES = {
    490_195: 0, 490_196: 500_000, 510_204: 500_000, 510_205: 0,  # 24; 2 % are 9,804 and 10,204 Bd
    115_199: 0, 115_201: 115_385, 921_601: 0, 320_000: 315_789, HIGHEST: 923_077,  # 104, 37.5 and 13
}  # fmt: skip
OF_RATES = (
    ("static size_t waiting_count;", f"static size_t waiting_count;\nstatic uint32_t divider = {divider(BAUD)};"),
    ("return (size_t)n;", "for (ssize_t k = 0; k < n; k++) {\nbytes[k] ^= (uint8_t)divider;\n}\nreturn (size_t)n;"),
    ("= bytes[i];", "= bytes[i] ^ (uint8_t)divider;"),
    ("    (void)change;\n    return baud;",
     f"const uint32_t other = lnp_divide({LINE}, baud);\ndivider = change ? other : divider;\n"
     f"return lnp_rate({LINE}, other, baud);"),
)  # fmt: skip
CAUGHT, SURVIVED, EQUIVALENT, INVALID = FATES = "caught", "survived", "equivalent", "invalid"


@dataclass(frozen=True)
class Result:
    """fate : one of the above;  how : what caught it"""

    mutant: Mutant
    fate: str
    how: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self.mutant) | {"fate": self.fate, "how": self.how}


class Socket:
    """A program on a socket, as a Port. It ends with the port."""

    def __init__(self, image: Path):
        self.timeout: float | None = None
        self._own, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [str(image)],
                stdin=other.fileno(),
                stdout=other.fileno(),
                stderr=subprocess.DEVNULL,
                **system.CHILD,
            )
        self._own.settimeout(DEADLINE)
        self._timer = threading.Timer(LONGEST, self._process.kill)
        self._timer.start()

    @property
    def in_waiting(self) -> int:
        if not select.select([self._own], [], [], 0)[0]:
            return 0
        return len(self._own.recv(PEEKED, socket.MSG_PEEK))

    def read(self, size: int = 1) -> bytes:
        if not select.select([self._own], [], [], self.timeout)[0]:
            return b""
        found = self._own.recv(size)
        if not found:
            raise OSError("the program has ended")
        return found

    def write(self, data: bytes) -> int:
        self._own.sendall(data)
        return len(data)

    def close(self) -> None:
        self._timer.cancel()
        self._own.close()
        self._process.kill()
        self._process.wait()


class RatedSocket(Socket):
    """One whose ends change what passes by their dividers: what one sends at another rate than the other is noise."""

    baudrate = BAUD

    def read(self, size: int = 1) -> bytes:
        return self._at_rate(super().read(size))

    def write(self, data: bytes) -> int:
        return super().write(self._at_rate(data))

    def _at_rate(self, data: bytes) -> bytes:
        key = divider(self.baudrate) & 0xFF
        return bytes(byte ^ key for byte in data)


class Builder:
    """Compiles the firmware of a model, and mutants of it, of which only what has changed."""

    def __init__(self, model: QuantizedModel, folder: Path):
        board = boards.get("host")
        self.folder, self.files = folder, generate(model, board)
        clock = f"    static uint32_t now;\n    now += {CYCLES}u;\n    return now;\n}}\n"
        for old, new in (
            (CLOCK, clock),
            (START, f"{START}\n    return {BOOT}u;"),
            (CAUSE, "return LNP_CAUSE_WATCHDOG;"),
            *OF_RATES,
        ):
            assert self.files[DRIVER].count(old) == 1
            self.files[DRIVER] = self.files[DRIVER].replace(old, new)
        for name, text in self.files.items():
            (folder / name).write_text(text, "utf-8")
        tools = commands.toolchain(board)
        self._cc = [*compiler("host"), "-std=c11", "-O1", "-w", commands.KEEP_NULL, *tools.flags]
        self.sources = sorted(name for name in self.files if name.endswith(".c"))
        self._objects: dict[str, bytes] = {}
        self._whole = b""
        for source in self.sources:
            done = self._compile(source, folder / "plain")
            if done is None:
                raise BoardError(f"{self._cc[0]} does not compile {source}", "run lnp doctor")
            self._objects[source] = done
        self.image = self._linked(folder / "plain", {})

    def last_resort(self, mutant: Mutant) -> str | Path:
        """Of a mutant that nothing noticed: EQUIVALENT if the optimised whole program is the same, else its image
        with the sanitizers, which see what leaves an array without an effect."""
        mutated = self.folder / mutant.file
        whole = ["-O3", "-flto", "-fwhole-program", "-fno-asynchronous-unwind-tables", "-s"]
        if not self._whole:
            self._whole = self._at_once("whole", whole)
        mutated.write_text(mutant.of(self.files[mutant.file]), "utf-8")
        try:
            if self._whole and self._at_once("whole", whole) == self._whole:
                return EQUIVALENT
            return self.folder / "checked" if self._at_once("checked", list(commands.SANITIZE)) else SURVIVED
        finally:
            mutated.write_text(self.files[mutant.file], "utf-8")

    def _at_once(self, name: str, flags: list[str]) -> bytes:
        """Compile and link everything; the hash of the image, b"" if that fails."""
        (self.folder / name).unlink(missing_ok=True)
        done = subprocess.run(
            [*self._cc, *flags, "-o", name, *self.sources], cwd=self.folder, capture_output=True, timeout=BUILD,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return hashlib.sha256((self.folder / name).read_bytes()).digest() if done.returncode == 0 else b""

    def code(self) -> dict[str, str]:
        """What is mutated: generated and hand-written C, but not the driver of this computer."""
        found = {name: text for name, text in self.files.items() if name.endswith((".c", ".h"))}
        return {name: text for name, text in found.items() if name not in (DRIVER, TESTS)}

    def build(self, mutant: Mutant) -> Path | str:
        """The image of a mutant; or that it is equivalent or invalid."""
        mutated = self.folder / mutant.file
        objects = {}
        mutated.write_text(mutant.of(self.files[mutant.file]), "utf-8")
        try:
            for source in self._reading(mutant.file):
                done = self._compile(source, self.folder / "mutant")
                if done is None:
                    return INVALID
                if done != self._objects[source]:
                    objects[source] = done
        finally:
            mutated.write_text(self.files[mutant.file], "utf-8")
        return self._linked(self.folder / "mutant", objects) if objects else EQUIVALENT

    def _reading(self, file: str) -> list[str]:
        """The sources that read a file."""
        found, todo = set(), {file}
        while todo:
            name = todo.pop()
            found.add(name)
            todo |= {other for other, text in self.files.items() if name in network.INCLUDE.findall(text)} - found
        return [source for source in self.sources if source in found]

    def _compile(self, source: str, into: Path) -> bytes | None:
        into.mkdir(exist_ok=True)
        output = into / f"{source}.o"
        output.unlink(missing_ok=True)
        done = subprocess.run(
            [*self._cc, "-c", "-o", output, source], cwd=self.folder, capture_output=True, timeout=BUILD,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return hashlib.sha256(output.read_bytes()).digest() if done.returncode == 0 else None

    def _linked(self, into: Path, changed: dict[str, bytes]) -> Path | str:  # type: ignore[return]
        objects = [(into if s in changed else self.folder / "plain") / f"{s}.o" for s in self.sources]
        image = into / "image"
        done = subprocess.run([*self._cc, "-o", image, *objects], capture_output=True, timeout=BUILD, check=False)
        return image if done.returncode == 0 else INVALID


def results(
    model: QuantizedModel, count: int, seed: int, real: list[NDArray[np.int16]], file: str = "",
    known: Sequence[tuple[str, str]] = (),
) -> Iterator[Result]:  # fmt: skip
    """The fate of each of `count` mutants, of a file or of all. known : fate and how of the first ones

    Raises BoardError if the firmware without a change is not verified: then no figure means anything.
    """
    with scratch() as folder:
        builder = Builder(model, folder)
        if (wrong := caught(model, Path(builder.image), real)) != "":
            raise BoardError(f"the firmware without a change is not verified: {wrong}", "run lnp verify --board host")
        code = builder.code()
        if file and file not in code:
            raise BoardError(f"{file[:60]!r} is no file whose C is mutated", f"choose one of {', '.join(code)}")
        code = {file: code[file]} if file else code
        for number, mutant in enumerate(mutants.drawn(code, count, seed)):
            if number < len(known):
                yield Result(mutant, *known[number])
                continue
            image = builder.build(mutant)
            if isinstance(image, str):
                yield Result(mutant, image)
                continue
            how = caught(model, image, real)
            if not how:
                image = builder.last_resort(mutant)
                if isinstance(image, str):
                    yield Result(mutant, image)
                    continue
                if how := caught(model, image, real):
                    how = f"sanitizers: {how}"
            yield Result(mutant, CAUGHT if how else SURVIVED, how)


def key(model: QuantizedModel) -> str:
    """What is mutated."""
    return f"model {model.fingerprint:08x}, build {_build(model):08x}"


def _build(model: QuantizedModel) -> int:
    """What the firmware tells of its sources."""
    found = re.search(r"#define LNP_BUILD 0x(\w+)u", generate(model, boards.get("host"))["lnp_config.h"])
    assert found
    return int(found[1], 16)


def caught(model: QuantizedModel, image: Path, real: list[NDArray[np.int16]]) -> str:
    """What lnp verify says against this firmware, in a line; "" if nothing."""
    with closing(RatedSocket(image)) as port:
        try:
            if wrong := selftest.unopened(port):
                return wrong
            device = Device(port, model, "the mutant", DEADLINE, rates=(HIGHEST,))
            report = verify(model, device, chain(stimulus(model, STEPS, 1), real))
            if not report.ok:
                return report.lines()[0]
            if device.greeting.board != "host":
                return f"it calls itself {device.greeting.board}"
            if device.greeting.clock_hz != boards.get("host").clock_hz:
                return f"it tells a clock of {device.greeting.clock_hz} Hz"
            if (device.greeting.boot, device.greeting.cause) != (BOOT, "watchdog"):
                return f"it tells start {device.greeting.boot:08x} by {device.greeting.cause}"
            if device.greeting.build != _build(model):
                return f"it tells build {device.greeting.build:08x}"
            if report.cycles_per_step != CYCLES:
                return f"{report.cycles_per_step or 0:g} cycles a step, not {CYCLES}"
            if device.traffic.damaged_here:
                return "it sends damaged frames"
            tested = selftest.run(model, device, 1, every=True)
            return _rates(model, port, device) if tested.ok else tested.lines()[0]
        except Lost as e:
            return e.error.what
        except OSError as e:
            return str(e)
        except LnpError as e:
            return e.what


def _rates(model: QuantizedModel, port: RatedSocket, device: Device) -> str:
    """What is wrong with the rates of the line, or with a call, which brings the last of them back; "" if nothing."""
    for baud, has in RATES.items():
        device.rate.down()
        device = Device(port, model, "the mutant", DEADLINE, rates=(baud,))
        if device.rate.told != {baud: f"used, {has} on the board" if has else NONE}:
            return f"rates of the line: {device.rate.told}"
    port.baudrate = BAUD
    Link(port, "the mutant", DEADLINE).call(PAYLOAD)
    device = Device(port, model, "the mutant", DEADLINE)
    for _ in range(2):  # the first reply may be at one rate, and the next at another
        device.reset()
    return ""
