"""The results of lnp compare as CSV and as one HTML page that contains its figures."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lnp_edge.base.console import counted, markdown
from lnp_edge.base.files import write_whole
from lnp_edge.experiments.evidence.statistics import Estimate, paired, values
from lnp_edge.experiments.rows import COSTS

ALONE = "no recurrence"
CONTROLS = ("dense", ALONE)  # rows that are the same at every share of synapses
SIZES = (
    "neurons", "synapses", "synapses_with_ports", "synops", *COSTS, "rate", "abscissa", "largest_exponent", "ipr",
    "drift",
)  # fmt: skip
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.4rem; border-bottom: 1px solid #ddd; } h3 { margin: 1.6rem 0 .3rem; }
table { border-collapse: collapse; font-size: 13px; margin: .5rem 0 1rem; display: block; overflow-x: auto; }
td, th { padding: .2rem .6rem; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #444; font-weight: 600; } td:first-child, th:first-child { text-align: left; }
tr:nth-child(even) td { background: #f6f6f4; } .better { color: #1b7a43; } .worse { color: #b3261e; }
tr.control td { color: #666; font-style: italic; } img { max-width: 100%; } p.note { color: #555; }
"""


@dataclass(frozen=True)
class Figure:
    title: str
    path: Path
    says: str


@dataclass(frozen=True)
class Table:
    title: str
    columns: list[str]
    rows: list[list[str]]
    marks: dict[tuple[int, int], str]  # (row, column): "better" or "worse"

    def html(self) -> str:
        head = "".join(f"<th>{escape(c)}</th>" for c in self.columns)
        lines = []
        for r, row in enumerate(self.rows):
            kind = ' class="control"' if row[0].startswith(CONTROLS) else ""
            marks = [f' class="{self.marks[r, c]}"' if (r, c) in self.marks else "" for c in range(len(row))]
            cells = "".join(f"<td{mark}>{escape(cell)}</td>" for mark, cell in zip(marks, row, strict=True))
            lines.append(f"<tr{kind}>{cells}</tr>")
        return f"<h3>{escape(self.title)}</h3>\n<table><tr>{head}</tr>\n" + "\n".join(lines) + "</table>"

    def markdown(self) -> str:
        return f"{self.title}\n\n" + "\n".join(markdown(self.columns, self.rows)) + "\n"


def comparison(
    results: list[dict], title: str, measures: list[str], against: str, smaller_is_better: bool = False, **where
) -> Table:
    """One row per method: the mean of each measure and its difference to `against`, paired by seed.

    A difference is marked if its confidence interval excludes zero. The row without recurrence says
    so if it is not worse by the first measure. Further columns show the sizes and the dynamics, as
    far as they were measured.
    """
    names = list(dict.fromkeys(r["method"] for r in results))
    shown = [s for s in SIZES if any(s in r for r in results)]
    columns = [
        "",
        *[c for m in measures for c in (m, f"vs {against}")],
        *[s.replace("_", " ") for s in shown],
        "failed",
    ]
    rows: list[list[str]] = []
    marks: dict[tuple[int, int], str] = {}
    for name in names:
        here = _where(name, where)
        row = [name]
        for measure in measures:
            found, difference = _compared(results, measure, name, against, where)
            row += [str(found), "" if name == against else _signed(difference)]
            worse = difference.above_zero if smaller_is_better else difference.below_zero
            if name != against and (difference.above_zero or difference.below_zero):
                marks[len(rows), len(row) - 1] = "worse" if worse else "better"
            if name == ALONE and measure == measures[0] and not worse and difference.half == difference.half:
                row[0] += " (as good)"
        for size in shown:
            mean = Estimate.of(list(values(results, size, method=name, **here).values())).mean
            row.append(_size(size, mean))
        failed = [
            r for r in results if r["method"] == name and "failed" in r and all(r[k] == v for k, v in here.items())
        ]
        rows.append([*row, str(len(failed)) if failed else ""])
    return Table(title, columns, rows, marks)


def by_kept(
    results: list[dict], title: str, measure: str, against: str, keeps: list[float], smaller_is_better: bool = False
) -> Table:
    """One row per method, one column per share of synapses: the mean of one measure.

    + and − mark a difference to `against`, paired by seed, whose confidence interval excludes zero.
    """
    names = list(dict.fromkeys(r["method"] for r in results))
    rows: list[list[str]] = []
    marks: dict[tuple[int, int], str] = {}
    for name in names:
        row = [name]
        for keep in keeps:
            mean, difference = _compared(results, measure, name, against, {"keep": keep})
            sign = " +" if difference.above_zero else " −" if difference.below_zero else ""
            if sign:
                marks[len(rows), len(row)] = "worse" if (sign == " −") != smaller_is_better else "better"
            row.append(f"{mean}{sign}")
        rows.append(row)
    return Table(title, [measure, *(f"{100 * keep:g}%" for keep in keeps)], rows, marks)


def _where(name: str, where: dict) -> dict:
    return {key: value for key, value in where.items() if name not in CONTROLS or key != "keep"}


def _compared(results: list[dict], measure: str, name: str, against: str, where: dict) -> tuple[Estimate, Estimate]:
    """The mean of a method and its difference to that of another method, paired by seed."""
    ours = values(results, measure, method=name, **_where(name, where))
    theirs = values(results, measure, method=against, **_where(against, where))
    return Estimate.of(list(ours.values())), paired(ours, theirs)


def _size(name: str, mean: float) -> str:
    if mean != mean:
        return ""
    if name == COSTS[0]:
        return counted(mean)
    return f"{mean:.0f}" if name in COSTS or name.startswith(("neurons", "syn")) else f"{mean:.3f}"


def _signed(e: Estimate) -> str:
    return f"{e.mean:+.3f} ± {e.half:.3f}" if e.half == e.half else f"{e.mean:+.3f}" if e.mean == e.mean else ""


def page(title: str, intro: Iterable[str], sections: list[tuple[str, list[Table | Figure | str]]]) -> bytes:
    """A self-contained HTML page."""
    body = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in intro)]
    for name, parts in sections:
        body.append(f"<h2>{escape(name)}</h2>")
        for part in parts:
            if isinstance(part, Table):
                body.append(part.html())
            elif isinstance(part, Figure):
                data = base64.b64encode(part.path.read_bytes()).decode()
                image = f'<img alt="{escape(part.title)}" src="data:image/png;base64,{data}">'
                body.append(f'<h3>{escape(part.title)}</h3>\n{image}\n<p class="note">{escape(part.says)}</p>')
            else:
                body.append(f"<p>{escape(part)}</p>")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    lines = "\n".join(body)
    return f'<!DOCTYPE html>\n<html lang="en">{head}\n<body>\n{lines}\n</body></html>\n'.encode()


def write_csv(results: list[dict], path: Path) -> None:
    """Write one row per result, one column per number or text."""
    flat = [{k: v for k, v in r.items() if isinstance(v, str | int | float)} for r in results]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_whole(path, text.getvalue().encode())
