"""A command that is killed at any of its file operations can be repeated: as if it had never begun."""

import json
import os
import shutil
import signal
import sys

import pytest
from conftest import need
from tiny import tiny_model

from lnp_edge.base.files import locked, write_whole
from lnp_edge.cli import main
from lnp_edge.interchange import onnx_file

pytestmark = pytest.mark.slow

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}


def killed_before(operation, work):
    """Run work in a process that ends, as by kill -9, before this operation, from 1; False if it has fewer."""
    sys.stdout.flush()
    if child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL)
        return status != 0
    count = 0

    def next_one(event, args):
        nonlocal count
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
            count += 1
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    def synced(number):
        next_one("os.rename", ())

    try:
        os.fsync = synced
        sys.addaudithook(next_one)
        os._exit(work())
    finally:
        os._exit(99)


def operations(work, before, after, first=1, step=1):
    """Kill work before each of its operations; before() prepares, after() says what must hold. The number of kills."""
    at = first
    while True:
        before()
        if not killed_before(at, work):
            return (at - first) // step
        after(at)
        at += step


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_killed_leaves_the_old_file_or_the_new_one_and_the_next_write_nothing_else(tmp_path):
    path, seen = tmp_path / "a", set()

    def after(at):
        seen.add(path.read_bytes())
        write_whole(path, b"third")
        assert contents(tmp_path) == {"a": b"third"}

    kills = operations(lambda: write_whole(path, b"new") or 0, lambda: write_whole(path, b"old"), after)
    assert kills >= 4 and seen == {b"old", b"new"}


@pytest.mark.parametrize("again", [0, 1], ids=["the same model", "another model"])
@pytest.mark.parametrize("former", [None, 2], ids=["a new folder", "over another model"])
def test_generate_can_be_killed_at_every_operation(tmp_path, former, again, capfd):
    board = ["--board", "cortex-m4" if former is None else "host"]
    for k in range(3):
        onnx_file.save(tiny_model(seed=k + 1, n=10), tmp_path / f"{k}.onnx")

    def generated(k, folder="fw", more=("--name", "other")):
        return main(["generate", str(tmp_path / f"{k}.onnx"), *board, "-o", str(tmp_path / folder), *more])

    assert generated(again, "whole") == 0
    wanted = contents(tmp_path / "whole")

    def before():
        for path in sorted((tmp_path / "fw").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if former is not None:
            assert generated(former, more=()) == 0

    def after(at):
        assert generated(again) == 0, (at, capfd.readouterr().err)
        assert contents(tmp_path / "fw") == wanted

    step = 1 if former and again else 4
    assert operations(lambda: generated(0), before, after, step=step) > 80 / step


TRAINED = """[data]
limit = 1
window = 1.0
hop = 1.0
[network]
neurons = 6
[train]
epochs = 2
[prune]
noise = {rounds = 2}
"""
STEP = 9  # operations from one kill to the next, where a run takes seconds


@pytest.mark.parametrize("command", ["train", "quantize", "prune", "new"])
def test_a_stage_can_be_killed_at_every_ninth_operation(tmp_path, monkeypatch, command, capfd):
    need("torch")
    monkeypatch.setattr("lnp_edge.training.loop.SAVE_EVERY", 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.toml").write_text(TRAINED)
    (tmp_path / "data").mkdir()
    for label in ("a", "b"):
        for person in range(4):
            rows = "".join(f"{k},{k * person % 7}\n" for k in range(120))
            (tmp_path / f"data/{label}_p{person}.csv").write_text(f"x,y\n{rows}")
    assert main(["train", "t.toml", "-o", "n.safetensors"]) == 0
    words = {
        "train": ["t.toml"], "quantize": ["n.safetensors", "--epochs", "2"], "prune": ["t.toml"],
        "new": ["x.toml", "--data", "data", "--rate", "50", "--label", "label", "--overwrite"],
    }[command]  # fmt: skip
    output = [] if command == "new" else ["-o", "x.onnx"]
    kept = set(contents(tmp_path))

    def run():
        return main([command, *words, *output])

    def before():
        for name in contents(tmp_path).keys() - kept:
            (tmp_path / name).unlink()

    before()
    assert run() == 0, capfd.readouterr().err
    wanted = contents(tmp_path)

    def after(at):
        assert run() == 0, (at, capfd.readouterr().err)
        assert contents(tmp_path) == wanted

    assert operations(run, before, after, step=STEP) >= 1


def test_verify_goes_on_from_its_journal_after_a_kill(tmp_path, monkeypatch, capfd):
    need("cc")
    monkeypatch.setattr("lnp_edge.runtime.journal.EVERY", 0.0)
    monkeypatch.setattr("lnp_edge.runtime.journal.WORK", 0.0)
    monkeypatch.setattr("lnp_edge.commands._cost_report.of", lambda *_, **__: None)  # it needs no device
    onnx_file.save(tiny_model(n=10), tmp_path / "m.onnx")
    words = ["verify", str(tmp_path / "m.onnx"), "--board", "host", "--steps", "1500", "--json"]
    file, resumed = tmp_path / "j", []

    def verified():
        capfd.readouterr()
        assert main([*words, "--resume", str(file)]) == 0, capfd.readouterr().err
        return json.loads(capfd.readouterr().out)

    whole = verified()
    assert not file.exists()

    def after(at):
        left = file.exists()
        found = verified()
        link, expected = found.pop("link"), {name: value for name, value in whole.items() if name != "link"}
        assert found == expected, at
        assert link["resumed"] == (1 if left else 0)
        resumed.append(left)
        assert not file.exists() and set(contents(tmp_path)) == {"m.onnx"}

    assert operations(lambda: main([*words, "--resume", str(file)]), lambda: None, after, first=30, step=60) >= 3
    assert any(resumed)


def test_the_example_is_written_whole_or_not_at_all(tmp_path):
    def run():
        return main(["new", "--example", str(tmp_path / "rec")])

    def before():
        shutil.rmtree(tmp_path / "rec", ignore_errors=True)

    assert run() == 0
    wanted = contents(tmp_path)

    def after(at):
        assert not (tmp_path / "rec").exists() or contents(tmp_path) == wanted
        assert (tmp_path / "rec").exists() or run() == 0
        assert contents(tmp_path) == wanted

    assert operations(run, before, after, first=2, step=150) >= 3


def test_two_at_once_are_one_after_the_other_or_one_is_told(tmp_path, capfd):
    """The lock is that of another process, which ends without releasing it."""
    onnx_file.save(tiny_model(n=10), tmp_path / "m.onnx")
    words = ["generate", str(tmp_path / "m.onnx"), "--board", "host", "-o", str(tmp_path / "fw")]
    assert main(words) == 0
    begun, told = os.pipe()
    if not (other := os.fork()):
        try:
            with locked(tmp_path / "fw"):
                os.write(told, b".")
                signal.pause()
        finally:
            os._exit(99)
    os.close(told)  # a process that ends too early is then an end of file
    try:
        assert os.read(begun, 1) == b"."
        capfd.readouterr()
        assert main(words) == 2
        what, hint = capfd.readouterr().err.splitlines()
        assert what == f"another lnp writes to {tmp_path / 'fw'}" and hint.startswith("  wait for it")
    finally:
        os.close(begun)
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    assert main(words) == 0 and json.loads((tmp_path / "fw/lnp_manifest.json").read_text())["board"] == "host"
