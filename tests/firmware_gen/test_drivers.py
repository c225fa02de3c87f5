"""Drivers of chips that nothing emulates: they run on an emulated core, with stand-ins of their registers."""

from collections import deque
from contextlib import closing

import pytest
from conftest import need, need_for
from driver_core import NVIC, Core, driver_of
from tiny import tiny_stack

from lnp_edge import boards
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.in_process import InProcess
from lnp_edge.runtime.verify import stimulus, verify
from lnp_edge.spec import protocol

pytestmark = pytest.mark.slow
PERIPHERALS, SPAN = 0x4000_0000, 0x20_0000
CYCLES = 3  # that an instruction of a driver takes at most
ENTRY_AND_EXIT = 32
DSB_WFI = b"\xbf\xf3\x4f\x8f\x30\xbf"  # DDI 0403 A7.7.33, A7.7.262


class StandIn:
    """Registers by address, each 0 until it is written: what a chip does beyond that is in `read` and `write`.

    fifo : what the UART has received and the program has not read; depth : the most that it holds
    """

    depth = 0

    def __init__(self, board, image):
        self.board = board
        self.core = Core(board, image)
        self.core.uc.mmio_map(PERIPHERALS, SPAN, self._read, None, self._write, None)
        self.values, self.fifo, self.sent, self.lost = {}, deque(), bytearray(), 0

    def _read(self, uc, offset, size, data):
        return self.read(PERIPHERALS + offset) & 0xFFFF_FFFF

    def _write(self, uc, offset, size, value, data):
        self.write(PERIPHERALS + offset, value)

    def read(self, at):
        return self.values.get(at, 0)

    def write(self, at, value):
        self.values[at] = value

    def call(self, name, *arguments):
        return self.core.call(name, *arguments)

    def arrive(self, byte):
        """A byte ends on the line."""
        if len(self.fifo) == self.depth:
            self.lost += 1
        else:
            self.fifo.append(byte)

    def variable(self, name, size=4):
        return bytes(self.core.uc.mem_read(self.core.symbols[name], size))

    def interrupted_flood(self, data, cycles_a_byte):
        """The line sends bytes without a pause, and the interrupt takes them; returns what is in the ring."""
        now, free = 0, 0
        for byte in data:
            now += cycles_a_byte
            while self.asks() and free < now:
                free += ENTRY_AND_EXIT + CYCLES * self.core.ask("uart_interrupt")[1]
            free = max(free, now)
            self.arrive(byte)
        self.silence()
        while self.asks():
            self.call("uart_interrupt")
        return self.variable("ring", int.from_bytes(self.variable("ring_head"), "little"))

    def polled_flood(self, data, cycles_a_byte, step):
        """The same, taken by a program that computes a step, in so many cycles, whenever it has read what is there."""
        now, free, found, at = 0, 0, b"", self.board.ram.origin + self.board.ram.size - 4096
        for byte in data:
            now += cycles_a_byte
            self.arrive(byte)
            if free <= now:
                count, ran = self.core.ask("lnp_board_read", at, len(data))
                found += self.core.uc.mem_read(at, count)
                free = now + CYCLES * ran + step
        return found

    def silence(self):
        """The line rests for a while."""


# Bases, and the bit of RESET of each block that begins in reset.
PLACES = {
    "rp2040": {
        "resets": 0x4000C000, "clocks": 0x40008000, "xosc": 0x40024000,
        "pll": (0x40028000, 12), "gpio": (0x40014000, 5), "pads": (0x4001C000, 8), "uart": (0x40034000, 22),
    },
    "rp2350": {
        "resets": 0x40020000, "clocks": 0x40010000, "xosc": 0x40048000,
        "pll": (0x40050000, 14), "gpio": (0x40028000, 6), "pads": (0x40038000, 9), "uart": (0x40070000, 26),
    },
}  # fmt: skip
PADS_AT_RESET = {"rp2040": 0x56, "rp2350": 0x116}  # RP2350: isolated, and no input


