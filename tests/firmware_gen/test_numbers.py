"""Where the numbers of boards come from, and those of chips against what PyPI has of them: SVD files of NXP, Nordic and
ST in pyOCD, esptool, and what others keep: modm-devices, whose STM32 are those of ST's CubeMX, and labwired's chips.
"""

import io
import re
import tomllib
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import need, need_for
from driver_core import Core, driver_of

from lnp_edge import boards
from lnp_edge.runtime.rate import HIGHER

BOARDS = Path(boards.__file__).parent
ROOT = Path(__file__).parents[2]
COMMON = BOARDS / "common"
LPC55 = "LPC55S69_cm33_core0.xml"
DOCUMENT = re.compile(r"\b[A-Z]{2,3} ?\d{4}|\bTRM\b|manual|guide|sheet|specification|schematic|SVD")
PLACE = re.compile(
    r"(?:^|[,;(] ?)\d+\.\d|(?:[A-Z]{2,3} ?\d{4,}|TRM|manual|sheet)(?: (?:rev |v)[\d.]+,)? \d"
    r"|(?i:chapter|figure|page|section|table) \d|[\w-]{3,}\.[a-z]{1,4}\b|(?:SVD,|schematic:) \w"
)
OURS = ("baud", "ms", "opens_ms")  # chosen, not read


def without_a_place(text):
    """The lines of a board's file whose number nobody can look up.

    A comment that names no document leaves its line to the one above it, in the same table.
    """
    found, placed, before = [], False, False
    for line in text.splitlines():
        said, _, comment = line.partition("#")
        key, equals, value = (part.strip() for part in said.partition("="))
        comment = comment.strip()
        if key.startswith("["):
            placed, before = False, placed
        if key and (PLACE.search(comment) or DOCUMENT.search(comment)):
            placed = bool(PLACE.search(comment))
        elif key and comment.startswith("the same"):
            placed = placed or before
        if equals and value[:1].isdigit() and key not in OURS and not placed:
            found.append(line)
    return found


@pytest.mark.parametrize("path", [
    pytest.param(path, id=str(path.relative_to(BOARDS)))
    for path in sorted((*BOARDS.glob("chips/*.toml"), *BOARDS.glob("*/board.toml"))) if path.parent.name != "host"
])  # fmt: skip
def test_each_number_of_a_board_says_where_it_can_be_looked_up(path):
    """Those of host are nominal."""
    assert not without_a_place(path.read_text()), "name a section, table or page, or a file and a name in it"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/boards.md"])
