"""Nothing of a board file but bounded numbers and plain names gets through: it ends up in make, linker and shell."""

from dataclasses import replace

import pytest
from conftest import need

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.spec import board

GOOD = {
    "description": '"a board"',
    "cpu": '"cortex-m4"',
    "clock_hz": "84_000_000",
    "toolchain": '"gcc"',
    "start": '"serial"',
    "flash.origin": "0x0800_0000",
    "flash.size": "0x0008_0000",
    "ram.origin": "0x2000_0000",
    "ram.size": "0x0001_8000",
    "uart.driver": '"stm32_usart"',
    "uart.baud": "115_200",
    "uart.base": "0x4000_4400",
    "tool.name": '"st-flash"',
}
UNICORN = {
    "start": '"unicorn"',
    "flash.origin": "0",
    "uart.driver": '"cmsdk_uart"',
    "uart.base": "0x4000_4000",
    "tool.name": None,
}
HOST = {
    "cpu": '"host"', "toolchain": '"host"', "start": '"process"', "uart.driver": '"posix"', "uart.base": None,
    "tool.name": None,
}  # fmt: skip


def load(tmp_path, name="my-board", extra="", **changes):
    """The good board with some keys changed; None leaves one out."""
    lines = {k: v for k, v in (GOOD | changes).items() if v is not None}
    path = tmp_path / name / "board.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(f"{k} = {v}" for k, v in lines.items()) + extra)
    return board.load(path)


def test_a_good_file_becomes_exactly_this_board(tmp_path):
    assert load(tmp_path) == board.Board(
        name="my-board",
        description="a board",
        cpu="cortex-m4",
        clock_hz=84_000_000,
        toolchain="gcc",
        start="serial",
        flash=board.Region(0x0800_0000, 524288),
        ram=board.Region(0x2000_0000, 98304),
        uart="stm32_usart",
        baud=115200,
        registers={"base": 0x4000_4400},
        tools={"st-flash": {}},
    )


DOG = {"uart.irq": "38", "watchdog.driver": '"some_watchdog"', "watchdog.ms": "2_000", "watchdog.base": "0x4000_8000"}


def test_a_watchdog_has_a_driver_a_period_and_numbers_of_its_own(tmp_path):
    found = load(tmp_path, **DOG)
    assert (found.watchdog, found.watchdog_ms, found.watchdog_registers) == (
        "some_watchdog",
        2000,
        {"base": 0x4000_8000},
    )


@pytest.mark.parametrize(("changes", "said"), [
    ({"watchdog.ms": "99"}, "watchdog.ms is 99"),
    ({"watchdog.ms": "60_001"}, "watchdog.ms is 60001"),
    ({"watchdog.ms": None}, "watchdog.ms is missing"),
    ({"watchdog.driver": '"a b"'}, "watchdog.driver is 'a b'"),
    ({"watchdog.driver": None}, "watchdog.driver is missing"),
    ({"watchdog.base": '"x"'}, "watchdog.base is 'x'"),
    ({"watchdog.Base": "1"}, "watchdog key is 'Base'"),
    ({"uart.irq": None}, "watchdog is 'some_watchdog'"),
])  # fmt: skip
def test_a_watchdog_that_cannot_be_is_refused_with_its_key(tmp_path, changes, said):
    with pytest.raises(BoardError, match=said):
        load(tmp_path, **DOG | changes)


def test_the_ids_of_a_board_at_usb_may_be_named(tmp_path):
    assert load(tmp_path).usb == ()
    assert load(tmp_path, usb='["0483:374b", "0d28:0204"]').usb == ("0483:374b", "0d28:0204")
    for value in ("[]", '"0483:374b"', '["0483:374B"]', '["0483"]', "[1155]", str(["0483:374b"] * 17)):
        with pytest.raises(BoardError, match=r"(?s)usb is .*vendor and product"):
            load(tmp_path, usb=value)
    with pytest.raises(BoardError, match="no port at USB"):
        load(tmp_path, usb='["0483:374b"]', start='"unicorn"')


def test_how_long_a_board_is_waited_for_may_be_named(tmp_path):
    assert (load(tmp_path).opens_ms, load(tmp_path, opens_ms="1_500").opens_ms) == (0, 1500)
    for value in ("0", "10_001", "1.5"):
        with pytest.raises(BoardError, match="opens_ms is "):
            load(tmp_path, opens_ms=value)
    for start in ("unicorn", "process"):
        with pytest.raises(BoardError, match=r"(?s)opens_ms is 1500.*no port to open"):
            load(tmp_path, opens_ms="1_500", start=f'"{start}"')


