"""A board counts as flashed when it says so itself: tools are fakes here, the board is firmware on a pty.

test_flashers.py has the real tools, test_tools_words.py what tools say.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import tty
from dataclasses import replace
from datetime import datetime
from functools import cache

import pytest
from conftest import need, need_for
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.base import files
from lnp_edge.cli import main
from lnp_edge.firmware_gen import built_of, flash
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.folder import Manifest
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime import link, selftest
from lnp_edge.spec.board import STARTS, Region

DONE = "echo Flash written and verified"
RECEIPT = "build/gcc/lnp_net.flashed.json"


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

    def tool(script, chip="echo '  chipid:     0x433'"):
        for name, does in (("st-flash", script), ("st-info", chip)):
            path = tmp_path / "bin" / name
            path.write_text(f"#!/bin/sh\n{does}\n")
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
    at, port = folder(DONE), board(1)
    assert main(["flash", str(at), "--port", port]) == 0
    flashed, runs, kept = capsys.readouterr().out.splitlines()
    assert flashed.startswith("flashed: cd ") and runs == f"{port} runs model {tiny_model(1, n=10).fingerprint:08x}"
    assert kept == f"verified: by the tool; kept in {at / RECEIPT}"


def test_a_receipt_that_cannot_be_written_leaves_no_doubt_that_the_board_is_flashed(folder, board, capsys, monkeypatch):
    at, port, begun = folder(DONE), board(1), files._begun

    def full(path):
        if path.suffix == ".json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return begun(path)

    monkeypatch.setattr(files, "_begun", full)
    assert main(["flash", str(at), "--port", port]) == 2
    seen = capsys.readouterr()
    assert seen.out.startswith("flashed: ") and not (at / RECEIPT).exists()
    assert seen.err == (
        f"cannot write {at / RECEIPT}: No space left on device\n  the board is flashed all the same; make room\n"
    )


def test_what_was_done_is_kept_beside_the_image_until_the_next_flashing(folder, board, capsys):
    at, port = folder('case "$1" in --version) echo v1.7.0;; *) ' + DONE + ";; esac"), board(1)
    assert main(["flash", str(at), "--port", port]) == 0
    receipt = json.loads((at / RECEIPT).read_text())
    assert datetime.fromisoformat(receipt.pop("when")).tzinfo is not None
    image, written = (at / f"build/gcc/lnp_net.{kind}" for kind in ("elf", "bin"))
    assert receipt == {
        "format": 1,
        "board": "nucleo-f401re",
        "tool": "st-flash",
        "version": "v1.7.0",
        "commands": [
            ["st-info", "--probe", "--connect-under-reset"],
            ["st-flash", "--connect-under-reset", "--reset", "write", "build/gcc/lnp_net.bin", "0x08000000"],
        ],
        "chip": "0x433",
        "image": {"file": "lnp_net.elf", "sha256": hashlib.sha256(image.read_bytes()).hexdigest()},
        "written": {
            "file": "lnp_net.bin",
            "sha256": hashlib.sha256(written.read_bytes()).hexdigest(),
            "origin": "0x08000000",
            "bytes": written.stat().st_size,
        },
        "verified": "by the tool",
        "port": port,
        "model": f"{tiny_model(1, n=10).fingerprint:08x}",
    }
    folder("exit 1")
    assert main(["flash", str(at), "--port", port]) == 2
    assert not (at / RECEIPT).exists()


def test_with_its_model_the_board_is_tested_and_another_model_is_refused_before(folder, board, capsys, tmp_path):
    at = folder("touch ran; " + DONE)
    for seed in (1, 2):
        onnx_file.save(tiny_model(seed, n=10), tmp_path / f"{seed}.onnx")
    assert main(["flash", str(at), "--port", "/dev/null", "--model", str(tmp_path / "2.onnx")]) == 2
    assert "was not generated from" in told(capsys) and not (at / "ran").exists()
    folder(DONE)
    assert main(["flash", str(at), "--port", board(1), "--model", str(tmp_path / "1.onnx")]) == 0
    assert re.search(r"^self-test: \d+ cases, 0 differences", capsys.readouterr().out, re.M)
    kept = json.loads((at / RECEIPT).read_text())["self_test"]
    assert kept["ok"] and {"tables", "reset", "load"} <= {one["name"] for one in kept["checks"]}


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--model", "m.onnx")])
@pytest.mark.parametrize("text", [None, b"", b"\xff\xfe"])
def test_a_folder_whose_header_names_no_model_is_refused_before_the_tool_runs(folder, capsys, tmp_path, text, more):
    at = folder(f"touch {tmp_path / 'ran'}")
    onnx_file.save(tiny_model(1, n=10), tmp_path / "m.onnx")
    (at / "lnp_net.h").unlink() if text is None else (at / "lnp_net.h").write_bytes(text)
    more = [str(tmp_path / word) if word == "m.onnx" else word for word in more]
    assert main(["flash", str(at), "--port", "/dev/null", *more]) == 2
    assert "lnp_net.h" in told(capsys) and not (tmp_path / "ran").exists()


def test_a_program_that_runs_no_self_test_is_not_flashed_with_a_model(folder, capsys, tmp_path, monkeypatch):
    at = folder(f"touch {tmp_path / 'ran'}")
    monkeypatch.setattr(Manifest, "serves", False)
    assert main(["flash", str(at), "--port", "/dev/null", "--model", str(tmp_path / "m.onnx")]) == 2
    assert told(capsys) == f"{at} is a program of your own, which runs no self-test\n  leave --model out\n"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("start", sorted(set(STARTS) - {"serial"}))
def test_an_emulated_board_without_a_tool_has_nothing_to_flash(folder, capsys, monkeypatch, start):
    emulated = replace(boards.get("nucleo-f401re"), start=start, tools={})
    monkeypatch.setattr(boards, "get", lambda name: emulated)
    assert main(["flash", str(folder("exit 1"))]) == 0
    assert capsys.readouterr().out == "nothing to flash: nucleo-f401re starts with the image\n"


def test_a_board_that_fails_its_self_test_is_a_no(folder, board, capsys, tmp_path, monkeypatch):
    at, wrong = folder(DONE), selftest.Check("reset", 3, "it does not")
    onnx_file.save(tiny_model(1, n=10), tmp_path / "m.onnx")
    monkeypatch.setattr(selftest, "run", lambda *_: selftest.SelfTest((wrong,)))
    assert main(["flash", str(at), "--port", board(1), "--model", str(tmp_path / "m.onnx")]) == 1
    assert "self-test, reset: it does not" in capsys.readouterr().out
    assert not json.loads((at / RECEIPT).read_text())["self_test"]["ok"]


def test_a_tool_that_is_killed_midway_leaves_a_board_whose_state_is_said(folder, capsys):
    assert main(["flash", str(folder("echo writing; kill -9 $$")), "--port", "/dev/null"]) == 2
    assert told(capsys).startswith(
        "st-flash was ended by signal 9: writing\n  the board may hold the old program, a part"
    )


def test_a_tool_that_gives_no_result_is_ended(folder, capsys, monkeypatch):
    monkeypatch.setattr(flash, "TIMEOUT", 0.2)  # s; nothing comes however long it waits
    at = folder("[ $1 = --version ] || exec sleep 60")
    assert main(["flash", str(at), "--port", "/dev/null"]) == 2
    assert "no result in 0.2 s\n  the board may hold the old program" in told(capsys)
    folder(DONE, "exec sleep 30")
    assert main(["flash", str(at), "--port", "/dev/null"]) == 2
    assert "no result in 0.2 s\n  nothing was written" in told(capsys)


def test_a_user_who_stops_it_is_told_whether_anything_was_written(folder, capsys):
    stop = "kill -INT $PPID; exec sleep 30"
    at = folder(stop)
    assert main(["flash", str(at), "--port", "/dev/null"]) == 130
    assert "stopped while it wrote: the board may hold the old program" in capsys.readouterr().err
    folder(DONE, stop)
    assert main(["flash", str(at), "--port", "/dev/null"]) == 130
    said = capsys.readouterr().err
    assert "stopped: nothing was written" in said and "may hold" not in said


def test_a_tool_that_found_no_board_wrote_nothing(folder, capsys):
    assert main(["flash", str(folder('echo "Couldn\'t find any ST-Link devices"; exit 1')), "--port", "/dev/null"]) == 2
    assert "\n  nothing was written: is the board connected" in told(capsys)


ARDUINOS = """#!/bin/sh
echo "$*" >> "${0%/*}/asked"
echo 'Device       : nRF52840-QIAA'
echo 'Erase flash'
echo
echo 'Done in 0.001 seconds'
echo 'Write 85336 bytes to flash (21 pages)'
RESULT
"""


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("echo '[==============================] 100% (21/21 pages)'", ""),
        ("echo '[====                          ] 14% (3/21 pages)'", "it did not say '100% ('"),
        ("echo; echo 'SAM-BA operation failed'", "SAM-BA operation failed"),
    ],
)
def test_a_boot_loader_at_a_port_of_its_own_is_flashed_there_and_the_board_asked_at_the_other(
    built, board, tmp_path, monkeypatch, capsys, result, said
):
    """With what Arduino's bossac prints of a Nano 33 BLE."""
    shutil.copytree(built("nucleo-f401re", 1)[0], tmp_path / "fw")
    port = "/dev/null" if said else board(1)
    of_arduino = replace(boards.get("nucleo-f401re"), tools={"bossac": {}})
    monkeypatch.setattr(boards, "get", lambda name: of_arduino)
    (tmp_path / "bossac").write_text(ARDUINOS.replace("RESULT", result))
    (tmp_path / "bossac").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    code = main(["flash", str(tmp_path / "fw"), "--port", port, "--loader", "/dev/ttyACM7"])
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "--port=/dev/ttyACM7 -U -i -e -w build/gcc/lnp_net.bin -R"
    if said:
        assert code == 2
        what, state = told(capsys).splitlines()
        assert said in what and "the board may hold the old program" in state and "press reset twice" in state
    else:
        assert code == 0, capsys.readouterr().err
        receipt = json.loads((tmp_path / "fw" / RECEIPT).read_text())
        assert (receipt["port"], receipt["verified"]) == (port, "not")


