"""The commands that are told work as they stand."""

import sys

from lnp_edge.base.install import command


def test_lnp_has_its_path_where_the_shell_finds_no_or_another_lnp(tmp_path, monkeypatch):
    own, other = tmp_path / ".venv/bin/lnp", tmp_path / "other/lnp"
    for path in (own, other):
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(own), "demo"])
    for search, wanted in {
        tmp_path / "nothing": ".venv/bin/lnp", other.parent: ".venv/bin/lnp", own.parent: "lnp",
    }.items():  # fmt: skip
        monkeypatch.setenv("PATH", str(search))
        assert command() == wanted
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.chdir(other.parent)
    assert command() == str(own)
    monkeypatch.setattr(sys, "argv", ["cli.py"])
    assert command() == "lnp"
