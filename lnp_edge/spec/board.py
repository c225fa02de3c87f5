"""A board: parses board.toml and checks every value once.

Values of a board file end up in a Makefile, a linker script and a flash tool's arguments. So each
must be a bounded number, or text that matches a fixed list or pattern.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from lnp_edge.base.errors import BoardError
from lnp_edge.base.files import read_bounded
from lnp_edge.spec.plugins import unknown
from lnp_edge.spec.protocol import NAME_BYTES

CPUS = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "host")
TOOLCHAINS = ("gcc", "zig", "host")
STARTS = ("unicorn", "qemu", "process", "serial")
UNICORN_CPUS = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{NAME_BYTES - 2}}}")
MAX_BYTES = 16384  # tomllib needs seconds for a dotted key of 64 KiB
RANGES = {"irq": (0, 239)}  # of driver values; Armv7-M ARM B1.5.2: interrupts 0 to 239
WATCHDOG_MS = 100, 60_000  # a host gives up a program that it started after 60 s of silence
ARMV6M, ARMV6M_IRQ = ("cortex-m0", "cortex-m0plus"), 31  # Armv6-M ARM B3.4: interrupts 0 to 31
VECTORS = 1024  # bytes, Armv7-M ARM B3.2.5: a table of 16 + 240 vectors is aligned to its size
PAGE = 4096  # bytes; unicorn maps memory in pages
PRIVATE = 0xE000_0000  # Armv7-M ARM B3.1: the core's own registers start here
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
OF_TOOL = re.compile(r"/?[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,39}){0,9}")  # no option, no ".."


@dataclass(frozen=True)
class Region:
    origin: int
    size: int  # bytes

    @property
    def end(self) -> int:
        return self.origin + self.size


@dataclass(frozen=True)
class Board:
    """The facts of one board.

    start : unicorn, qemu and process are started by lnp; serial is real hardware
    """

    name: str
    description: str
    cpu: str
    clock_hz: int
    toolchain: str
    start: str
    flash: Region
    ram: Region
    uart: str  # the driver, boards/common/<uart>.c
    baud: int
    registers: dict[str, int] = field(default_factory=dict)  # LNP_UART_<NAME> in C
    machine: str = ""  # what QEMU calls the board
    tools: dict[str, dict[str, str | int]] = field(default_factory=dict)  # that flash it, with their parameters
    watchdog: str = ""  # its driver, boards/common/<watchdog>.c; "" without one
    watchdog_ms: int = 0  # without a sign of life, until it resets the board
    watchdog_registers: dict[str, int] = field(default_factory=dict)  # LNP_WATCHDOG_<NAME> in C

    @property
    def flash_tool(self) -> str:
        """The tool that flashes it unless another is asked for; "" if there is none."""
        return next(iter(self.tools), "")

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """Bytes of flash and of RAM; None of this computer, which takes its memory from the system."""
        return (None, None) if self.cpu == "host" else (self.flash.size, self.ram.size)


def load(path: Path) -> Board:
    """The board of one board.toml, named after its folder. Raises BoardError naming the key."""
    text = read_bounded(path, MAX_BYTES, BoardError, "lnp boards lists the available boards")
    try:
        return _Reader(path, tomllib.loads(text.decode())).board()
    except (ValueError, RecursionError) as e:  # TOML, UTF-8, or too long an integer
        raise BoardError(f"{path}: {e}", "write it as TOML; boards/host/board.toml is an example") from None


class _Reader:
    def __init__(self, path: Path, raw: dict):
        self.path, self.raw = path, raw

    def fail(self, key: str, value: object, allowed: str) -> BoardError:
        return BoardError(f"{self.path}: {key} is {str(value)[:60]!r}", f"allowed: {allowed}")

    def board(self) -> Board:
        sections = {"flash": ("origin", "size"), "ram": ("origin", "size")}
        free = ("uart", "watchdog", "tool")
        top = ("description", "cpu", "clock_hz", "toolchain", "start", "machine", *free, *sections)
        for key, value in self.raw.items():
            if key not in top:
                raise self.fail("key", key, ", ".join(top))
            if (key in sections or key in free) != isinstance(value, dict):
                raise self.fail(key, value, "a [section] where one belongs, a value elsewhere")
            for inner in value if key in sections else ():
                if inner not in sections[key]:
                    raise self.fail(f"{key} key", inner, ", ".join(sections[key]))
        name = self.path.parent.name
        if not NAME.fullmatch(name):
            raise self.fail("the folder's name", name, f"lower case, digits, '-', under {NAME_BYTES} characters")
        watchdog = "watchdog" in self.raw
        start = self.choice("start", STARTS)
        found = Board(
            name=name,
            description=self.text("description"),
            cpu=self.choice("cpu", CPUS),
            clock_hz=self.number("clock_hz", 1, 2**32 - 1),
            toolchain=self.choice("toolchain", TOOLCHAINS),
            start=start,
            flash=self.region("flash"),
            ram=self.region("ram"),
            uart=self.word("uart.driver"),
            baud=self.number("uart.baud", 300, 20_000_000),
            registers=self.registers("uart", "baud"),
            machine=self.word("machine") if start == "qemu" else "",
            tools=self.tools() if "tool" in self.raw or start == "serial" else {},
            watchdog=self.word("watchdog.driver") if watchdog else "",
            watchdog_ms=self.number("watchdog.ms", *WATCHDOG_MS) if watchdog else 0,
            watchdog_registers=self.registers("watchdog", "ms"),
        )
        self.check_together(found)
        return found

    def registers(self, section: str, other: str) -> dict[str, int]:
        """All numbers of a driver but `other`, which every driver has."""
        keys = [key for key in self.raw.get(section, {}) if key not in ("driver", other)]
        for key in keys:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", key):
                raise self.fail(f"{section} key", key, "lower case letters, digits and _")
        return {key: self.number(f"{section}.{key}", *RANGES.get(key, (0, 2**32 - 1))) for key in keys}

    def check_together(self, b: Board) -> None:
        """Refuse values that are valid alone but not in combination."""
        if b.watchdog and "irq" not in b.registers:
            raise self.fail("watchdog", b.watchdog, "none without uart.irq: what waits for a byte must sleep and wake")
        on_host = (b.cpu == "host", b.toolchain == "host", b.start == "process")
        if any(on_host):
            if not all(on_host):
                raise self.fail(
                    "cpu, toolchain, start",
                    f"{b.cpu}, {b.toolchain}, {b.start}",
                    "host, host, process together, or none of them",
                )
            return
        if b.cpu in ARMV6M and "irq" in b.registers:
            self.number("uart.irq", 0, ARMV6M_IRQ)
        if b.flash.origin % VECTORS:
            raise self.fail("flash.origin", hex(b.flash.origin), f"a multiple of {VECTORS}, for the vector table")
        if _overlap(b.flash, b.ram):
            raise self.fail("ram", b.ram, "a region that does not overlap flash")
        if b.start == "unicorn":
            self.check_unicorn(b)

    def check_unicorn(self, b: Board) -> None:
        """Check what runtime/emulator.py relies on."""
        self.choice("cpu", UNICORN_CPUS)
        self.choice("uart.driver", ("cmsdk_uart",))
        if "irq" in b.registers:
            raise self.fail("uart.irq", b.registers["irq"], "none where start is unicorn, which has no interrupts")
        base = self.number("uart.base", 0, PRIVATE - PAGE)
        if base % PAGE:
            raise self.fail("uart.base", hex(base), f"a multiple of {PAGE} where start is unicorn")
        for key, region in (("flash", b.flash), ("ram", b.ram)):
            if region.origin % PAGE or region.size % PAGE:
                raise self.fail(key, region, f"origin and size in multiples of {PAGE} where start is unicorn")
            if region.end > PRIVATE or _overlap(region, Region(base, PAGE)):
                raise self.fail(key, region, f"a region below {PRIVATE:#x} without the UART's page")

    def tools(self) -> dict[str, dict[str, str | int]]:
        """The tools of [tool], the default first. What each allows, its file in boards/flashers says."""
        first = self.word("tool.name")
        found: dict[str, dict[str, str | int]] = {first: {}}
        for name, values in self.raw["tool"].items():
            if name == "name":
                continue
            if not (WORD.fullmatch(name) and isinstance(values, dict)):
                raise self.fail("tool key", name, "name, and a section [tool.<name>] of each tool")
            for key, value in values.items():
                number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
                if not number and not (isinstance(value, str) and OF_TOOL.fullmatch(value)):
                    raise self.fail(f"tool.{name}.{key}", value, "a number, or a plain word or path")
            found[name] = dict(values)
        return found

    def value(self, key: str) -> object:
        outer, _, inner = key.partition(".")
        found = self.raw.get(outer)
        return found.get(inner) if inner and isinstance(found, dict) else found

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.value(key)
        if value not in allowed:
            raise self.fail(key, value, ", ".join(allowed))
        return str(value)

    def word(self, key: str) -> str:
        value = self.value(key)
        if not (isinstance(value, str) and WORD.fullmatch(value)):
            raise self.fail(key, value, "letters, digits and _ . -")
        return value

    def text(self, key: str) -> str:
        value = self.value(key)
        if not (isinstance(value, str) and 0 < len(value) <= 120 and value.isascii() and value.isprintable()):
            raise self.fail(key, value, "1 to 120 printable ASCII characters")
        return value

    def number(self, key: str, low: int, high: int) -> int:
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(key, value, f"an integer from {low} to {high}")
        return value

    def region(self, key: str) -> Region:
        region = Region(self.number(f"{key}.origin", 0, 2**32 - 4), self.number(f"{key}.size", 1024, 2**30))
        if region.origin % 4 or region.end > 2**32:
            raise self.fail(key, region, "aligned to 4 bytes and within 32-bit addresses")
        return region


def _overlap(a: Region, b: Region) -> bool:
    return max(a.origin, b.origin) < min(a.end, b.end)


def find(folder: Path, name: str) -> Board:
    """The board `name` in a folder of board folders. Raises ConfigError if there is none."""
    known = names(folder)
    if name not in known:
        raise unknown("board", name, known, "boards/")
    return load(folder / name / "board.toml")


def names(folder: Path) -> list[str]:
    """The boards in a folder of board folders, sorted."""
    return sorted(p.parent.name for p in folder.glob("*/board.toml"))