@pytest.mark.parametrize(
    ("chip", "said"),
    [
        (
            "echo chipid: 0x10413",
            ("is 0x413, as on disco-f407 and netduinoplus2; nucleo-f401re has 0x433", "--board disco-f407"),
        ),
        ("echo chipid: 0x999", ("is 0x999; nucleo-f401re has 0x433", "connect the other board")),
        ("echo Found 0 stlink programmers", ("Found 0 stlink programmers", "is the board connected")),
        ("echo Found 1 stlink programmers", ("does not say which chip", "is the board connected")),
        ("echo no access; exit 1", ("no access", "nothing was written: is the board connected")),
    ],
)
def test_another_chip_is_refused_with_its_name_before_anything_is_written(folder, capsys, chip, said):
    at = folder("touch ran; " + DONE, chip)
    assert main(["flash", str(at), "--port", "/dev/null"]) == 2
    what, hint = told(capsys).splitlines()
    assert said[0] in what and said[1] in hint and "nothing was written" in hint and not (at / "ran").exists()


def test_a_board_of_ones_own_that_cannot_be_read_hides_no_other_chip(folder, capsys, tmp_path):
    (tmp_path / "own/broken").mkdir(parents=True)
    (tmp_path / "own/broken/board.toml").write_text("cpu")
    at = folder("touch ran; " + DONE, "echo chipid: 0x413")
    assert main(["flash", str(at), "--port", "/dev/null", "--boards", str(tmp_path / "own")]) == 2
    assert "is 0x413, as on disco-f407 and netduinoplus2" in told(capsys) and not (at / "ran").exists()


