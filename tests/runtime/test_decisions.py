"""The program that lnp generate --app writes decides as the host does, and a difference is found."""

import csv
import io
import re
import subprocess
import tempfile
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import serial
from conftest import EVERYDAY, need, need_for, of_boards
from tiny import tiny_counts, tiny_front, tiny_loop, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import DoesNotFit, LinkError
from lnp_edge.cli import main
from lnp_edge.firmware_gen import commands
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime import decisions, selftest
from lnp_edge.runtime.host import Stream, infer
from lnp_edge.runtime.log import Gap
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.source import Source
from lnp_edge.spec.decision import Decision
from lnp_edge.spec.quantity import Quantity

RULE = Decision(lead=6000, least=900, low=(-1000,) * 3, high=(1000,) * 3, outside=12, levels=((5000, 60), (20000, 90)))
KINDS = {
    "windows": lambda: replace(tiny_model(), decision=RULE).check(),
    "stream": lambda: replace(tiny_front("logdiff", 4), hop=8, decision=replace(RULE, stream=True)).check(),
    "forecast": lambda: tiny_loop(),
    # Five windows of 100,000 synapses: more samples come meanwhile than a driver keeps.
    "slow": lambda: replace(tiny_model(n=600, density=0.3), hop=4).check(),
}
BUILDS = [
    (name, chain)
    for name in boards.names()
    for chain in (commands.names(boards.get(name)) if name in EVERYDAY else [boards.get(name).toolchain])
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """program(board, kind) -> the image, built once."""

    @cache
    def built(board: str, kind: str) -> Path:
        need_for(board)
        folder = tmp_path_factory.mktemp("app")
        write(generate(KINDS[kind](), boards.get(board), app=True), folder)
        return build(folder).image

    return built


@pytest.mark.parametrize(
    ("board", "kind"),
    [
        ("host", "windows"),
        ("host", "stream"),
        ("host", "forecast"),
        ("cortex-m4", "stream"),
        ("mps2-an386", "windows"),
        ("netduinoplus2", "windows"),
        ("netduinoplus2", "slow"),
    ],
)
def test_a_program_decides_as_the_host_does(program, board, kind):
    model = KINDS[kind]()
    with closing(open_board(boards.get(board), program(board, kind))) as port:
        found = decisions.compare(model, port, decisions.samples_for(model, 1))
    assert found.ok and found.compared == decisions.DECISIONS
    assert found.lines() == ["decisions: 40 from single samples, 0 differences"]


@pytest.mark.parametrize(("board", "toolchain"), of_boards(BUILDS))
def test_a_program_is_built_for_every_board(tmp_path, board, toolchain):
    need_for(board, toolchain, start=False)
    write(generate(KINDS["stream"](), boards.get(board), app=True), tmp_path)
    assert build(tmp_path, toolchain, "-O1").flash > 0  # test_a_program_decides_as_the_host_does runs it optimised


def test_another_rule_is_found(program):
    model = KINDS["windows"]()
    other = replace(model, decision=replace(RULE, lead=0))
    with closing(open_board(boards.get("host"), program("host", "windows"))) as port:
        found = decisions.compare(other, port, decisions.samples_for(other, 1))
    assert not found.ok and found.expected[1] != found.found[1] and found.expected[5:] == found.found[5:]
    assert "DIFFERENT" in found.lines()[0]


# Of three channels; whether windows may span them.
NOT_ROWS = {
    "": True,
    "booted": True,
    "# 1,2,3": True,
    "boot v1.2: 7,ok,7": True,
    "x1,y,3": True,
    "err,y,3": False,
    "3,4": False,
    "1,2,3,4": False,
    "1,2,40000": False,
    "1234567,1,1": False,
    "1,2,-32769": False,
    "1,,3": False,
    ",,": False,
    "1,-,3": False,
    "nan,NaN,3": False,
    "1.5,2,3": False,
    "1,2,3x": False,
    "--1,2,3": False,
    "7 8,2,3": False,
}
ALSO_ROWS = ["+1, -2 ,3", "0000001,2,3", " 1,2,\t-32768"]


@pytest.mark.parametrize("line", [*NOT_ROWS, *ALSO_ROWS])
def test_a_line_that_is_no_row_is_for_a_program_what_it_is_for_lnp_run(program, tmp_path, line):
    """A damaged row was passed over, and the rows about it joined; to lnp run it is a gap."""
    model = KINDS["windows"]()
    rows = [",".join(map(str, row)) for row in decisions.samples_for(model, 1)[:75].tolist()]
    rows[33:33] = [line]
    text = "\r\n".join(rows) + "\r\n"
    (tmp_path / "rows.csv").write_bytes(text.encode())
    stream, expected = Stream(Reference(model), model), list[tuple[int, ...]]()
    for event in Source(str(tmp_path / "rows.csv"), model, missing="skip"):
        if isinstance(event, Gap):
            stream.gap()
        elif p := stream.push(event.counts):
            expected.append((p.label, p.margin, p.percent, int(p.unknown), *p.y))
    assert len(expected) == (6 if line in ALSO_ROWS or NOT_ROWS[line] else 5)
    done = subprocess.run([program("host", "windows")], input=text.encode(), capture_output=True, check=True)
    said = [row for row in done.stdout.decode().splitlines()[1:] if not row.startswith("#")]
    assert [tuple(map(int, row.split()))[1:] for row in said] == expected


class Port:
    def __init__(self, said):
        self.said = said

    def write(self, data):
        return len(data)

    def read(self, size):
        found, self.said = self.said[:size], self.said[size:]
        return found


@pytest.mark.parametrize("said", [b"", b"hello\n" * 50, b"\xff\n" * 50, b"x" * 2**21])
def test_a_program_that_says_something_else_is_told(said):
    model = KINDS["windows"]()
    with pytest.raises(LinkError, match="the program"):
        decisions.compare(model, Port(said), decisions.samples_for(model, 1))


@pytest.mark.parametrize("fails", ["write", "read"])
def test_a_program_that_takes_nothing_or_ends_is_told(monkeypatch, fails):
    """A pty that is full for long, on a busy machine, or one whose program has gone."""
    model, port = KINDS["windows"](), Port(b"sample\n" * 2)

    def fail(_):
        raise serial.SerialTimeoutException("Write timeout")

    monkeypatch.setattr(port, fails, fail)
    with pytest.raises(LinkError, match="lost the program that decides: Write timeout"):
        decisions.compare(model, port, decisions.samples_for(model, 1))


@pytest.mark.parametrize("board", ["host", "netduinoplus2"])
def test_lnp_verify_compares_decisions_and_says_so(tmp_path, monkeypatch, capsys, board):
    need_for(board)
    monkeypatch.setattr(selftest, "run", lambda *_, **__: selftest.SelfTest(()))  # QEMU takes seconds for it
    onnx_file.save(KINDS["windows"](), tmp_path / "model.onnx")
    assert main(["verify", str(tmp_path / "model.onnx"), "--board", board, "--steps", "10"]) == 0
    assert "decisions: 40 from single samples, 0 differences" in capsys.readouterr().out


def test_states_of_all_windows_must_fit():
    """The server needs one state, the program one for each window that overlaps."""
    model = replace(tiny_model(n=2000, density=0.001), window=1000, hop=10).check()
    generate(model, boards.get("nucleo-f401re"))
    with pytest.raises(DoesNotFit, match="states and stack"):
        generate(model, boards.get("nucleo-f401re"), app=True)
    assert np.ceil(1000 / 10) * 4 * model.state_words > boards.get("nucleo-f401re").ram.size


def test_the_log_of_a_compiler_that_failed_is_there_to_read(tmp_path, capsys, monkeypatch):
    need_for("host")
    onnx_file.save(KINDS["windows"](), tmp_path / "model.onnx")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(commands, "WARNINGS", ("-Dlnp_crc32=1",))
    assert main(["verify", str(tmp_path / "model.onnx"), "--board", "host"]) == 2
    told = capsys.readouterr().err
    (log,) = re.findall(r"all its output is in (\S+\.log)", " ".join(told.split()))
    assert "error" in Path(log).read_text() and "doctor" not in told
    assert len(list(tmp_path.glob("lnp-*"))) == 1


def test_a_program_counts_the_rows_that_are_no_samples_and_says_so(tmp_path):
    """It passed them over in silence: a user who sent "1.5,2,3" saw nothing, for ever."""
    need("gcc")
    model = KINDS["windows"]()
    write(generate(model, boards.get("host"), app=True), tmp_path)
    rows = [",".join(map(str, row)) for row in tiny_counts(model, 20).tolist()]
    junk = ["c0,c1,c2", "1.5,2,3", "1,2", "1,2,3,4", "1,2,40000", "-", ""]
    text = "\n".join([*junk, *rows, "booted", *rows[:10]]) + "\n"
    done = subprocess.run([build(tmp_path).image], input=text.encode(), capture_output=True, check=True)
    said = done.stdout.decode().splitlines()
    messages = [line for line in said if line.startswith("#")]
    assert messages == [
        f"# rows lost or passed over, not 3 integers from -32768 to 32767: {count}" for count in (1, 2, 4)
    ], "the first, and then less often; an empty line is none"
    assert [line.split()[0] for line in said if not line.startswith("#")] == ["samples", "25", "35"], "5 lost before"


@pytest.mark.parametrize("board", ["host", "netduinoplus2"])
def test_lnp_build_says_how_the_program_is_run_and_so_it_runs(tmp_path, monkeypatch, capsys, board):
    need_for(board)
    monkeypatch.chdir(tmp_path)
    onnx_file.save(KINDS["windows"](), tmp_path / "m.onnx")
    assert main(["generate", "m.onnx", "--board", board, "--app", "-o", "mine"]) == main(["build", "mine"]) == 0
    command = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("run it: "))[8:]
    np.savetxt("counts.csv", tiny_counts(KINDS["windows"](), 20), "%d", ",")
    done = subprocess.run(command.replace("sleep 9", "sleep 1"), shell=True, capture_output=True)
    rows = done.stdout.decode().splitlines()
    assert [row.split()[0] for row in rows] == ["samples", "20"], (command, done.stderr)
    assert command.replace("mine/", "./") in (tmp_path / "mine/README.md").read_text()


