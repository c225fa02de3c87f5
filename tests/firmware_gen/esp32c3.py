"""A stand-in for an ESP32-C3 that its boot ROM has just left: unicorn runs the bytes of its flash.

Code can only be run, and tables only be read, each at the addresses of its own bus. A byte of the line takes its time.
The registers are those that boards/common/esp32c3_uart.c uses, as ESP-IDF's headers have them
(components/soc/esp32c3/include/soc), and hold what they hold after a reset, or what the boot ROM leaves there.
"""

import struct

from lnp_edge.runtime.in_process import InProcess

MAGIC = b"\x1d\x04\xdb\xae" * 2  # github.com/espressif/esp32c3-direct-boot-example, README.md
CRYSTAL, MAPPED, FIFO = 40_000_000, 0x40_0000, 128
CODE, TABLES, RAM, RAM_BYTES = 0x4200_0000, 0x3C00_0000, 0x3FC8_0000, 0x6_0000
UART, RTC, TIMERS, SYSTEM = 0x6000_0000, 0x6000_8000, 0x6001_F000, 0x600C_0000
RTC_WATCHDOG, SUPER_WATCHDOG, MAIN_WATCHDOG = RTC + 0x90, RTC + 0xAC, TIMERS + 0x48
KEYS = {RTC_WATCHDOG: RTC + 0xA8, SUPER_WATCHDOG: RTC + 0xB0, MAIN_WATCHDOG: TIMERS + 0x64}
UNLOCKS = {RTC_WATCHDOG: 0x50D8_3AA1, SUPER_WATCHDOG: 0x8F1D_312A, MAIN_WATCHDOG: 0x50D8_3AA1}
DATA, DIVIDER, STATE, PHASE, CLOCK = (UART + at for at in (0x00, 0x14, 0x1C, 0x6C, 0x78))
RESETS, CORE_CLOCK = SYSTEM + 0x18, SYSTEM + 0x58
EVENTS, ENABLED, CYCLES, MCYCLE = 0x7E0, 0x7E1, 0x7E2, 0xB00  # mpcer, mpcmr, mpccr; the last is on other cores


