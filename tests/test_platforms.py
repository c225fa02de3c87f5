"""What docs/platforms.md says of Windows, and of Unix where something is missing that it usually has."""

import ast
import errno
import importlib
import multiprocessing.synchronize
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import need
from numba import config, njit, types
from numba.core.caching import IndexDataCacheFile
from test_layers import PLACES, modules
from tiny import tiny_model
from without_unix import MODULES

from lnp_edge.base import jit, system
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.base.files import write_whole
from lnp_edge.cli import main
from lnp_edge.experiments.executors import processes
from lnp_edge.firmware_gen import folder
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime.ports import PtyProcess

WITHOUT_UNIX = Path(__file__).with_name("without_unix.py")


@pytest.mark.slow
def test_without_what_unix_has_a_network_is_pruned_trained_quantised_built_and_verified(tmp_path):
    need("torch", "ziglang", "unicorn")
    done = subprocess.run(
        [sys.executable, WITHOUT_UNIX, tmp_path],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "verified: 20 steps" in done.stdout
    for what in (
        "host is a program for Unix",
        "lnp mutate needs Linux or macOS",
        "lnp soak needs Linux or macOS",
        "cannot open COM99: there is no such port",
    ):
        assert what in done.stderr.splitlines()


@pytest.mark.parametrize("path", modules(*PLACES), ids=lambda path: path.stem)
def test_what_unix_alone_has_is_imported_where_it_is_used(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
            assert not names & MODULES, f"{path}:{node.lineno}"


def failing(number):
    def fail(*args, **more):
        raise OSError(number, os.strerror(number))

    return fail


def test_without_a_pty_a_board_that_needs_one_is_refused(monkeypatch):
    monkeypatch.setattr(os, "openpty", failing(errno.ENOENT))
    with pytest.raises(BoardError, match=r"cannot open a pty: No such file or directory\n.*cortex-m4"):
        PtyProcess(["true"])


def test_without_shared_memory_other_processes_are_refused(monkeypatch):
    monkeypatch.setattr(multiprocessing.synchronize, "Lock", failing(errno.ENOSYS))
    with pytest.raises(ConfigError, match=r"cannot start other processes: Function not implemented\n.*--jobs 1"):
        list(processes(len, ["a"], print))


def test_where_permissions_cannot_be_set_a_file_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "chmod", failing(errno.EPERM))
    write_whole(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"new"


def test_without_a_folder_for_temporary_files_nothing_is_built(monkeypatch, tmp_path, capsys):
    """As in a container that is read-only."""
    need("elftools")
    monkeypatch.setattr(tempfile, "gettempdir", failing(errno.ENOENT))
    onnx_file.save(tiny_model(), tmp_path / "model.onnx")
    assert main(["verify", str(tmp_path / "model.onnx"), "--board", "host"]) == 2
    assert capsys.readouterr().err == "no folder for temporary files can be written to\n  set TMPDIR to one\n"
    with pytest.raises(ConfigError, match="set TMPDIR to one"):
        PtyProcess(["/bin/true"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("verify model.onnx --board host", "make room, or set TMPDIR to another folder"),
        ("generate model.onnx --board host -o fw", "choose another folder with -o"),
        ("verify model.onnx --board cortex-m4 --report no/r.html", "make room, or choose another --report"),
        ("new no/my.toml --data .", "make room, or choose another name"),
        ("new --example no/file/example", "choose another place"),
        ("prune spar -o no/n.safetensors", "choose another place with -o"),
    ],
)
def test_where_nothing_can_be_written_the_option_that_is_told_is_one_of_the_command(
    monkeypatch, tmp_path, capsys, words, hint
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no").mkdir()
    (tmp_path / "no/file").write_text("")
    onnx_file.save(tiny_model(), "model.onnx")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(folder, "_to_disk", failing(errno.ENOSPC))
    assert main(words.split()) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"  {hint}"


def test_a_kernel_that_cannot_be_kept_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(IndexDataCacheFile, "save", failing(errno.ENOSPC))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "of_a_full_disk.py").write_text("def add(a, b):\n    return a + b\n")
    import of_a_full_disk

    assert jit.cached(of_a_full_disk.add)(2, 3) == 5
    add = types.int64(types.int64, types.int64)
    call, address = jit.caller(add), jit.pointed_to(add, of_a_full_disk.add).address
    assert njit(lambda at: call(at, (2, 3)))(np.uint64(address)) == 5


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_kernel_whose_kept_file_is_cut_short_is_made_anew(monkeypatch, tmp_path, kind):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(config, "CACHE_DIR", "")  # beside the file, whatever NUMBA_CACHE_DIR is
    name = f"of_a_power_cut_{kind}"
    (tmp_path / f"{name}.py").write_text("def add(a, b):\n    return a + b\ndef sub(a, b):\n    return a - b\n")
    module, add = importlib.import_module(name), types.int64(types.int64, types.int64)
    for cut in (True, False):
        assert jit.cached(module.add)(2, 3) == 5
        assert jit.pointed_to(add, module.sub).ctypes(2, 3) == -1
        kept = list(tmp_path.rglob(f"*.{kind}"))
        assert len(kept) == 2
        for path in kept if cut else ():
            path.write_bytes(b"")


def test_numba_that_compiles_nothing_is_refused(tmp_path):
    onnx_file.save(tiny_model(), tmp_path / "m.onnx")
    done = subprocess.run(
        [sys.executable, "-m", "lnp_edge", "verify", tmp_path / "m.onnx"],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1] == "  unset NUMBA_DISABLE_JIT"


def test_as_many_processes_as_this_one_may_use_processors():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system binds no process to a processor")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert system.processors() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert system.processors() == len(allowed)
