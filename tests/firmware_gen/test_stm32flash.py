"""stm32flash itself, through a stand-in for the boot ROM of an STM32."""

import json
import os

import pytest
from boot_rom import ERASE, GET, GET_ID, GO, ORIGIN, READ, VERSION, WRITE, BootRom
from conftest import need

from lnp_edge.cli import main
from lnp_edge.firmware_gen import elf

pytestmark = pytest.mark.slow


@pytest.fixture
def chip():
    """chip(**faults) -> a BootRom, closed at the end."""
    open_ = []

    def of(**faults):
        open_.append(BootRom(**faults))
        return open_[-1]

    yield of
    for one in open_:
        one.close()


PTY = {"stm32flash": {"mode": "8n1"}}  # a pty has no parity


def test_stm32flash_writes_through_a_boot_rom_and_the_board_then_answers(flashed_as, firmware, chip, capsys):
    need("stm32flash")
    rom, folder = chip(program=firmware("host")), flashed_as("nucleo-f401re", PTY)
    assert main(["flash", str(folder), "--port", rom.port]) == 0, capsys.readouterr().err
    data = elf.flash_bytes(folder / "build/gcc/lnp_net.elf", ORIGIN)
    assert rom.flash[: len(data)] == data and not set(rom.flash[len(data) :]) - {0xFF} and rom.started == ORIGIN
    receipt = json.loads((folder / "build/gcc/lnp_net.flashed.json").read_text())
    assert receipt["version"].startswith("stm32flash ")
    assert (receipt["verified"], receipt["port"]) == ("by the tool", rom.port)


def test_stm32flash_tells_another_chip_before_it_writes(flashed_as, chip, capsys):
    need("stm32flash")
    rom, folder = chip(product=0x0413), flashed_as("nucleo-f401re", PTY)
    assert main(["flash", str(folder), "--port", rom.port]) == 2
    assert "is 0x413, as on disco-f407" in capsys.readouterr().err and WRITE not in rom.commands


@pytest.mark.parametrize("step", [*range(11), -30, -3, -2, -1])
def test_a_board_whose_power_fails_at_a_step_of_stm32flash_is_not_flashed(flashed_as, chip, step, capsys):
    """The steps are commands: three that ask for the chip, as many again, an erasure, a writing and a reading of each
    256 bytes, and a start."""
    need("stm32flash")
    folder = flashed_as("nucleo-f401re", PTY)
    blocks = -(-len(elf.flash_bytes(folder / "build/gcc/lnp_net.elf", ORIGIN)) // 256)
    steps = [*[VERSION, GET, GET_ID] * 2, ERASE, *[WRITE, READ] * blocks, GO]
    done = steps[:step]
    rom = chip(dies_after=len(done))
    assert main(["flash", str(folder), "--port", rom.port]) == 2
    what, state = capsys.readouterr().err.splitlines()
    assert what.startswith("stm32flash failed with code ") and rom.commands == done
    half = "the board may hold the old program, a part of the new one, or none; set BOOT0 high"
    assert (half if len(done) > 2 else "nothing was written: is the board connected") in state
    assert not (len(done) > 2 and (folder / "build/gcc/lnp_net.flashed.json").exists())  # that of a flashing before


def test_a_bit_that_flash_does_not_take_is_found_by_stm32flash(flashed_as, chip, capsys):
    need("stm32flash")
    rom, folder = chip(wrong_at=300), flashed_as("nucleo-f401re", PTY)
    assert main(["flash", str(folder), "--port", rom.port]) == 2
    assert "Failed to verify at address 0x0800012c" in capsys.readouterr().err


def test_no_boot_rom_at_the_port_means_that_nothing_was_written(flashed_as, capsys):
    need("stm32flash")
    folder = flashed_as("nucleo-f401re", PTY)
    line, other = os.openpty()
    try:
        assert main(["flash", str(folder), "--port", os.ttyname(other)]) == 2
    finally:
        os.close(line)
        os.close(other)
    assert "nothing was written" in capsys.readouterr().err