POWER = {"power.ua_per_mhz": "146", "power.supply_mv": "3_300"}


def test_energy_of_a_cycle_is_current_times_supply(tmp_path):
    assert load(tmp_path, **POWER).joules_a_cycle == pytest.approx(146e-12 * 3.3, rel=1e-12)  # floats
    assert load(tmp_path).joules_a_cycle == 0


@pytest.mark.parametrize(("changes", "said"), [
    ({"power.ua_per_mhz": "0"}, "power.ua_per_mhz is 0"),
    ({"power.ua_per_mhz": "1.5"}, "power.ua_per_mhz is 1.5"),
    ({"power.supply_mv": None}, "power.supply_mv is missing"),
    ({"power.supply_mv": "6_001"}, "power.supply_mv is 6001"),
    ({"power.volts": "3"}, "power key is 'volts'"),
])  # fmt: skip
def test_power_that_cannot_be_is_refused_with_its_key(tmp_path, changes, said):
    with pytest.raises(BoardError, match=said):
        load(tmp_path, **POWER | changes)


SHELL = ["st-flash; rm -rf ~", "`id`", "$(id)", "-f", "a b", "../x", "a/b", "a\\\\b", "x\\n", "", "é", "a'b", "x" * 99]


@pytest.mark.parametrize("text", SHELL)
@pytest.mark.parametrize("key", ["cpu", "toolchain", "start", "uart.driver", "tool.name"])
def test_text_that_a_shell_or_path_would_act_on_is_refused_with_its_key(tmp_path, key, text):
    with pytest.raises(BoardError, match=f"{key} is "):
        load(tmp_path, **{key: f'"{text}"'})


@pytest.mark.parametrize("text", ["$(id); x/../y", "../x", "a b", "-M", ""])
def test_the_machine_of_qemu_is_a_plain_word(tmp_path, text):
    with pytest.raises(BoardError, match="machine is "):
        load(tmp_path, start='"qemu"', machine=f'"{text}"')


def test_a_machine_is_of_qemu_alone(tmp_path):
    with pytest.raises(BoardError, match=r"machine is 'x'\n  allowed: none unless start is qemu"):
        load(tmp_path, machine='"x"')


@pytest.mark.parametrize("text", ["tab\\there", "line\\nfeed", "\\u001b[31m", "é", "", "  ", "x" * 121])
def test_a_description_is_one_line_of_printable_ascii(tmp_path, text):
    with pytest.raises(BoardError, match="description is "):
        load(tmp_path, description=f'"{text}"')


@pytest.mark.parametrize("name", ["My-Board", "a_b", "-x", "a b", '";ASSERT(0)', "é", "x" * 24, "$(id)"])
def test_a_folder_whose_name_is_no_board_name_is_refused(tmp_path, name):
    with pytest.raises(BoardError, match="the folder's name is "):
        load(tmp_path, name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ram.size", "0"),
        ("ram.size", "1023"),
        ("ram.size", "0x1_0000_0000"),
        ("ram.size", "-4096"),
        ("ram.size", "65536.0"),
        ("ram.size", "true"),
        ("ram.size", '"65536"'),
        ("ram.size", "[65536]"),
        ("ram.origin", "-4"),
        ("ram.origin", "0x2000_0001"),
        ("ram.origin", "0xFFFF_0000"),
        ("flash.origin", "0x1_0000_0000"),
        ("flash.size", "0x4000_0001"),
        ("clock_hz", "0"),
        ("clock_hz", "nan"),
        ("clock_hz", "4294967296"),
        ("uart.baud", "0"),
        ("flash.origin", "0x0800_0200"),
        ("uart.irq", "-1"),
        ("uart.irq", "240"),
        ("uart.base", "-1"),
        ("uart.base", "0x1_0000_0000"),
        ("uart.base", "1.5"),
        ("uart.base", "true"),
        ("uart.base", '"0x40004400"'),
        ("uart.base", "{a = 1}"),
        *((key, None) for key in GOOD if key not in ("uart.base", "tool.name")),
    ],
)
def test_a_wrong_or_missing_number_or_name_is_refused_with_its_key(tmp_path, key, value):
    with pytest.raises(BoardError) as e:
        load(tmp_path, **{key: value})
    assert f"{key} is " in e.value.what or f"{key.partition('.')[0]} is " in e.value.what
    assert e.value.try_next.startswith("allowed: ")