class Rp2(StandIn):
    """RP2040 data sheet 2.14, 2.15, 2.16, 2.18, 2.19 and 4.2; RP2350 data sheet 7.5, 8.1, 8.2, 8.6, 9 and 12.1."""

    depth = 32

    def __init__(self, board, image):
        super().__init__(board, image)
        places = PLACES[self.board.chip]
        self.at = {key: place[0] if isinstance(place, tuple) else place for key, place in places.items()}
        self.bits = {key: place[1] for key, place in places.items() if isinstance(place, tuple)}
        self.values = {self.at["resets"]: 0x1FFF_FFFF, self.at["pll"] + 4: 0x2D}
        for pin in range(30):
            self.values[self.at["pads"] + 4 + 4 * pin] = PADS_AT_RESET[self.board.chip]
        self.rested = False

    def of(self, block, offset):
        return self.values.get(self.at[block] + offset, 0)

    @property
    def in_reset(self):
        return {key for key, bit in self.bits.items() if self.of("resets", 0) >> bit & 1}

    @property
    def crystal_runs(self):
        return self.of("xosc", 0) == 0xFABAA0 and self.of("xosc", 0xC) >= 47  # of 256 cycles: 1 ms

    @property
    def pll_hz(self):
        """Of the PLL's output, 0 while there is none."""
        if "pll" in self.in_reset or self.of("pll", 4) & 0b101001 or not self.crystal_runs:
            return 0
        vco = 12_000_000 // self.of("pll", 0) * self.of("pll", 8)
        assert 750_000_000 <= vco <= 1_600_000_000 and 16 <= self.of("pll", 8) <= 320
        return vco // (self.of("pll", 0xC) >> 16 & 7) // (self.of("pll", 0xC) >> 12 & 7)

    def read(self, at):
        places = {
            (self.at["resets"], 8): lambda: ~self.of("resets", 0),
            (self.at["xosc"], 4): lambda: self.crystal_runs << 31,
            (self.at["clocks"], 0x38): lambda: 1 << (self.of("clocks", 0x30) & 3),
            (self.at["clocks"], 0x44): lambda: 1 << (self.of("clocks", 0x3C) & 1),
            (self.at["pll"], 0): lambda: (not self.of("pll", 4) & 0b100001) << 31 | self.of("pll", 0),
            (self.at["uart"], 0): self.taken,
            (self.at["uart"], 0x18): lambda: (not self.fifo) << 4,
        }
        found = next((value for (base, offset), value in places.items() if base + offset == at), None)
        return found() if found else super().read(at)

    def taken(self):
        return self.fifo.popleft() if self.fifo else 0

    def write(self, at, value):
        block = next((key for key, base in self.at.items() if base <= at < base + 0x1000), "")
        assert block not in self.in_reset, f"{block} is written to while it is in reset"
        if block == "clocks" and at & 0xFFF == 0x30:
            assert value == 2 and self.crystal_runs
        if block == "clocks" and at & 0xFFF == 0x3C and value & 1:
            assert value == 1 and self.pll_hz == self.board.clock_hz
        if block == "uart" and at & 0xFFF == 0:
            self.sent.append(value)
        elif block == "uart" and at & 0xFFF == 0x2C:  # 4.2.7.1, 12.1.7.1: now the divider holds
            self.in_64ths = self.of("uart", 0x24) << 6 | self.of("uart", 0x28)
        super().write(at, value)

    @property
    def baud(self):
        return self.pll_hz * 4 / self.in_64ths

    def asks(self):
        """4.2.6.3, 12.1.6.3: for four bytes, which is what UARTIFLS is set to, or some after a silence."""
        assert (self.of("uart", 0x34), self.of("uart", 0x38)) == (0, 1 << 4 | 1 << 6)
        return len(self.fifo) >= 4 or (self.rested and bool(self.fifo))

    def silence(self):
        self.rested = True

    def is_ready(self):
        """Of the pins: they are the UART's, not isolated, with input, none of them open."""
        for pin in (0, 1):
            pad = self.of("pads", 4 + 4 * pin)
            if self.of("gpio", 4 + 8 * pin) != 2 or pad & 1 << 8 or pad & 1 << 7 or not pad & 1 << 6:
                return False
        on = self.of("uart", 0x30) == 0x301 and self.of("uart", 0x2C) == 0x70
        return on and self.of("clocks", 0x48) == 1 << 11 and not self.in_reset


