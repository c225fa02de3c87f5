"""The flash tools: what their files may say, and the tools themselves, against stand-ins of the boards."""

import json
import os
import re
import shlex
import socket
import struct
import subprocess
import sys
import threading
import tomllib
import tty
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import need, need_for
from serial.tools import list_ports

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.cli import main
from lnp_edge.firmware_gen import elf, images
from lnp_edge.firmware_gen.flash import find_program, flash, prepare
from lnp_edge.spec import flasher
from lnp_edge.spec.board import Identity

GOOD = {
    "description": "a tool",
    "install": "get it",
    "image": "bin",
    "write": [["tool", "-t", "{target}", "{image}"]],
    "version": ["tool", "-V"],
    "verifies": True,
    "recover": "again",
    "parameters": {"target": {"kind": "word"}},
}


def load(tmp_path, name="mine", **changes):
    """The good file with some keys changed; None leaves one out."""

    def text(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k} = {text(v)}" for k, v in value.items()) + "}"
        return json.dumps(value)

    found = {k: v for k, v in (GOOD | changes).items() if v is not None}
    (tmp_path / f"{name}.toml").write_text("\n".join(f"{k} = {text(v)}" for k, v in found.items()))
    return flasher.load(tmp_path / f"{name}.toml")


def test_a_tool_of_a_file_is_called_with_one_argument_for_each_part(tmp_path):
    tool = load(tmp_path)
    assert tool.name == "mine" and tool.asks("image") and not tool.asks("port")
    assert load(tmp_path, identify=["tool", "{port}"], identity="chip").asks("port")
    values = {"target": "a b; rm -rf ~", "image": "build/x y.bin"}  # whatever they are: nothing splits them
    assert tool.fill(tool.write[0], values) == ("tool", "-t", "a b; rm -rf ~", "build/x y.bin")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, None) for key in GOOD if key != "parameters"),
        ("image", "exe"),
        ("write", []),
        ("write", ["tool", "{image}"]),
        ("write", [["{image}"]]),
        ("write", [["/bin/sh", "-c", "x"]]),
        ("write", [["tool", "{shell}"]]),
        ("write", [["tool", "{copy}"]]),
        ("write", [["tool", 7]]),
        ("write", [["tool", "line\nfeed"]]),
        ("version", ["tool", "{image}"]),
        ("verifies", "yes"),
        ("install", "  "),
        ("says_not", "failed"),
        ("script", "x"),
        ("parameters", {"target": {"kind": "regex"}}),
        ("parameters", {"target": {"kind": "word", "default": "a b"}}),
        ("parameters", {"image": {"kind": "word"}}),
        ("parameters", {"target": "word"}),
        ("identify", ["tool", "{copy}"]),
        ("identity", "{shell}:"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_its_key(tmp_path, key, value):
    with pytest.raises(BoardError) as e:
        load(tmp_path, **{"identify": ["tool", "id"], "identity": "chip:"} | {key: value})
    assert key.rstrip("s") in e.value.what and e.value.try_next.startswith("allowed: ")
    assert ("is missing" in e.value.what) == (value is None)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("word", "stm32f4", ["-f", "a b", "a/b", "../x", "$(id)", "", 7]),
        ("path", "target/stm32f4x.cfg", ["../x", "a/../b", "-f", "a b", "a;b", ""]),
        ("address", "localhost:3333", ["localhost", "a b:1", "x:1;shell", "| sh", ":3333"]),
        ("number", 0xE48BFF56, [-1, 2**32, "7", True, 1.5]),
    ],
)
def test_a_parameter_is_of_its_kind(tmp_path, kind, good, bad):
    tool = load(tmp_path, parameters={"target": {"kind": kind}})
    tool.check({"target": good}, "board.toml")
    for value in bad:
        with pytest.raises(BoardError, match="target of mine is "):
            tool.check({"target": value}, "board.toml")
    for values, said in (({}, "mine needs target"), ({"target": good, "more": 1}, "no parameter 'more'")):
        with pytest.raises(BoardError, match=said):
            tool.check(values, "board.toml")


