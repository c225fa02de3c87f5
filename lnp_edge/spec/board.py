"""A board: parses board.toml and checks every value once.

Values of a board file end up in a Makefile, a linker script and a flash tool's arguments. So each
must be a bounded number, or text that matches a fixed list or pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lnp_edge.base.errors import BoardError, ConfigError, told
from lnp_edge.base.files import listed, parse_toml, read_bounded
from lnp_edge.spec.plugins import nearest
from lnp_edge.spec.protocol import NAME_BYTES

ARM, RISCV, AVR = "cortex_m", "riscv", "avr"  # boards/common/<family>.c and .ld start every core of a family
FAMILIES = {
    "cortex-m0": ARM,
    "cortex-m0plus": ARM,
    "cortex-m3": ARM,
    "cortex-m4": ARM,
    "cortex-m7": ARM,
    "cortex-m33": ARM,
    "cortex-m55": ARM,
    "rv32imac": RISCV,
    "rv32imc": RISCV,
    "atmega2560": AVR,
    "atmega328p": AVR,
    "host": "",
}
CPUS = tuple(FAMILIES)
AVR_ENDS = {"atmega2560": (0x4_0000, 0x80_2200), "atmega328p": (0x8000, 0x80_0900)}  # avr-libc: FLASHEND, RAMEND
QEMU = {ARM: ("qemu-system-arm",), RISCV: ("qemu-system-riscv32", "-bios", "none")}  # a family's emulator
TOOLCHAINS = ("gcc", "zig", "host")
STARTS = ("unicorn", "qemu", "rp2040py", "simavr", "process", "serial")
NO_PORT = ("unicorn", "process")  # of no real board; what the others start is one that has a port too
UNICORN_CPUS = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imac")
# CPUs whose steps take the instructions of another one: they differ in what no step has, atomics or the bus.
COUNTED_AS = {"cortex-m0plus": "cortex-m0", "rv32imc": "rv32imac"}
CHIPS = "chips"  # beside the folders of boards: what several boards share
# What a chip's file may hold.
OF_CHIP = ("cpu", "clock_hz", "flash", "ram", "pins", "uart", "uarts", "watchdog", "identity", "power")
NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{NAME_BYTES - 2}}}")
MOST_NEAR = 3  # names of boards that are proposed for one that is not there
MAX_BYTES = 16384  # tomllib needs seconds for a dotted key of 64 KiB
RANGES = {"irq": (0, 239)}  # of driver values; Armv7-M ARM B1.5.2: interrupts 0 to 239
PINS = {"tx_pin", "rx_pin"}  # of [uart]; their numbers are below `pins`, where the file of the chip has that
# Keys of what is counted; every other number is an address, or bits of a register.
COUNTED = {"clock_hz", "size", "baud", "ms", "opens_ms", "pins", "ua_per_mhz", "supply_mv", *RANGES, *PINS}
OPENS_MS = 1, 10_000
USB = re.compile("[0-9a-f]{4}:[0-9a-f]{4}")  # vendor and product
MOST_USB = 16
WATCHDOG_MS = 100, 60_000  # a host gives up a program that it started after 60 s of silence
# CPUs with loops of a step in assembly: the DSP instructions of Armv7E-M, or M of RISC-V.
IN_ASSEMBLY = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imac", "rv32imc")
ARMV6M, ARMV6M_IRQ = ("cortex-m0", "cortex-m0plus"), 31  # Armv6-M ARM B3.4: interrupts 0 to 31
VECTORS = 1024  # bytes, Armv7-M ARM B3.2.5: a table of 16 + 240 vectors is aligned to its size
TABLES_APART = 16  # bytes; boards/common/riscv.ld aligns what tables begin with, in both places
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

    def __str__(self) -> str:
        return f"{self.size} B at {self.origin:#x}"


@dataclass(frozen=True)
class Identity:
    """What tells a chip from others: the bits of mask of the word at address are value."""

    address: int
    mask: int
    value: int

    def __str__(self) -> str:
        return f"{self.value:#x} under the mask {self.mask:#x} at {self.address:#x}"


@dataclass(frozen=True)
class Board:
    """The facts of one board.

    start : unicorn, qemu, rp2040py, simavr and process are started by lnp; serial is real hardware
    chip : the file in chips/ that its facts come from, if they do
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
    chip: str = ""
    watchdog: str = ""  # its driver, boards/common/<watchdog>.c; "" without one
    watchdog_ms: int = 0  # without a sign of life, until it resets the board
    watchdog_registers: dict[str, int] = field(default_factory=dict)  # LNP_WATCHDOG_<NAME> in C
    identity: Identity | None = None  # None: flash tools cannot tell its chip from another
    ua_per_mhz: int = 0  # that the core takes while it runs from flash, typical; 0 if no data sheet is known
    supply_mv: int = 0  # of the core, on the board
    opens_ms: int = 0  # after its port was opened, until its program greets; 0: opening the port does not reset it
    usb: tuple[str, ...] = ()  # ids of its serial port at USB, such as 0483:374b; none if any adapter may be there
    tables_at: int | None = None  # where data in flash are read, if a chip has another address for that than for code

    @property
    def tables(self) -> Region:
        """The flash, where data in it are read."""
        return self.flash if self.tables_at is None else replace(self.flash, origin=self.tables_at)

    @property
    def flash_tool(self) -> str:
        """The tool that flashes it unless another is asked for; "" if there is none."""
        return next(iter(self.tools), "")

    @property
    def joules_a_cycle(self) -> float:
        """An estimate: typical current times supply; 0 if the current is unknown."""
        return self.ua_per_mhz * 1e-12 * self.supply_mv * 1e-3

    @property
    def family(self) -> str:
        """What starts its core, in boards/common; "" of this computer."""
        return FAMILIES[self.cpu]

    @property
    def qemu(self) -> tuple[str, ...]:
        """The command of the emulator that has this machine, without an image."""
        program, *options = QEMU[self.family]
        return (program, "-machine", self.machine, *options)

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """Bytes of flash and of RAM; None of this computer, which takes its memory from the system."""
        return (None, None) if self.cpu == "host" else (self.flash.size, self.ram.size)