@pytest.mark.parametrize(("cpu", "most"), [("cortex-m0", 31), ("cortex-m0plus", 31), ("cortex-m4", 239)])
def test_an_interrupt_is_one_that_the_core_has(tmp_path, cpu, most):
    core = {"cpu": f'"{cpu}"'}
    assert load(tmp_path, **core | {"uart.irq": str(most)}).registers["irq"] == most
    with pytest.raises(BoardError, match=r"uart\.irq is ") as e:
        load(tmp_path, **core | {"uart.irq": str(most + 1)})
    assert e.value.try_next == f"allowed: an integer from 0 to {most}"


@pytest.mark.parametrize(("tx", "rx", "key"), [(48, 1, "tx_pin"), (1, 48, "rx_pin"), (7, 7, "rx_pin")])
def test_pins_are_two_that_the_chip_has(tmp_path, tx, rx, key):
    pins = {"pins": "48", "uart.tx_pin": "47", "uart.rx_pin": "0"}
    assert load(tmp_path, **pins).registers == {"base": 0x4000_4400, "tx_pin": 47, "rx_pin": 0}
    with pytest.raises(BoardError, match=rf"uart\.{key} is "):
        load(tmp_path, **pins | {"uart.tx_pin": str(tx), "uart.rx_pin": str(rx)})
    with pytest.raises(BoardError, match=r"pins is 0"):
        load(tmp_path, pins="0")


@pytest.mark.parametrize("key", ["cpu", "toolchain", "start"])
def test_the_host_is_its_own_cpu_toolchain_and_start_or_none_of_them(tmp_path, key):
    assert load(tmp_path, **HOST).cpu == "host"
    for changes in ({key: HOST[key]}, HOST | {key: GOOD[key], "tool.name": GOOD["tool.name"]}):
        with pytest.raises(BoardError, match="cpu, toolchain, start is ") as e:
            load(tmp_path, **changes)
        assert e.value.try_next == "allowed: host, host, process together, or none of them"


def test_the_host_has_no_registers_for_a_driver_of_a_chip(tmp_path):
    with pytest.raises(BoardError, match=r"uart\.base is .*\n.*none where cpu is host: its driver is posix"):
        load(tmp_path, **HOST | {"uart.base": "0x40004400"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cpu", '"cortex-m0plus"'),
        ("uart.driver", '"stm32_usart"'),
        ("uart.irq", "0"),
        ("uart.base", None),
        ("uart.base", "0x4000_4004"),
        ("uart.base", "0xE000_E000"),
        ("uart.base", "0x2000_1000"),
        ("flash.origin", "4"),
        ("flash.origin", "0x400"),
        ("flash.size", "0x0008_0004"),
        ("ram.origin", "0x2000_0800"),
        ("ram.size", "0x0001_8400"),
        ("ram.origin", "0xE000_0000"),
        ("ram.origin", "0xDFFF_0000"),
        ("ram.origin", "0x4000_0000"),
    ],
)
def test_what_the_emulator_cannot_start_is_refused_with_its_key(tmp_path, key, value):
    load(tmp_path, **UNICORN)
    with pytest.raises(BoardError) as e:
        load(tmp_path, **UNICORN | {key: value})
    named = "ram" if value == "0x2000_1000" else key  # the UART's page lies within the RAM
    assert f"{named} is " in e.value.what or f"{named.partition('.')[0]} is " in e.value.what
    assert e.value.try_next.startswith("allowed: ")


AVR = {"cpu": '"atmega2560"', "start": '"simavr"', "flash.origin": "0", "flash.size": "0x4_0000",
       "ram.origin": "0x80_0200", "ram.size": "0x2000"}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), [
    ({"toolchain": '"zig"'}, "toolchain is 'zig'"),
    ({"start": '"qemu"', "machine": '"mega2560"'}, "start is 'qemu'"),
    ({"cpu": '"cortex-m4"'}, "start is 'simavr'"),
    ({"flash.size": "0x4_0004"}, "flash is "),
    ({"cpu": '"atmega328p"'}, "flash is "),
    ({"ram.size": "0x2004"}, "ram is "),
])  # fmt: skip
def test_an_avr_is_built_by_gcc_and_emulated_by_simavr(tmp_path, changes, said):
    assert load(tmp_path, **AVR).family == board.AVR
    with pytest.raises(BoardError, match=said):
        load(tmp_path, **AVR | changes)