@pytest.mark.parametrize("name", boards.flashers())
def test_every_tool_that_ships_is_whole_and_ends_in_a_check(name):
    """What neither the tool nor lnp compares with the image is known by the board's answer: a drive vanishes, and a
    boot loader at a port of its own cannot read."""
    tool = boards.flasher(name)
    assert tool.asks("image") and (tool.verifies or tool.read or tool.asks("drive") or tool.asks("loader"))
    assert ("{copy}" in " ".join(tool.read)) == bool(tool.read)


def test_the_pages_examples_are_a_tool_and_one_boards_tools_and_chip(tmp_path):
    page = (Path(__file__).parents[2] / "docs/flashing.md").read_text()
    of_board, of_chip, of_tool = re.findall(r"```toml\n(.*?)```", page, re.S)
    (tmp_path / "vendor-flash.toml").write_text(of_tool)
    assert flasher.load(tmp_path / "vendor-flash.toml").says == "Verified"
    pico, shown = boards.get("rpi-pico"), tomllib.loads(of_board)["tool"]
    assert (shown.pop("name"), shown) == (pico.flash_tool, pico.tools)
    assert Identity(**tomllib.loads(of_chip)["identity"]) == pico.identity
    assert set(boards.flashers()) <= set(re.findall(r"^\| `([\w-]+)` \|", page, re.M))


def test_every_board_names_tools_that_there_are_with_their_parameters():
    found = [boards.get(name) for name in boards.names()]  # get() checks them
    assert {b.flash_tool for b in found} >= {"", "st-flash"}
    assert set(boards.get("nucleo-f401re").tools) >= {"st-flash", "openocd"}


def test_a_tool_that_the_board_does_not_name_is_refused(flashed_as):
    folder = flashed_as("nucleo-f401re", {"st-flash": {}, "gdb": {}})
    with pytest.raises(ConfigError, match=r"(?s)no \[tool.avrdude\].*available: st-flash, gdb"):
        prepare(folder, "avrdude")
    flashed_as("nucleo-f401re", {})
    with pytest.raises(BoardError, match=r"(?s)names no tool.*avrdude.*uf2.*; see docs/flashing\.md"):
        prepare(folder)


def test_each_tool_flashes_a_board_that_ships():
    assert set(boards.flashers()) <= {tool for name in boards.names() for tool in boards.get(name).tools}


SHOWN = {
    "st-flash": (
        {},
        "st-info --probe --connect-under-reset && st-flash --connect-under-reset --reset write B.bin 0x08000000",
    ),
    "pyocd": (
        {"target": "stm32f401xe"},
        "pyocd commander -W -t stm32f401xe -c 'read32 0xe0042000' && pyocd load -W -t stm32f401xe B.elf "
        "&& pyocd commander -W -t stm32f401xe -c 'savemem 0x08000000 SIZE B.read' -c reset",
    ),
    "openocd": (
        {"interface": "interface/stlink.cfg", "target": "target/stm32f4x.cfg"},
        "openocd -f interface/stlink.cfg -f target/stm32f4x.cfg -c init -c 'mdw 0xe0042000' -c exit "
        "&& openocd -f interface/stlink.cfg -f target/stm32f4x.cfg -c 'program B.elf verify reset exit'",
    ),
    "probe-rs": (
        {"chip": "STM32F401RE"},
        "probe-rs download --chip STM32F401RE --verify B.elf && probe-rs reset --chip STM32F401RE",
    ),
    "esptool": (
        {"chip": "esp32c3"},
        "esptool --chip esp32c3 --port PORT --baud 460800 write-flash 0 B.bin",
    ),
    "avrdude": (
        {"programmer": "arduino", "part": "m328p"},
        "avrdude -c arduino -p m328p -P PORT -b 115200 -D -U flash:w:B.hex:i",
    ),
    "stm32flash": (
        {},
        "stm32flash -b 57600 -m 8e1 PORT "
        "&& stm32flash -b 57600 -m 8e1 -w B.bin -v -S 0x08000000:SIZE -g 0x08000000 PORT",
    ),
    "dfu-util": (
        {},
        "dfu-util -a 0 -s 0x08000000 -D B.bin && dfu-util -a 0 -s 0x08000000:SIZE:leave -U B.read",
    ),
    "uf2": ({"label": "NO-SUCH", "family": 0xE48BFF56}, "cp B.uf2 DRIVE && sync"),
    "bossac": ({}, "bossac --port=LOADER -U -i -e -w B.bin -R"),
    "gdb": (
        {"server": "localhost:4242"},
        "gdb-multiarch -batch -nx -ex 'set tcp auto-retry off' -ex 'target extended-remote localhost:4242' "
        "-ex 'x/1xw 0xe0042000' -ex detach "
        "&& gdb-multiarch -batch -nx -ex 'set tcp auto-retry off' -ex 'target extended-remote localhost:4242' -ex load "
        "-ex compare-sections -ex 'set $sp = *(unsigned int *) 0x08000000' -ex 'set $pc = Reset_Handler' "
        "-ex detach B.elf",
    ),
}


