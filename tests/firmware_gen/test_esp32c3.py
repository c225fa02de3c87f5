"""The image of the ESP32-C3, from where its boot ROM ends: on stand-in registers and in labwired; esptool writes it."""

import json
import struct
from contextlib import closing
from dataclasses import replace

import pytest
from conftest import need
from esp32c3 import CORE_CLOCK, CRYSTAL, KEYS, MAGIC, RESETS, Esp32C3
from esp_rom import EspRom
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.cli import main
from lnp_edge.firmware_gen import elf
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime import selftest
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.in_process import InProcess
from lnp_edge.runtime.verify import stimulus, verify

pytestmark = pytest.mark.slow
BOARD = boards.get("esp32-c3-devkitm-1")


def flash_of(board, folder, toolchain):
    """The bytes that esptool writes."""
    need("unicorn", "ziglang" if toolchain == "zig" else "riscv64-unknown-elf-gcc")
    write(generate(tiny_model(), board), folder)
    image = build(folder, toolchain, "-O1").image
    elf.check(image, board)
    return elf.flash_bytes(image, board.flash.origin)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_the_image_sets_the_chip_up_and_passes_the_self_test(tmp_path, toolchain):
    """Bit for bit, without a byte that comes, or is written, while a FIFO is full."""
    model = tiny_model()
    with closing(Esp32C3(flash_of(BOARD, tmp_path, toolchain))) as chip:
        device = Device(chip, model, BOARD.name)
        assert (device.greeting.board, device.greeting.clock_hz) == (BOARD.name, CRYSTAL)
        found = selftest.run(model, device, 1)
        assert found.ok, found.lines()
        assert device.steps(tiny_counts(model, 3)).cycles > 0
        assert (chip.lost, chip.overrun) == (0, 0) and chip.traps % 256 == 0
        assert chip.baud == pytest.approx(BOARD.baud, rel=2e-4)  # a 16th of its divider is 1.8e-4
        assert not chip.watchdogs_bite and not any(chip.registers[key] for key in KEYS.values())
        assert chip.registers[CORE_CLOCK] & 0xFFF == 0 and not chip.registers[RESETS] & 1 << 2


def test_tables_that_are_read_over_the_bus_of_code_are_seen(tmp_path):
    import unicorn

    flash = flash_of(replace(BOARD, tables_at=None), tmp_path, "zig")
    with pytest.raises(unicorn.UcError, match="READ_PROT"):
        Device(Esp32C3(flash), tiny_model(), BOARD.name)


@pytest.mark.parametrize(("cycles", "keeps_up"), [(3, True), (300, False)])
def test_a_core_that_is_too_slow_for_the_line_is_seen(tmp_path, cycles, keeps_up):
    chip = Esp32C3(flash_of(BOARD, tmp_path, "zig"), cycles)
    chip.write(bytes(range(1, 256)) * 4)
    chip.read()
    assert (chip.lost == 0) == keeps_up


class Labwired(InProcess):
    """The chip in PyPI's labwired: its registers and memory, but neither its boot ROM nor what that maps."""

    deadline = 120.0  # it takes a second for some milliseconds

    def __init__(self, flash, folder):
        import labwired

        super().__init__()
        # System V ABI, 4 and 5: the same bytes on both buses, and where they begin.
        places, at = ((BOARD.flash.origin, 5), (BOARD.tables.origin, 4)), 52 + 2 * 32
        entry = BOARD.flash.origin + len(MAGIC)
        head = struct.pack("<7s9xHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 243, 1, entry, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        for place, flags in places:
            head += struct.pack("<8I", 1, at, place, place, len(flash), len(flash), flags, 4)
        (folder / "mapped.elf").write_bytes(head + flash)
        self._sim = labwired.Sim(folder / "mapped.elf", chip="esp32c3")

    def _run(self):
        self._sim.send_bytes(bytes(self._to_device))
        self._to_device.clear()
        for _ in range(20):
            self._sim.run_for("5ms")
            self._from_device += self._sim.read_uart_bytes()
            if self._from_device:
                return


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_the_image_is_verified_in_an_emulator_of_the_chip(tmp_path, toolchain):
    """Others wrote it: what they read in the manual, and measured on the chip, is compared with what we did."""
    need("labwired")
    model = tiny_model()
    flash = flash_of(BOARD, tmp_path, toolchain)
    found = verify(model, Device(Labwired(flash, tmp_path), model, BOARD.name), stimulus(model, 20, 1))
    assert found.ok and found.steps == 20, found.lines()


@pytest.fixture
def chip():
    """chip(**faults) -> an EspRom, closed at the end."""
    open_ = []

    def of(**faults):
        open_.append(EspRom(**faults))
        return open_[-1]

    yield of
    for one in open_:
        one.close()


@pytest.fixture
def folder(firmware):
    """A built folder, for the real esptool."""
    need("esptool")
    return firmware(BOARD.name).parents[2]


def test_esptool_writes_the_image_as_it_is_and_the_board_then_answers(folder, firmware, chip, capsys):
    rom = chip(program=firmware("host"))
    assert main(["flash", str(folder), "--port", rom.port]) == 0, capsys.readouterr().err
    data = elf.flash_bytes(folder / "build/zig/lnp_net.elf", BOARD.flash.origin)
    assert rom.flash[: len(data)] == data and data[:8] == MAGIC
    receipt = json.loads((folder / "build/zig/lnp_net.flashed.json").read_text())
    assert receipt["version"].startswith("esptool v") and receipt["verified"] == "by the tool"


@pytest.mark.parametrize(
    ("faults", "said", "state"),
    [
        ({"chip": 9}, "This chip is ESP32-S3, not ESP32-C3", "nothing was written"),
        ({"dies_after": 1}, "Serial data stream stopped", "the board may hold the old program"),
        ({"wrong_at": 300}, "MD5 of file does not match data in flash", "the board may hold the old program"),
    ],
)
def test_what_goes_wrong_while_esptool_writes_is_said(folder, chip, capsys, faults, said, state):
    rom = chip(**faults)
    assert main(["flash", str(folder), "--port", rom.port]) == 2
    what, next_ = capsys.readouterr().err.splitlines()
    assert what.startswith("esptool failed with code 2: ") and said in what and state in next_
    assert rom.blocks == ("chip" not in faults)