def test_a_tool_that_speaks_the_users_language_is_asked_for_english(folder, board, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert main(["flash", str(folder(f"[ $LC_ALL = C ] && {DONE}")), "--port", board(1)]) == 0


def test_an_image_of_another_board_is_refused_before_the_tool_runs(folder, capsys, monkeypatch):
    at, real = folder("touch ran"), boards.get("nucleo-f401re")
    for other, where in (
        (replace(real, flash=Region(0x0800_0000, 4096)), "0x8000000 to 0x8000fff"),
        (replace(real, flash=Region(0, 2**19)), "0x0 to 0x7ffff"),
        (replace(real, ram=Region(0x2000_0000, 1024)), "0x20000000 to 0x200003ff"),
    ):
        monkeypatch.setattr(boards, "get", lambda name, other=other: other)
        assert main(["flash", str(at), "--port", "/dev/null"]) == 2
        assert where in told(capsys) and not (at / "ran").exists()


def test_a_tool_that_did_nothing_and_reports_no_error_is_found_out(folder, board, capsys):
    at, port = folder(DONE), board(2)
    assert main(["flash", str(at), "--port", port]) == 2
    assert f"{port} runs model {tiny_model(2, n=10).fingerprint:08x}, not this one" in told(capsys)


def test_a_tool_that_says_nothing_has_failed(folder, board, capsys):
    assert main(["flash", str(folder("exit 0")), "--port", board(1)]) == 2
    assert "failed with code 0: it did not say 'Flash written and verified'" in told(capsys)


def test_a_tool_that_prints_an_error_and_exits_with_0_has_failed(folder, board, capsys):
    at = folder("echo 2024 ERROR common.c: flash loader did not run; exit 0")
    assert main(["flash", str(at), "--port", board(1)]) == 2
    assert "flash loader did not run" in told(capsys)


def test_what_a_tool_that_verified_says_of_an_error_is_no_failure(folder, board):
    """avrdude calls a port without modem lines an error, and goes on."""
    at = folder(f"echo OS error: ioctl; {DONE}")
    assert main(["flash", str(at), "--port", board(1)]) == 0


def test_a_board_that_is_silent_after_flashing_is_not_flashed(folder, capsys, monkeypatch):
    monkeypatch.setattr(link, "DEADLINE", 0.2)  # s; nothing comes however long it waits
    master, slave = os.openpty()
    try:
        assert main(["flash", str(folder(DONE)), "--port", os.ttyname(slave)]) == 2
        assert "no bytes from" in told(capsys)
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_that_cannot_be_opened_after_flashing_is_told_with_what_was_written(folder, capsys, tmp_path):
    assert main(["flash", str(folder(DONE)), "--port", str(tmp_path / "none")]) == 2
    what, _ = told(capsys).splitlines()
    assert "wrote the image, but cannot open" in what


@pytest.mark.parametrize("count", [0, 2])
def test_which_port_is_the_boards_is_never_guessed_and_asked_before_flashing(folder, capsys, monkeypatch, count):
    from types import SimpleNamespace

    from serial.tools import list_ports

    found = [SimpleNamespace(device=f"/dev/x{k}", vid=0x0483, pid=0x374B) for k in range(count)]
    found.append(SimpleNamespace(device="/dev/other", vid=0x0403, pid=0x6001))  # of an adapter
    own = SimpleNamespace(device="/dev/ttyS0", vid=None)  # of the computer's board
    monkeypatch.setattr(list_ports, "comports", lambda: [own, *found])
    at = folder("touch ran")
    assert main(["flash", str(at)]) == 2
    said = told(capsys)
    assert "--port" in said and "not installed" not in said and not (at / "ran").exists()
    monkeypatch.setattr(flash, "find_program", lambda name: "")
    assert main(["flash", str(at)]) == 2
    what, hint = told(capsys).splitlines()
    assert what.count("/dev/x") == count and f"--port /dev/{'x0' if count else 'ttyACM0'}" in hint
    assert re.search(r"; st-flash is not installed: .*stlink-tools$", hint)


def test_the_port_of_a_board_is_that_with_its_id_at_usb(folder, board, capsys, monkeypatch):
    from types import SimpleNamespace

    from serial.tools import list_ports

    at, port = folder(DONE), board(1)
    found = [(port, 0x0483, 0x374B), ("/dev/other", 0x0403, 0x6001), ("/dev/ttyS0", None, None)]
    monkeypatch.setattr(list_ports, "comports", lambda: [SimpleNamespace(device=d, vid=v, pid=p) for d, v, p in found])
    assert main(["flash", str(at)]) == 0
    assert f"{port} runs model " in capsys.readouterr().out


def anew(seed, board="nucleo-f401re"):
    return lambda at: write(generate(tiny_model(seed, n=10), boards.get(board)), at)


def edited(name):
    return lambda at: (at / name).write_text((at / name).read_text() + "\n")


STALE = (
    ("lnp_config.h", anew(2)),
    ("Makefile", anew(1, "disco-f407")),  # which has the same compiler
    ("main.c", edited("main.c")),
    ("lnp_ops.h", edited("lnp_ops.h")),
    ("lnp.ld", edited("lnp.ld")),
    ("Makefile", edited("Makefile")),
    ("main.c", lambda at: (at / "main.c").unlink()),
)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize(("name", "change"), STALE)
def test_an_image_of_other_sources_than_the_folder_holds_is_not_flashed(folder, capsys, name, change, more):
    at = folder("touch ran; " + DONE)
    change(at)
    for path in at.rglob("*"):
        os.utime(path, (0, 0))  # times say nothing
    assert main(["flash", str(at), "--port", "/dev/null", *more]) == 2
    what, hint = told(capsys).splitlines()
    assert name in what and hint == f"  build it again: lnp build {at}" and not (at / "ran").exists()


def test_an_image_is_flashed_whose_sources_are_the_same_again_whatever_their_times_and_place(folder, capsys, tmp_path):
    at = folder("touch ran; " + DONE)
    anew(2)(at)
    anew(1)(at)
    (at / "README.md").write_text("is no source")
    for k, path in enumerate(at.rglob("*.[ch]")):
        os.utime(path, (0, 10**9 * (k % 3)))
    shutil.copytree(at, tmp_path / "moved", copy_function=shutil.copyfile)
    for one in (at, tmp_path / "moved"):
        assert main(["flash", str(one), "--dry-run"]) == 0, capsys.readouterr().err


def test_make_keeps_of_what_it_builds_as_lnp_build_does_and_of_files_of_ones_own(folder, capsys):
    need("make")
    at = folder("touch ran; " + DONE)
    kept, image = at / "build/gcc/lnp_net.sources", at / "build/gcc/lnp_net.elf"
    of_build, built = sorted(kept.read_text().splitlines()), image.read_bytes()

    def make(compiler):
        command = ["make", "-s", "-B", "TOOLCHAIN=gcc", f"CC={compiler}"]
        return subprocess.run(command, cwd=at, capture_output=True).returncode

    assert make("false") == 2 and not image.exists(), "where the compiler fails no older image is left"
    assert sorted(kept.read_text().splitlines()) == of_build
    makefile = (at / "Makefile").read_text()
    (at / "Makefile").write_text(makefile.replace("SOURCES = ", "SOURCES = mine.c "))
    (at / "mine.c").write_text("")
    assert make("true") == 0
    image.write_bytes(built)
    assert main(["flash", str(at), "--dry-run"]) == 0, capsys.readouterr().err
    (at / "mine.c").write_text("// more\n")
    assert main(["flash", str(at), "--dry-run"]) == 2
    assert "mine.c differs" in told(capsys)


def test_of_what_an_image_was_built_is_not_written_through_a_link(tmp_path):
    (tmp_path / "a.c").touch()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "x.sources").symlink_to("mine")
    built_of.write(tmp_path, tmp_path / "x.elf", ["a.c"])
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "x.sources").read_text() == "4294967295 0 a.c\n"