def test_the_board_of_a_page_says_it_too(page):
    found = re.findall(r"^`[\w/-]+/board\.toml`\n\n```toml\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    assert len(found) == 1 and not without_a_place(found[0])


def test_a_document_alone_is_no_place_to_look_up_a_number():
    text = """pins = 30  # RM0000 1.2: of a port
[uart]
baud = 115_200
irq = 0  # DAI 0385: interrupt 0
base = 0x4000_0000  # the manual v3.0, 13, and the same
gpio = 0x5000_0000
mode = 4  # the user guide, Section 7
pin = 4  # pins.rs: PA4
clock = 1  # LPC55S69 user guide: 1 Hz
enable_bit = 2  # USARTEN
[ram]
size = 8  # 8 bytes
[flash]
size = 16  # the same
"""
    assert [line.split()[0] for line in without_a_place(text)] == ["irq", "clock", "enable_bit", "size", "size"]


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

    def value(self, name, register, field, wording):
        """What selects something in a field, in its place, by its name or the beginning of its description."""
        found = next(one for one in self.peripherals[name].iter("register") if one.findtext("name") == register)
        wide = next(one for one in found.iter("field") if one.findtext("name") == field)
        (value,) = (
            int(one.findtext("value"), 0)
            for one in wide.iter("enumeratedValue")
            if one.findtext("name") == wording or one.findtext("description").startswith(wording)
        )
        return value << int(wide.findtext("bitOffset"), 0)

    def registers(self, *names):
        """The address of each register of some peripherals, [0] of an array's first, and what it resets to."""
        found = {}

        def walk(parent, place, prefix):
            for one in parent:
                at, name = place + int(one.findtext("addressOffset"), 0), prefix + one.findtext("name")
                if one.tag == "cluster":
                    walk(one.iterfind("register"), at, name)
                    continue
                step = int(one.findtext("dimIncrement", "0"), 0)
                for k in range(int(one.findtext("dim", "1"), 0)):
                    key = name.replace("[%s]", str(k)).replace("%s", str(k))
                    found[key] = (at + k * step, int(one.findtext("resetValue") or "0", 0))

        for name in names:
            own = self.peripherals[name]
            walk(self.peripherals[own.get("derivedFrom", name)].find("registers"), self.base(name), "")
        return found


def defined(file, board):
    """The registers of a driver, names with their addresses on a board, and its keys."""
    text = (COMMON / file).read_text()
    found = re.findall(r"^#define (\w+?)(?:\(\w+\))? REGISTER\((?:LNP_UART_(\w+) \+ )?(0x[0-9A-F]+)u", text, re.M)
    found += [(name, "", key) for name, key in re.findall(r"^#define (\w*KEY) (0x[0-9A-F]{8})u", text, re.M)]
    bases = {"": 0} | {key.upper(): at for key, at in board.registers.items()}
    return {name: bases.get(own, 0) + int(at, 16) for name, own, at in found if not name.startswith("NVIC_")}


def pins_of(board):
    """What board.toml, or the file of its chip, says of its pins."""
    said = tomllib.loads((BOARDS / board.name / "board.toml").read_text())
    return said.get("pins") or tomllib.loads((BOARDS / "chips" / f"{board.chip}.toml").read_text())["pins"]


def test_the_registers_of_the_lpc55s69_are_those_of_nxp():
    svd, board = Svd(LPC55), boards.get("lpc55s69-evk")
    known = svd.registers("SYSCON", "IOCON", "PMC", "WWDT", "FLEXCOMM0", "USART0")
    known |= {"PIO": known["PIO0_0"], "FCCLKSEL": known["FCCLKSEL0"]}  # the first of several
    used = {}
    for file in ("lpc55_usart.c", "lpc55_watchdog.c"):
        used |= defined(file, board)
    assert len(used) == 27 and used == {name: known[name][0] for name in used}
    assert (board.registers["base"], board.registers["irq"]) == (svd.base("USART0"), svd.irq("USART0"))
    assert (board.identity.address, board.identity.value) == (
        known["DIEID"][0],
        known["DIEID"][1] & board.identity.mask,
    )


def test_the_values_that_the_driver_of_the_lpc55s69_selects_are_those_of_nxp():
    """Of fields wider than a bit; the main clock is the same after reset."""
    svd, text = Svd(LPC55), (COMMON / "lpc55_usart.c").read_text()
    selects = """FRO_12_MHZ SYSCON MAINCLKSELA SEL FRO 12 MHz, FLEXCOMM_FRO_12_MHZ SYSCON FCCLKSEL0 SEL FRO 12 MHz,
     USART FLEXCOMM0 PSELID PERSEL USART, PULL_UP IOCON PIO0_0 MODE PULL_UP, EIGHT_BITS USART0 CFG DATALEN BIT_8,
     ON USART0 CFG ENABLE ENABLED"""
    found = {name: svd.value(*place) for name, *place in (one.split(maxsplit=4) for one in selects.split(","))}
    found["EIGHT_BITS_ON"] = found.pop("EIGHT_BITS") | found.pop("ON")
    used = {name: re.search(rf"\b{name} = (\d+)(?: << (\d+))?(?: \| (\d+))?,", text).groups("0") for name in found}
    assert {name: int(low) << int(by) | int(more) for name, (low, by, more) in used.items()} == found
    assert svd.registers("SYSCON")["MAINCLKSELA"][1] == found["FRO_12_MHZ"]


@pytest.mark.parametrize(("driver", "file", "those"), [
    ("lpc55_usart.c", LPC55, """IOCON_CLOCK SYSCON AHBCLKCTRL0 IOCON, FLEXCOMM_BIT SYSCON AHBCLKCTRL1 FC0,
     DIGITAL IOCON PIO0_0 DIGIMODE, EIGHT_BITS_ON USART0 CFG DATALEN, ALL_LEFT USART0 STAT TXIDLE,
     TX_EMPTY USART0 FIFOSTAT TXEMPTY, TX_NOT_FULL USART0 FIFOSTAT TXNOTFULL, RX_NOT_EMPTY USART0 FIFOSTAT RXNOTEMPTY,
     RX_LEVEL USART0 FIFOTRIG RXLVLENA, RX_INTERRUPT USART0 FIFOINTENSET RXLVL"""),
    ("lpc55_watchdog.c", LPC55, """WWDT_CLOCK SYSCON AHBCLKCTRL0 WWDT, FRO_1_MHZ SYSCON CLOCK_CTRL FRO1MHZ_CLK_ENA,
     POWER PMC AOREG1 POR, PIN PMC AOREG1 PADRESET, BROWN_OUT PMC AOREG1 BODRESET, BY_THE_CORE PMC AOREG1 SYSTEMRESET,
     WATCHDOG PMC AOREG1 WDTRESET, BY_SOFTWARE PMC AOREG1 SWRRESET"""),
    ("stm32_usart_v2.c", "STM32L4x5.svd", """ENABLE USART1 CR1 UE, RECEIVE USART1 CR1 RE, SEND USART1 CR1 TE,
     RX_INTERRUPT USART1 CR1 RXNEIE, OVERRUN USART1 ISR ORE, RX_READY USART1 ISR RXNE, ALL_LEFT USART1 ISR TC,
     TX_EMPTY USART1 ISR TXE"""),
])  # fmt: skip
def test_the_bits_that_a_driver_names_are_those_of_its_maker(driver, file, those):
    """Every 1 << n that has a name."""
    svd, used = Svd(file), re.findall(r"(\w+) = 1 << \(?(\d+)", (COMMON / driver).read_text())
    found = {name: svd.bit(*place)[1] for name, *place in map(str.split, those.split(","))}
    assert {name: int(bit) for name, bit in used} == found


@pytest.mark.parametrize(("name", "file", "unit", "enable", "gpio_enable", "gpio_field", "debug"), [
    ("netduinoplus2", "STM32F41x.svd", "USART1", "APB2ENR", "AHB1ENR", "GPIOAEN", "DBG"),
    ("disco-f407", "STM32F41x.svd", "USART2", "APB1ENR", "AHB1ENR", "GPIOAEN", "DBG"),
    ("nucleo-f401re", "STM32F41x.svd", "USART2", "APB1ENR", "AHB1ENR", "GPIOAEN", "DBG"),
    ("nucleo-l476rg", "STM32L4x5.svd", "USART2", "APB1ENR1", "AHB2ENR", "GPIOAEN", "DBGMCU"),
    ("stm32vldiscovery", "STM32F103xx.svd", "USART1", "APB2ENR", "APB2ENR", "IOPAEN", "DBG"),
])  # fmt: skip
def test_the_peripherals_of_an_stm32_are_those_of_st(name, file, unit, enable, gpio_enable, gpio_field, debug):
    """Of the STM32F415 and F417, of the L475 and of the F103: they differ in what is not used here."""
    svd, board = Svd(file), boards.get(name)
    place, bit = svd.bit("RCC", enable, f"{unit}EN")
    pins, pin_bit = svd.bit("RCC", gpio_enable, gpio_field)
    found = {"base": svd.base(unit), "irq": svd.irq(unit), "enable": place, "enable_bit": bit}
    found |= {"gpio": svd.base("GPIOA"), "gpio_bit": pin_bit}
    assert {key: board.registers[key] for key in found} == found
    assert pins == board.registers.get("gpio_enable", defined("stm32_usart.c", board).get(f"RCC_{gpio_enable}"))
    assert board.identity.address == svd.base(debug)


@pytest.mark.parametrize(("name", "file", "driver", "units", "those"), [
    ("disco-f407", "STM32F41x.svd", "stm32_usart.c", {"USART": "USART2", "GPIO": "GPIOA"},
     "USART_SR USART_DR USART_BRR USART_CR1 RCC_CR RCC_PLLCFGR RCC_CFGR RCC_AHB1ENR RCC_CSR FLASH_ACR GPIO_MODER"
     " GPIO_AFR"),
    ("disco-f407", "STM32F41x.svd", "stm32_watchdog.c", {"": "IWDG", "DBGMCU": "DBG"}, "KR PR RLR SR DBGMCU_APB1_FZ"),
    ("stm32vldiscovery", "STM32F103xx.svd", "stm32_usart.c", {"USART": "USART1"},
     "USART_SR USART_DR USART_BRR USART_CR1 RCC_APB2ENR"),
    ("nucleo-l476rg", "STM32L4x5.svd", "stm32_usart_v2.c", {"USART": "USART2", "GPIO": "GPIOA"},
     "USART_CR1 USART_BRR USART_ISR USART_ICR USART_RDR USART_TDR GPIO_MODER GPIO_AFR"),
])  # fmt: skip
def test_the_registers_of_a_driver_of_stm32_are_those_of_st(name, file, driver, units, those):
    """GPIO_AFR is the first of two, AFRL."""
    svd, used = Svd(file), defined(driver, boards.get(name))
    for key in those.split():
        unit = next((unit for unit in ("USART", "GPIO", "RCC", "FLASH", "DBGMCU") if key.startswith(unit)), "")
        known = svd.registers(units.get(unit, unit))
        wanted = key.removeprefix(f"{unit}_").replace("AFR", "AFRL")
        assert used[key] == next(at for name, (at, _) in known.items() if name in (wanted, f"{unit}_{wanted}"))


@pytest.mark.parametrize(("name", "file"), [("microbit", "nrf51.svd"), ("microbit-v2", "nrf52833.svd"),
                                            ("nrf52840-dk", "nrf52840.svd")])  # fmt: skip
def test_the_registers_of_the_driver_of_an_nrf_are_those_of_nordic(name, file):
    names = {
        "START_RX": "TASKS_STARTRX",
        "START_TX": "TASKS_STARTTX",
        "RX_READY": "EVENTS_RXDRDY",
        "TX_READY": "EVENTS_TXDRDY",
        "INTERRUPT": "INTENSET",
        "ENABLE": "ENABLE",
        "TX_PIN": "PSELTXD",
        "RX_PIN": "PSELRXD",
        "RX_BYTE": "RXD",
        "TX_BYTE": "TXD",
        "BAUD_RATE": "BAUDRATE",
        "START_CRYSTAL": "TASKS_HFCLKSTART",
        "CRYSTAL_RUNS": "EVENTS_HFCLKSTARTED",
    }
    svd, board = Svd(file), boards.get(name)
    known = svd.registers("CLOCK", "UART0")
    assert defined("nrf_uart.c", board) == {name: known[theirs][0] for name, theirs in names.items()}
    if name == "microbit":  # of the others Nordic's file has two ports of 32, which are not all at pins
        assert pins_of(board) == sum(key.startswith("PIN_CNF") for key in svd.registers("GPIO"))


@pytest.mark.parametrize(("name", "file", "gpio"), [
    ("microbit", "nrf51.svd", "GPIO"), ("microbit-v2", "nrf52833.svd", "P0"),
    ("nrf52840-dk", "nrf52840.svd", "P0"), ("arduino-nano-33-ble", "nrf52840.svd", "P0"),
])  # fmt: skip
def test_the_peripherals_of_an_nrf_are_those_of_nordic(name, file, gpio):
    svd, board = Svd(file), boards.get(name)
    found = {"base": svd.base("UART0"), "irq": svd.irq("UART0"), "clock": svd.base("CLOCK"), "gpio": svd.base(gpio)}
    assert {key: board.registers[key] for key in found} == found
    if name == "microbit":
        from pyocd.target.builtin.target_nRF51822_xxAA import NRF51

        page = NRF51.MEMORY_MAP.get_boot_memory().blocksize
        at = svd.registers("FICR")["CODEPAGESIZE"][0]
        assert (board.identity.address, board.identity.mask, board.identity.value) == (at, 0xFFFFFFFF, page)
        return
    part = next(one for one in svd.peripherals["FICR"].iter("cluster") if one.findtext("name") == "INFO")
    at = svd.base("FICR") + int(part.findtext("addressOffset"), 0)
    assert (board.identity.address, board.identity.value) == (at, int(part.findtext("register/resetValue"), 0))


def test_the_rates_of_an_nrf_are_those_of_nordic(tmp_path):
    """What it begins with is Nordic's value; what it says it has is what Nordic's actual rates follow."""
    svd, board = Svd("nrf52840.svd"), boards.get("nrf52840-dk")
    need_for(board.name)
    need("unicorn")
    at = svd.registers("UART0")["BAUDRATE"][0]
    values = {one.findtext("name"): one for one in svd.peripherals["UART0"].iter("enumeratedValue")}
    values = {name: one for name, one in values.items() if re.fullmatch(r"Baud\d+", name)}

    def had(value):
        divider = 2**20 // (value >> 12)
        return (16_000_000 + divider // 2) // divider

    for name, one in values.items():
        rate = re.search(r"actual rate: (\d+)", one.findtext("description"))
        assert had(int(one.findtext("value"), 0)) == int(rate[1] if rate else name.removeprefix("Baud"))
    core = Core(board, driver_of(board, tmp_path))
    core.uc.mem_map(0x4000_0000, 0x3000)
    core.uc.mem_map(board.registers["gpio"], 0x1000)

    def written():
        return int.from_bytes(core.uc.mem_read(at, 4), "little")

    core.call("lnp_board_init")
    assert written() == int(values[f"Baud{board.baud}"].findtext("value"), 0)
    for baud in HIGHER:
        said = core.call("lnp_board_baud", baud, 1)
        assert not said or said == had(written())


@pytest.mark.slow  # ./run installs Arduino's package for slow ones alone
@pytest.mark.parametrize("name", [name for name in boards.names() if boards.get(name).usb])
def test_the_ids_of_a_board_at_usb_are_those_of_its_probe(name):
    """pyOCD knows ST's and Arm's, Arduino's package its own; a J-Link is asked by SEGGER's library."""
    need("pyocd", "/usr/share/arduino/hardware/arduino/avr/boards.txt")
    from pyocd.probe.cmsis_dap_probe import CMSISDAPProbe
    from pyocd.probe.stlink.usb import STLinkUSBInterface as STLink

    text = Path("/usr/share/arduino/hardware/arduino/avr/boards.txt").read_text()
    of = name.removeprefix("arduino-")
    vendors, products = (re.findall(rf"^{of}\.{key}\.\d=0x(\w+)", text, re.M) for key in ("vid", "pid"))
    known = {f"{a}:{b}".lower() for a, b in zip(vendors, products, strict=True)}
    known |= {f"{STLink.USB_VID:04x}:{at:04x}" for at, probe in STLink.USB_PID_EP_MAP.items() if probe[0] == "V2-1"}
    known |= {"{:04x}:{:04x}".format(*CMSISDAPProbe.DAPLINK_VIDPID)}
    assert all(one in known or one.startswith("1366:") for one in boards.get(name).usb)


def test_the_addresses_of_the_esp32_c3_are_those_of_esptool():
    need("esptool")
    from esptool.targets.esp32c3 import ESP32C3ROM as ROM

    board = boards.get("esp32-c3-devkitm-1")
    used = defined("esp32c3_uart.c", board)
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


class Modm:
    """A chip of modm-devices: what it has of a driver, and how long its memory is from an address on."""

    def __init__(self, file, part):
        need("modm_devices")
        from modm_devices.parser import DeviceParser

        place = Path(find_spec("modm_devices").origin).parent / f"resources/devices/{file}.xml"
        (self.device,) = (one for one in DeviceParser().parse(str(place)).get_devices() if one.partname == part)
        core, gpio = (self.device.get_driver(name) for name in ("core", "gpio"))
        self.irqs = {one["name"]: int(one["position"]) for one in core["vector"]}
        self.memory = sorted((int(one["start"], 0), int(one["size"])) for one in core["memory"])
        self.pins = {(one["port"], int(one["pin"])): one.get("signal", []) for one in gpio.get("gpio", [])}
        self.remaps = gpio.get("remap", [])

    def bytes_from(self, origin):
        size = 0
        for start, more in self.memory:
            size += more if start == origin + size else 0
        return size

    def functions(self, port, pin, unit, signal):
        """The alternate functions by which a pin has a signal of a UART; of an STM32F1, the remaps."""
        kind, number = unit[:-1].lower(), unit[-1]
        wanted = {"driver": kind, "instance": number, "name": signal}
        found = [one.get("af") for one in self.pins[port, pin] if wanted.items() <= one.items()]
        here = {"port": port, "pin": str(pin), "name": signal}
        remaps = (one for one in self.remaps if (one["driver"], one["instance"]) == (kind, number))
        return found + [group["id"] for one in remaps for group in one["group"] if here in group["signal"]]


F405 = "stm32/stm32f4-05_07_15_17"
CHIPS = {  # board: where modm has its chip, its UART and the port of its pins
    "nucleo-f401re": ("stm32/stm32f4-01_11", "stm32f401ret6", "USART2", "a"),
    "disco-f407": (F405, "stm32f407vgt6", "USART2", "a"),
    "netduinoplus2": (F405, "stm32f405rgt6", "USART1", "a"),
    "nucleo-g071rb": ("stm32/stm32g0-71_81", "stm32g071rbt6", "USART2", "a"),
    "nucleo-h743zi": ("stm32/stm32h7-42_43_50_53", "stm32h743zit6", "USART3", "d"),
    "nucleo-l476rg": ("stm32/stm32l4-76_86", "stm32l476rgt6", "USART2", "a"),
    "stm32vldiscovery": ("stm32/stm32f1-00-4_6_8_b", "stm32f100rbt6", "USART1", "a"),
    "rpi-pico": ("rp/rp2040", "rp2040", "UART0", "bank0"),
    "microbit": ("nrf/nrf51422_801_802_822_824", "nrf51822-xxaa", "UART0", "0"),
    "microbit-v2": ("nrf/nrf52832_833", "nrf52833-qiaa", "UART0", "0"),
    "nrf52840-dk": ("nrf/nrf52820_840", "nrf52840-qiaa", "UART0", "0"),
}
UNUSED = {"nucleo-g071rb": 4096, "rpi-pico": 8192}  # bytes: one for parity of eight, and two small banks
IN_ANOTHER_CHIP = ("rpi-pico",)  # the flash memory


@pytest.mark.parametrize("name", CHIPS)
def test_the_memory_and_the_interrupt_of_a_chip_are_those_of_modm(name):
    file, part, unit, _ = CHIPS[name]
    modm, board = Modm(file, part), boards.get(name)
    assert modm.bytes_from(board.ram.origin) == board.ram.size + UNUSED.get(name, 0)
    assert name in IN_ANOTHER_CHIP or modm.bytes_from(board.flash.origin) == board.flash.size
    assert board.registers["irq"] == next(at for key, at in modm.irqs.items() if unit in key.split("_"))


@pytest.mark.parametrize("name", [name for name in CHIPS if "nrf" not in CHIPS[name][0]])  # any pin has any function
def test_the_pins_of_a_chip_are_those_of_modm(name):
    file, part, unit, port = CHIPS[name]
    modm, board = Modm(file, part), boards.get(name)
    assert pins_of(board) == 1 + max(pin for of, pin in modm.pins if of == port)
    function = {"stm32_usart": 0, "rp2_uart": 2}.get(board.uart)  # the remap of an STM32F1; UART_FUNCTION in the driver
    for key, signal in (("tx_pin", "tx"), ("rx_pin", "rx")):
        found = modm.functions(port, board.registers[key], unit, signal)
        assert found == [str(board.registers.get("af", function))]


@cache
def labwired(path):
    """A file of labwired's chips, without what it writes about them."""
    need("labwired")
    yaml = pytest.importorskip("yaml")
    text = (Path(find_spec("labwired").origin).parent / "configs" / path).read_text()
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def units_of(chip):
    return {one["id"]: one for one in labwired(f"chips/{chip}.yaml")["peripherals"]}


@pytest.mark.parametrize(("name", "chip", "places"), [
    ("nucleo-g071rb", "stm32g071", {"base": "usart2", "gpio": "gpioa", "identity": "dbgmcu"}),
    ("nucleo-h743zi", "stm32h735", {"base": "usart3", "gpio": "gpiod", "identity": "dbgmcu"}),
    ("rpi-pico", "rp2040", {"base": "uart0", "clocks": "clk_rst", "gpio": "io_bank0", "identity": "sysinfo"}),
    ("rpi-pico2", "rp2350", {"base": "uart0", "clocks": "clk_rst"}),
    ("hifive1", "onboarding/sifive-fe310", {"base": "uart0", "gpio": "gpioInputs"}),
])  # fmt: skip
def test_the_peripherals_of_a_chip_are_those_of_labwired(name, chip, places):
    """Of the STM32H735, which differs from the H743 in what is not used here. onboarding/ is what Renode has."""
    board, known = boards.get(name), units_of(chip)
    used = board.registers | ({"identity": board.identity.address} if board.identity else {})
    assert {key: used[key] for key in places} == {key: known[unit]["base_address"] for key, unit in places.items()}
    uart, gpio = (known.get(places.get(key), {}) for key in ("base", "gpio"))
    assert uart.get("irq", used.get("irq")) == used.get("irq")
    if "clock" in uart:
        assert [board.registers[key] for key in ("enable_bit", "gpio_bit")] == [
            uart["clock"]["bit"],
            gpio["clock"]["bit"],
        ]


@pytest.mark.parametrize(("name", "chip"), [
    ("netduinoplus2", "stm32f405"), ("disco-f407", "stm32f407"), ("nucleo-g071rb", "stm32g071"),
    ("nucleo-l476rg", "stm32l476"),
])  # fmt: skip
def test_the_number_of_a_chip_is_that_of_labwired(name, chip):
    """Not of the F401: labwired has 0x411, ST's own header 0x433."""
    identity, found = boards.get(name).identity, units_of(chip)["dbgmcu"]
    assert identity.address == found["base_address"]
    assert identity.value == int(str(found["config"]["idcode"]), 0) & identity.mask


@pytest.mark.parametrize("name", ["arduino-nano-33-ble", "microbit-v2", "nrf52840-dk"])
def test_the_pins_of_an_nrf52_are_those_of_labwired(name):
    board = boards.get(name)
    second = units_of(f"nrf{board.identity.value:x}")["gpio1"]  # the first port has all of 32
    assert pins_of(board) == 32 + second["config"]["num_pins"]


@pytest.mark.parametrize(("name", "chip", "family", "those"), [
    ("nucleo-h743zi", "stm32h735", "stm32h735",
     "enable rcc APB1LENR, enable_bit rcc APB1LENR USART3EN, gpio_enable rcc AHB4ENR, gpio_bit rcc AHB4ENR GPIODEN"),
    ("esp32-c3-devkitm-1", "esp32c3", "esp32c3", """DATA uart0 FIFO, DIVIDER uart0 CLKDIV, STATE uart0 STATUS,
     PHASE uart0 FSM_STATUS, UART_CLOCK uart0 CLK_CONF, RTC_WATCHDOG rtc_cntl WDTCONFIG0,
     RTC_WATCHDOG_KEY rtc_cntl WDTWPROTECT, SUPER_WATCHDOG rtc_cntl SWD_CONF, SUPER_WATCHDOG_KEY rtc_cntl SWD_WPROTECT,
     MAIN_WATCHDOG timg0 WDTCONFIG0, MAIN_WATCHDOG_KEY timg0 WDTWPROTECT, RESETS system PERIP_RST_EN0,
     CORE_CLOCK system SYSCLK_CONF, FEEDS_ITSELF rtc_cntl SWD_CONF SWD_AUTO_FEED_EN,
     UPDATE timg0 WDTCONFIG0 WDT_CONF_UPDATE_EN, UART_RESET system PERIP_RST_EN0 UART_RST,
     UART_CORE_RESET uart0 CLK_CONF RST_CORE"""),
])  # fmt: skip
def test_the_registers_and_bits_of_a_chip_are_those_of_labwired(name, chip, family, those):
    """Of the STM32H735, as above; of the ESP32-C3 those that its driver names."""
    board, units = boards.get(name), units_of(chip)
    driver = (COMMON / f"{board.uart}.c").read_text()
    used = board.registers | defined(f"{board.uart}.c", board)
    used |= {bit: int(place) for bit, place in re.findall(r"^#define (\w+) \(1u << (\d+)\)", driver, re.M)}
    for key, unit, register, *field in map(str.split, those.split(",")):
        found = next(one for one in labwired(f"peripherals/{family}/{unit}.yaml")["registers"] if one["id"] == register)
        if field:
            assert [used[key]] * 2 == next(one["bit_range"] for one in found["fields"] if one["name"] == field[0])
        else:
            assert used[key] == units[unit]["base_address"] + found["address_offset"]
