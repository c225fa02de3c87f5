"""Boards that come by a package of Python: its entry point names their folder, and none of its code runs."""

import shutil
import sys

import pytest

from lnp_edge import boards
from lnp_edge.cli import main


@pytest.fixture
def package(own, monkeypatch):
    """installed(value): the folder of boards as a package of Python, with an entry point of that value."""
    place = own("__init__.py", "raise RuntimeError('boards need no code')").rename(own("x", "").parent / "acme")
    monkeypatch.setattr(sys, "path", [str(place.parent), *sys.path])
    info = place.parent / "acme-1.0.dist-info"

    def installed(value, told="acme = "):
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{boards.GROUP}]\n{told}{value}\n")
        boards._packages.cache_clear()
        return place

    yield installed
    boards._packages.cache_clear()


def test_a_package_brings_boards_by_an_entry_point(package, capsys):
    package("acme")
    assert boards.get("my-board").clock_hz == 25_000_000
    assert main(["boards"]) == 0
    assert "my-board" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["nowhere", "acme.chips.mine", "json.tool", "nowhere.boards", "..", "acme:boards"])
def test_an_entry_point_that_is_no_package_is_told(package, capsys, value):
    package(value)
    assert main(["boards"]) == 2
    what, try_next = capsys.readouterr().err.splitlines()
    assert what == f"boards of acme: there is no package {value!r}" and "entry point" in try_next


def test_no_code_of_a_package_with_boards_runs(package, capsys):
    """lnp verify would else end as that code does, such as with 0."""
    place = package("acme.boards")
    (place / "__init__.py").write_text("raise SystemExit(0)")
    shutil.move(place / "my-board", place / "boards/my-board")
    shutil.move(place / "chips", place / "boards/chips")
    assert main(["boards"]) == 0
    assert "my-board" in capsys.readouterr().out


def test_a_package_without_code_has_the_boards_of_all_its_folders(package, tmp_path, monkeypatch):
    """pip leaves an empty folder behind, which comes before that of an editable package."""
    place = package("acme")
    (place / "__init__.py").unlink()
    (tmp_path / "left/acme/other").mkdir(parents=True)
    shutil.copy(boards.FOLDER / "host/board.toml", tmp_path / "left/acme/other")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "left"), *sys.path])
    assert {"my-board", "other", "host"} <= set(boards.names())


@pytest.mark.parametrize("line", ["no equals sign", "\udcff = acme"])
def test_a_package_whose_entry_points_cannot_be_read_is_told_by_its_folder(package, capsys, line):
    place = package("", told="")
    info = place.parent / "acme-1.0.dist-info"
    (info / "entry_points.txt").write_bytes(f"[any]\n{line}\n".encode(errors="surrogateescape"))
    assert main(["boards"]) == 2
    what, try_next = capsys.readouterr().err.splitlines()
    assert f"the entry points of {info} cannot be read: " in what and "install it again" in try_next