class Lpc55(StandIn):
    """UM11126, and NXP's LPC55S69_cm33_core0.svd."""

    depth = 16
    SYSCON, IOCON, UART, WWDT, AOREG1 = 0x4000_0000, 0x4000_1000, 0x4008_6000, 0x4000_C000, 0x4002_0084

    def __init__(self, board, image):
        super().__init__(board, image)
        self.values = {self.SYSCON + 0x38C: 1 << 30, self.SYSCON + 0x280: 3, self.SYSCON + 0x2B0: 7}
        self.clocks, self.resets, self.asked, self.fed = [0x180, 0], [0, 0], False, []

    def read(self, at):
        if at == self.SYSCON + 0x104:
            return self.resets[1]
        if at == self.UART + 0xE04:
            return bool(self.fifo) << 6 | 1 << 5 | 1 << 4
        if at == self.UART + 0x008:
            return 1 << 3
        if at == self.UART + 0xE30:
            return self.fifo.popleft()
        return super().read(at)

    def write(self, at, value):
        for k in (0, 1):
            self.clocks[k] |= value * (at == self.SYSCON + 0x220 + 4 * k)
            self.resets[k] |= value * (at == self.SYSCON + 0x120 + 4 * k)
            self.resets[k] &= ~(value * (at == self.SYSCON + 0x140 + 4 * k))
        if self.IOCON <= at < self.IOCON + 0x1000:
            assert self.clocks[0] >> 13 & 1, "IOCON has no clock"
        if self.UART <= at < self.UART + 0x1000:
            assert self.clocks[1] >> 11 & 1 and not self.resets[1] >> 11 & 1, "Flexcomm 0 has no clock"
            assert at == self.UART + 0xFF8 or self.values[self.UART + 0xFF8] == 1, "Flexcomm 0 is no USART yet"
        if self.WWDT <= at < self.WWDT + 0x1000:
            assert self.clocks[0] >> 22 & 1, "WWDT has no clock"
        if at == self.UART + 0xE20:
            self.sent.append(value)
        if at == self.WWDT + 8:
            self.fed.append(value)
        if at == self.UART + 0x020:
            assert not self.values.get(self.UART, 0) & 1, "BRG is written to while the USART is on"
        super().write(at, value)

    @property
    def baud(self):
        assert self.values[self.SYSCON + 0x2B0] == 2  # FRO, 12 MHz
        return 12_000_000 / (self.values[self.UART + 0x028] + 1) / (self.values[self.UART + 0x020] + 1)

    def is_ready(self):
        """The core has 12 MHz, the pins are the USART's, digital, and the FIFOs are on."""
        core = [self.values[self.SYSCON + at] for at in (0x280, 0x284, 0x380)]
        pins = [self.values[self.IOCON + 4 * pin] for pin in (30, 29)]
        return (
            core == [0, 0, 0]
            and [pin & 0x10F for pin in pins] == [0x101, 0x101]
            and self.values[self.UART] == 0b101
            and self.values[self.UART + 0xE00] & 3 == 3
        )

    def arrive(self, byte):
        super().arrive(byte)
        assert (self.values[self.UART + 0xE08], self.values[self.UART + 0xE10]) == (1 << 1, 1 << 3)
        self.asked = True  # the level is compared when a byte comes

    def asks(self):
        """Once for each byte that comes, and when the program makes the interrupt pending."""
        pending = self.core.uc.mem_read(NVIC + 0x200, 4) != b"\0\0\0\0"
        asked, self.asked = self.asked or pending, False
        self.core.uc.mem_write(NVIC + 0x200, bytes(4))
        return asked


class Cmsdk(StandIn):
    """DDI 0479 4.3.1: one byte waits, and the next is lost while it does."""

    depth = 1

    def read(self, at):
        if at == self.board.registers["base"] + 4:
            return 2 * bool(self.fifo)
        return self.fifo.popleft() if at == self.board.registers["base"] and self.fifo else super().read(at)

    def asks(self):
        return bool(self.fifo)


CHIPS = {"rpi-pico": Rp2, "rpi-pico2": Rp2, "lpc55s69-evk": Lpc55}


