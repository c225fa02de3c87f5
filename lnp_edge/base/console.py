"""Terminal output: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from lnp_edge.base.errors import LnpError


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """rich would exit with 1, which means that the answer is no."""
        raise BrokenPipeError


# A file or a pipe has no width: make it wide enough for every column of a table.
out = _Console(highlight=False, width=None if sys.stdout and sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)
for _console in (out, err):
    if not _console.width:  # COLUMNS=0: in no columns rich would print nothing
        _console.width = 80


def fail(e: LnpError) -> None:
    """Print both lines of an error, with control characters escaped."""
    what, try_next = (ascii_only(line) for line in (e.what, e.try_next))
    if sys.stderr and sys.stderr.isatty():
        lines = (between_words(line, err.width) for line in (what, f"  {try_next}"))
        err.print(*map(Text, lines, ("bold red", "")), sep="\n", soft_wrap=True)
    else:
        print(f"{what}\n  {try_next}", file=sys.stderr)


def ascii_only(text: str) -> str:
    """The text with unprintable characters escaped; printable Unicode stays."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# What a shell needs in quotes is one word; shlex writes an apostrophe within as '"'"'.
WORD = re.compile(r"""(?<!\S)'[^']*'(?:"'"'[^']*')*\S*|\S+""")


def between_words(text: str, width: int) -> str:
    """The line, with blanks where a terminal of `width` columns would break it in mid-word.

    It stays one line: a command that is copied from it has blanks in it and no end of a line.
    """
    found = text[: len(text) - len(text.lstrip())]
    used = indent = len(found)
    for k, match in enumerate(WORD.finditer(text)):
        word, before = match[0], match.start() - len(text[: match.start()].rstrip()) if k else 0
        size = cell_len(word)
        if used + before + size < width or indent + size >= width:  # a blank remains after it; or it fits nowhere
            found, used = found + " " * before + word, (used + before + size) % width
        else:
            found, used = found + " " * (width - used + indent) + word, indent + size
    return found


def note(text: str) -> None:
    """Print progress on standard error, with control characters escaped: at a terminal broken between words."""
    lines = list(map(ascii_only, text.split("\n")))
    lines = [between_words(line, err.width) if err.is_terminal else line for line in lines]
    err.print(Text("\n".join(lines), style="dim"), soft_wrap=True)


def command_line(text: str) -> None:
    """Print a command on standard output: at a terminal broken between words, and one line to copy."""
    out.print(Text(between_words(text, out.width) if out.is_terminal else text), soft_wrap=True)


def say(text: str) -> None:
    """Print sentences: folded between words in a terminal, each on one line in a file or a pipe."""
    out.print(Text(text), soft_wrap=not out.is_terminal)


WIDE = 100  # columns of a terminal that has room for words beside three columns
UNBOUNDED = 10_000  # columns of a terminal, more than any table has
EVERY = 10.0  # s between two lines of progress where no bar can be drawn


class Lines(Progress):
    """Progress as plain lines, for a log: one every EVERY seconds, so that short work is silent."""

    def __init__(self) -> None:
        super().__init__(console=err, disable=True)
        self._said = time.monotonic()

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        if (now := time.monotonic()) - self._said >= EVERY:
            self._said = now
            task = self._tasks[task_id]
            share = f" {task.completed:.0f} of {task.total:.0f}" if task.total else ""
            note(f"{task.description}:{share} {ascii_only(str(task.fields.get('info', '')))}".rstrip())


@contextmanager
def bars() -> Iterator[Progress]:
    """Progress bars with the time left; lines if standard error is not a terminal.

    A notebook sets FORCE_COLOR, which rich takes for a terminal: each redrawn bar would be a line of its own.
    """
    if not (sys.stderr and sys.stderr.isatty() and err.is_terminal):
        yield Lines()
        return
    columns = (
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(32),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[info]}", markup=False),
    )
    with Progress(*columns, console=err) as progress:
        yield progress


