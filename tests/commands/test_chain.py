"""The other commands: lnp verify, and files that one command hands on to the next."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from at_work import MODEL, folder
from conftest import need
from serial.tools import list_ports
from tiny import with_entry

from lnp_edge import boards
from lnp_edge.base import console, install
from lnp_edge.cli import main, parser
from lnp_edge.commands import doctor, quantize
from lnp_edge.firmware_gen import flash
from lnp_edge.firmware_gen.build import Sizes
from lnp_edge.interchange import onnx_file


@pytest.fixture
def at(tmp_path, monkeypatch):
    return folder(tmp_path, monkeypatch)


def test_verify_of_a_sound_device_says_so_and_returns_0(capsys, at):
    need("cc")
    assert main(["verify", "m.onnx", "--board", "host", "--steps", "50"]) == 0
    said = f"verified: 50 steps, {50 * MODEL.state_words} state words, 0 differences\n"
    first, tested, decided, reached, pace, cost, *_ = capsys.readouterr().out.splitlines()
    assert f"{first}\n" == said and re.match(r"self-test: \d+ cases, 0 differences \(tables ", tested)
    assert decided == "decisions: 40 from single samples, 0 differences"
    assert reached.startswith("coverage: ") and cost.startswith("Cost: ")
    assert int(re.match("pace: ([0-9,]+) steps a second", pace)[1].replace(",", "")) > 0
    assert main(["verify", "m.onnx", "--board", "host", "--steps", "50", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["steps"], found["table_differences"]) == (True, 50, [])
    assert (found["windows"], found["cost"]["counted"], found["decisions"]["differ"]) == (None, [], 0)


def test_verify_with_faults_gives_the_same_result_and_tells_what_passed(capsys, at):
    need("cc")
    words = ["verify", "m.onnx", "--board", "host", "--steps", "500", "--faults", "3e-3", "--seed", "2"]
    assert main(words) == 0
    first, tested, _, _, link, faults, *_ = capsys.readouterr().out.splitlines()
    assert ", 0 differences (" in tested
    assert first == f"verified: 500 steps, {500 * MODEL.state_words} state words, 0 differences"
    assert (
        link.startswith("link: ") and " sent again, " in link and link.endswith(" 0 replayed, 0 resumed, 0 restarted")
    )
    assert faults.startswith("faults: ") and " flip" in faults
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["link"]["sent again"] > 0
    assert set(found["faults"]) <= {"drop", "double", "flip", "insert", "burst", "delay", "hold"}


def test_verify_of_a_device_that_differs_returns_1(capsys, at, monkeypatch):
    need("cc")
    from contextlib import contextmanager

    from fakes import FakePort

    from lnp_edge.runtime.device import Device
    from lnp_edge.stages import devices

    @contextmanager
    def wrong(model, name, *_):
        other = with_entry(model, "out_bias", 0, int(model.readout.params["bias"][0]) + 1)
        told = {"fingerprint": model.fingerprint, "board": name.encode(), "clock_hz": boards.get(name).clock_hz}
        yield Device(FakePort(other, greeting=told), model)

    monkeypatch.setattr(devices, "device", wrong)
    assert main(["verify", "m.onnx", "--steps", "50"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("table out_bias[0], neuron 0 of out: device ")
    assert out[1].startswith("first difference at step 0, neuron 0 of out, y: ")
    assert out[2] == "NOT verified: 1 of 14 tables differ, the state differs within 1 steps"


def test_boards_and_doctor_speak_json(capsys):
    assert main(["boards", "--json"]) == 0
    assert [b["name"] for b in json.loads(capsys.readouterr().out)] == boards.names()
    assert main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"what", "found", "for", "get"} == set(rows[0])
    (told,) = [row["for"] for row in rows if row["what"] == "bossac"]
    assert "Debian's does not know this chip" in told


def test_doctor_says_what_a_port_is_without_a_description(capsys, monkeypatch):
    bare = SimpleNamespace(device="/dev/null", description="n/a", vid=None)
    monkeypatch.setattr(list_ports, "comports", lambda: [bare])
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1] == {
        "what": "/dev/null",
        "found": "ready",
        "for": "serial port",
        "get": "",
    }


@pytest.fixture
def got(tmp_path, monkeypatch):
    """got() : the words that doctor ran as a program, "pip" and "sudo" being none but these.

    "sudo" makes an emulator, and nothing else; after "pip" unicorn is there.
    """

    def got():
        return (tmp_path / "ran").read_text() if (tmp_path / "ran").exists() else ""

    made = f'case "$3" in qemu*) /bin/cp "$0" {tmp_path}/bin/"$3";; esac\n'
    for name, code in (("sudo", 0), ("python", 0), ("cargo", 3)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho {name} "$@" > {tmp_path}/ran\n{made}exit {code}\n')
        path.chmod(0o755)
    (tmp_path / "bin/odd").write_text("no format that a system runs")
    (tmp_path / "bin/odd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setattr(doctor, "_version", lambda package: "" if package == "unicorn" and not got() else "99.0")
    monkeypatch.setattr(flash, "find_program", lambda name: "")
    return got


@pytest.mark.parametrize(
    ("name", "code", "said", "ran"),
    [
        ("qemu-system-arm", 0, "installed: qemu-system-arm", "sudo apt-get install qemu-system-arm"),
        ("unicorn", 0, "installed: unicorn", "python -m pip install ziglang unicorn pyelftools"),
        ("torch", 0, "torch is there: 99.0", ""),
        ("probe-rs", 2, "cargo install probe-rs-tools --locked failed with code 3", "cargo install probe-rs-tools"),
        ("bossac", 2, "lnp cannot install bossac here", ""),
        ("pyocd-", 2, "did you mean 'pyocd'?", ""),
        ("optuna", 2, "lnp doctor lists no 'optuna'", ""),
    ],
)
def test_doctor_gets_what_is_missing(capsys, got, name, code, said, ran):
    assert main(["doctor", "--get", name]) == code
    seen = capsys.readouterr()
    assert said in seen.out + seen.err and len(seen.err.splitlines()) == code + bool(ran)
    assert got().startswith(ran) and bool(got()) == bool(ran)


def test_doctor_takes_no_package_that_is_too_old(capsys, got, monkeypatch):
    """pip leaves it, unless it is told to upgrade."""
    monkeypatch.setattr(doctor, "_version", lambda package: "99.0" if package == "pandas" or got() else "0.0.1+cpu")
    monkeypatch.setattr(
        install, "requires", lambda name: ["torch>=2.3; extra == 'train'", "ziglang>=0.14", "pandas>=2"]
    )
    assert main(["doctor", "--json"]) == 0
    rows = {row["what"]: (row["found"], row["get"]) for row in json.loads(capsys.readouterr().out)}
    assert rows["ziglang"] == ("0.0.1+cpu, needs >= 0.14", "pip install --upgrade ziglang unicorn pyelftools")
    assert rows["torch"][1].startswith("pip install --upgrade torch --index-url")
    assert rows["pandas"] == ("99.0", "") and rows["onnxruntime"] == ("0.0.1+cpu", "")
    assert main(["doctor", "--get", "ziglang"]) == 0
    assert got() == "python -m pip install --upgrade ziglang unicorn pyelftools\n"
    monkeypatch.setattr(doctor, "_version", lambda package: "0.0.1")
    capsys.readouterr()
    assert main(["doctor", "--get", "ziglang"]) == 2
    assert capsys.readouterr().err.splitlines()[-2].endswith("without an error, but ziglang is 0.0.1, needs >= 0.14")


def test_where_one_is_root_and_there_is_no_sudo_doctor_does_without(capsys, got, tmp_path):
    (tmp_path / "bin/sudo").rename(tmp_path / "bin/apt-get")
    assert main(["doctor", "--get", "make"]) == 2
    assert got() == "sudo install make\n"  # the program's own name for itself
    assert capsys.readouterr().err.startswith("apt-get install make\n")


@pytest.mark.parametrize(("text", "said"), [
    ("sudo", "lnp cannot install make here"),
    ("python of another release", "lnp cannot install make here"),
    ("nowhere install make", "lnp cannot install make here"),
    ("odd install make", "cannot run odd install make: Exec format error"),
    ("sudo apt-get install make", "sudo apt-get install make ended without an error, but make is missing"),
    ("sudo apt-get install 'my make'", "sudo apt-get install 'my make' ended without an error, but make is missing"),
])  # fmt: skip
def test_doctor_runs_what_installs_alone_and_believes_it_when_it_sees_it(capsys, got, monkeypatch, text, said):
    monkeypatch.setitem(doctor.INSTALL, "make", text)
    assert main(["doctor", "--get", "make"]) == 2
    assert capsys.readouterr().err.splitlines()[-2] == said
    assert bool(got()) == ("ended" in said)


@pytest.mark.parametrize("width", [80, console.WIDE + 60])
def test_doctor_pads_no_line_and_says_what_a_tool_is_for_in_few(capsys, monkeypatch, width):
    """Beside its three columns 80 have room for two or three words a line."""
    monkeypatch.setattr(console.out, "_width", width)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line == line.rstrip() and len(line) <= width for line in lines)
    (make,) = (line.index(said) for line in lines if (said := "builds a generated folder without Python") in line)
    (gdb,) = (line.index(said) for line in lines if (said := "flash tool: GDB, with the server of any probe") in line)
    assert all(
        (line[0] == "✗") == bool(re.match(r". +\S+ +(missing|no permission|\S+, needs)", line))
        for line in lines
        if line[0] in "✓✗"
    )
    places = {re.match(r"[✓✗]  \S+ +", line).end() for line in lines if line[0] in "✓✗"}
    assert make == gdb and len(places) == 1, "each column begins at one place"


@pytest.mark.parametrize(("board", "loops"), [
    ("cortex-m4", "Loops in assembly with the DSP instructions of Armv7E-M: sense, begin_all_hidden"),
    ("riscv-virt", "Loops in assembly on RV32IM: begin_all_hidden"),
])  # fmt: skip
def test_generate_says_how_the_synapses_lie_and_what_has_a_loop_by_hand(capsys, at, board, loops):
    """Of the core that the board has, and of no other."""
    assert main(["generate", "m.onnx", "--board", board, "-o", "new"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in lines[:3]] == ["w_in", "w_rec", "w_out"]
    assert lines[1] == "w_rec lies as csr, 786 B: the fewest (blocks 1,276 B)"
    assert lines[3].startswith(loops) and ("in C: sense" in lines[3]) == (board == "riscv-virt")


@pytest.mark.parametrize("words", [["--board", "arduino-mega"], ["--board", "microbit"], ["--board", "cortex-m3"]])
def test_generate_says_nothing_of_loops_for_a_core_without_their_instructions(capsys, at, words):
    assert main(["generate", "m.onnx", *words, "-o", "new"]) == 0
    said = capsys.readouterr().err
    assert "w_out lies as" in said and "Armv7E-M" not in said


def test_generate_build_and_flash_hand_on_a_folder(capsys, at):
    need("arm-none-eabi-gcc")
    assert main(["generate", "m.onnx", "--board", "nucleo-f401re", "-o", "firmware"]) == 0
    assert "next: lnp build firmware" in capsys.readouterr().err.replace("\n", " ")
    assert main(["build", "firmware", "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)
    assert 0 < sizes["flash"] < sizes["flash_size"] == 524288
    assert main(["flash", "firmware", "--dry-run"]) == 0
    assert capsys.readouterr().out.strip().endswith("write build/gcc/lnp_net.bin 0x08000000")


def test_the_ram_of_a_board_is_told_with_the_stack_and_that_of_this_computer_is_not():
    of_board, of_host = Sizes(Path("x"), 1, 2, 10, 20).lines(), Sizes(Path("x"), 1, 2, None, None).lines()
    assert (of_board[2], of_host[2]) == ("ram    2 of 20 B (10.0 %), with the stack", "ram    2 B")


def test_commands_that_come_next_run_where_names_have_blanks(capsys, at):
    assert main(["generate", "m.onnx", "--board", "nucleo-f401re", "-o", "my program", "--boards", "."]) == 0
    said = capsys.readouterr().err.splitlines()[-1].partition("next: ")[2]
    assert shlex.split(said) == ["lnp", "build", "my program", "--model", "m.onnx", "--boards", "."]
    assert main(["prune", "good.toml", "-o", "my p.safetensors"]) == 0
    said = capsys.readouterr().err.splitlines()[-1].partition("next: ")[2]
    assert shlex.split(said) == ["lnp", "train", "my p.safetensors"]


def test_a_reader_who_stops_early_loses_no_model(at, monkeypatch):
    def closed(*rest):
        raise BrokenPipeError

    assert main(["prune", "good.toml", "-o", "p.safetensors"]) == 0
    monkeypatch.setattr(quantize, "_show", closed)
    args = parser(["quantize"]).parse_args(["quantize", "p.safetensors", "-o", "q.onnx"])
    with pytest.raises(BrokenPipeError):
        args.run(args)
    assert onnx_file.load(at / "q.onnx").n and (at / "q.onnx.windows").exists()


def test_prune_quantize_and_verify_hand_on_files(capsys, at):
    """The chain without training: an untrained network goes through as well."""
    assert main(["prune", "good.toml", "-o", "p.safetensors"]) == 0
    assert main(["quantize", "p.safetensors", "-o", "q.onnx", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["fingerprint"] == f"{onnx_file.load(at / 'q.onnx').fingerprint:08x}"
    assert 0 <= report["measures"]["accuracy"] <= 1
    assert sorted(p.name for p in at.iterdir()) == [
        "a.csv",
        "good.toml",
        "m.onnx",
        "p.safetensors",
        "q.onnx",
        "q.onnx.windows",
    ]


def test_the_abscissa_of_a_slow_network_is_not_rounded_away(capsys, at):
    (at / "good.toml").write_text("[network]\nneurons = 8\ntau_out = 2500.0\n")
    assert main(["prune", "good.toml", "-o", "p.safetensors"]) == 0
    assert "-0.0003" in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_error(at):
    command = f"{shlex.quote(sys.executable)} -m lnp_edge.cli run m.onnx --source - | head -n 1"
    rows = "1,2,3\n" * 20_000
    done = subprocess.run(command, shell=True, input=rows, capture_output=True, text=True, env=os.environ)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
