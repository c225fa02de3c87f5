"""Numbers of chips against what their makers have on PyPI: SVD files of NXP, Nordic and ST in pyOCD, and esptool."""

import io
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import need

from lnp_edge import boards

COMMON = Path(boards.__file__).parent / "common"
LPC55 = "LPC55S69_cm33_core0.xml"


class Svd:
    def __init__(self, name):
        need("pyocd")
        place = Path(find_spec("pyocd").origin).parent / "debug/svd/svd_data.zip"
        with zipfile.ZipFile(place) as files, files.open(name) as file:
            found = ElementTree.parse(io.BytesIO(file.read())).iter("peripheral")
        self.peripherals = {one.findtext("name"): one for one in found}

    def base(self, name):
        return int(self.peripherals[name].findtext("baseAddress"), 0)

    def irq(self, name):
        return int(self.peripherals[name].findtext("interrupt/value"), 0)

    def bit(self, name, register, field):
        """The address of a register, and the lowest bit of one of its fields."""
        found = next(one for one in self.peripherals[name].iter("register") if one.findtext("name") == register)
        bits = {one.findtext("name"): int(one.findtext("bitOffset"), 0) for one in found.iter("field")}
        return self.base(name) + int(found.findtext("addressOffset"), 0), bits[field]

    def registers(self, *names):
        """The address of each register of some peripherals, [0] of an array's first, and what it resets to."""
        found = {}
        for name in names:
            one = self.peripherals[name]
            for register in self.peripherals[one.get("derivedFrom", name)].iter("register"):
                at = self.base(name) + int(register.findtext("addressOffset"), 0)
                step = int(register.findtext("dimIncrement", "0"), 0)
                for k in range(int(register.findtext("dim", "1"), 0)):
                    key = register.findtext("name").replace("[%s]", str(k)).replace("%s", str(k))
                    found[key] = (at + k * step, int(register.findtext("resetValue") or "0", 0))
        return found


def defined(file, base):
    """The registers of a driver, names with their addresses, and its keys."""
    text = (COMMON / file).read_text()
    found = re.findall(r"^#define (\w+?)(?:\(\w+\))? REGISTER\((LNP_UART_BASE \+ )?(0x[0-9A-F]+)u", text, re.M)
    found += [(name, "", key) for name, key in re.findall(r"^#define (\w*KEY) (0x[0-9A-F]{8})u", text, re.M)]
    return {name: int(at, 16) + base * bool(own) for name, own, at in found if not name.startswith("NVIC_")}


def test_the_registers_of_the_lpc55s69_are_those_of_nxp():
    svd, board = Svd(LPC55), boards.get("lpc55s69-evk")
    known = svd.registers("SYSCON", "IOCON", "PMC", "WWDT", "FLEXCOMM0", "USART0")
    known |= {"PIO": known["PIO0_0"], "FCCLKSEL": known["FCCLKSEL0"]}  # the first of several
    used = {}
    for file in ("lpc55_usart.c", "lpc55_watchdog.c"):
        used |= defined(file, board.registers["base"])
    assert len(used) == 27 and used == {name: known[name][0] for name in used}
    assert (board.registers["base"], board.registers["irq"]) == (svd.base("USART0"), svd.irq("USART0"))
    assert (board.identity.address, board.identity.value) == (
        known["DIEID"][0],
        known["DIEID"][1] & board.identity.mask,
    )


@pytest.mark.parametrize(("name", "file", "unit", "enable", "gpio_enable", "debug"), [
    ("netduinoplus2", "STM32F41x.svd", "USART1", "APB2ENR", "AHB1ENR", "DBG"),
    ("disco-f407", "STM32F41x.svd", "USART2", "APB1ENR", "AHB1ENR", "DBG"),
    ("nucleo-l476rg", "STM32L4x5.svd", "USART2", "APB1ENR1", "AHB2ENR", "DBGMCU"),
])  # fmt: skip
def test_the_peripherals_of_an_stm32_are_those_of_st(name, file, unit, enable, gpio_enable, debug):
    """Of the STM32F415 and F417, and of the L475: they differ in what is not used here."""
    svd, board = Svd(file), boards.get(name)
    place, bit = svd.bit("RCC", enable, f"{unit}EN")
    pins, pin_bit = svd.bit("RCC", gpio_enable, "GPIOAEN")
    found = {"base": svd.base(unit), "irq": svd.irq(unit), "enable": place, "enable_bit": bit}
    found |= {"gpio": svd.base("GPIOA"), "gpio_bit": pin_bit}
    assert {key: board.registers[key] for key in found} == found
    assert pins == board.registers.get("gpio_enable", defined("stm32_usart.c", 0)["RCC_AHB1ENR"])
    assert board.identity.address == svd.base(debug)


@pytest.mark.parametrize(("name", "file", "gpio"), [
    ("microbit", "nrf51.svd", "GPIO"), ("microbit-v2", "nrf52833.svd", "P0"),
    ("nrf52840-dk", "nrf52840.svd", "P0"), ("arduino-nano-33-ble", "nrf52840.svd", "P0"),
])  # fmt: skip
def test_the_peripherals_of_an_nrf_are_those_of_nordic(name, file, gpio):
    svd, board = Svd(file), boards.get(name)
    found = {"base": svd.base("UART0"), "irq": svd.irq("UART0"), "clock": svd.base("CLOCK"), "gpio": svd.base(gpio)}
    assert {key: board.registers[key] for key in found} == found
    if not board.identity:
        return
    part = next(one for one in svd.peripherals["FICR"].iter("cluster") if one.findtext("name") == "INFO")
    at = svd.base("FICR") + int(part.findtext("addressOffset"), 0)
    assert (board.identity.address, board.identity.value) == (at, int(part.findtext("register/resetValue"), 0))


def test_the_addresses_of_the_esp32_c3_are_those_of_esptool():
    need("esptool")
    from esptool.targets.esp32c3 import ESP32C3ROM as ROM

    board = boards.get("esp32-c3-devkitm-1")
    used = defined("esp32c3_uart.c", board.registers["base"])
    found = {
        "DIVIDER": ROM.UART_CLKDIV_REG,
        "RTC_WATCHDOG": ROM.RTC_CNTL_WDTCONFIG0_REG,
        "RTC_WATCHDOG_KEY": ROM.RTC_CNTL_WDTWPROTECT_REG,
        "SUPER_WATCHDOG": ROM.RTC_CNTL_SWD_CONF_REG,
        "SUPER_WATCHDOG_KEY": ROM.RTC_CNTL_SWD_WPROTECT_REG,
        "KEY": ROM.RTC_CNTL_WDT_WKEY,
        "SUPER_KEY": ROM.RTC_CNTL_SWD_WKEY,
    }
    assert {name: used[name] for name in found} == found
    places = {name: begin for begin, _, name in ROM.MEMORY_MAP}
    assert (board.flash.origin, board.tables.origin, board.ram.origin) == tuple(
        map(places.get, ("IROM", "DROM", "DRAM"))
    )
