"""What the user can fix is told in two lines, and nothing is left half-written."""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from at_work import folder, refused
from conftest import need
from nets import tiny_network
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.cli import main, parser
from lnp_edge.commands._device import at_port
from lnp_edge.config import Config
from lnp_edge.firmware_gen.build import compiler
from lnp_edge.interchange import onnx_file
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.spec.board import Region


@pytest.fixture
def at(tmp_path, monkeypatch):
    return folder(tmp_path, monkeypatch)


@pytest.mark.parametrize("command", ["prune", "train", "reproduce"])
def test_a_wrong_key_is_refused_with_the_nearest(capsys, at, command):
    (at / "bad.toml").write_text("[network]\nnurons = 8")
    what, try_next = refused(capsys, at, command, "bad.toml", "-o", "new")
    assert what == "bad.toml: unknown key 'network.nurons'"
    assert "did you mean network.neurons?" in try_next


@pytest.mark.parametrize("command", ["prune", "train"])
def test_missing_data_are_said(capsys, at, command):
    (at / "bad.toml").write_text('[data]\nroot = "nowhere"')
    what, _ = refused(capsys, at, command, "bad.toml", "-o", "new")
    assert "nowhere" in what


def test_an_unknown_data_set_is_refused_with_those_there_are(capsys, at):
    (at / "bad.toml").write_text('[data]\nname = "sparr"')
    assert "did you mean 'spar'?" in refused(capsys, at, "prune", "bad.toml")[1]


def test_an_unknown_pruning_method_is_refused_with_those_there_are(capsys, at):
    (at / "bad.toml").write_text('[network]\nneurons = 8\n[prune]\nmethod = "lpn"')
    assert "did you mean 'lnp'?" in refused(capsys, at, "prune", "bad.toml")[1]


@pytest.mark.parametrize(
    "words", [("verify", "m.onnx"), ("run", "m.onnx", "--source", "a.csv"), ("demo",)], ids=lambda w: w[0]
)
def test_an_empty_board_is_not_the_default(capsys, at, words):
    """As of a variable of a shell that is not set."""
    with pytest.raises(SystemExit) as e:
        main([*words, "--board", ""])
    assert e.value.code == 2 and "'' is no board" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("flash", "x", "--tool", ""),
        ("flash", "x", "--drive", ""),
        ("fuzz", "m.onnx", "--target", ""),
        ("mutate", "m.onnx", "--file", ""),
        ("bench", "--kernels", ""),
    ],
    ids=" ".join,
)
def test_no_other_empty_value_is_the_default(capsys, at, words):
    with pytest.raises(SystemExit) as e:
        main(list(words))
    assert e.value.code == 2 and f"argument {words[-2]}: '' is nothing" in capsys.readouterr().err


def test_no_empty_path_is_the_folder_that_one_is_in():
    (commands,) = (one for one in parser()._actions if one.choices)
    for name, command in commands.choices.items():
        for one in command._actions:
            try:
                value = one.type("") if one.type else None
            except (argparse.ArgumentTypeError, ValueError, ConfigError):
                continue
            assert value != Path(), f"lnp {name} {one.dest}"


ON_A_MODEL = [
    ("verify", "X", "--board", "host"),
    ("run", "X", "--source", "a.csv"),
    ("generate", "X", "--board", "host", "-o", "new"),
]