@pytest.mark.parametrize("cpu", board.UNICORN_CPUS)
def test_the_emulator_knows_every_core_that_a_board_may_name(tmp_path, cpu):
    need("unicorn", "elftools")
    from lnp_edge.runtime.emulator import Emulator

    found = load(tmp_path, **UNICORN | {"cpu": f'"{cpu}"'})
    with pytest.raises(BoardError, match="is no image"):  # the core is made before the image is read
        Emulator(found, tmp_path / "none.elf")


@pytest.mark.parametrize("origin", ["0x0800_0000", "0x0807_FFFC", "0x07FF_8000"])
def test_regions_that_overlap_are_refused(tmp_path, origin):
    with pytest.raises(BoardError, match="overlap"):
        load(tmp_path, **{"ram.origin": origin})


RISC = {"cpu": '"rv32imc"', "uart.driver": '"esp32c3_uart"', "tool.name": '"esptool"'}


def test_the_tables_of_a_risc_v_board_may_be_read_elsewhere_than_code(tmp_path):
    found = load(tmp_path, **RISC | {"flash.tables": "0x3C00_0000"})
    assert (found.flash, found.tables) == (board.Region(0x0800_0000, 524288), board.Region(0x3C00_0000, 524288))
    assert load(tmp_path, **RISC).tables == found.flash


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpu": '"cortex-m4"'}, r"flash\.tables is 0x3c000000"),
        ({"start": '"qemu"', "machine": '"virt"'}, r"flash\.tables is 0x3c000000"),
        ({"flash.tables": "0x3C00_0002"}, r"flash\.tables is 0x3c000002"),
        ({"flash.tables": "0x3C00_0004"}, r"flash\.tables is 0x3c000004"),
        ({"flash.tables": "0xFFFF_0000"}, r"flash\.tables is "),
        ({"flash.tables": "0x0800_4000"}, "overlap"),
        ({"flash.tables": "0x2000_0000"}, "overlap"),
        ({"flash.tables": "0x1FF8_0010"}, "overlap"),
    ],
)
def test_tables_elsewhere_than_there_are_refused(tmp_path, changes, said):
    with pytest.raises(BoardError, match=said):
        load(tmp_path, **RISC | {"flash.tables": "0x3C00_0000"} | changes)


def test_text_in_place_of_a_number_is_told_from_the_number(tmp_path):
    for value, said in (('"115200"', "'115200'"), ("100", "100")):
        with pytest.raises(BoardError, match=rf"uart\.baud is {said}\n  allowed: an integer from 300 "):
            load(tmp_path, **{"uart.baud": value})


CHIP = {"identity.address": "0xE004_2000", "identity.mask": "0xFFF", "identity.value": "0x433"}


@pytest.mark.parametrize(("changes", "said", "allowed"), [
    ({"flash.origin": "0x0800_0100"}, "flash.origin is 0x8000100", "a multiple of 1024, for the vector table"),
    ({"ram.origin": "0x1_2000_0000"}, "ram.origin is 0x120000000", "an integer from 0 to 0xfffffffc"),
    ({"uart.base": "0x1_4000_4400"}, "uart.base is 0x140004400", "an integer from 0 to 0xffffffff"),
    (UNICORN | {"uart.base": "0x4000_4400"}, "uart.base is 0x40004400", "a multiple of 4096 where start is unicorn"),
    ({"identity.value": "0x1413"}, "identity.value is 0x1413", "an integer from 0 to 0xfff"),
    (
        {"identity.address": "0xE004_2001"},
        "identity is 0x433 under the mask 0xfff at 0xe0042001",
        "an address of a word, and a value within the mask",
    ),
    (
        {"identity.mask": "0xFF0"},
        "identity is 0x433 under the mask 0xff0 at 0xe0042000",
        "an address of a word, and a value within the mask",
    ),
    ({"clock_hz": "5_000_000_000"}, "clock_hz is 5000000000", "an integer from 1 to 4294967295"),
    ({"pins": "70_000"}, "pins is 70000", "an integer from 1 to 65536"),
    ({"pins": "32", "uart.tx_pin": "32", "uart.rx_pin": "1"}, "uart.tx_pin is 32", "an integer from 0 to 31"),
    ({"power.ua_per_mhz": "20_000"}, "power.ua_per_mhz is 20000", "an integer from 1 to 10000"),
    ({"uart.baud": "30_000_000"}, "uart.baud is 30000000", "an integer from 300 to 20000000"),
    ({"flash.size": "512"}, "flash.size is 512", "an integer from 1024 to 1073741824"),
])  # fmt: skip
def test_addresses_are_told_in_hexadecimal_and_what_is_counted_in_decimal(tmp_path, changes, said, allowed):
    with pytest.raises(BoardError) as e:
        load(tmp_path, **CHIP | changes)
    assert e.value.what.endswith(f"board.toml: {said}") and e.value.try_next == f"allowed: {allowed}"