class Esp32C3(InProcess):
    """flash : its bytes from 0 on;  cycles : of an instruction

    lost, overrun : bytes that came, or were written, while a FIFO was full;  registers : what was written last
    """

    emulated = False  # its cycles are of this core's counter

    def __init__(self, flash, cycles=3):
        import unicorn
        from unicorn import riscv_const

        super().__init__()
        assert flash[: len(MAGIC)] == MAGIC and flash[0] != 0xE9  # which begins an image with a header
        self._unicorn, self._known = unicorn, riscv_const
        self._cycles, self._now, self._next = cycles, 0, 0
        self._fifo, self._sending, self._leaves, self._polled = bytearray(), 0, 0, False
        self._counters = {EVENTS: 0, ENABLED: 0}
        self.lost, self.overrun = 0, 0
        self.registers = {
            RTC_WATCHDOG: 1 << 31 | 1 << 12, SUPER_WATCHDOG: 0, MAIN_WATCHDOG: 1 << 31 | 1 << 14,
            CORE_CLOCK: 40 << 12 | 1, RESETS: 0, CLOCK: 1 << 12,
        }  # fmt: skip
        self._uc = uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        uc.ctl_set_tcg_buffer_size(2**25)
        uc.ctl_set_cpu_model(riscv_const.UC_CPU_RISCV32_SIFIVE_E31)
        uc.mem_map(CODE, MAPPED, unicorn.UC_PROT_EXEC)
        uc.mem_map(TABLES, MAPPED, unicorn.UC_PROT_READ)
        uc.mem_map(RAM, RAM_BYTES, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        uc.mem_write(RAM, b"\xa5" * RAM_BYTES)
        for at in (CODE, TABLES):
            uc.mem_write(at, bytes(flash))
        for page in {at & ~0xFFF for at in (UART, RTC, TIMERS, SYSTEM)}:
            uc.mmio_map(page, 0x1000, self._read, page, self._write, page)
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._pass)
        for at in range(0, len(flash) - 3, 2):
            (word,) = struct.unpack_from("<I", flash, at)
            if word & 0x7F == 0x73 and word >> 20 in (EVENTS, ENABLED, CYCLES, MCYCLE):
                uc.hook_add(unicorn.UC_HOOK_CODE, self._counter, word, CODE + at, CODE + at)
        self._pc = CODE + len(MAGIC)

    @property
    def baud(self):
        """Bits a second, as its registers say."""
        clock, divider = self.registers[CLOCK], self.registers[DIVIDER]
        assert clock >> 20 & 3 == 3 and clock >> 22 & 0b1101 == 0b1101 and not clock & 0xFFFFF  # crystal, on, by 1
        return CRYSTAL * 16 / ((divider & 0xFFF) << 4 | divider >> 20 & 15)

    @property
    def watchdogs_bite(self):
        """Whether one of them would reset it."""
        rtc, main, fed = (self.registers[one] for one in (RTC_WATCHDOG, MAIN_WATCHDOG, SUPER_WATCHDOG))
        return bool(rtc & (1 << 31 | 1 << 12) or main & (1 << 31 | 1 << 14) or not fed & 1 << 31)

    def _pass(self, uc, address, size, data):
        self._now += size // 2 * self._cycles

    def _counter(self, uc, address, size, word):
        number, rd, rs1 = word >> 20, word >> 7 & 31, word >> 15 & 31
        x0 = self._known.UC_RISCV_REG_X0
        assert number != MCYCLE, "this core has no mcycle"
        if number == CYCLES:
            on = self._counters == {EVENTS: 1, ENABLED: 1}
            uc.reg_write(x0 + rd, self._now & 0xFFFFFFFF if on else 0)
        else:
            self._counters[number] = uc.reg_read(x0 + rs1)
        uc.reg_write(self._known.UC_RISCV_REG_PC, address + size)

    @property
    def traps(self):
        """Where they go."""
        return self._uc.reg_read(self._known.UC_RISCV_REG_MTVEC)

    def _arrive(self):
        byte = int(10 * CRYSTAL / self.baud)  # cycles, of 10 bits
        while self._sending and self._leaves <= self._now:
            self._sending, self._leaves = self._sending - 1, self._leaves + byte
        while self._to_device and self._next <= self._now:
            came = self._to_device.pop(0)
            if len(self._fifo) == FIFO:
                self.lost += 1
            else:
                self._fifo.append(came)
            self._next += byte

    def _read(self, uc, offset, size, page):
        at = page + offset
        assert size == 4, f"{size} bytes of {at:#x} are read"
        if at == DATA:
            self._polled = False
            return self._fifo.pop(0)
        if at == STATE:
            self._arrive()
            found = len(self._fifo) | self._sending << 16
            if self._sending == FIFO:
                self._now = self._leaves  # nothing but waiting would come between
            elif not self._fifo and self._to_device:
                self._now = self._next
            elif not self._fifo and self._polled:
                uc.emu_stop()
            self._polled = not (self._fifo or self._to_device)
            return found
        if at == PHASE:
            return 0xF0 if self._sending else 0
        return self.registers[at]  # of another nothing is known

    def _write(self, uc, offset, size, value, page):
        at = page + offset
        assert size == 4, f"{size} bytes are written to {at:#x}"
        if at in KEYS and self.registers.get(KEYS[at]) != UNLOCKS[at]:
            return
        if at == DATA:
            self._leaves = self._leaves if self._sending else self._now + int(10 * CRYSTAL / self.baud)
            self.overrun += self._sending == FIFO
            self._sending, self._polled = min(self._sending + 1, FIFO), False
            self._from_device.append(value & 0xFF)
        self.registers[at] = value

    def _run(self):
        self._polled, self._next = False, max(self._next, self._now)
        self._uc.emu_start(self._pc, CODE + MAPPED - 2)
        self._pc = self._uc.reg_read(self._known.UC_RISCV_REG_PC)
