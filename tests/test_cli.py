"""The command line: examples that parse, streams that are closed, and bugs of our own."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from itertools import chain

import numpy as np
import pytest
from at_work import folder
from rich.cells import cell_len
from rich.console import Console
from stops import crash

from lnp_edge import boards
from lnp_edge.base import console
from lnp_edge.base.console import bars, out, print_measured, print_table
from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import COMMANDS, main, parser
from lnp_edge.commands import _after
from lnp_edge.experiments.executors import processes


@pytest.fixture
def at(tmp_path, monkeypatch):
    return folder(tmp_path, monkeypatch)


def test_bare_lnp_shows_the_road_with_commands_that_exist(capsys):
    assert main([]) == 0
    lines = [line[line.index("lnp ") :] for line in capsys.readouterr().out.splitlines()[1:] if "lnp " in line]
    words = [re.split(r"  +", line)[0] for line in lines if not line.startswith("lnp --help")]
    assert len(words) > 8
    for line in words:
        assert parser().parse_args(shlex.split(line)[1:]).command in COMMANDS


@pytest.mark.parametrize(("said", "meant"), [("trian", "'train'"), ("qantize", "'quantize'"), ("zzz", "")])
def test_an_unknown_command_is_told_with_the_nearest_one(capsys, said, meant):
    with pytest.raises(SystemExit) as e:
        main([said])
    first, second = capsys.readouterr().err.splitlines()
    assert e.value.code == 2 and first == f"lnp has no command {said!r}" and meant in second
    assert ("did you mean" in second) == bool(meant)


def test_long_work_says_a_line_now_and_then_where_no_bar_can_be_drawn(capsys, monkeypatch):
    now = iter([0.0, 1.0, 10.5, 11.0, 25.0])
    monkeypatch.setattr("lnp_edge.base.console.time.monotonic", lambda: next(now))
    with bars() as progress:
        task = progress.add_task("train", total=60, info="")
        for done in (5, 10, 15, 20):
            progress.update(task, completed=done, info=f"loss {done}\x1b[2J")
    assert capsys.readouterr().err.splitlines() == [
        "train: 10 of 60 loss 10\\x1b[2J",
        "train: 20 of 60 loss 20\\x1b[2J",
    ]


def test_a_pipe_gets_no_bar_even_where_colour_is_forced(capsys, monkeypatch):
    """As in a notebook, whose kernel sets FORCE_COLOR: rich then takes a pipe for a terminal."""
    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=True))
    with bars() as progress:
        progress.update(progress.add_task("train", total=2, info=""), completed=1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_and_returns_0(capsys, name):
    with pytest.raises(SystemExit) as e:
        main([name, "--help"])
    assert e.value.code == 0
    out = capsys.readouterr().out
    assert f"\nexample:\n  lnp {name}" in out


def examples():
    for name in COMMANDS:
        for line in import_module(f"lnp_edge.commands.{name}").EXAMPLE.splitlines():
            for part in line.replace("|", "&&").split("&&"):
                if part.strip().startswith("lnp "):
                    yield part.strip()


@pytest.mark.parametrize("line", list(examples()))
def test_every_example_parses(line):
    assert parser().parse_args(shlex.split(line)[1:]).command in COMMANDS


def test_top_help_lists_every_command_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as e:
        main(["--help"])
    out = capsys.readouterr().out
    assert e.value.code == 0
    assert all(out.count(f"\n    {name}") == 1 for name in COMMANDS)
    assert "0 done, 1 the answer is no" in out and "70 lnp itself failed" in " ".join(out.split())


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["verify"],
        ["run", "m.onnx"],
        ["verify", "m.onnx", "--steps", "x"],
        ["prune", "spar", "--nonsense"],
        ["prune", "spar", "more"],
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_help_of_the_command(capsys, words):
    with pytest.raises(SystemExit) as e:
        main(words)
    assert e.value.code == 2
    known = words[0] if words[0] in COMMANDS else ""
    assert capsys.readouterr().err.splitlines()[1:] == [f"  {' '.join(['lnp', known]).strip()} --help shows how"]


REPORT = "lnp itself failed: please report it with these lines and the output of lnp doctor"


def test_our_own_bugs_keep_their_traceback_and_have_a_code_of_their_own(monkeypatch, capsys):
    def broken(name):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(boards, "get", broken)
    assert main(["boards"]) == 70
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[0].startswith("Traceback") and "in broken" in captured.err
    assert lines[-2:] == ["RuntimeError: a bug of ours", REPORT]


def test_a_bug_in_a_worker_shows_the_workers_own_traceback(monkeypatch, capfd):
    monkeypatch.setattr(boards, "names", lambda: list(processes(crash, [7], print)))
    assert main(["boards"]) == 70
    said = capfd.readouterr().err
    assert "in crash" in said and "RuntimeError: worker 7" in said and said.splitlines()[-1] == REPORT


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("lnp boards >&-", 0),
        ("lnp run nope.onnx --source x 2>&-", 2),
        ("lnp run m.onnx --source - <&-", 0),
        ("lnp boards >/dev/full", 2),
        ("lnp >/dev/full", 2),
        ("(lnp boards; echo $? >&2) | true", 0),
    ],
)
def test_closed_and_full_streams_are_no_crash(at, line, code):
    lnp = f"{sys.executable} -c 'import sys; from lnp_edge.cli import main; sys.exit(main())'"
    done = subprocess.run(["bash", "-c", line.replace("lnp", lnp, 1)], capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert "| true" not in line or done.stderr == "0\n"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_table_keeps_every_digit_in_a_narrow_terminal(capsys, monkeypatch, width):
    monkeypatch.setattr(out, "width", width)
    columns = ["", "accuracy", "integers", "macro F1", "N", "synapses", "instr. a second", "flash B", "RAM B"]
    row = ["no recurrence", "0.793±0.010", "0.791±0.011", "0.772", "244", "11909", "1.05 M", "88404", "12345"]
    print_table("a task", columns, [row, ["ridge on statistics", "0.974"]])
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split()[2:] for line in lines if line.strip().startswith("no recurrence")]
    assert list(chain(*cells)) == " ".join(row[1:]).split() and max(map(len, lines)) <= width
    assert [len(line.split()) for line in lines if "ridge" in line] == [4] + [3] * (len(cells) - 1)
    assert (len(cells) == 1) == (width == 160)


MEASURED = ["network", "N", "a step", "tables, B"], [["own [x]|\x1b.onnx", "40", "1,000", "9"], ["b", "256", "2", ""]]


def test_what_was_measured_is_markdown_in_a_pipe(capsys):
    print_measured(*MEASURED, (0,), 2)
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["| network | N | a step | tables, B |", "| --- | ---: | ---: | ---: |"]
    assert said[2:] == [r"| own [x]\|\x1b.onnx | 40 | 1,000 | 9 |", "| b | 256 | 2 |  |", ""]


@pytest.mark.parametrize("width", [34, 80])
def test_what_was_measured_is_aligned_at_a_terminal(capsys, monkeypatch, width):
    monkeypatch.setattr(console, "out", Console(highlight=False, width=width, force_terminal=True, no_color=True))
    print_measured(*MEASURED, (0,), 2)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    named = [line for line in said if line.lstrip().startswith(("network", "own", "b "))]
    assert [line.split()[:2] for line in named] == [["network", "N"], [r"own", r"[x]|\x1b.onnx"], ["b", "256"]] * (
        len(named) // 3
    )
    assert (len(named) == 3) == (width == 80) and "1,000" in "".join(said) and max(map(len, said)) <= width


def test_words_in_the_last_column_are_folded_at_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(console, "out", Console(highlight=False, width=34, force_terminal=True, no_color=True))
    print_measured(["network", "parts"], [["a", "`leak` 1,000, `fire` 900, `encode` 800"]], (0, 1), 1)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert [line.split() for line in said.splitlines()] == [
        ["network", "parts"], ["a", "leak", "1,000,", "fire", "900,"], ["encode", "800"], [],
    ]  # fmt: skip


SENTENCE = "stopped after 60 epochs: that is too few to converge [or so], or to tell: raise train.epochs (now 60)"


@pytest.mark.parametrize("width", [40, 80])
def test_a_terminal_has_sentences_folded_between_words(capsys, monkeypatch, width):
    monkeypatch.setattr(console, "out", Console(highlight=False, width=width, force_terminal=True))
    console.say(SENTENCE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= width and " ".join(map(str.rstrip, lines)) == SENTENCE


APOSTROPHE = "it's mine, it's yours"


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("tell", [console.note, lambda text: console.fail(ConfigError(text, text))])
def test_a_terminal_breaks_notes_and_errors_between_words_and_leaves_each_one_line(capsys, monkeypatch, width, tell):
    monkeypatch.setattr(console, "err", Console(stderr=True, highlight=False, width=width, force_terminal=True))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    path = "/" + "very_long/" * 9
    names = f"'my model.onnx' {shlex.quote(APOSTROPHE)} {'x' * (width - 1)} y {'Ü面' * 9}"
    text = f"{SENTENCE}; next: lnp build {path} --model {names} --boards mine"
    tell(text)
    for line in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err).splitlines():
        assert line.split() == text.split() and {"my model.onnx", APOSTROPHE} <= set(shlex.split(line))
        shown, column = [""], 0
        for character in line:  # as a terminal does
            if column + cell_len(character) > width:
                shown, column = [*shown, ""], 0
            shown, column = [*shown[:-1], shown[-1] + character], column + cell_len(character)
        broken = set(text.split()) - set(" ".join(shown).split())
        assert len(shown) > 2 and all(cell_len(word) > width - 4 for word in broken)


@pytest.mark.parametrize("width", [20, 21])  # at 21 the name would fit, but no blank after it
def test_a_command_on_standard_output_is_one_line_broken_between_words(capsys, monkeypatch, width):
    monkeypatch.setattr(console, "out", Console(highlight=False, width=width, force_terminal=True))
    console.command_line("  lnp run 'my m.onnx' --source r.csv")
    blanks = (width - 7) * " ", (width - 11) * " "
    assert capsys.readouterr().out == f"  lnp run{blanks[0]}'my m.onnx'{blanks[1]}--source r.csv\n"
    monkeypatch.setattr(console, "out", Console(highlight=False, width=20))
    console.command_line("  lnp run 'my m.onnx' --source r.csv")
    assert capsys.readouterr().out == "  lnp run 'my m.onnx' --source r.csv\n"


def test_a_name_in_a_note_or_an_error_tells_the_terminal_nothing(capsys):
    console.note("written: a\x1b[31m\x07 file\nand one more")
    assert capsys.readouterr().err == "written: a\\x1b[31m\\x07 file\nand one more\n"
    console.fail(ConfigError("no a\x1b[31m\x07 file", "take\nanother"))
    assert capsys.readouterr().err == "no a\\x1b[31m\\x07 file\n  take\\nanother\n"


def test_a_terminal_of_no_columns_has_what_is_said():
    code = "from lnp_edge.base import console; console.note('so'); console.fail(console.LnpError('what', 'try'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"COLUMNS": "0"}, capture_output=True, text=True
    )
    assert (done.stderr, done.returncode) == ("so\nwhat\n  try\n", 0)


@pytest.mark.parametrize("width", range(1, 4))
def test_a_terminal_too_narrow_for_any_word_has_the_words_as_they_are(width):
    assert console.between_words(f"  {SENTENCE}", width) == f"  {SENTENCE}"


def test_a_pipe_has_each_sentence_on_one_line(capsys):
    console.say(f"{SENTENCE}; {SENTENCE}\n{SENTENCE}")
    assert capsys.readouterr().out.splitlines() == [f"{SENTENCE}; {SENTENCE}", SENTENCE]


def test_the_table_of_mistakes_has_whole_names(capsys, monkeypatch):
    monkeypatch.setattr(out, "width", 80)
    classes = [f"walking upstairs {k}" for k in range(12)]
    _after._mistakes(tuple(classes), np.arange(144).reshape(12, 12) + 100)
    said = capsys.readouterr().out
    cells = [line.split()[3:] for line in said.splitlines() if line.strip().startswith("walking upstairs 11 ")]
    assert list(chain(*cells)) == [str(232 + k) for k in range(12)] and "…" not in said


def test_names_are_never_markup(capsys):
    print_table("[/red]", ["[bold]", "[/x]"], [["[/y]", "1"]])
    said = capsys.readouterr().out
    assert all(word in said for word in ("[/red]", "[bold]", "[/x]", "[/y]"))