def alone(name, folder, of=None):
    """The stand-in of a chip, with the board's own files alone."""
    need_for(name)
    need("unicorn")
    return (of or CHIPS[name])(boards.get(name), driver_of(boards.get(name), folder))


@pytest.fixture(params=CHIPS)
def chip(request, tmp_path):
    """The stand-in of a chip whose driver has started."""
    found = alone(request.param, tmp_path)
    found.call("lnp_board_init")
    return found


def test_a_driver_starts_clock_pins_and_uart_in_an_order_that_the_chip_allows(chip):
    assert chip.is_ready()
    assert abs(chip.baud / chip.board.baud - 1) < 0.002


def test_it_sends_what_it_is_given_and_changes_its_rate(chip):
    for at, byte in enumerate(b"spike"):
        chip.core.uc.mem_write(chip.board.ram.origin + chip.board.ram.size - 4096 + at, bytes([byte]))
    chip.call("lnp_board_write", chip.board.ram.origin + chip.board.ram.size - 4096, 5)
    assert chip.sent == b"spike"
    had = chip.call("lnp_board_baud", 460_800, 1)
    assert round(chip.baud) == had and chip.is_ready()


def test_a_flood_at_the_rate_of_the_line_reaches_the_ring_whole(chip):
    data = bytes(k * 7 % 251 for k in range(600))
    assert chip.interrupted_flood(data, chip.board.clock_hz * 10 // chip.board.baud) == data
    assert not chip.lost


def test_a_clock_that_is_too_slow_loses_bytes(chip):
    """The control."""
    data = bytes(k * 7 % 251 for k in range(600))
    assert chip.interrupted_flood(data, 60) != data
    assert chip.lost


def test_a_driver_that_polls_loses_bytes_during_a_step_and_one_with_an_interrupt_does_not(tmp_path):
    """At 115,200 Bd and 25 MHz a byte takes 2,170 cycles, this step 1 ms. That a host waits for each reply is what
    keeps the boards whole that poll."""
    data = bytes(k * 7 % 251 for k in range(600))
    polled, interrupted = (alone(name, tmp_path / name, Cmsdk) for name in ("cortex-m4", "mps2-an386"))
    assert (polled.board.clock_hz, polled.board.baud) == (interrupted.board.clock_hz, interrupted.board.baud)
    a_byte = polled.board.clock_hz * 10 // polled.board.baud
    for chip in (polled, interrupted):
        chip.call("lnp_board_init")
    assert polled.polled_flood(data, a_byte, step=0) == data and not polled.lost
    assert polled.polled_flood(data, a_byte, step=25_000) != data and polled.lost
    assert interrupted.interrupted_flood(data, a_byte) == data and not interrupted.lost


def test_what_is_left_in_the_fifo_of_an_lpc55_asks_for_its_interrupt(tmp_path):
    chip = alone("lpc55s69-evk", tmp_path)
    chip.call("lnp_board_init")
    for byte in b"ab":
        chip.arrive(byte)
    assert chip.asks()
    chip.call("uart_interrupt")
    assert chip.asks()
    chip.call("uart_interrupt")
    assert not chip.asks() and chip.variable("ring", 2) == b"ab"


class Running(InProcess):
    """The port of a whole image. The interrupt comes while the core sleeps, and the line waits for room in the FIFO.

    A second passes whenever the image has nothing more to say and to do, whatever time this computer takes.
    """

    def __init__(self, chip):
        super().__init__()
        self.chip, self.uc, self.seconds = chip, chip.core.uc, 0
        flash, word = chip.board.flash, 4 * (chip.board.registers["irq"] // 32)
        self.enable, self.disable = NVIC + 0x100 + word, NVIC + 0x180 + word
        code, found = bytes(self.uc.mem_read(flash.origin, 0x10000)), -1
        while (found := code.find(DSB_WFI, found + 1)) >= 0:
            at = flash.origin + found + 4
            self.uc.hook_add(chip.core.unicorn.UC_HOOK_CODE, lambda uc, *_: uc.emu_stop(), begin=at, end=at)
        vectors = chip.core.symbols["lnp_vectors"]
        stack, self.pc = (int.from_bytes(self.uc.mem_read(vectors + k, 4), "little") for k in (0, 4))
        self.uc.reg_write(chip.core.named("UC_ARM_REG_SP"), stack)

    def _run(self):
        chip, enabled = self.chip, True
        while True:
            self.uc.emu_start(self.pc | 1, chip.core.end)
            self.pc = self.uc.reg_read(chip.core.named("UC_ARM_REG_PC")) + 2
            assert self.uc.mem_read(self.pc - 2, 2) == DSB_WFI[4:], f"it does not sleep: {self.pc:#x}"
            self._from_device += chip.sent
            chip.sent.clear()
            moved = False
            while self._to_device and len(chip.fifo) < chip.depth:
                chip.arrive(self._to_device.pop(0))
                moved = True
            chip.silence()
            enabled = enabled or self.was_written(self.enable)
            while enabled and chip.asks():
                context = self.uc.context_save()
                chip.call("uart_interrupt")
                self.uc.context_restore(context)
                enabled = not self.was_written(self.disable)
                moved = True
            if self._from_device or not moved:
                self.seconds += not self._from_device
                return

    def clock(self):
        return float(self.seconds)

    def was_written(self, at):
        found = self.uc.mem_read(at, 4) != bytes(4)
        self.uc.mem_write(at, bytes(4))
        return found


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize("name", ["rpi-pico2", "lpc55s69-evk"])
def test_the_image_that_is_flashed_starts_and_computes_every_bit(tmp_path, name, toolchain):
    need_for(name, toolchain)
    need("unicorn")
    model, board = tiny_stack(), boards.get(name)
    write(generate(model, board), tmp_path)
    with closing(Running(CHIPS[name](board, build(tmp_path, toolchain).image))) as port:
        device = Device(port, model)
        assert device.greeting.board == name
        assert verify(model, device, stimulus(model, 40, seed=1)).ok
        assert device.traffic.sent_again == 0, "no byte is lost or left in the FIFO"


# --- watchdogs

CAUSE = {number: name for name, number in protocol.CAUSES.items()}


def test_the_watchdog_of_the_rp2350_counts_microseconds_and_knows_its_own_reset(tmp_path):
    chip = alone("rpi-pico2", tmp_path, StandIn)
    chip.call("lnp_board_watch")
    assert chip.values[0x4010_8034] == 12 and chip.values[0x4010_8030] & 1  # 8.5: a tick is 12 cycles of 12 MHz
    assert chip.values[0x4001_8008] == 0x1FF_FFFF & ~0b1100  # 7.4.4: all but ROSC and XOSC
    assert chip.values[0x400D_8004] == 4_000_000 and chip.values[0x400D_8000] >> 30 & 1
    chip.values[0x400D_8004] = 0
    chip.call("lnp_board_kick")
    assert chip.values[0x400D_8004] == 4_000_000
    chip.values[0x400D_8008] = 1  # REASON: the timer
    assert CAUSE[chip.call("lnp_board_cause")] == "watchdog"
    assert CAUSE[chip.call("lnp_board_cause")] == "software", "the boot ROM's own use of it, after flashing"
    chip.values[0x400D_8008] = 0
    for bit, cause in ((16, "power"), (17, "brown-out"), (18, "pin"), (27, "unknown")):
        chip.values[0x4010_002C] = 1 << bit
        assert CAUSE[chip.call("lnp_board_cause")] == cause


def test_the_watchdog_of_the_lpc55_counts_a_quarter_of_its_oscillator(tmp_path):
    chip = alone("lpc55s69-evk", tmp_path)
    chip.call("lnp_board_watch")
    assert chip.values[chip.SYSCON + 0xA18] >> 6 & 1 and chip.values[chip.SYSCON + 0x38C] == 0
    assert chip.values[chip.WWDT + 4] == 8_000 * 1_000 // 4 and chip.values[chip.WWDT] & 3 == 3
    assert chip.fed == [0xAA, 0x55]
    chip.call("lnp_board_kick")
    assert chip.fed == [0xAA, 0x55] * 2
    causes = {4: "power", 5: "pin", 6: "brown-out", 7: "software", 8: "watchdog", 9: "software", 10: "unknown"}
    for bit, cause in causes.items():
        chip.values[chip.AOREG1] = 1 << bit
        assert CAUSE[chip.call("lnp_board_cause")] == cause