KINDS = {"word": "w", "path": "a/b", "address": "localhost:1", "number": 7}  # a value of each


@pytest.mark.parametrize("name", boards.flashers())
def test_a_dry_run_prints_the_command_and_runs_nothing(flashed_as, name, capsys, monkeypatch):
    """Of a tool that SHOWN lacks, whatever it is: it is found by its file."""
    any_values = {key: KINDS[parameter.kind] for key, parameter in boards.flasher(name).parameters.items()}
    values, shown = SHOWN.get(name, (any_values, ""))
    folder = flashed_as("nucleo-f401re", {"st-flash": {}, name: values})
    monkeypatch.setenv("PATH", "")
    assert main(["flash", str(folder), "--tool", name, "--dry-run"]) == 0
    size = len(elf.flash_bytes(folder / "build/gcc/lnp_net.elf", 0x0800_0000))
    shown = shown.replace("B.", "build/gcc/lnp_net.").replace("SIZE", str(size))
    wanted = re.escape(f"cd {shlex.quote(str(folder))} && {shown}") + ("" if shown else ".+")
    assert re.fullmatch(f"{wanted}\n", capsys.readouterr().out)


@pytest.mark.parametrize(("name", "lacks"), [
    ("st-flash", ["st-flash is not installed: sudo apt-get install stlink-tools"]),
    ("stm32flash", ["PORT stands .* no port is known; .* --port .*", "stm32flash is not installed: .* stm32flash"]),
    ("uf2", ["DRIVE stands .* no drive NO-SUCH is mounted; hold BOOTSEL [^:]*: --drive DIR", "cp is not .*"]),
    ("pyocd", []),
])  # fmt: skip
def test_a_dry_run_says_what_the_command_lacks(flashed_as, name, lacks, capsys, monkeypatch, tmp_path):
    """On standard error: the command can still be piped."""
    folder = flashed_as("nucleo-f401re", {"st-flash": {}, name: SHOWN[name][0]})
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    if name == "pyocd":
        (tmp_path / "pyocd").write_text("")
        (tmp_path / "pyocd").chmod(0o755)
    assert main(["flash", str(folder), "--tool", name, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert re.fullmatch("\n".join([*lacks, ""]), said.err) and said.out.count("\n") == 1


def test_a_dry_run_names_the_port_at_usb_that_would_be_taken(flashed_as, capsys, monkeypatch):
    folder = flashed_as("nucleo-f401re", {"stm32flash": {}})
    port = SimpleNamespace(device="/dev/of-board", vid=0x0483, pid=0x374B)
    monkeypatch.setattr(list_ports, "comports", lambda: [port])
    assert main(["flash", str(folder), "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "/dev/of-board" in said.out and "PORT" not in said.out + said.err


@pytest.mark.parametrize(("tool", "option"), [("stm32flash", "--port"), ("uf2", "--drive"), ("bossac", "--loader")])
def test_what_a_tool_needs_and_is_not_known_is_asked_for_and_the_tool_too(
    flashed_as, tool, option, monkeypatch, tmp_path
):
    job = prepare(flashed_as("nucleo-f401re", {tool: SHOWN[tool][0]}))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match=f"(?s){option}.*; [a-z0-9]+ is not installed: ") as e:
        flash(job)
    assert "again" not in e.value.try_next, "nothing was flashed before"


def test_of_a_drive_without_a_label_its_folder_is_asked_for(flashed_as, tmp_path, monkeypatch):
    (tmp_path / "flashers").mkdir()
    load(tmp_path / "flashers", write=[["cp", "{image}", "{drive}"]], parameters={})
    monkeypatch.setenv(boards.VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError) as e:
        flash(prepare(flashed_as("nucleo-f401re", {"mine": {}})))
    assert str(e.value) == "no drive is mounted, and mine needs one\n  name its folder: --drive DIR"


def test_what_the_board_enters_its_boot_loader_by_comes_before_what_to_do_again(tmp_path):
    assert load(tmp_path).again == "again"
    assert load(tmp_path, enter="press it").again == "press it, and again"


def test_a_tool_that_is_missing_names_one_that_is_installed(flashed_as, tmp_path, monkeypatch):
    folder = flashed_as("nucleo-f401re", {"st-flash": {}, "openocd": SHOWN["openocd"][0]})
    (tmp_path / "openocd").write_text("#!/bin/sh\n")
    (tmp_path / "openocd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BoardError, match=r"(?s)st-flash is not installed.*stlink-tools; or take --tool openocd"):
        flash(prepare(folder))


@pytest.mark.parametrize("drive", ["none", "file"])
def test_a_drive_that_is_no_folder_is_refused_and_nothing_is_written_there(flashed_as, tmp_path, monkeypatch, drive):
    folder = flashed_as("nucleo-f401re", {"uf2": SHOWN["uf2"][0]})
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    with pytest.raises(ConfigError, match=f"no folder {drive}\\b"):
        flash(prepare(folder, drive=drive))
    assert not Path("none").exists() and Path("file").read_text() == "mine"


@pytest.mark.parametrize("parameters", [{}, {"target": {"kind": "number"}}, {"family": {"kind": "word"}}])
def test_a_tool_for_uf2_without_a_family_is_refused(tmp_path, parameters):
    with pytest.raises(BoardError, match="image is 'uf2' without a number family"):
        load(tmp_path, image="uf2", write=[["tool", "{image}"]], parameters=parameters)


def test_a_family_by_default_is_that_of_every_block(flashed_as, tmp_path, monkeypatch):
    (tmp_path / "flashers").mkdir()
    family = {"kind": "number", "default": 0x1234}
    load(tmp_path / "flashers", image="uf2", write=[["tool", "{image}"]], parameters={"family": family})
    monkeypatch.setenv(boards.VARIABLE, str(tmp_path))
    data = prepare(flashed_as("nucleo-f401re", {"mine": {}})).file.read_bytes()
    assert {data[k + 28 : k + 32] for k in range(0, len(data), 512)} == {(0x1234).to_bytes(4, "little")}


def test_a_boot_loaders_drive_gets_the_image_as_uf2(flashed_as, tmp_path, monkeypatch):
    folder = flashed_as("nucleo-f401re", {"uf2": SHOWN["uf2"][0]})
    drive = tmp_path / "RPI RP2 ü"
    drive.mkdir()
    monkeypatch.chdir(tmp_path)
    receipt = flash(prepare(folder, drive=drive.name))
    assert receipt["verified"] == "not" and receipt["version"].startswith("cp ")
    blocks = list(struct.iter_unpack("<8I476s1I", (drive / "lnp_net.uf2").read_bytes()))
    data = elf.flash_bytes(folder / "build/gcc/lnp_net.elf", 0x0800_0000)
    for k, (start, also, flags, at, size, index, count, family, payload, end) in enumerate(blocks):
        assert (start, also, end) == (0x0A324655, 0x9E5D5157, 0x0AB16F30)  # "UF2\\n", ...: github.com/microsoft/uf2
        assert (flags, family) == (0x2000, 0xE48BFF56)
        assert (at, size, index, count) == (0x0800_0000 + 256 * k, 256, k, len(blocks))
        assert not any(payload[256:])
    assert b"".join(block[8][:256] for block in blocks).rstrip(b"\xff") == data.rstrip(b"\xff")
    assert len(blocks) == -(-len(data) // 256)


@pytest.mark.parametrize(("origin", "size"), [(0, 1), (0, 70000), (0x0800_0000, 65536), (0x0801_FFF8, 40)])
def test_intel_hex_is_what_objcopy_reads(tmp_path, origin, size):
    need("arm-none-eabi-objcopy")
    data = bytes(k * 7 % 251 for k in range(size))
    (tmp_path / "a.hex").write_bytes(images.as_hex(data, origin))
    command = ["arm-none-eabi-objcopy", "-I", "ihex", "-O", "binary", tmp_path / "a.hex", tmp_path / "a.bin"]
    subprocess.run(command, check=True)
    assert (tmp_path / "a.bin").read_bytes() == data
    shown = subprocess.run(["arm-none-eabi-objdump", "-h", tmp_path / "a.hex"], capture_output=True, text=True)
    assert f"{origin:08x}" in shown.stdout


@pytest.mark.slow
def test_pyocd_knows_the_target_of_every_board_without_a_pack():
    need("pyocd")
    listed = subprocess.run(
        [find_program("pyocd"), "list", "--targets", "--no-header"], capture_output=True, text=True, check=True
    )
    known = {line.split()[0] for line in listed.stdout.splitlines() if line.rstrip().endswith("builtin")}
    wanted = {b.tools["pyocd"]["target"] for b in map(boards.get, boards.names()) if "pyocd" in b.tools}
    assert wanted >= {"nrf52840"} and wanted <= known


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in boards.names() if "openocd" in boards.get(name).tools])
def test_openocd_reads_the_configuration_of_a_board(name):
    need("openocd")
    found = boards.get(name).tools["openocd"]
    command = ["openocd", "-f", found["interface"], "-f", found["target"], "-c", "noinit", "-c", "shutdown"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["st-flash", "dfu-util", "pyocd", "openocd"])
def test_the_real_tool_takes_all_words_that_it_is_given(flashed_as, name, monkeypatch):
    """Without a probe, it says that there is none. The image is one that is not there: a board that happens to be
    connected stays as it is."""
    job = prepare(flashed_as("nucleo-f401re", {name: SHOWN[name][0]}))
    for program, *words in job.called:
        need(find_program(program) or program)
        words = [word.replace(job.values["image"], "no-such-image") for word in words]
        done = subprocess.run([find_program(program), *words], cwd=job.folder, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert not re.search(r"(?i)incorrect|usage:|unrecognized|unknown|invalid (option|command)|arguments", said), (
            said
        )
        assert said.strip()


@pytest.mark.slow
def test_avrdude_without_a_port_wrote_nothing(flashed_as, capsys):
    need("avrdude")
    folder = flashed_as("nucleo-f401re", {"avrdude": {"programmer": "arduino", "part": "m328p"}})
    assert main(["flash", str(folder), "--port", "/dev/no-such"]) == 2
    assert "nothing was written" in capsys.readouterr().err


@pytest.fixture
def boot_loader():
    """The port of Arduino's boot loader of the Nano 33 BLE, which says who it is: SAM-BA, where # ends a request."""
    said = {b"N": b"\n\r", b"V": b"Arduino Bootloader (SAM-BA extended) 2.0 [Arduino:IKXYZ]\n\r", b"w": bytes(4)}
    line, other = os.openpty()
    tty.setraw(other)

    def serve():
        request = b""
        with suppress(OSError):
            while True:
                request += os.read(line, 1)
                if request.endswith(b"#"):
                    os.write(line, said.get(request[:1], b""))
                    request = b""

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield os.ttyname(other)
    os.close(other)
    thread.join(10)
    os.close(line)


@pytest.mark.slow
def test_a_bossac_that_knows_no_nrf52_wrote_nothing(flashed_as, boot_loader, capsys):
    """Debian's. Arduino's own, which does, is in no package."""
    need("bossac")
    folder = flashed_as("nucleo-f401re", {"bossac": {}})
    for loader, why in ((boot_loader, "Device unsupported"), ("/dev/no-such", "No device found on /dev/no-such")):
        assert main(["flash", str(folder), "--port", "/dev/null", "--loader", loader]) == 2
        what, state = capsys.readouterr().err.splitlines()
        assert why in what and "nothing was written" in state


@pytest.fixture
def machine():
    """machine(board) -> (the address of QEMU's gdbstub, a port), of a machine that has no image yet, or an old one."""
    running, held = [], []

    def of(board, *old):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            server = f"localhost:{free.getsockname()[1]}"
        command = [*board.qemu, "-display", "none", "-monitor", "none", "-S",
                   "-gdb", f"tcp:{server}", "-serial", "pty", *old]  # fmt: skip
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        port = next(word for word in running[-1].stdout.readline().split() if word.startswith("/dev/"))
        held.append(os.open(port, os.O_RDWR | os.O_NOCTTY))  # greeting nobody, QEMU 10's hifive1 would stop for ever
        return server, port

    yield of
    for port in held:
        os.close(port)
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mps2-an386", "netduinoplus2", "hifive1"])
def test_gdb_loads_an_image_into_a_machine_that_then_answers(flashed_as, machine, capsys, name):
    need_for(name)
    need("gdb-multiarch")
    server, port = machine(boards.get(name))
    folder = flashed_as(name, {"gdb": {"server": server}}, identity=None)  # QEMU has no DBGMCU
    assert main(["flash", str(folder), "--port", port]) == 0, capsys.readouterr().err
    receipt = json.loads(next((folder / "build").rglob("*.flashed.json")).read_text())
    assert receipt["verified"] == "by the tool" and "GNU gdb" in receipt["version"]


@pytest.mark.slow
def test_gdb_reads_which_chip_is_there_before_it_loads(flashed_as, firmware, machine, capsys):
    """QEMU's nRF51 knows its pages, and runs another program until then."""
    need_for("microbit")
    need("gdb-multiarch")
    server, port = machine(boards.get("microbit"), "-kernel", firmware("microbit", seed=2))
    other = replace(boards.get("microbit").identity, value=0x1000)
    folder = flashed_as("microbit-v2", {"gdb": {"server": server}}, identity=other)
    assert main(["flash", str(folder), "--port", port]) == 2
    what, state = capsys.readouterr().err.splitlines()
    assert what.endswith("is 0x400, as on microbit; microbit-v2 has 0x1000") and "nothing was written" in state
    folder = flashed_as("microbit", {"gdb": {"server": server}})
    assert main(["flash", str(folder), "--port", port]) == 0, capsys.readouterr().err
    assert json.loads((folder / "build/gcc/lnp_net.flashed.json").read_text())["chip"] == "0x400"


@pytest.mark.slow
def test_gdb_without_a_server_wrote_nothing(flashed_as, capsys):
    need("gdb-multiarch")
    folder = flashed_as("mps2-an386", {"gdb": {"server": "localhost:9"}})
    assert main(["flash", str(folder), "--port", "/dev/null"]) == 2
    what, state = capsys.readouterr().err.splitlines()
    assert "refused" in what and "nothing was written" in state
