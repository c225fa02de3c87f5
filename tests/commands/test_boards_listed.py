"""lnp boards: every board once and what it is, in a terminal of 80 columns too."""

import pytest

from lnp_edge import boards
from lnp_edge.base import console
from lnp_edge.base.console import WIDE
from lnp_edge.cli import main


@pytest.mark.parametrize("width", [80, WIDE, WIDE + 60])
def test_a_board_is_shown_with_what_it_is(capsys, monkeypatch, width):
    monkeypatch.setattr(console.out, "_width", width)
    assert main(["boards"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert all(len(line) <= width and line == line.rstrip() for line in lines)
    for name in boards.names():
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        b = boards.get(name)
        assert b.cpu in line and " ".join(b.description.split()) in " ".join(said.split())
    assert [line for line in lines if line.startswith("real boards, at a serial port; ")]
