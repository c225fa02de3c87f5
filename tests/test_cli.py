"""The command line: examples that parse, two lines for what the user can fix, nothing left half-written."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import tty
from dataclasses import replace
from importlib import import_module
from itertools import chain

import numpy as np
import pytest
from conftest import need
from nets import tiny_network
from rich.console import Console
from stops import crash
from tiny import tiny_counts, tiny_front, tiny_loop, tiny_model, with_entry

from lnp_edge import boards
from lnp_edge.base import console
from lnp_edge.base.console import bars, out, print_table
from lnp_edge.cli import COMMANDS, main, parser
from lnp_edge.commands import _after, quantize
from lnp_edge.config import Config
from lnp_edge.experiments.executors import processes
from lnp_edge.interchange import onnx_file
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.runtime import feeds
from lnp_edge.spec.board import Region
from lnp_edge.spec.quantity import Quantity

MODEL = tiny_model()


@pytest.fixture
def at(tmp_path, monkeypatch):
    """An own current folder with a model, a recording and a configuration."""
    monkeypatch.chdir(tmp_path)
    onnx_file.save(MODEL, tmp_path / "m.onnx")
    counts = tiny_counts(MODEL, 55).tolist()
    (tmp_path / "a.csv").write_text("c0,c1,c2\n" + "".join(",".join(map(str, row)) + "\n" for row in counts))
    (tmp_path / "good.toml").write_text("[network]\nneurons = 8\n[train]\nepochs = 0\n")
    return tmp_path


def refused(capsys, at, *words, code=2):
    """Run a command that must fail with two lines and write nothing; returns them."""
    before = {p: p.read_bytes() for p in at.rglob("*") if p.is_file()}
    assert main(list(map(str, words))) == code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 2, captured.err
    assert lines[0] and lines[1].startswith("  ") and lines[1].strip()
    assert captured.out == ""
    assert all(line.isprintable() for line in lines)
    assert {p: p.read_bytes() for p in at.rglob("*") if p.is_file()} == before
    return lines


# ---- help


def test_bare_lnp_shows_the_road_with_commands_that_exist(capsys):
    assert main([]) == 0
    lines = [line[line.index("lnp ") :] for line in capsys.readouterr().out.splitlines()[1:] if "lnp " in line]
    words = [re.split(r"  +", line)[0] for line in lines if not line.startswith("lnp --help")]
    assert len(words) > 8
    for line in words:
        assert parser().parse_args(shlex.split(line)[1:]).command in COMMANDS


@pytest.mark.parametrize(("said", "meant"), [("trian", "'train'"), ("qantize", "'quantize'"), ("zzz", "")])
def test_an_unknown_command_is_told_with_the_nearest_one(capsys, said, meant):
    with pytest.raises(SystemExit) as e:
        main([said])
    first, second = capsys.readouterr().err.splitlines()
    assert e.value.code == 2 and first == f"lnp has no command {said!r}" and meant in second
    assert ("did you mean" in second) == bool(meant)


def test_long_work_says_a_line_now_and_then_where_no_bar_can_be_drawn(capsys, monkeypatch):
    now = iter([0.0, 1.0, 10.5, 11.0, 25.0])
    monkeypatch.setattr("lnp_edge.base.console.time.monotonic", lambda: next(now))
    with bars() as progress:
        task = progress.add_task("train", total=60, info="")
        for done in (5, 10, 15, 20):
            progress.update(task, completed=done, info=f"loss {done}\x1b[2J")
    assert capsys.readouterr().err.splitlines() == [
        "train: 10 of 60 loss 10\\x1b[2J",
        "train: 20 of 60 loss 20\\x1b[2J",
    ]


def test_a_pipe_gets_no_bar_even_where_colour_is_forced(capsys, monkeypatch):
    """As in a notebook, whose kernel sets FORCE_COLOR: rich then takes a pipe for a terminal."""
    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=True))
    with bars() as progress:
        progress.update(progress.add_task("train", total=2, info=""), completed=1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_and_returns_0(capsys, name):
    with pytest.raises(SystemExit) as e:
        main([name, "--help"])
    assert e.value.code == 0
    out = capsys.readouterr().out
    assert f"\nexample:\n  lnp {name}" in out


def examples():
    for name in COMMANDS:
        for line in import_module(f"lnp_edge.commands.{name}").EXAMPLE.splitlines():
            for part in line.replace("|", "&&").split("&&"):
                if part.strip().startswith("lnp "):
                    yield part.strip()


@pytest.mark.parametrize("line", list(examples()))
def test_every_example_parses(line):
    assert parser().parse_args(shlex.split(line)[1:]).command in COMMANDS


def test_top_help_lists_every_command_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as e:
        main(["--help"])
    out = capsys.readouterr().out
    assert e.value.code == 0
    assert all(out.count(f"\n    {name}") == 1 for name in COMMANDS)
    assert "0 done, 1 the answer is no" in out and "70 lnp itself failed" in " ".join(out.split())


@pytest.mark.parametrize("words", [["nonsense"], ["verify"], ["run", "m.onnx"], ["verify", "m.onnx", "--steps", "x"]])
def test_wrong_usage_exits_with_2(capsys, words):
    with pytest.raises(SystemExit) as e:
        main(words)
    assert e.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[1].startswith("  lnp ") and lines[1].endswith("--help shows how")


# ---- what the user can fix


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


def test_generate_says_how_the_synapses_lie_and_what_has_a_loop_by_hand(capsys, at):
    assert main(["generate", "m.onnx", "--board", "host", "-o", "new"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[0] for line in lines[:3]] == ["w_in", "w_rec", "w_out"]
    assert lines[1] == "w_rec lies as csr, 786 B: the fewest (blocks 1,276 B)"
    assert lines[3].startswith("With the DSP instructions of Armv7E-M, loops in assembly: sense, ")


def test_an_absent_compiler_is_said_with_the_command_that_gets_it(capsys, at, monkeypatch):
    assert main(["generate", "m.onnx", "--board", "nucleo-f401re", "-o", "firmware"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("PATH", str(at))
    what, try_next = refused(capsys, at, "build", "firmware")
    assert (what, try_next) == ("arm-none-eabi-gcc is not installed", "  sudo apt-get install gcc-arm-none-eabi")


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

    monkeypatch.setattr(device.Device.__init__, "__defaults__", ("the port", 0.2, None))
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
        (("verify", "m.onnx", "--resume", "none/j"), "cannot write none/j: none is not a folder"),
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
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_other_bad_values_are_refused(capsys, at, words, what):
    assert what in refused(capsys, at, *words)[0] or what in refused(capsys, at, *words)[1]


def test_control_characters_of_a_file_name_are_shown_and_not_obeyed(capsys, at):
    what, _ = refused(capsys, at, "verify", "\x1b[31mred\n.onnx", "--board", "host")
    assert r"\x1b[31mred\n.onnx" in what


def test_an_end_for_an_empty_cell_comes_after_the_windows_before_it(capsys, at):
    with open(at / "a.csv", "a") as file:
        file.write("1,,2\n")
    assert main(["run", "m.onnx", "--source", "a.csv", "--missing", "stop"]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert captured.err.splitlines()[0] == "a.csv line 57: c1 is empty"


# ---- what works


def json_lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_run_predicts_the_same_from_file_standard_input_and_device(capsys, at, monkeypatch):
    need("cc")
    runs = []
    for words in (["a.csv"], ["-"], ["a.csv", "--board", "host"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((at / "a.csv").read_bytes())))
        assert main(["run", "m.onnx", "--json", "--source", *words]) == 0
        runs.append([{k: v for k, v in p.items() if k != "latency_us"} for p in json_lines(capsys)])
    assert len(runs[0]) == 4
    assert runs[0] == runs[1] == runs[2]


def test_a_gap_begins_a_window_anew_and_what_was_passed_over_is_told(capsys, at):
    rows = (at / "a.csv").read_text().splitlines()
    (at / "b.csv").write_text("\n".join([*rows[:26], "hello", "1,2", *rows[26:]]))
    assert main(["run", "m.onnx", "--json", "--source", "b.csv", "--hop", "5"]) == 0
    captured = capsys.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert [p["window"] for p in found] == list(range(5))
    assert [p["end"] for p in found] == [0.2, 0.25, 0.46, 0.51, 0.56]  # of 25 rows, one that was lost, and 30
    assert "time" not in found[0]
    assert captured.err.splitlines() == [
        "gap: a row was lost: half a row, '1,2'; the stream begins anew",
        "passed over: 2 lines that are no rows",
    ]
    assert main(["run", "m.onnx", "--json", "--source", "a.csv", "--hop", "5"]) == 0
    whole = [p["y"] for p in json_lines(capsys)]
    assert len(whole) == 8 and [p["y"] for p in found] == whole[:2] + whole[5:]


def test_many_gaps_of_a_recording_are_counted(capsys, at):
    (at / "b.csv").write_text("1,2,3\n1,2\n" * 40)
    assert main(["run", "m.onnx", "--source", "b.csv"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 13
    assert said[10] == "gaps: 39, of which 10 were told"
    assert said[11] == "no window: the stream has no 20 rows (0.2 s) without a gap"


def test_a_log_replayed_gives_the_same_decisions(capsys, at):
    rows = (at / "a.csv").read_text().splitlines()
    (at / "b.csv").write_text("\n".join([*rows[:26], "1,2", *rows[26:]]))
    words = ["run", "m.onnx", "--json", "--hop", "3", "--source"]

    def decided():
        return [{k: v for k, v in p.items() if k != "latency_us"} for p in json_lines(capsys)]

    assert main([*words, "b.csv", "--log", "l.jsonl"]) == 0
    first = decided()
    assert len(first) == 6
    assert main([*words, "l.jsonl"]) == 0
    assert decided() == first
    lines = [json.loads(line) for line in (at / "l.jsonl").read_text().splitlines()]
    assert lines[0]["fingerprint"] == f"{MODEL.fingerprint:08x}" and lines[0]["version"]
    assert [sum(key in line for line in lines) for key in ("x", "gap", "prediction")] == [55, 1, 6]


def test_a_model_without_a_reset_takes_a_hop_of_whole_steps_and_begins_anew_after_a_gap(capsys, at):
    framed = tiny_front("stack", 4)
    stream = replace(framed, hop=8, decision=replace(framed.decision, stream=True)).check()
    onnx_file.save(stream, at / "s.onnx")
    assert main(["run", "s.onnx", "--source", "a.csv", "--hop", "6"]) == 2
    assert "a multiple of 4" in capsys.readouterr().err
    counts = tiny_counts(stream, 64).reshape(-1, 3)[:200].tolist()
    rows = [",".join(map(str, row)) for row in counts]
    (at / "b.csv").write_text("\n".join([*rows[:102], "1,2", *rows[:102]]))
    assert main(["run", "s.onnx", "--json", "--source", "b.csv", "--hop", "4"]) == 0
    found = [p["y"] for p in json_lines(capsys)]
    assert len(found) == 12 and found[:6] == found[6:]


def test_a_live_source_is_heard_and_its_predictions_have_the_time_of_the_clock(capsys, at, monkeypatch):
    """On a port that sends rows for 1.2 s, until Ctrl-C."""
    onnx_file.save(replace(MODEL, dt=0.02, window=50, hop=50), at / "slow.onnx")
    master, slave = os.openpty()
    tty.setraw(slave)
    real = feeds.open_serial
    sent = threading.Event()

    def send():
        begin = time.monotonic()
        for k in range(61):
            os.write(master, b"%d,2,3\n" % k)
            time.sleep(max(0.0, begin + 0.02 * k - time.monotonic()))
        sent.set()

    def opened(*words):
        port = real(*words)
        threading.Thread(target=send, daemon=True).start()
        return port

    class Stopped(feeds.PortFeed):
        def read(self):
            if sent.is_set():
                raise KeyboardInterrupt
            return super().read()

    monkeypatch.setattr(feeds, "open_serial", opened)
    monkeypatch.setattr(feeds, "PortFeed", Stopped)
    try:
        assert main(["run", "slow.onnx", "--source", os.ttyname(slave), "--log", "l.jsonl"]) == 130
    finally:
        os.close(master)
        os.close(slave)
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d +1\.00 s   class \d", line) and len(line) < 80
    told = captured.err.splitlines()
    assert re.fullmatch(r"listening: \d\d\.\d rows a second", told[0])
    assert re.fullmatch(r"predictions: 1, in [\d.]+ [um]s each, [\d.]+ [um]s at most; one is due every 1 s", told[1])
    assert told[2] == "passed over: 1 first line of a port, which may be cut" and told[-1] == "stopped"
    assert re.search(r"class \d +  margin [\d.]+k?$", line)
    assert main(["run", "slow.onnx", "--json", "--source", "l.jsonl"]) == 0
    (again,) = json_lines(capsys)
    assert again["name"] in line and "time" not in again


def test_a_closed_loop_is_the_same_here_and_on_a_device_and_says_that_it_was_verified(capsys, at):
    need("cc")
    onnx_file.save(tiny_loop(), at / "l.onnx")
    words = ["run", "l.onnx", "--source", "a.csv", "--free-run", "25"]
    assert main(words) == 0
    here = capsys.readouterr().out
    assert here.startswith("c0,c1,c2\n") and here.count("\n") == 26
    assert main([*words, "--board", "host"]) == 0
    there = capsys.readouterr()
    assert there.out == here
    assert there.err == f"verified: 44 steps, {44 * tiny_loop().state_words} state words, 0 differences\n"
    assert main([*words, "--json"]) == 0
    steps = json_lines(capsys)
    assert [",".join(map(str, s["counts"])) for s in steps] == here.splitlines()[1:]
    assert [s["step"] for s in steps] == list(range(1, 26))


@pytest.mark.parametrize("name", ["x.edf", "x.WAV", "x.npy"])
def test_a_recording_that_is_no_text_is_said_to_be_none(capsys, at, name):
    (at / name).write_bytes((at / "a.csv").read_bytes())
    what, try_next = refused(capsys, at, "run", "m.onnx", "--source", name)
    assert what == f"lnp run reads text, {name} is {name[2:].upper()}" and "CSV" in try_next


def test_a_forecast_is_printed_with_its_name(capsys, at):
    onnx_file.save(tiny_loop(), at / "l.onnx")
    assert main(["run", "l.onnx", "--source", "a.csv"]) == 0
    text = capsys.readouterr().out
    assert main(["run", "l.onnx", "--source", "a.csv", "--json"]) == 0
    for line, said in zip(text.splitlines(), json_lines(capsys), strict=True):
        for name, value in said["forecast"].items():
            assert f"{name}: {value:.0f}" in line


def test_a_forecast_has_its_unit_and_the_date_of_its_window(capsys, at):
    quantities = tuple(Quantity("degC", -1000.0, 0.005, False) for _ in range(3))
    onnx_file.save(replace(tiny_loop(), quantities=quantities).check(), at / "l.onnx")
    rows = [f"2026-10-{1 + k // 24:02d} {k % 24:02d}:00:00,{k % 7},2,3" for k in range(30)]
    (at / "d.csv").write_text("\n".join(["time,c0,c1,c2", *rows]))
    slow = replace(onnx_file.load(at / "l.onnx"), dt=3600.0).check()
    onnx_file.save(slow, at / "l.onnx")
    assert main(["run", "l.onnx", "--source", "d.csv"]) == 0
    text = capsys.readouterr().out
    assert main(["run", "l.onnx", "--source", "d.csv", "--json"]) == 0
    said = json_lines(capsys)
    for k, (line, one) in enumerate(zip(text.splitlines(), said, strict=True)):
        assert list(one["forecast"]) == list(one["forecast_counts"]) == list(slow.classes)
        for name, count in one["forecast_counts"].items():
            assert one["forecast"][name] == (count + 1000) * 0.005, "JSON had counts, the text degrees"
            assert f"{name}: {one['forecast'][name]:.3f} degC" in line
        assert k or line.startswith("2026-10-01 00:00:00 to 2026-10-01 20:00:00   ")
        assert line.endswith(" degC") and "margin" not in line
    zoned = [row.replace(":00,", ":00+05:30,", 1) for row in rows]
    (at / "d.csv").write_text("\n".join(["time,c0,c1,c2", *zoned]))
    assert main(["run", "l.onnx", "--source", "d.csv"]) == 0
    dates = [line[:42] for line in capsys.readouterr().out.splitlines()]
    assert dates == [line[:42] for line in text.splitlines()], "in the zone of the stamps"
    (at / "d.csv").write_text("\n".join(["time,c0,c1,c2", *rows[10:30], *rows[:30]]))
    assert main(["run", "l.onnx", "--source", "d.csv"]) == 0
    assert "2026" not in capsys.readouterr().out.splitlines()[-1], "the clock went back: seconds, not dates"


def test_a_closed_loop_prints_rows_that_a_source_can_have(capsys, at):
    """It was given degrees and printed counts under the same names."""
    quantities = (Quantity("degC", -1000.0, 0.005, False), Quantity("V", 0.0, 0.01), Quantity("", 0.0, 0.3, False))
    onnx_file.save(replace(tiny_loop(), quantities=quantities).check(), at / "l.onnx")
    words = ["run", "l.onnx", "--source", "a.csv", "--free-run", "25"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    said = json_lines(capsys)
    assert text.splitlines()[0] == "c0,c1,c2"
    for line, one in zip(text.splitlines()[1:], said, strict=True):
        a, b, c = one["counts"]
        assert line == f"{(a + 1000) * 0.005:.3f},{b},{c * 0.3:.1f}"
        assert one["values"] == [(a + 1000.0) * 0.005, b, c * 0.3]
    (at / "again.csv").write_text(text)
    assert main(["run", "l.onnx", "--source", "again.csv", "--log", "log.jsonl"]) == 0
    rows = [json.loads(line).get("x") for line in (at / "log.jsonl").read_text().splitlines()]
    assert [row for row in rows if row] == [one["counts"] for one in said]


def test_a_loop_needs_a_whole_window_and_a_model_that_forecasts(capsys, at):
    (at / "short.csv").write_text("1,2,3\n" * 19)
    onnx_file.save(tiny_loop(), at / "l.onnx")
    for words, what in (
        (["l.onnx", "--source", "short.csv", "--free-run", "5"], "ended before 20 rows"),
        (["m.onnx", "--source", "a.csv", "--free-run", "5"], "cannot be fed back"),
        (["l.onnx", "--source", "a.csv", "--free-run", "0"], "--free-run is 0"),
    ):
        assert main(["run", *words]) == 2
        assert what in capsys.readouterr().err


def test_a_stream_shorter_than_a_window_is_said(capsys, at):
    (at / "a.csv").write_text("1,2,3\n" * 19)
    assert main(["run", "m.onnx", "--source", "a.csv"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "the stream ended before 20 rows (0.2 s)" in captured.err


def test_verify_of_a_sound_device_says_so_and_returns_0(capsys, at):
    need("cc")
    assert main(["verify", "m.onnx", "--board", "host", "--steps", "50"]) == 0
    said = f"verified: 50 steps, {50 * MODEL.state_words} state words, 0 differences\n"
    first, tested, decided, reached, cost, *_ = capsys.readouterr().out.splitlines()
    assert f"{first}\n" == said and re.match(r"self-test: \d+ cases, 0 differences \(tables ", tested)
    assert decided == "decisions: 40 from single samples, 0 differences"
    assert reached.startswith("coverage: ") and cost.startswith("Cost: ")
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
    assert {"what", "found", "for", "get"} == set(json.loads(capsys.readouterr().out)[0])


def test_generate_build_and_flash_hand_on_a_folder(capsys, at):
    need("arm-none-eabi-gcc")
    assert main(["generate", "m.onnx", "--board", "nucleo-f401re", "-o", "firmware"]) == 0
    assert "next: lnp build firmware" in capsys.readouterr().err.replace("\n", " ")
    assert main(["build", "firmware", "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)
    assert 0 < sizes["flash"] < sizes["flash_size"] == 524288
    assert main(["flash", "firmware", "--dry-run"]) == 0
    assert capsys.readouterr().out.strip().endswith("write build/gcc/lnp_net.bin 0x08000000")


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
    (at / "good.toml").write_text("[network]\nneurons = 8\ntau_out = 1e6\n")
    assert main(["prune", "good.toml", "-o", "p.safetensors"]) == 0
    assert "e-0" in capsys.readouterr().out


def test_a_reader_that_leaves_early_is_no_error(at):
    command = f"{shlex.quote(sys.executable)} -m lnp_edge.cli run m.onnx --source - | head -n 1"
    rows = "1,2,3\n" * 20_000
    done = subprocess.run(command, shell=True, input=rows, capture_output=True, text=True, env=os.environ)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


REPORT = "lnp itself failed: please report it with these lines and the output of lnp doctor"


def test_our_own_bugs_keep_their_traceback_and_have_a_code_of_their_own(monkeypatch, capsys):
    def broken(name):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(boards, "get", broken)
    assert main(["boards"]) == 70
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[0].startswith("Traceback") and "in broken" in captured.err
    assert lines[-2:] == ["RuntimeError: a bug of ours", REPORT]


def test_a_bug_in_a_worker_shows_the_workers_own_traceback(monkeypatch, capfd):
    monkeypatch.setattr(boards, "names", lambda: list(processes(crash, [7], print)))
    assert main(["boards"]) == 70
    said = capfd.readouterr().err
    assert "in crash" in said and "RuntimeError: worker 7" in said and said.splitlines()[-1] == REPORT


# ---- streams that are closed, full or no longer read


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("lnp boards >&-", 0),
        ("lnp run nope.onnx --source x 2>&-", 2),
        ("lnp run m.onnx --source - <&-", 0),
        ("lnp boards >/dev/full", 2),
        ("lnp >/dev/full", 2),
        ("(lnp boards; echo $? >&2) | true", 0),
    ],
)
def test_closed_and_full_streams_are_no_crash(at, line, code):
    lnp = f"{sys.executable} -c 'import sys; from lnp_edge.cli import main; sys.exit(main())'"
    done = subprocess.run(["bash", "-c", line.replace("lnp", lnp, 1)], capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert "| true" not in line or done.stderr == "0\n"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_table_keeps_every_digit_in_a_narrow_terminal(capsys, monkeypatch, width):
    monkeypatch.setattr(out, "width", width)
    columns = ["", "accuracy", "integers", "macro F1", "N", "synapses", "instr. a second", "flash B", "RAM B"]
    row = ["no recurrence", "0.793±0.010", "0.791±0.011", "0.772", "244", "11909", "1.05 M", "88404", "12345"]
    print_table("a task", columns, [row, ["ridge on statistics", "0.974"]])
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split()[2:] for line in lines if line.strip().startswith("no recurrence")]
    assert list(chain(*cells)) == " ".join(row[1:]).split() and max(map(len, lines)) <= width
    assert [len(line.split()) for line in lines if "ridge" in line] == [4] + [3] * (len(cells) - 1)
    assert (len(cells) == 1) == (width == 160)


def test_the_table_of_mistakes_has_whole_names(capsys, monkeypatch):
    monkeypatch.setattr(out, "width", 80)
    classes = [f"walking upstairs {k}" for k in range(12)]
    _after._mistakes(tuple(classes), np.arange(144).reshape(12, 12) + 100)
    said = capsys.readouterr().out
    cells = [line.split()[3:] for line in said.splitlines() if line.strip().startswith("walking upstairs 11 ")]
    assert list(chain(*cells)) == [str(232 + k) for k in range(12)] and "…" not in said


def test_names_are_never_markup(capsys):
    print_table("[/red]", ["[bold]", "[/x]"], [["[/y]", "1"]])
    said = capsys.readouterr().out
    assert all(word in said for word in ("[/red]", "[bold]", "[/x]", "[/y]"))
