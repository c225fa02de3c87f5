"""The report as one HTML page with its pictures inside: nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lnp_edge.base.console import ascii_only, shown
from lnp_edge.base.files import write_whole
from lnp_edge.recordings.report import Report, minutes, unit_of
from lnp_edge.task.dataset import Dataset

COLOURS = ("#2a6f97", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#5c4033", "#00798c", "#999999")
ELSEWHERE = "make room, or choose another --html"
MOST = 12  # classes, channels or files in a picture
SHOWN = 600  # samples of an example
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem .2rem 0; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr { border-bottom: 1px solid #ddd; }
img { max-width: 100%; } .test { background: #fdf3e3; } .scroll { overflow-x: auto; }
"""


def write(path: Path, dataset: Dataset, report: Report, headline: str, windows: str, remarks: Sequence[str]) -> None:
    """Write the page. All texts from files are escaped."""
    name = html.escape(dataset.name)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>",
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style><h1>{name}</h1>",
        f"<p>{_text(headline)}.</p><p>{_text(windows)}.</p>",
    ]
    if remarks:
        parts += ["<h2>Worth a look</h2><ul>", *(f"<li>{_text(remark)}</li>" for remark in remarks), "</ul>"]
    unit, scale = unit_of(minutes(dataset).sum())
    parts += [
        f"<h2>{unit.capitalize()}</h2><p>For the test, shaded: {_text(report.splits)}.</p>",
        _time(dataset, scale),
    ]
    parts += [f"<h2>Channels</h2>{_channels(dataset, report)}"]
    parts += ["<h2>Values</h2><p>The share of the samples at each value, in the training part and in the test.</p>"]
    parts += [_picture(_values(dataset), "histograms of the channels"), "<h2>Examples</h2>"]
    parts += [_picture(_examples(dataset), "some samples of each class"), "<h2>Time</h2>"]
    parts += ["<p>Each bar is a recording; white between bars is a gap, or rows that were left out.</p>"]
    parts += [_picture(_times(dataset, report), "when the recordings were made")]
    write_whole(path, "\n".join(parts).encode(), ELSEWHERE)


def _text(text: str) -> str:
    return html.escape(ascii_only(text))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] = ()) -> str:
    lines = ["<div class=scroll><table><tr>", *(f"<th>{_text(cell)}</th>" for cell in head), "</tr>"]
    for k, row in enumerate(rows):
        lines.append("<tr class=test>" if marked and marked[k] else "<tr>")
        lines += [*(f"<td>{_text(cell)}</td>" for cell in row), "</tr>"]
    return "".join(lines) + "</table></div>"


def _time(dataset: Dataset, scale: float) -> str:
    time = minutes(dataset) * scale
    rows = [[title, *(shown(t) for t in row), shown(row.sum())]
            for title, row in zip(dataset.group_titles, time, strict=True)]  # fmt: skip
    rows.append(["all", *(shown(t) for t in time.sum(0)), shown(time.sum())])
    names = dataset.classes or ("series",)
    return _table([dataset.group_name, *names, "all"], rows, [g in dataset.held_out for g in range(len(rows))])


def _channels(dataset: Dataset, report: Report) -> str:
    rows = [
        [
            c.name,
            c.unit,
            *(f"{value:.6g}" for value in c.extremes),
            f"{c.missing}",
            f"{c.clipped}",
            f"{q.scale:g}",
            f"{q.zero:.12g}",
        ]
        for c, q in zip(report.channels, dataset.quantities, strict=True)
    ]
    head = ["", "unit", "lowest", "highest", "no value", "clipped", "scale", "zero"]
    return _table(head, rows) + "<p>physical = (count - zero) * scale</p>"


def _picture(figure, what: str) -> str:
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png", metadata={"Software": None})
    data = base64.b64encode(drawn.getvalue()).decode()
    return f"<img alt='{html.escape(what)}' src='data:image/png;base64,{data}'>"


def _plain(name: str) -> str:
    """A name as matplotlib shows it: a dollar would begin a formula."""
    return ascii_only(name)[:28].replace("$", r"\$")


def _figure(rows: int, height: float):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, max(1.5, height * rows)), layout="constrained")
    panels = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, panels


