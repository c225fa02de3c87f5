"""A board's own files alone, and a core that calls their functions."""

import subprocess
from dataclasses import replace

import pytest
from elftools.elf.elffile import ELFFile
from tiny import tiny_model

from lnp_edge.firmware_gen import commands, startup
from lnp_edge.firmware_gen.build import compiler
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime.emulator import FAMILIES, SYSTEM_BYTES
from lnp_edge.spec.board import PRIVATE

MAIN = """#include "lnp_board.h"
#include "lnp_config.h"
int main(void)
{
    uint8_t byte = 0;
    lnp_board_init();
    lnp_board_write(&byte, 1);
#ifdef LNP_WATCHDOG_MS
    lnp_board_watch();
#endif
    (void)lnp_board_cause();
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


NVIC = PRIVATE + 0xE000  # DDI 0403 B3.2


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
        if self.family.constants == "arm":
            self.uc.mem_map(PRIVATE, SYSTEM_BYTES)
        self.end = board.flash.origin + board.flash.size - 16
        self.stack = board.ram.origin + board.ram.size - 64

    def named(self, name):
        return getattr(self.known, name)

    def ask(self, function, *arguments):
        """What it returns, and the instructions that it ran."""
        count = [0]

        def counted(*_):
            count[0] += 1

        hook = self.uc.hook_add(self.unicorn.UC_HOOK_CODE, counted)
        found = self.call(function, *arguments)
        self.uc.hook_del(hook)
        return found, count[0]

    def call(self, function, *arguments):
        """What it returns."""
        uc, f = self.uc, self.family
        first = "UC_ARM_REG_R%d" if f.constants == "arm" else "UC_RISCV_REG_A%d"
        for k, value in enumerate(arguments):
            uc.reg_write(self.named(first % k), value)
        uc.reg_write(self.named(f.sp), self.stack)
        uc.reg_write(self.named(f.link), self.end | f.state)
        uc.emu_start(self.symbols[function] | f.state, self.end)
        return uc.reg_read(self.named(first % 0))

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
