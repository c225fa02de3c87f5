"""Terminal output: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lnp_edge.base.errors import LnpError

# A file or a pipe has no width: make it wide enough for every column of a table.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)


def fail(e: LnpError) -> None:
    """Print both lines of an error, with control characters escaped."""
    what, try_next = (ascii_only(line) for line in (e.what, e.try_next))
    if sys.stderr.isatty():
        err.print(Text(what, style="bold red"), Text(f"  {try_next}"), sep="\n", soft_wrap=True)
    else:
        print(f"{what}\n  {try_next}", file=sys.stderr)


def ascii_only(text: str) -> str:
    """The text with unprintable characters escaped; printable Unicode stays."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def note(text: str) -> None:
    """Print a line of progress on standard error."""
    err.print(Text(text, style="dim"), soft_wrap=True)


@contextmanager
def bars() -> Iterator[Progress]:
    """Progress bars with the time left; silent if standard error is not a terminal."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(32),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[info]}"),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        yield progress


def table(title: str, columns: list[str], rows: list[list[str]], wide: bool = False) -> Table:
    """A table whose first column is aligned left and whose other columns are aligned right.

    wide : without frames, as a table of more than seven columns always is
    """
    wide = wide or len(columns) > 7
    box = SIMPLE_HEAD if wide else HEAVY_HEAD
    found = Table(title=title, title_justify="left", title_style="bold", box=box, pad_edge=not wide)
    for k, column in enumerate(columns):
        found.add_column(column, justify="left" if k == 0 else "right", no_wrap=k == 0)
    for row in rows:
        found.add_row(*(Text(cell) for cell in row))
    return found


def counted(instructions: float) -> str:
    """Instructions with three digits: 3.74, 912, 50.7 k, 1.21 M."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if instructions >= size:
            return f"{float(f'{instructions / size:.3g}'):g}{unit}"
    return f"{instructions:.3g}"