@pytest.mark.parametrize("words", ON_A_MODEL, ids=lambda w: w[0])
def test_a_missing_truncated_or_foreign_model_is_refused(capsys, at, words):
    good = (at / "m.onnx").read_bytes()
    (at / "half.onnx").write_bytes(good[: len(good) // 2])
    (at / "foreign.onnx").write_text("PK or what")
    (at / "empty.onnx").touch()
    for name in ("half.onnx", "foreign.onnx", "empty.onnx", "nowhere.onnx", ".", "/dev/zero"):
        what, _ = refused(capsys, at, *(name if w == "X" else w for w in words))
        assert name in what


@pytest.mark.parametrize("command", ["quantize", "train"])
def test_a_missing_truncated_or_foreign_network_is_refused(capsys, at, command):
    network_file.save(NetworkFile(tiny_network(n=8), Config(), {}), at / "n.safetensors")
    good = (at / "n.safetensors").read_bytes()
    (at / "half.safetensors").write_bytes(good[: len(good) // 2])
    (at / "foreign.safetensors").write_text("PK or what")
    for name in ("half.safetensors", "foreign.safetensors", "nowhere.safetensors", "m.onnx", "."):
        what, _ = refused(capsys, at, command, name, "-o", "new")
        assert name in what


def test_a_network_of_other_channels_than_its_data_is_refused(capsys, at):
    network_file.save(NetworkFile(tiny_network(n=8, c=2, o=2), Config(), {}), at / "n.safetensors")
    refused(capsys, at, "quantize", "n.safetensors", "-o", "new.onnx")
    refused(capsys, at, "train", "n.safetensors", "-o", "new.safetensors")


@pytest.mark.parametrize(
    "words", [(*ON_A_MODEL[0][:3], "hots"), (*ON_A_MODEL[2][:3], "hots", "-o", "new"), ("demo", "--board", "hots")]
)
def test_an_unknown_board_is_refused_with_the_nearest(capsys, at, words):
    what, try_next = refused(capsys, at, *("m.onnx" if w == "X" else w for w in words))
    assert what == "no board is called 'hots'"
    assert "did you mean 'host'?" in try_next


def test_a_board_named_by_its_chip_is_near_it(capsys, at):
    try_next = refused(capsys, at, "generate", "m.onnx", "--board", "esp32c3", "-o", "new")[1]
    assert "did you mean 'esp32-c3-devkitm-1'?" in try_next


def test_a_model_too_big_for_its_board_is_a_no_with_both_sizes(capsys, at, monkeypatch):
    real = boards.get
    monkeypatch.setattr(boards, "get", lambda name: replace(real(name), flash=Region(0, 1024)))
    what, _ = refused(capsys, at, "generate", "m.onnx", "--board", "cortex-m4", "-o", "new", code=1)
    assert "flash" in what and "cortex-m4 has 1024" in what
    assert not (at / "new").exists()


def test_a_model_whose_code_does_not_fit_is_a_no_as_well(capsys, at, monkeypatch):
    need("ziglang")
    real, tables = boards.get, 1900
    monkeypatch.setattr(boards, "get", lambda name: replace(real(name), flash=Region(0, tables)))
    assert main(["generate", "m.onnx", "--board", "cortex-m4", "-o", "new"]) == 0
    # The linker script was written for the real size: a smaller flash shows when it is linked.
    script = at / "new" / "lnp.ld"
    assert str(hex(tables))[2:] in script.read_text() or str(tables) in script.read_text()
    capsys.readouterr()
    assert main(["build", "new"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "cortex-m4 has 1900" in lines[0]


def test_an_absent_compiler_is_said_with_the_command_that_gets_it(capsys, at, monkeypatch):
    assert main(["generate", "m.onnx", "--board", "nucleo-f401re", "-o", "firmware"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("PATH", str(at))
    what, try_next = refused(capsys, at, "build", "firmware")
    assert (what, try_next) == ("arm-none-eabi-gcc is not installed", "  sudo apt-get install gcc-arm-none-eabi")


@pytest.mark.parametrize(
    ("there", "missing", "package"),
    [((), "clang", "clang lld"), (("clang",), "ld.lld", "lld"), (("ld.lld",), "clang", "clang lld")],
)
def test_of_clang_and_its_linker_the_one_that_is_absent_is_named(tmp_path, monkeypatch, there, missing, package):
    for name in there:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BoardError) as e:
        compiler("clang")
    assert (e.value.what, e.value.try_next) == (f"{missing} is not installed", f"sudo apt-get install {package}")


def test_absent_busy_and_missing_ports_are_said(capsys, at):
    words = ("verify", "m.onnx", "--board", "nucleo-f401re")
    assert "--port" in refused(capsys, at, *words)[1]
    assert "there is no such port" in refused(capsys, at, *words, "--port", "/dev/ttyNONE")[0]
    master, slave = os.openpty()
    try:
        from lnp_edge.runtime.ports import open_serial

        taken = open_serial(os.ttyname(slave), 115200)
        assert "another program uses it" in refused(capsys, at, *words, "--port", os.ttyname(slave))[0]
        taken.close()
    finally:
        os.close(master)
        os.close(slave)


def test_a_silent_port_is_said(capsys, at, monkeypatch):
    from lnp_edge.runtime import device

    monkeypatch.setattr(device.Device.__init__, "__defaults__", ("the port", 0.2, None, ()))
    master, slave = os.openpty()
    try:
        what, _ = refused(capsys, at, "verify", "m.onnx", "--board", "nucleo-f401re", "--port", os.ttyname(slave))
    finally:
        os.close(master)
        os.close(slave)
    assert what.startswith("no bytes from /dev/") and what.endswith(" in 0.2 s")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("verify", "m.onnx", "--steps", "0"), "--steps is 0"),
        (("verify", "m.onnx", "--steps", "-1"), "--steps is -1"),
        (("verify", "m.onnx", "--seed", "-1"), "--seed is -1"),
        (("verify", "m.onnx", "--faults", "-1"), "--faults is -1"),
        (("verify", "m.onnx", "--faults", "0.03"), "--faults is 0.03"),
        (("verify", "m.onnx", "--faults", "nan"), "--faults is nan"),
        (("verify", "m.onnx", "--baud", "fast"), "--baud is 'fast'"),
        (("verify", "m.onnx", "--baud", "115199"), "--baud is '115199'"),
        (("verify", "m.onnx", "--baud", "921601"), "--baud is '921601'"),
        (("verify", "m.onnx", "--baud", ""), "--baud is ''"),
        (("verify", "m.onnx", "--baud", "0001152009"), "--baud is '0001152009'"),
        (("run", "m.onnx", "--source", "-", "--port-baud", "auto"), "--port-baud is the rate of a board's line"),
        (("verify", "m.onnx", "--resume", "none/j"), "cannot write none/j: none is not a folder"),
        (("verify", "m.onnx", "--resume", "r.json", "--report", "r.html"), "--resume r.json is a file of --report"),
        (("mutate", "m.onnx", "--resume", "/"), "cannot write /: not a regular file"),
        (("mutate", "m.onnx", "--resume", "none/j"), "cannot write none/j: none is not a folder"),
        (("quantize", "n.safetensors", "-o", "."), "cannot write .: not a regular file"),
        (("bench", "--kernels", "--jobs", "0"), "--jobs is '0'"),
        (("bench", "--kernels", "--jobs", "9" * 5000), "--jobs is '99999999999999999999'"),
        (("generate", "m.onnx", "--as", "", "-o", "new"), "no kind of library is called ''"),
        (("generate", "m.onnx", "--as", "cmake", "-o", "new", "--name", "crc32"), "'crc32'"),
        (("reproduce", "good.toml", "--seeds", "0"), "--seeds is 0"),
        (("reproduce", "good.toml", "--folds", "1"), "1 folds of"),
        (("reproduce", "good.toml", "--folds", "-1"), "-1 folds of"),
        (("run", "m.onnx", "--source", "nowhere.csv"), "cannot read nowhere.csv"),
        (("run", "m.onnx", "--source", "."), "cannot read ."),
        (("run", "m.onnx", "--source", "/dev/zero"), "cannot open /dev/zero"),
        (("run", "m.onnx", "--source", "nosuch://x"), "cannot open nosuch://x"),
        (("run", "m.onnx", "--source", "socket://127.0.0.1:1", "--baud", "-5"), "cannot open socket"),
        (("run", "m.onnx", "--source", "good.toml"), "good.toml line 1: '[network]' is no row of 3 numbers"),
        (("run", "m.onnx", "--source", "a.csv", "--hop", "0"), "--hop is 0 samples"),
        (("run", "m.onnx", "--source", "a.csv", "--hop", "21"), "from 1 to 20, the window"),
        (("run", "m.onnx", "--source", "a.csv", "--log", "a.csv"), "--log a.csv is the source"),
        (("run", "m.onnx", "--source", "a.csv", "--log", "good.toml"), "good.toml exists and is no log"),
        (("run", "m.onnx", "--source", "a.csv", "--log", "nowhere/x"), "cannot write nowhere/x"),
        (("build", "nowhere"), "nowhere"),
        (("build", "a.csv"), "a.csv"),
        (("flash", "nowhere"), "nowhere"),
        (("generate", "m.onnx", "--board", "host", "-o", "a.csv"), "a.csv"),
        (("generate", "m.onnx", "--board", "host", "-o", "."), "holds"),
        (("generate", "m.onnx", "--board", "host", "-o", "new", "--name", "int"), "'int'"),
        (("prune", "good.toml", "-o", "nowhere/x"), "cannot write nowhere/x"),
        (("prune", "good.toml", "-o", "."), "cannot write ."),
    ],
    ids=lambda v: " ".join(v)[:60] if isinstance(v, tuple) else "",
)
def test_other_bad_values_are_refused(capsys, at, words, what):
    assert what in refused(capsys, at, *words)[0] or what in refused(capsys, at, *words)[1]


def test_control_characters_of_a_file_name_are_shown_and_not_obeyed(capsys, at):
    what, _ = refused(capsys, at, "verify", "\x1b[31mred\n.onnx", "--board", "host")
    assert r"\x1b[31mred\n.onnx" in what


@pytest.mark.parametrize(
    ("there", "what", "try_next"),
    [
        ((), "no serial port at USB (0483:374b, 0483:3752) is that of nucleo-f401re", "--port /dev/ttyACM0"),
        (("a", "b"), "/dev/no-a and /dev/no-b may each be that of nucleo-f401re", "--port /dev/no-a"),
        (("a",), "cannot open /dev/no-a: there is no such port", "lnp doctor"),
    ],
)
@pytest.mark.parametrize("command", ["verify model.onnx", "run model.onnx --source samples.csv"])
def test_the_port_of_a_real_board_is_found_by_its_id_at_usb(capsys, at, monkeypatch, command, there, what, try_next):
    from serial.tools import list_ports

    found = [SimpleNamespace(device=f"/dev/no-{name}", vid=0x0483, pid=0x3752) for name in there]
    other = [SimpleNamespace(device="/dev/adapter", vid=0x0483, pid=None)]  # as Windows may have it
    monkeypatch.setattr(list_ports, "comports", lambda: [*found, *other])
    (at / "samples.csv").write_text("1,2,3\n")
    onnx_file.save(tiny_model(), "model.onnx")
    assert main([*command.split(), "--board", "nucleo-f401re"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-2] == what and try_next in said[-1]
    assert said[:-2] == ["nucleo-f401re is at /dev/no-a"] * (len(there) == 1)


@pytest.mark.parametrize("ports", [("a",), (), ("a", "b")])
def test_an_emulated_board_that_is_connected_too_is_not_taken_for_the_real_one(capsys, monkeypatch, ports):
    from serial.tools import list_ports

    found = [SimpleNamespace(device=f"/dev/no-{name}", vid=0x2341, pid=0x0043) for name in ports]
    monkeypatch.setattr(list_ports, "comports", lambda: found)
    assert at_port(SimpleNamespace(board="arduino-uno", port=None)) is None
    said = "arduino-uno is emulated; --port /dev/no-a is the one that is connected\n"
    assert capsys.readouterr().err == said * (len(ports) == 1)


@pytest.mark.parametrize("port", ["-x", "/dev/a\nb", "/dev/\x1b[31mred"])
@pytest.mark.parametrize("option", ["verify x --port", "run x --port", "flash x --port", "flash x --loader"])
def test_a_port_that_a_flash_tool_would_take_for_an_option_or_that_a_terminal_obeys_is_refused(capsys, option, port):
    with pytest.raises(SystemExit) as e:
        main(f"{option}={port}".split(" "))
    assert e.value.code == 2
    assert f"{port!r} is no port, such as /dev/ttyACM0" in capsys.readouterr().err
