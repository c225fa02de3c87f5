"""lnp boards: every board once and what it is, in a terminal of 80 columns too, and which cannot be read."""

import json

import pytest
from at_work import folder
from own_boards import BOARD, CHIP

from lnp_edge import boards
from lnp_edge.base import console
from lnp_edge.base.console import WIDE
from lnp_edge.cli import main
from lnp_edge.commands import _measure, doctor


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


BROKEN = {
    "cpu": ("chips/mine.toml", CHIP.replace("cortex-m4", "cortex-m99"), "cpu is 'cortex-m99'", "allowed: "),
    "memory": (
        "chips/mine.toml",
        CHIP.replace("0x2000_0000, size", "0x1000, size"),
        "ram is 131072 B at 0x1000",
        "allowed: a",
    ),
    "chip": ("chips/mine.toml", "a =", "chips/mine.toml: ", "write it as TOML"),
    "key": ("my-board/board.toml", f"{BOARD}speed = 1", "[uart] speed is nothing that ", "allowed: base, baud"),
    "tool": (
        "my-board/board.toml",
        f"{BOARD}[tool]\nname = 'st-flsh'",
        "no flash tool is called 'st-flsh'",
        "did you mean 'st-flash'? available: avrdude, ",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_boards_that_can_be_read_are_listed_and_of_the_others_what_is_wrong(own, capsys, what):
    path, text, said, advised = BROKEN[what]
    own("another/board.toml", (boards.FOLDER / "nucleo-f401re/board.toml").read_text())
    place = str(own(path, text))
    assert main(["boards", "--json", "--boards", place]) == 2
    listed, told = capsys.readouterr()
    assert [b["name"] for b in json.loads(listed)] == sorted([*boards.names(), "another"])
    line, hint = told.splitlines()
    assert line.startswith("my-board is left out: ") and said in line and hint.startswith(f"  {advised}")
    assert main(["boards", "--boards", place]) == 2
    listed, again = capsys.readouterr()
    assert again == told and "\n  another " in listed and "\n  my-board " not in listed


def test_a_board_that_cannot_be_read_stops_no_command_but_its_own(own, capsys, tmp_path, monkeypatch):
    at = folder(tmp_path, monkeypatch)
    path, text, said, _ = BROKEN["cpu"]
    words = ["generate", "m.onnx", "--boards", str(own(path, text)), "-o", "fw", "--board"]
    assert main([*words, "my-board"]) == 2
    line, hint = capsys.readouterr().err.splitlines()
    assert said in line and "cortex-m33" in hint and not (at / "fw").exists()
    assert main([*words, "cortex-m4"]) == 0
    assert main(["doctor", "--boards", str(at / "own")]) == 0
    with boards.beside(at / "own"):
        assert _measure.counting_board(boards.get("nucleo-f401re")).name == "cortex-m4"
        assert "arm-none-eabi-gcc" in doctor.debian()  # which ./run asks