def print_trimmed(what: RenderableType) -> None:
    """Print without the blanks that would fill the lines up: a table copied from a terminal or a log has none."""
    trimmed = list[Segment]()
    for line in out.render_lines(what, pad=False):
        while line and not line[-1].text.rstrip():
            line.pop()
        if line:
            line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
        trimmed += [*line, Segment.line()]
    out.print(Segments(trimmed), end="", soft_wrap=True)


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table whose first column is aligned left and whose other columns are aligned right.

    In a narrow terminal the words of a heading stand below each other, but for the first column's. Columns that
    still do not fit follow in a table of their own, with the first column again: no cell is cut.
    """

    def part(chosen: list[int]) -> Table:
        head = Text(title, style="bold")
        found = Table(title=head, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for k in chosen:
            found.add_column(Text(columns[k]), justify="left" if k == 0 else "right", no_wrap=k == 0)
        for row in rows:
            found.add_row(*(Text(row[k]) if k < len(row) else Text() for k in chosen))
        return found

    def fits(chosen: list[int]) -> bool:
        return out.measure(part(chosen), options=out.options.update(width=UNBOUNDED)).maximum <= out.width

    if not fits(list(range(len(columns)))):
        columns = [columns[0], *(column.replace(" ", "\n") for column in columns[1:])]
    shown = [0]
    for k in range(1, len(columns)):
        if len(shown) > 1 and not fits([*shown, k]):
            print_trimmed(part(shown))
            shown, title = [0], ""
        shown.append(k)
    print_trimmed(part(shown))


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,)) -> list[str]:
    """The lines of a table in Markdown. words : the columns that are no numbers, aligned left"""
    cells = [[ascii_only(cell).replace("|", "\\|") for cell in row] for row in rows]
    ruler = ["---" if k in words else "---:" for k in range(len(columns))]
    return [f"| {' | '.join(row)} |" for row in (columns, ruler, *cells)]


def print_measured(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int], keys: int) -> None:
    """Print a table for people at a terminal, and in Markdown, as docs hold it, to a file or a pipe.

    words : as in `markdown`; a last column of words is folded, without marks of code
    keys : how many columns name a row: at a terminal they are one, which no part of a wide table lacks
    """
    if not out.is_terminal:
        for line in [*markdown(columns, rows, words), ""]:
            out.print(line, soft_wrap=True, markup=False)
        return
    widths = [max(len(ascii_only(row[k])) for row in (columns, *rows)) for k in range(keys)]

    def named(row: Sequence[str]) -> str:
        return "  ".join(ascii_only(cell).ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()

    if len(columns) - 1 in words:
        lines = [[Text(named(row)), Text(ascii_only(row[-1]).replace("`", ""))] for row in (columns, *rows)]
        for cell in lines[0]:
            cell.stylize("bold")
        print_trimmed(listing(lines))
    else:
        print_table("", [named(columns), *columns[keys:]], [[named(row), *row[keys:]] for row in rows])
    out.print()


def listing(rows: list[list[Text]]) -> Table:
    """Rows without a head or frames. Only the last column is folded, and only between words."""
    found = Table.grid(padding=(0, 2))
    for k in range(len(rows[0])):
        found.add_column(no_wrap=k + 1 < len(rows[0]))
    for row in rows:
        found.add_row(*row)
    return found


def described(cells: list[Text], words: Text) -> RenderableType:
    """A row of cells that are padded already, with words beside it or, in a narrow terminal, below it."""
    return listing([[*cells, words]]) if out.width >= WIDE else Group(listing([cells]), Padding(words, (0, 0, 0, 4)))


def mark(good: bool) -> Text:
    return Text("✓", style="green") if good else Text("✗", style="red")


def shown(time: float) -> str:
    """Three digits, but no exponent."""
    return f"{time:.3g}" if time < 1000 else f"{time:.0f}"


def counted(instructions: float) -> str:
    """Instructions with three digits: 3.74, 912, 50.7 k, 1.21 M."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if instructions >= size:
            return f"{float(f'{instructions / size:.3g}'):g}{unit}"
    return f"{instructions:.3g}"