IN_EMULATOR = "verified whole in an emulator of this board"
HERE = "verified whole: it is this computer"
OF_ITS_CHIP = "its driver verified in an emulator of this chip"
LINKED = "links and fits, not run"
OWN = "your own: lnp verify shows whether it holds"


def proof(b: Board, others: Iterable[Board]) -> str:
    """What is proved of a board without hardware, in words: it follows from what the boards' files say.

    others : all boards. One that is emulated, with the same chip and driver, proves the driver of this one
    """
    if b.start != "serial":
        return HERE if b.start == "process" else IN_EMULATOR
    alike = (o for o in others if o.start != "serial" and o.chip and (o.chip, o.uart) == (b.chip, b.uart))
    return OF_ITS_CHIP if any(alike) else LINKED


def load(path: Path, chips: Iterable[Path] = ()) -> Board:
    """The board of one board.toml, named after its folder. Raises BoardError naming the key.

    chips : folders with files of chips, beside that of the board's own folder
    """
    reader = _Reader(path, _toml(path))
    reader.add_chip([path.parent.parent / CHIPS, *chips])
    return reader.board()


def in_words(key: str, value: object) -> str:
    """A value of a board file in a message, addresses and bits of registers in hexadecimal as data sheets have them."""
    counted = key.rpartition(".")[2] in COUNTED
    return told(value) if counted or type(value) is not int or value < 10 else hex(value)[:60]


def _toml(path: Path) -> dict:
    hint = "write it as TOML; boards/host/board.toml is an example"
    text = read_bounded(path, MAX_BYTES, BoardError, hint)
    try:
        return parse_toml(text)
    except (ValueError, RecursionError) as e:  # TOML, UTF-8, or too long an integer
        raise BoardError(f"{path}: {e}", hint) from None


