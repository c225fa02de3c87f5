"""lnp build compiles what lnp generate wrote, or says which file is another; a disk that is full is said."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import need_for
from tiny import tiny_model

from lnp_edge.cli import main
from lnp_edge.interchange import onnx_file


@pytest.fixture
def at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx_file.save(tiny_model(n=10), tmp_path / "m.onnx")
    return tmp_path


def generated(name="fw", *more):
    assert main(["generate", "m.onnx", "--board", "host", "-o", name, *more]) == 0


def refusal(capfd, *words):
    capfd.readouterr()
    assert main(list(words)) == 2
    what, hint = capfd.readouterr().err.splitlines()
    assert what and hint.startswith("  ")
    return what


def a_link(path):
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def a_fifo(path):
    path.unlink()
    os.mkfifo(path)


def a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "edited": (lambda path: path.write_text(path.read_text() + "\n"), "is not what lnp generate wrote"),
    "missing": (lambda path: path.unlink(), "is missing"),
    "a link": (a_link, "is a link"),
    "a FIFO": (a_fifo, "not a regular file"),
    "a folder": (a_folder, "Is a directory"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["main.c", "lnp_net.c", "lnp_ops.h", "Makefile"])
def test_a_file_that_is_another_is_named_and_nothing_built(at, capfd, name, damage):
    generated()
    change, said = DAMAGE[damage]
    change(at / "fw" / name)
    what = refusal(capfd, "build", "fw")
    assert f"fw/{name}" in what and said in what and not (at / "fw/build").exists()


def test_the_program_of_a_user_is_built_as_it_is_and_the_network_in_it_is_not_another(at, capfd):
    need_for("host", start=False)
    generated("app", "--app")
    main_c = at / "app/main.c"
    main_c.write_text(main_c.read_text() + "// mine\n")
    assert main(["build", "app"]) == 0
    (at / "app/lnp_net.c").write_text((at / "app/lnp_net.c").read_text() + "// mine\n")
    assert "lnp_net.c is not what" in refusal(capfd, "build", "app")


@pytest.mark.parametrize("name", ["build", "build/host"])
def test_the_compiler_writes_in_the_folder_alone(at, capfd, name):
    generated()
    (at / "outside").mkdir()
    (at / "fw" / name).parent.mkdir(exist_ok=True)
    (at / "fw" / name).symlink_to(at / "outside")
    assert "is no folder" in refusal(capfd, "build", "fw") and not any((at / "outside").iterdir())


def test_names_that_are_too_long_are_an_error_in_two_lines(at, capfd):
    long, deep = "a" * 300, "/".join(["b" * 200] * 25)
    (at / "t.toml").write_text("[data]\nfiles = '*.csv'\nroot = 'ROOT'\n")
    for name in (long, deep, "c" * 5000):
        (at / "x.toml").write_text((at / "t.toml").read_text().replace("ROOT", name))
        for words in (
            "generate m.onnx --board host -o NAME", "generate NAME --board host -o x", "build NAME", "flash NAME",
            "new x2.toml --data NAME", "new NAME.toml --data .", "new --example NAME", "data x.toml", "train x.toml",
            "train NAME", "prune x.toml", "baseline x.toml", "reproduce x.toml", "quantize NAME", "verify NAME",
            "run m.onnx --source NAME", "run m.onnx --source m.onnx --log NAME", "train x.toml -o NAME",
            "baseline x.toml -o NAME", "reproduce x.toml -o NAME", "demo -o NAME", "compare --quick -o NAME",
        ):  # fmt: skip
            assert refusal(capfd, *(word.replace("NAME", name) for word in words.split()))


def full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_by_build_and_by_what_logs_its_failure(at, capfd, monkeypatch):
    """As root, no permission stops a write: the disk is full from the point of view of this process."""
    need_for("host", start=False)
    generated("app", "--app")
    with monkeypatch.context() as patch:
        patch.setattr(type(at), "mkdir", full)
        assert "cannot write to app/build/host" in refusal(capfd, "build", "app")
    (at / "app/main.c").write_text("no C\n")
    with monkeypatch.context() as patch:
        patch.setattr(type(at), "write_text", full)
        assert "error" in refusal(capfd, "build", "app")
    shutil.rmtree(at / "app/build")


def test_what_a_tool_said_is_kept_where_a_locale_lacks_its_letters(tmp_path):
    said = "d\u00e9faut \ufffd error"
    program = f"from lnp_edge.firmware_gen.folder import *; tool_failed(Path(), 'tool', 1, {said!a}, 'again')"
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=os.environ | ascii_alone, check=True)
    assert (tmp_path / "build/tool.log").read_text("utf-8") == said