def _unit(dataset: Dataset, c: int) -> str:
    unit = dataset.quantities[c].unit
    return _plain(f"{dataset.channels[c]} [{unit}]" if unit else dataset.channels[c])


def _physical(dataset: Dataset, c: int, counts: np.ndarray) -> np.ndarray:
    quantity = dataset.quantities[c]
    return (counts - quantity.zero) * quantity.scale


def _values(dataset: Dataset):
    count = min(MOST, len(dataset.channels))
    figure, panels = _figure(count, 1.1)
    test = np.isin(dataset.groups, dataset.held_out)
    for c, axes in enumerate(panels):
        parts = {}
        for name, chosen in (("training", ~test), ("test", test)):
            some = [dataset.recordings[r][:, c] for r in np.flatnonzero(chosen).tolist()]
            parts[name] = _physical(dataset, c, np.concatenate(some).astype(float))
        both = np.concatenate(list(parts.values()))
        edges = np.linspace(both.min(), both.max() + 1e-12, 80)
        for (name, x), colour in zip(parts.items(), COLOURS, strict=False):
            share = np.histogram(x, edges)[0] / len(x)
            axes.stairs(
                share, edges, color=colour, fill=name == "training", alpha=0.4 if name == "training" else 1, label=name
            )
        axes.set_yticks([])
        axes.set_ylabel(_unit(dataset, c), fontsize=8, rotation=0, ha="right", va="center")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _examples(dataset: Dataset):
    """The beginning of the longest recording of each class; of a series of the longest of all."""
    labels = range(len(dataset.classes)) if dataset.classes else [0]
    shown_labels = list(labels)[:MOST]
    figure, panels = _figure(len(shown_labels), 1.4)
    for label, axes in zip(shown_labels, panels, strict=True):
        which = max(np.flatnonzero(dataset.labels == label).tolist(), key=lambda r: len(dataset.recordings[r]))
        x = dataset.recordings[which][:SHOWN]
        for c in range(min(len(COLOURS), x.shape[1])):
            deviation = x[:, c].std() or 1.0
            line = (x[:, c] - x[:, c].mean()) / deviation / 4 if not dataset.classes else _physical(dataset, c, x[:, c])
            axes.plot(np.arange(len(x)) * dataset.dt, line, lw=0.9, color=COLOURS[c], label=_unit(dataset, c))
        axes.set_ylabel(_plain(dataset.classes[label]) if dataset.classes else "less the mean", fontsize=8)
    panels[-1].set_xlabel("s", fontsize=8)
    panels[0].legend(frameon=False, fontsize=7, ncols=8, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _times(dataset: Dataset, report: Report):
    """A row of bars for each file, from the beginning of its first recording."""
    by_file: dict[str, list[tuple[int, float, float]]] = {}
    for place, label, start, length in report.spans:
        by_file.setdefault(place, []).append((label, start, length))
    places = list(by_file)[: 3 * MOST]
    figure, panels = _figure(1, 0.8 + 0.22 * len(places))
    axes, used = panels[0], set()
    longest = max(max(s + n for _, s, n in spans) - min(s for _, s, _ in spans) for spans in by_file.values())
    size, unit = next(
        (s, u) for s, u in ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "s")) if longest > 2 * s or s == 1
    )
    for row, place in enumerate(places):
        first = min(start for _, start, _ in by_file[place])
        for label, start, length in by_file[place]:
            name = _plain(dataset.classes[label]) if dataset.classes and label not in used else None
            used.add(label)
            at = [((start - first) / size, length / size)]
            axes.broken_barh(at, (row - 0.35, 0.7), color=COLOURS[label % len(COLOURS)], label=name, lw=0)
    axes.set_yticks(range(len(places)), [_plain(place[-28:]) for place in places], fontsize=7)
    axes.invert_yaxis()
    more = len(by_file) - len(places)
    axes.set_xlabel(
        f"{unit} since the first row of the file" + (f"; {more} more files" if more > 0 else ""), fontsize=8
    )
    if dataset.classes:
        axes.legend(frameon=False, fontsize=7, ncols=8, loc="lower left", bbox_to_anchor=(0, 1))
    return figure
