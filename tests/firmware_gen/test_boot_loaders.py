"""avrdude writes through the boot loaders of Arduinos; simavr runs them, and then what was written.

Debian's hex of Optiboot has 20 bytes more than its chip has room for, so that it is compiled here, without blinking.
"""

import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import need, need_for
from test_build import assert_runs_like_the_oracle

from lnp_edge import boards
from lnp_edge.cli import main
from lnp_edge.firmware_gen import elf
from lnp_edge.runtime import link
from lnp_edge.runtime.ports import open_board

pytestmark = pytest.mark.slow

LOADERS = Path("/usr/share/arduino/hardware/arduino/avr/bootloaders")  # of Debian's arduino-core-avr
MEGA_HEX = LOADERS / "stk500v2/stk500boot_v2_mega2560.hex"  # boards.txt of that package
HEADER = Path("/usr/include/simavr/sim_avr.h")
OPTIBOOT = (  # as its Makefile does
    "avr-gcc", "-w", "-Os", "-fno-inline-small-functions", "-fno-split-wide-types", "-mshort-calls", "-Wl,--relax",
    "-mmcu=atmega328p", "-DF_CPU=16000000L", "-DBAUD_RATE=115200", "-DLED_START_FLASHES=0", "-nostartfiles",
    "-nostdlib", "-Wl,--section-start=.text=0x7e00", "-Wl,--section-start=.version=0x7ffe",
    LOADERS / "optiboot/optiboot.c",
)  # fmt: skip
PATIENCE = 60  # s: no chip is slower than one on a busy machine


def optiboot(folder):
    """The file of Optiboot for the Uno."""
    subprocess.run([*OPTIBOOT, "-o", folder / "boot.elf"], check=True)
    subprocess.run(["avr-objcopy", "-O", "ihex", folder / "boot.elf", folder / "boot.hex"], check=True)
    return folder / "boot.hex"


@pytest.fixture
def arduino(tmp_path, monkeypatch):
    """arduino(board) -> the port of one that has but its boot loader, and a function that ends it: returns its flash"""
    need("avrdude", "gcc", str(LOADERS), str(HEADER))
    get = boards.get
    # Of a board that has any patience.
    monkeypatch.setattr(boards, "get", lambda name: replace(b := get(name), opens_ms=b.opens_ms and 1000 * PATIENCE))
    monkeypatch.setattr(link, "DEADLINE", PATIENCE)
    program, dump, running = tmp_path / "arduino", tmp_path / "flash.bin", []
    source = Path(__file__).with_name("boot_loader.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o", program, "-lsimavr"], check=True)

    def ended():
        running[0].terminate()
        assert running[0].wait() == 0
        return dump.read_bytes()

    def started(name):
        need_for(name)
        command = [program, boards.get(name).cpu, MEGA_HEX if name == "arduino-mega" else optiboot(tmp_path), dump]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        return running[0].stdout.readline().strip(), ended

    yield started
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("name", ["arduino-uno", "arduino-mega"])
def test_avrdude_writes_through_the_boot_loader_and_the_board_then_computes_each_bit(arduino, firmware, name, capsys):
    """Each time that the port is opened the board restarts, and its boot loader has its second before the network."""
    port, ended = arduino(name)
    folder = firmware(name).parents[2]
    assert main(["flash", str(folder), "--port", port]) == 0, capsys.readouterr().err
    assert f"{port} runs model" in capsys.readouterr().out
    with closing(open_board(boards.get(name), None, port)) as line:
        line.counts = True  # simavr's cycles are the chip's
        assert_runs_like_the_oracle(line)
    flash, data = ended(), elf.flash_bytes(firmware(name), 0)
    assert flash[: len(data)] == data and len(flash) > boards.get(name).flash.end
    assert set(flash[boards.get(name).flash.end :]) != {0xFF}  # the boot loader is there as before


def test_another_chip_is_told_before_anything_is_written(arduino, firmware, monkeypatch, capsys):
    port, ended = arduino("arduino-uno")
    folder, get = firmware("arduino-uno").parents[2], boards.get
    tools = {"avrdude": {"programmer": "arduino", "part": "m168"}}
    monkeypatch.setattr(boards, "get", lambda name: replace(get(name), tools=tools))
    assert main(["flash", str(folder), "--port", port]) == 2
    assert "\n  nothing was written: is the board connected, and the right one?" in capsys.readouterr().err
    assert set(ended()[: get("arduino-uno").flash.end]) == {0xFF}