def test_regions_that_touch_are_fine(tmp_path):
    found = load(tmp_path, **{"ram.origin": "0x0808_0000"})
    assert found.ram.origin == found.flash.end


@pytest.mark.parametrize(
    "extra",
    [
        "\nextra = 1",
        "\nflash.speed = 1",
        "\ntool.command = 'rm'",
        "\ntool.target = 'x'",
        "\nuart.Base = 1",
        "\nuart.'a b' = 1",
    ],
)
def test_unknown_keys_are_refused(tmp_path, extra):
    with pytest.raises(BoardError, match=r"key is '"):
        load(tmp_path, extra=extra)


@pytest.mark.parametrize("key", ["flash", "ram", "uart", "tool"])
def test_a_section_that_is_none_is_refused(tmp_path, key):
    rest = {k: None for k in GOOD if k.startswith(f"{key}.")}
    with pytest.raises(BoardError, match=f"{key} is 3"):
        load(tmp_path, **rest, **{key: "3"})


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b"a = ",
        b"a = 1\x00",
        b"x = " + b"[" * 16000,
        b"clock_hz = 0x" + b"f" * 8000,
        b"#" * 16385,
        b"cpu.a.b = 1",
    ],
    ids=range(7),
)
def test_a_file_that_is_no_toml_or_abuses_it_is_refused(tmp_path, text):
    path = tmp_path / "b" / "board.toml"
    path.parent.mkdir()
    path.write_bytes(text)
    with pytest.raises(BoardError):
        board.load(path)


@pytest.mark.parametrize("key", ["clock_hz", "cpu", "flash.size", "uart.irq", "power.supply_mv", "identity.mask"])
def test_an_integer_too_long_to_print_is_refused(tmp_path, key):
    changes = {"power.ua_per_mhz": "100", "identity.address": "0", "identity.value": "0"}
    with pytest.raises(BoardError, match="an integer of 20000 bits"):
        load(tmp_path, **changes | {key: f"0x{'f' * 5000}"})


def test_a_device_or_missing_file_is_refused_at_once(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "board.toml").symlink_to("/dev/zero")
    with pytest.raises(BoardError, match="not a regular file"):
        board.load(tmp_path / "b" / "board.toml")
    with pytest.raises(BoardError, match="No such file"):
        board.load(tmp_path / "c" / "board.toml")


@pytest.mark.parametrize("name", ["hots", "../host", "", "host/", "common", "x" * 10_000])
def test_an_unknown_board_is_refused_with_the_command_that_lists_all(name):
    with pytest.raises(ConfigError, match="no board is called") as e:
        boards.get(name)
    assert "lnp boards lists all" in e.value.try_next and len(e.value.try_next) < 160


@pytest.mark.parametrize(("name", "near"), [
    ("cortex_m4", "'cortex-m4' or "), ("pico", "'rpi-pico' or 'rpi-pico2'?"), ("esp32c3", "'esp32-c3-devkitm-1'?"),
])  # fmt: skip
def test_the_nearest_boards_are_suggested(name, near):
    with pytest.raises(ConfigError, match="did you mean ") as e:
        boards.get(name)
    assert f"did you mean {near}" in e.value.try_next


@pytest.mark.parametrize("name", boards.names())
def test_every_board_that_ships_loads_and_has_its_name(name):
    found = boards.get(name)
    assert found.name == name
    assert replace(found) == found