class _Reader:
    def __init__(self, path: Path, raw: dict):
        self.path, self.raw, self.chip = path, raw, ""

    def fail(self, key: str, value: object, allowed: str) -> BoardError:
        return BoardError(f"{self.path}: {key} is {in_words(key, value)}", f"allowed: {allowed}")

    def add_chip(self, folders: list[Path]) -> None:
        """Add what the file of the chip says, if the board names one. No fact may stand in both."""
        if "chip" not in self.raw:
            return
        found = {path.stem: path for folder in reversed(folders) for path in listed(folder, ".toml")}
        self.chip = self.choice("chip", tuple(sorted(found)))
        del self.raw["chip"]
        path = found[self.chip]
        of_chip = _Reader(path, _toml(path))
        for key in of_chip.raw:
            if key not in OF_CHIP:
                raise of_chip.fail("key", key, ", ".join(OF_CHIP))
        units = of_chip.raw.pop("uarts", {})
        if not (isinstance(units, dict) and all(isinstance(values, dict) for values in units.values())):
            raise of_chip.fail("uarts", units, "a section [uarts.NAME] of each UART")
        own = self.raw.get("uart")
        if isinstance(own, dict) and "unit" in own:
            if not units:
                raise self.fail("uart.unit", own["unit"], f"none, as {path} has no section [uarts.NAME]")
            unit = self.choice("uart.unit", tuple(units))
            self.add("uart", units[own.pop("unit")], f"{path}, [uarts.{unit}]")
        for key, value in of_chip.raw.items():
            self.add(key, value, str(path))

    def add(self, key: str, value: object, place: str) -> None:
        if key not in self.raw:
            self.raw[key] = dict(value) if isinstance(value, dict) else value
            return
        own = self.raw[key]
        both = [k for k in value if k in own] if isinstance(value, dict) and isinstance(own, dict) else [""]
        if both or not (isinstance(own, dict) and isinstance(value, dict)):
            twice = f"{key}.{both[0]}".rstrip(".")
            raise self.fail(twice, self.value(twice), f"no {twice} here, for it stands in {place}")
        own |= value

    def board(self) -> Board:
        sections: dict[str, tuple[str, ...]] = {"flash": ("origin", "size", "tables"), "ram": ("origin", "size")}
        sections |= {"identity": ("address", "mask", "value"), "power": ("ua_per_mhz", "supply_mv")}
        free = ("uart", "watchdog", "tool")
        single = ("description", "chip", "cpu", "clock_hz", "toolchain", "start", "machine", "opens_ms", "pins", "usb")
        top = (*single, *free, *sections)
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
        watchdog, power = "watchdog" in self.raw, "power" in self.raw
        start, flash, apart = self.choice("start", STARTS), self.region("flash"), self.value("flash.tables") is not None
        found = Board(
            name=name,
            description=self.text("description"),
            cpu=self.choice("cpu", CPUS),
            clock_hz=self.number("clock_hz", 1, 2**32 - 1),
            toolchain=self.choice("toolchain", TOOLCHAINS),
            start=start,
            flash=flash,
            tables_at=self.number("flash.tables", 0, 2**32 - flash.size) if apart else None,
            ram=self.region("ram"),
            uart=self.word("uart.driver"),
            baud=self.number("uart.baud", 300, 20_000_000),
            registers=self.registers("uart", "baud"),
            machine=self.word("machine") if start == "qemu" else "",
            tools=self.tools() if "tool" in self.raw else {},
            watchdog=self.word("watchdog.driver") if watchdog else "",
            watchdog_ms=self.number("watchdog.ms", *WATCHDOG_MS) if watchdog else 0,
            watchdog_registers=self.registers("watchdog", "ms"),
            chip=self.chip,
            identity=self.identity() if "identity" in self.raw else None,
            ua_per_mhz=self.number("power.ua_per_mhz", 1, 10_000) if power else 0,
            supply_mv=self.number("power.supply_mv", 500, 6_000) if power else 0,
            opens_ms=self.number("opens_ms", *OPENS_MS) if "opens_ms" in self.raw else 0,
            usb=self.usb() if "usb" in self.raw else (),
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
        if "machine" in self.raw and b.start != "qemu":
            raise self.fail("machine", self.raw["machine"], "none unless start is qemu")
        pins = self.number("pins", 1, 2**16) if "pins" in self.raw else 2**32
        for key in sorted(b.registers.keys() & PINS):
            self.number(f"uart.{key}", 0, pins - 1)
        if len({b.registers.get(key, key) for key in PINS}) == 1:
            raise self.fail("uart.rx_pin", b.registers["rx_pin"], "another pin than uart.tx_pin")
        if b.opens_ms and b.start in NO_PORT:
            raise self.fail(
                "opens_ms", b.opens_ms, f"none where start is {' or '.join(NO_PORT)}: it has no port to open"
            )
        if b.usb and b.start in NO_PORT:
            raise self.fail("usb", b.usb, f"none where start is {' or '.join(NO_PORT)}: it has no port at USB")
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
            if b.registers:
                key = next(iter(b.registers))
                raise self.fail(f"uart.{key}", b.registers[key], "none where cpu is host: its driver is posix")
            return
        if b.cpu in ARMV6M and "irq" in b.registers:
            self.number("uart.irq", 0, ARMV6M_IRQ)
        if b.family == RISCV and "irq" in b.registers:
            raise self.fail("uart.irq", b.registers["irq"], "none on RISC-V, whose drivers poll")
        if b.family == AVR:
            self.choice("toolchain", ("gcc",))
            for key, region, end in zip(("flash", "ram"), (b.flash, b.ram), AVR_ENDS[b.cpu], strict=True):
                if region.end > end:
                    raise self.fail(key, region, f"a region that ends at {end:#x}, as that of {b.cpu} does, or before")
        if (b.family == AVR) != (b.start == "simavr") and b.start != "serial":
            raise self.fail("start", b.start, "simavr or serial on AVR, and on nothing else simavr")
        if b.family == ARM and b.flash.origin % VECTORS:
            raise self.fail("flash.origin", b.flash.origin, f"a multiple of {VECTORS}, for the vector table")
        apart = b.tables.origin - b.flash.origin
        if apart and (b.family != RISCV or b.start != "serial" or apart % TABLES_APART):
            allowed = f"none but on a real RISC-V board, a multiple of {TABLES_APART} from flash.origin"
            raise self.fail("flash.tables", b.tables.origin, allowed)
        if any(_overlap(a, c) for a in (b.flash, b.tables) for c in (b.flash, b.tables, b.ram) if a != c):
            raise self.fail("ram", b.ram, "a region that does not overlap flash")
        if b.start == "unicorn":
            self.check_unicorn(b)
        if b.start == "rp2040py":
            self.choice("cpu", ("cortex-m0plus",))
            self.choice("uart.driver", ("rp2_uart",))

    def check_unicorn(self, b: Board) -> None:
        """Check what runtime/emulator.py relies on."""
        self.choice("cpu", UNICORN_CPUS)
        self.choice("uart.driver", ("cmsdk_uart",))
        if "irq" in b.registers:
            raise self.fail("uart.irq", b.registers["irq"], "none where start is unicorn, which has no interrupts")
        base = self.number("uart.base", 0, PRIVATE - PAGE)
        if base % PAGE:
            raise self.fail("uart.base", base, f"a multiple of {PAGE} where start is unicorn")
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

    def identity(self) -> Identity:
        address, mask = self.number("identity.address", 0, 2**32 - 4), self.number("identity.mask", 1, 2**32 - 1)
        found = Identity(address, mask, self.number("identity.value", 0, mask))
        if address % 4 or found.value & ~mask:
            raise self.fail("identity", found, "an address of a word, and a value within the mask")
        return found

    def usb(self) -> tuple[str, ...]:
        ids = self.raw["usb"]
        known = isinstance(ids, list) and 0 < len(ids) <= MOST_USB
        if not known or not all(isinstance(one, str) and USB.fullmatch(one) for one in ids):
            raise self.fail("usb", ids, f'1 to {MOST_USB} of the form ["0483:374b"], vendor and product in lower case')
        return tuple(ids)

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
        if not (
            isinstance(value, str) and value.strip() and len(value) <= 120 and value.isascii() and value.isprintable()
        ):
            raise self.fail(key, value, "1 to 120 printable ASCII characters")
        return value

    def number(self, key: str, low: int, high: int) -> int:
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(key, value, f"an integer from {in_words(key, low)} to {in_words(key, high)}")
        return value

    def region(self, key: str) -> Region:
        region = Region(self.number(f"{key}.origin", 0, 2**32 - 4), self.number(f"{key}.size", 1024, 2**30))
        if region.origin % 4 or region.end > 2**32:
            raise self.fail(key, region, "aligned to 4 bytes and within 32-bit addresses")
        return region


def _overlap(a: Region, b: Region) -> bool:
    return max(a.origin, b.origin) < min(a.end, b.end)


def find(folders: list[Path], name: str) -> Board:
    """The board `name` in folders of board folders. Raises ConfigError if there is none."""
    known = names(folders)
    if name not in known:
        raise ConfigError(
            f"no board is called {name[:60]!r}",
            f"{nearest(name, known, MOST_NEAR)}lnp boards lists all; a folder of your own has more: --boards DIR",
        )
    return load(known[name], [folder / CHIPS for folder in folders])


def names(folders: list[Path]) -> dict[str, Path]:
    """The boards in folders of board folders, sorted, with their files. Raises ConfigError if two have one name."""
    found: dict[str, Path] = {}
    files = (path for folder in folders for inner in listed(folder) for path in listed(inner, "board.toml"))
    for path in (path for path in files if path.name == "board.toml"):  # a broken link too: it is told when it is read
        if path.parent.name in found:
            other = found[path.parent.name].parent
            hint = "rename it, or do without what brings it: a board has one name"
            raise ConfigError(f"{path.parent} has the name of {other}", hint)
        found[path.parent.name] = path
    return dict(sorted(found.items()))