@pytest.mark.parametrize("text", [None, b"", b"\xff", b"1 2\n", b"1 2 Makefile\n", b"4294967295 0 " + b"a" * 999])
def test_an_image_that_does_not_say_of_what_it_was_built_is_not_flashed(folder, capsys, text):
    at = folder("touch ran; " + DONE)
    kept = at / "build/gcc/lnp_net.sources"
    if text is None:
        kept.unlink()
    else:
        kept.write_bytes(text and kept.read_bytes() + text)
    assert main(["flash", str(at), "--port", "/dev/null"]) == 2
    assert told(capsys).endswith(f"  build it again: lnp build {at}\n") and not (at / "ran").exists()


def test_an_image_that_is_cut_off_is_not_flashed(folder, capsys):
    at = folder("touch ran")
    image = at / "build/gcc/lnp_net.elf"
    for size in (0, 3, 40, 200, image.stat().st_size - 600):
        image.write_bytes(image.read_bytes()[:size])
        assert main(["flash", str(at), "--port", "/dev/null"]) == 2
        assert str(image) in told(capsys) and not (at / "ran").exists()


@pytest.mark.parametrize("made", [os.mkfifo, os.mkdir, lambda p: p.symlink_to("nothing"), lambda p: p.symlink_to(p)])
def test_an_image_that_is_no_file_is_told_as_what_it_is(folder, capsys, made):
    at = folder("touch ran")
    image = at / "build/gcc/lnp_net.elf"
    image.unlink()
    assert main(["flash", str(at), "--dry-run"]) == 2
    assert "has no image yet" in told(capsys)
    made(image)
    assert main(["flash", str(at), "--dry-run"]) == 2
    said = told(capsys)
    assert str(image) in said and "no image yet" not in said and "build the folder again" in said


def test_where_the_tools_file_cannot_be_written_is_told_without_an_option_that_flash_lacks(folder, capsys):
    at = folder("touch ran")
    (at / "build/gcc/lnp_net.bin").mkdir()
    assert main(["flash", str(at), "--dry-run"]) == 2
    assert re.search(r"cannot write .*lnp_net\.bin: not a regular file\n  remove it, ", told(capsys))


def test_the_tools_file_replaces_a_link_and_follows_none(folder, board, capsys, tmp_path):
    at = folder(DONE)
    (tmp_path / "mine").write_text("mine")
    (at / "build/gcc/lnp_net.bin").symlink_to(tmp_path / "mine")
    assert main(["flash", str(at), "--port", board(1)]) == 0
    assert (tmp_path / "mine").read_text() == "mine"
