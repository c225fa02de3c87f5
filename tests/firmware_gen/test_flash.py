"""A board counts as flashed when it says so itself: tools are fakes here, the board is firmware on a pty."""

import os
import shutil
import subprocess
import tty
from functools import cache

import pytest
from conftest import need_for
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.cli import main
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime import link


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """built(board, seed) -> a built folder, compiled once."""

    @cache
    def of(board, seed):
        need_for(board, start=False)
        folder = tmp_path_factory.mktemp(board)
        write(generate(tiny_model(seed, n=10), boards.get(board)), folder)
        return folder, build(folder).image

    return of


@pytest.fixture
def folder(built, tmp_path, monkeypatch):
    """A built folder for a real board, and a function that writes its flash tool."""
    shutil.copytree(built("nucleo-f401re", 1)[0], tmp_path / "fw")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def tool(script):
        path = tmp_path / "bin/st-flash"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return tmp_path / "fw"

    return tool


@pytest.fixture
def board(built):
    """board(seed) -> the port of a "board" that runs the model of this seed."""
    running, ends = [], []

    def started(seed):
        image = built("host", seed)[1]
        master, slave = os.openpty()
        ends.extend((master, slave))
        tty.setraw(slave)
        running.append(subprocess.Popen([str(image)], stdin=master, stdout=master))
        return os.ttyname(slave)

    yield started
    for process in running:
        process.kill()
        process.wait()
    for end in ends:
        os.close(end)


def told(capsys):
    seen = capsys.readouterr()
    assert len(seen.err.splitlines()) == 2 and "flashed:" not in seen.out
    return seen.err


def test_a_board_that_runs_the_model_is_flashed(folder, board, capsys):
    at, port = folder("echo done"), board(1)
    assert main(["flash", str(at), "--port", port]) == 0
    flashed, runs = capsys.readouterr().out.splitlines()
    assert flashed.startswith("flashed: cd ") and runs == f"{port} runs model {tiny_model(1, n=10).fingerprint:08x}"


def test_a_tool_that_did_nothing_and_reports_no_error_is_found_out(folder, board, capsys):
    at, port = folder("exit 0"), board(2)
    assert main(["flash", str(at), "--port", port]) == 2
    assert f"{port} runs model {tiny_model(2, n=10).fingerprint:08x}, not this one" in told(capsys)


def test_a_tool_that_prints_an_error_and_exits_with_0_has_failed(folder, board, capsys):
    at = folder("echo 2024 ERROR usb.c: no ST-LINK detected; exit 0")
    assert main(["flash", str(at), "--port", board(1)]) == 2
    assert "no ST-LINK detected" in told(capsys)


def test_a_board_that_is_silent_after_flashing_is_not_flashed(folder, capsys, monkeypatch):
    monkeypatch.setattr(link, "DEADLINE", 0.2)  # s; nothing comes however long it waits
    master, slave = os.openpty()
    try:
        assert main(["flash", str(folder("exit 0")), "--port", os.ttyname(slave)]) == 2
        assert "no bytes from" in told(capsys)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("count", [0, 2])
def test_which_port_is_the_boards_is_never_guessed_and_asked_before_flashing(folder, capsys, monkeypatch, count):
    from types import SimpleNamespace

    from serial.tools import list_ports

    monkeypatch.setattr(list_ports, "comports", lambda: [SimpleNamespace(device=f"/dev/x{k}") for k in range(count)])
    at = folder("touch ran")
    assert main(["flash", str(at)]) == 2
    assert "--port" in told(capsys) and not (at / "ran").exists()


def test_an_image_that_is_cut_off_is_not_flashed(folder, capsys):
    at = folder("touch ran")
    image = at / "build/gcc/lnp_net.elf"
    for size in (0, 3, 40, 200, image.stat().st_size - 600):
        image.write_bytes(image.read_bytes()[:size])
        assert main(["flash", str(at), "--port", "/dev/null"]) == 2
        assert str(image) in told(capsys) and not (at / "ran").exists()


def test_the_tools_file_replaces_a_link_and_follows_none(folder, board, capsys, tmp_path):
    at = folder("exit 0")
    (tmp_path / "mine").write_text("mine")
    (at / "build/gcc/lnp_net.bin").symlink_to(tmp_path / "mine")
    assert main(["flash", str(at), "--port", board(1)]) == 0
    assert (tmp_path / "mine").read_text() == "mine"
