"""The rates that each board's UART can have, and whether it keeps up with them: its driver is run on a core, alone."""

from dataclasses import replace

import pytest
from conftest import need, need_for, of_boards
from driver_core import Core, driver_of

from lnp_edge import boards
from lnp_edge.runtime import rate
from lnp_edge.runtime.emulator import FAMILIES

# Bd that a board has for 230,400, 460,800 and 921,600; 0: none within 2 %. By hand: the clock by whole numbers, of the
# RP2040 in 64ths of 16.
RATES = {
    "cortex-m0": (229_358, 462_963, 925_926),  # 25 MHz: 109, 54, 27
    "cortex-m3": (229_358, 462_963, 925_926),
    "cortex-m4": (229_358, 462_963, 925_926),
    "cortex-m7": (229_358, 462_963, 925_926),
    "cortex-m33": (229_358, 462_963, 925_926),
    "mps2-an385": (229_358, 462_963, 925_926),
    "mps2-an386": (229_358, 462_963, 925_926),
    "mps2-an500": (229_358, 462_963, 925_926),
    "mps2-an505": (229_885, 465_116, 909_091),  # 20 MHz: 87, 43, 22
    "mps3-an547": (229_358, 462_963, 925_926),
    "nucleo-f401re": (230_769, 456_522, 913_043),  # 21 MHz: 91, 46, 23
    "disco-f407": (230_769, 461_538, 913_043),  # 42 MHz: 182, 91, 46
    "netduinoplus2": (230_137, 461_538, 923_077),  # 84 MHz: 365, 182, 91
    "nucleo-g071rb": (231_884, 457_143, 0),  # 16 MHz: 69, 35, 17
    "nucleo-h743zi": (230_216, 460_432, 927_536),  # 64 MHz: 278, 139, 69
    "nucleo-l476rg": (0, 0, 0),  # 4 MHz: 17
    "stm32vldiscovery": (228_571, 0, 0),  # 8 MHz: 35, 17
    "microbit": (231_884, 457_143, 0),  # 16 MHz: 69, 35, 17
    "microbit-v2": (231_884, 457_143, 0),
    "nrf52840-dk": (231_884, 457_143, 0),
    "arduino-nano-33-ble": (231_884, 457_143, 0),
    "rpi-pico": (230_415, 460_829, 920_810),  # 500 MHz: 2170, 1085, 543
    "rpi-pico2": (230_415, 460_829, 921_659),  # 600 MHz: 2604, 1302, 651
    "lpc55s69-evk": (230_769, 461_538, 0),  # 12 MHz / 13: 4, 2
    "hifive1": (231_884, 457_143, 0),  # 16 MHz: 69, 35, 17
    "riscv-virt": (230_400, 0, 0),  # 3.6864 MHz / 16
    "rv32imac": (229_358, 462_963, 925_926),
    "esp32-c3-devkitm-1": (230_382, 460_763, 922_190),  # 640 MHz: 2778, 1389, 694
}
POLLED = {
    "cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imac", "riscv-virt", "hifive1",
    "esp32-c3-devkitm-1",
}  # fmt: skip
ENTRY_AND_EXIT = 32  # cycles of an interrupt; DDI 0432 and DDI 0439, exceptions: 16 or 12 in, and as many out
A_CYCLE = 3  # cycles that an instruction of a driver takes at most: a load takes 2, a branch up to 3


@pytest.mark.parametrize(
    ("name", "toolchain"), of_boards([(n, "") for n in boards.names() if boards.get(n).family in FAMILIES])
)
def test_a_board_has_the_rates_that_its_clock_gives_and_keeps_up_with_them(tmp_path, name, toolchain):
    """Its interrupt takes a byte before the next has come, whatever the program does: the ring holds a whole frame."""
    board, asked = boards.get(name), tuple(reversed(rate.HIGHER))
    need_for(name)
    need("unicorn")
    if board.cpu == "cortex-m55":  # which unicorn has not
        board = replace(board, cpu="cortex-m33")
    core = Core(board, driver_of(board, tmp_path))
    if "bus" in core.symbols:
        divider = 4 if board.registers["base"] < 0x4001_0000 else 2
        bus = board.clock_hz // (divider if "af" in board.registers else 1)  # an STM32F1 has none
        core.uc.mem_write(core.symbols["bus"], bus.to_bytes(4, "little"))
    found = tuple(core.ask("lnp_board_baud", baud, 0)[0] for baud in asked)
    assert found == RATES.get(name, found)
    assert all(abs(had / baud - 1) <= 0.02 for had, baud in zip(found, asked, strict=True) if had)
    assert ("uart_interrupt" not in core.symbols) == (name in POLLED)
    if name in POLLED:
        return
    cycles = ENTRY_AND_EXIT + A_CYCLE * core.interrupt(board)
    for baud, had in zip(asked, found, strict=True):
        assert not had or cycles <= 10 * board.clock_hz / baud, f"{cycles} cycles a byte"
    assert cycles > 10 * board.clock_hz / 16 / 921_600 / 8  # a clock so slow would be seen not to