def test_what_no_command_runs_is_said(tmp_path):
    text = {name: generate(KINDS["windows"](), boards.get(name), app=True)["README.md"] for name in boards.names()}
    assert "\nRun it: no command does on this emulated core; generate it with --board host to run" in text["cortex-m4"]
    assert "lnp verify" not in text["cortex-m4"], "it runs a program of its own"
    assert (
        "Run it, then send rows of counts to its UART at 115200 baud:\n\n```\nlnp flash .\n```" in text["nucleo-f401re"]
    )
    assert all("Run it" in one for one in text.values())


@pytest.mark.parametrize("board", ["host", "cortex-m4", "mps2-an386"])
def test_a_program_prints_the_forecast_in_the_unit_of_its_channel(tmp_path, board):
    """It printed "50 0 0 0 0 573930193": four columns of nothing, and a read-out that nobody can read."""
    need_for(board)
    quantities = (Quantity("degC", -1000.0, 0.005, False), Quantity("", 5.0, 300.0, False), Quantity())
    names = ("air, later", 'a "b"', "c # d\u00b0")
    model = replace(KINDS["forecast"](), quantities=quantities, classes=names).check()
    write(generate(model, boards.get(board), app=True), tmp_path)
    image, samples = build(tmp_path).image, decisions.samples_for(model, 1)[:100]
    with closing(open_board(boards.get(board), image)) as port:
        assert decisions.compare(model, port, samples).ok
    text = b"".join(",".join(map(str, row)).encode() + b"\n" for row in samples.tolist())
    said = b""
    with closing(open_board(boards.get(board), image)) as port:
        while b"\n" not in said:
            said += port.read(4096)
        port.write(text)
        while said.count(b"\n") < 10:
            said += port.read(4096)
    head, *rows = csv.reader(io.StringIO(said.decode()))
    assert head == ["samples", "air, later [degC]", 'a "b"', names[2], "y0", "y1", "y2"]
    expected = list(infer(Reference(model), model, samples))
    assert len(rows) == len(expected) == 9
    for row, p in zip(rows, expected, strict=True):
        assert [float(row[0]) / 100, *map(int, row[4:])] == [p.end, *p.y]
        for cell, value, decimals in zip(row[1:4], p.forecast.values(), (3, 0, 0), strict=True):
            assert len(cell.partition(".")[2]) == decimals
            # Half of the last digit, and what a product of doubles loses.
            assert abs(float(cell) - value) <= 0.5 * 10**-decimals + 1e-9, (row, value)
    assert any(cell.startswith("-") for row in rows for cell in row[1:4])
    comments = (tmp_path / "main.c").read_text().partition("#include")[0]
    assert "samples,<what is forecast>" in comments and "margin" not in comments


def test_a_program_may_make_counts_of_physical_values_on_every_core(tmp_path):
    """What main.c advises, LNP_NET_COUNT_<k>, did not link with zig: no core there has floating point."""
    need_for("cortex-m4", start=False)
    model = replace(KINDS["stream"](), quantities=(Quantity("g", 5.0, 0.001, False),) * 3).check()
    write(generate(model, boards.get("cortex-m4"), app=True), tmp_path)
    main_c = (tmp_path / "main.c").read_text()
    loop = "        if (!next_sample(sample)) {"
    assert main_c.count(loop) == 1
    used = "        volatile double g = 1.5;\n        sample[0] = LNP_NET_COUNT_0(g);\n"
    (tmp_path / "main.c").write_text(main_c.replace(loop, used + loop))
    assert build(tmp_path).flash > 0
