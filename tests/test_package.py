"""The wheel: one importable name, whole, and at work from another folder beside files of the same names."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import need

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    need("pip", "setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    keep_out = shutil.ignore_patterns(".*", "__pycache__", "tests", "docs", "build", "runs", "*.egg-info")
    shutil.copytree(ROOT, folder / "source", ignore=keep_out)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder), str(folder / "source")], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_lnp_edge_is_the_only_name_it_brings(wheel):
    names = {Path(name).parts[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"lnp_edge"}


def test_it_holds_every_file_that_git_would_install(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for top in ("lnp_edge", "firmware_gen", "runtime", "boards"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                place = path.relative_to(ROOT).as_posix()
                assert (place if top == "lnp_edge" else f"lnp_edge/{place}") in inside


def test_it_works_from_another_folder_beside_files_called_like_our_packages(wheel, tmp_path):
    site, here = tmp_path / "site", tmp_path / "here"
    zipfile.ZipFile(wheel).extractall(site)
    here.mkdir()
    for name in ("runtime", "boards", "firmware_gen"):
        (here / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    code = (
        f"import sys; sys.path[1:1] = [{str(site)!r}]\n"
        "import lnp_edge.runtime.reference, lnp_edge.firmware_gen.generate, lnp_edge.boards as boards\n"
        f"assert boards.__file__.startswith({str(site)!r}), boards.__file__\n"
        "from lnp_edge.cli import main\n"
        "sys.exit(main(['boards']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cortex-m4" in done.stdout
