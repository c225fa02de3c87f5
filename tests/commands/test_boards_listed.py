"""lnp boards: every board once, in a terminal of 80 columns too."""

import pytest

from lnp_edge import boards
from lnp_edge.base import console
from lnp_edge.cli import main
from lnp_edge.commands.boards import WIDE


@pytest.mark.parametrize("width", [80, WIDE + 60])
def test_a_board_is_one_line(capsys, monkeypatch, width):
    monkeypatch.setattr(console.out, "_width", width)
    assert main(["boards"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    for name in boards.names():
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        b = boards.get(name)
        assert b.cpu in line and (b.description in line) == (width >= WIDE)
    assert [line for line in lines if line.startswith("real boards, at --port; ")]
