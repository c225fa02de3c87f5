"""Report on the recordings of a configuration: minutes of each class and group,
what looks wrong, what is left out and why, and what the settings make of them.

--html writes a page with pictures that needs nothing else."""

import argparse
import json
import shlex
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from lnp_edge import config
from lnp_edge.base.console import note, out, print_table, print_trimmed, shown
from lnp_edge.base.errors import ConfigError, LnpError
from lnp_edge.base.files import refuse_unwritable
from lnp_edge.base.install import require
from lnp_edge.commands import _given
from lnp_edge.config import Config
from lnp_edge.recordings.load import load
from lnp_edge.recordings.report import Report, counted, minutes, unit_of
from lnp_edge.task import fit
from lnp_edge.task.dataset import Dataset, in_samples

HELP = "report on the recordings of a configuration"
EXAMPLE = "  lnp data my.toml\n  lnp data my.toml --html report.html"
MOST = 24  # rows of a table


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="FILE.toml", help="a configuration of own recordings, see lnp new")
    parser.add_argument("--html", type=_given.path, metavar="FILE", help="also write a page with pictures")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    show(args.config, args.html, args.json)
    return 0


def show(name: str, html: Path | None, as_json: bool = False) -> None:
    """Print the report of a configuration, and write its page."""
    if Path(name).is_dir():
        command = f"lnp new my.toml --data {shlex.quote(name)}"
        raise ConfigError(f"{name} is a folder", f"write its configuration first: {command}")
    settings = config.named(name)
    if not settings.data.own:
        raise ConfigError(f"{name} has no files of your own", "say [data] files or path, or run lnp new")
    if html:
        require("matplotlib")
        from lnp_edge.recordings import page

        refuse_unwritable(html, page.ELSEWHERE)
    dataset, report = load(settings.data)
    settings = fit.fitted(settings, dataset)
    remarks = [*report.remarks(), *unequal(dataset, settings)]
    try:
        remarks += fit.remarks(settings, dataset)
    except LnpError as e:  # what would stop a training is part of the report
        remarks.append(f"{e.what}: {e.try_next}")
    if as_json:
        print(json.dumps(as_dict(dataset, report, settings, remarks)))
    else:
        _print(dataset, report, settings, remarks)
    if html:
        page.write(html, dataset, report, headline(dataset, report), windows(dataset, settings), remarks)
        note(f"written: {html}")


def headline(dataset: Dataset, report: Report) -> str:
    unit, scale = unit_of(minutes(dataset).sum())
    what = [
        counted(report.files, "file"),
        f"{report.rows} rows",
        f"{shown(minutes(dataset).sum() * scale)} {unit} in {counted(len(dataset.recordings), 'recording')}",
        f"{counted(len(dataset.channels), 'channel')} every {dataset.dt:g} s ({1 / dataset.dt:.4g} Hz)",
    ]
    return f"{dataset.name}: {', '.join(what)}"


def held_out(dataset: Dataset, report: Report) -> str:
    names = [dataset.group_titles[g] for g in dataset.held_out]
    some = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"For the test: {dataset.group_name} {some}: {report.splits}."


def windows(dataset: Dataset, settings: Config) -> str:
    """What the settings make of the recordings."""
    length, hop = in_samples(dataset, settings.data.window, settings.data.hop)
    ahead = dataset.series.horizon if dataset.series else 0
    test = np.isin(dataset.groups, dataset.held_out)
    counts = np.array([max(0, (len(a) - length - ahead) // hop + 1) for a in dataset.recordings])
    return (
        f"Windows of {settings.data.window:g} s ({length} samples) every {settings.data.hop:g} s: "
        f"{counts[~test].sum()} for training, {counts[test].sum()} for the test"
    )


def unequal(dataset: Dataset, settings: Config) -> list[str]:
    """A sentence if one class has much more time than another."""
    if dataset.metric != "macro_f1":
        return []
    time = minutes(dataset).sum(0)
    most, least = dataset.classes[int(time.argmax())], dataset.classes[int(time.argmin())]
    return [
        f"{most} has {time.max() / max(time.min(), 1e-9):.3g} times the time of {least}: the measure is macro F1, "
        f"and training draws small classes more often ([train] balance = {settings.train.balance:g})"
    ]


def as_dict(dataset: Dataset, report: Report, settings: Config, remarks: list[str]) -> dict:
    return {
        "files": report.files, "rows": report.rows, "dt": dataset.dt, "channels": list(dataset.channels),
        "units": [q.unit for q in dataset.quantities], "classes": list(dataset.classes),
        "groups": list(dataset.group_titles), "held_out": list(dataset.held_out),
        "minutes": minutes(dataset).tolist(), "recordings": len(dataset.recordings),
        "window": settings.data.window, "hop": settings.data.hop, "metric": dataset.metric,
        "events": {what: by_file.total() for what, by_file in report.events.items()}, "gaps": report.gaps,
        "still": {c.name: [asdict(s) for s in c.still] for c in report.channels if c.still},
        "held": {c.name: c.held for c in report.channels if c.held}, "remarks": remarks,
    }  # fmt: skip


def _print(dataset: Dataset, report: Report, settings: Config, remarks: list[str]) -> None:
    out.print(Text(headline(dataset, report), style="bold"))
    time, test = minutes(dataset), np.isin(np.arange(len(dataset.group_titles)), dataset.held_out)
    unit, scale = unit_of(time.sum())
    if dataset.classes:
        count = np.bincount(dataset.labels, minlength=len(dataset.classes))
        cells = [
            [
                name,
                shown(time[~test, k].sum() * scale),
                shown(time[test, k].sum() * scale),
                f"{count[k]}",
                f"{(time[:, k] > 0).sum()}",
            ]
            for k, name in enumerate(dataset.classes)
        ]
        _table(f"{unit} of each class", ["", "training", "test", "recordings", f"of {dataset.group_name}"], cells)
    cells = []
    for g, name in enumerate(dataset.group_titles):
        lacks = [c for c, t in zip(dataset.classes, time[g], strict=False) if t == 0]
        cells.append([name, "test" if test[g] else "training", shown(time[g].sum() * scale), ", ".join(lacks)[:40]])
    columns = ["", "part", unit, "lacks"]
    if not any(lacks for *_, lacks in cells):
        columns, cells = columns[:-1], [row[:-1] for row in cells]
    each = "each part" if dataset.group_name == "part" else dataset.group_name
    _table(f"{unit} of {each}", columns, cells)
    cells = [
        [c.name, c.unit, *(f"{value:.5g}" for value in c.extremes), f"{c.missing}", f"{q.scale:g}", f"{q.zero:.12g}"]
        for c, q in zip(report.channels, dataset.quantities, strict=True)
    ]
    _table("channels", ["", "unit", "lowest", "highest", "no value", "scale", "zero"], cells)
    out.print(Text(held_out(dataset, report)))
    out.print(Text(f"{windows(dataset, settings)}."))
    if remarks:
        out.print(Text("\nWorth a look:", style="bold"))
    listed = Table.grid(padding=(0, 1))
    for remark in remarks[: 2 * MOST]:
        listed.add_row("*", Text(remark))
    print_trimmed(listed)
    if len(remarks) > 2 * MOST:
        out.print(f"and {len(remarks) - 2 * MOST} more: lnp data --json")


def _table(title: str, columns: list[str], cells: list[list[str]]) -> None:
    more = len(cells) - MOST
    cells = [[cell if len(cell) <= 32 else f"{cell[:31]}…" for cell in row] for row in cells[:MOST]]
    print_table(title, columns, cells)
    if more > 0:
        out.print(f"and {more} more")
