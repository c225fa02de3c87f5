"""The rates that each board's UART can have, and whether it keeps up with them: its driver is run on a core, alone."""

import subprocess
from dataclasses import replace

import pytest
from conftest import need, need_for, of_boards
from elftools.elf.elffile import ELFFile
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.firmware_gen import commands, startup
from lnp_edge.firmware_gen.build import compiler
from lnp_edge.firmware_gen.generate import generate, write
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
    "hifive1": (231_884, 457_143, 0),  # 16 MHz: 69, 35, 17
    "riscv-virt": (230_400, 0, 0),  # 3.6864 MHz / 16
    "rv32imac": (229_358, 462_963, 925_926),
}
POLLED = {"cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "rv32imac", "riscv-virt", "hifive1"}
ENTRY_AND_EXIT = 32  # cycles of an interrupt; DDI 0432 and DDI 0439, exceptions: 16 or 12 in, and as many out
A_CYCLE = 3  # cycles that an instruction of a driver takes at most: a load takes 2, a branch up to 3


MAIN = """#include "lnp_board.h"
int main(void)
{
    uint8_t byte;
    lnp_board_init();
    return (int)(lnp_board_read(&byte, 1) + lnp_board_baud(1, false));
}
"""


def driver_of(board, folder):
    """An image of the board's own files alone."""
    write(generate(tiny_model(), board), folder)
    (folder / "main.c").write_text(MAIN)
    tools = commands.toolchain(board)
    tools = replace(tools, cc=compiler(board.toolchain, board.family), optimize="-O1")
    own = sorted(name for name in startup.files(board) | startup.watchdog(board)[0] if name.endswith(".c"))
    command = commands.compile_command(tools, ["main.c", *own], "driver.elf")
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "driver.elf"


class Core:
    """Calls functions of an image, without its start-up code. What it reads of a peripheral is all ones."""

    def __init__(self, board, image):
        unicorn = pytest.importorskip("unicorn")
        from importlib import import_module

        self.family, self.unicorn = FAMILIES[board.family], unicorn
        self.known = import_module(f"unicorn.{self.family.constants}_const")
        mode = sum(getattr(unicorn, name) for name in self.family.mode)
        self.uc = unicorn.Uc(getattr(unicorn, self.family.arch), mode)
        cpu = board.cpu.upper().replace("-", "_").replace("PLUS", "")
        self.uc.ctl_set_cpu_model(self.named(self.family.cpu.format(cpu)))
        for region in (board.flash, board.ram):
            self.uc.mem_map(region.origin, (region.size + 0xFFF) & ~0xFFF)
        with image.open("rb") as file:
            elf = ELFFile(file)
            self.symbols = {s.name: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()}
            for s in elf.iter_segments("PT_LOAD"):
                self.uc.mem_write(s["p_vaddr"], s.data())
                self.uc.mem_write(s["p_paddr"], s.data())
        self.end = board.flash.origin + board.flash.size - 16
        self.stack = board.ram.origin + board.ram.size - 64

    def named(self, name):
        return getattr(self.known, name)

    def ask(self, function, *arguments):
        """What it returns, and the instructions that it ran."""
        uc, f, count = self.uc, self.family, [0]
        first = "UC_ARM_REG_R%d" if f.constants == "arm" else "UC_RISCV_REG_A%d"
        for k, value in enumerate(arguments):
            uc.reg_write(self.named(first % k), value)
        uc.reg_write(self.named(f.sp), self.stack)
        uc.reg_write(self.named(f.link), self.end | f.state)

        def counted(*_):
            count[0] += 1

        hook = uc.hook_add(self.unicorn.UC_HOOK_CODE, counted)
        uc.emu_start(self.symbols[function] | f.state, self.end, count=10**6)
        uc.hook_del(hook)
        return uc.reg_read(self.named(first % 0)), count[0]

    def interrupt(self, board):
        """Instructions to take a byte: with all flags of the UART set, or none; one of them tells that it came."""
        page = board.registers["base"] & ~0xFFF
        self.uc.mem_map(page, 0x1000)
        most = 0
        for flags in (b"\xff", b"\0"):
            self.uc.mem_write(page, flags * 0x1000)
            before = self.head()
            count = self.ask("uart_interrupt")[1]
            if self.head() != before:
                most = max(most, count)
        assert most > 0
        return most

    def head(self):
        return bytes(self.uc.mem_read(self.symbols["ring_head"], 4))


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
        bus = board.clock_hz // (4 if board.registers["base"] < 0x4001_0000 else 2)
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
