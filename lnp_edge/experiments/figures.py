"""Figures: learning curves, confusion matrices, forecasts, comparisons."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import LogLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from lnp_edge.base.console import counted
from lnp_edge.base.files import write_whole
from lnp_edge.dynamics import lyapunov
from lnp_edge.dynamics.rate_model import rate_model
from lnp_edge.experiments import rows
from lnp_edge.experiments.evidence import statistics
from lnp_edge.experiments.evidence.report import CONTROLS
from lnp_edge.experiments.evidence.statistics import Estimate
from lnp_edge.experiments.rows import Row
from lnp_edge.network import Network
from lnp_edge.task import metrics
from lnp_edge.task.dataset import Dataset, Windows

INK, BLUE, ORANGE = "#333333", "#2a6f97", "#d1495b"
PALETTE = ("#d1495b", "#2a6f97", "#66a182", "#edae49", "#8d6a9f", "#00798c", "#c77d3a", "#5c4033", "#e07a9a")
COLOURS = (BLUE, ORANGE, "#edae49", "#66a182", "#8d6a9f", "#5c4033", "#00798c", "#999999")


def learning_curves(histories: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Loss, and accuracy if there are classes, by epoch; one line per history."""
    keys = [k for k in ("loss", "accuracy") if any(k in epoch for h in histories.values() for epoch in h)]
    figure = Figure(figsize=(4.6 * max(1, len(keys)), 3.4), layout="constrained")
    for axes, key in zip(np.ravel(figure.subplots(1, max(1, len(keys)))), keys, strict=False):
        for (name, history), colour in zip(histories.items(), COLOURS * len(histories), strict=False):
            values = [epoch[key] for epoch in history]
            axes.plot(range(1, len(values) + 1), values, color=colour, lw=1.6, label=name)
        axes.set(xlabel="epoch", ylabel=f"training {key}")
        _clean(axes)
    if len(histories) > 1 and keys:
        lines, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside right center", frameon=False, fontsize=8)
    _save(figure, path)


def confusion(classes: tuple[str, ...], wanted: NDArray, predicted: NDArray, path: Path) -> None:
    """Confusion matrix: the number of windows, coloured by their share of the true class."""
    table = metrics.confusion(classes, wanted, predicted)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    size = 1.9 + 0.62 * len(classes)
    figure = Figure(figsize=(size + 0.5, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(table.shape):
        if table[i, j]:
            colour = "white" if share[i, j] > 0.55 else INK
            axes.text(j, i, f"{table[i, j]}", ha="center", va="center", fontsize=8, color=colour)
    ticks = np.arange(len(classes))
    axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(ticks, classes, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.colorbar(image, shrink=0.7, label="share of the row")
    _save(figure, path)


def forecast(dataset: Dataset, windows: Windows, predicted: NDArray, path: Path) -> None:
    """The forecast and the true series: the median window of a closed loop, or the last windows."""
    assert dataset.series
    series = dataset.series
    if series.free_run:
        times = metrics.valid_times(dataset, windows.wanted, predicted, 0.4)
        w = int(np.argsort(times)[len(times) // 2])
        x, label = (np.arange(series.free_run) + 1) * dataset.dt * series.lyapunov, "Lyapunov times"
        true, said = windows.wanted[w], predicted[w]
        title = f"closed loop, median window: valid for {times[w]:.1f} Lyapunov times (error 0.4)"
    else:
        last = slice(-min(300, len(windows)), None)
        x, label = np.arange(float(len(windows)))[last], "window"
        true, said = windows.wanted[last, 0], predicted[last, 0]
        title = f"{series.horizon} steps ahead, the last {len(x)} windows"
    figure = Figure(figsize=(8, 1.1 + 1.6 * len(series.target)), layout="constrained")
    for k, axes in enumerate(np.ravel(figure.subplots(len(series.target), 1, sharex=True))):
        axes.plot(x, true[:, k] / series.per_unit, color=INK, lw=1.4, label="true")
        axes.plot(x, said[:, k] / series.per_unit, color=ORANGE, lw=1.2, label="forecast")
        if series.free_run:
            axes.axvline(times[w], color=BLUE, lw=1, ls=":")
        axes.set_ylabel(f"{dataset.channels[series.target[k]]} [{series.unit}]" if series.unit else dataset.channels[k])
        _clean(axes)
    figure.axes[0].set_title(title, fontsize=10)
    figure.axes[0].legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    figure.axes[-1].set_xlabel(label)
    _save(figure, path)


def comparison(rows: dict[str, list[float]], label: str, path: Path, lines: dict[str, float]) -> None:
    """One dot per value of each row and a bar at their mean; one vertical line per baseline."""
    figure = Figure(figsize=(7, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for k, values in enumerate(rows.values()):
        axes.plot(values, [k] * len(values), "o", color=BLUE, alpha=0.55, ms=5, mec="none")
        axes.plot([np.mean(values)] * 2, [k - 0.28, k + 0.28], color=ORANGE, lw=2.4)
    for (name, value), colour in zip(lines.items(), ("#999999", "#666666", INK), strict=False):
        axes.axvline(value, color=colour, lw=1, ls="--", label=name)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    if lines:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _clean(axes)
    _save(figure, path)


def pareto(found: Sequence[Row], metric: str, title: str, path: Path) -> None:
    """Each row's measure against its instructions, better upwards, and the front of the rows that none beats.

    A row far below the others is named at the lower edge, with its values.
    """
    found = [row for row in found if row.costs]
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    axes = figure.subplots()
    up = -1 if metrics.lower_is_better(metric) else 1
    at = {row.name: (row.costs.per_second if row.costs else 1.0, row.mean(metric)) for row in found}
    ys = [y for _, y in at.values()]
    best = max(ys, key=lambda y: up * y)
    floor = best - up * 6 * max(abs(best - float(np.median(ys))), 0.01 * abs(best))
    whole = [row for row in found if up * row.mean(metric) >= up * floor]
    ends = {row.name: row.interval for row in whole if row.interval}
    seen = [y for row in whole for y in (*row.scores(metric), *ends.get(row.name, ()))]
    low, high = min(seen, key=lambda y: up * y), max(seen, key=lambda y: up * y)
    lowest = min((y for row in whole for y in row.scores(metric)), key=lambda y: up * y)  # every seed and fold is seen
    low = max(low, min(floor, lowest, key=lambda y: up * y), key=lambda y: up * y)
    rim, costs = 0.06 * (high - low) or 0.01, [at[row.name][0] for row in whole]
    axes.set(xscale="log", xlabel="instructions for a second of signal, emulated Cortex-M4")
    axes.set(ylabel=metrics.title(metric), ylim=(low - 2 * rim, high + rim), xlim=(min(costs) / 3, max(costs) * 3))
    (left, right), edge = axes.get_xlim(), axes.get_ylim()[0]
    steps = [at[row.name] for row in rows.front(whole, metric)]
    axes.plot(*zip(*steps, (right, best), strict=True), color="#dddddd", lw=8, drawstyle="steps-post",
              solid_capstyle="round", solid_joinstyle="round", zorder=1)  # fmt: skip
    points = []
    for row in found:
        (x, y), (colour, marker) = at[row.name], (BLUE, "o") if row.trials else (ORANGE, "D")
        if row not in whole:
            x = max(x, left * 1.15)
            axes.plot(x, edge, marker="v", color=colour, ms=7, clip_on=False, zorder=4)
            points.append((f"{row.name}: {y:.3f} at {counted(at[row.name][0])}", x, edge, colour))
            continue
        if row.name in ends:
            axes.plot([x, x], ends[row.name], color=colour, lw=1.2, alpha=0.4, zorder=2)
        scores = row.scores(metric)
        if len(scores) > 1:
            axes.plot([x] * len(scores), scores, marker="_", ls="", color=colour, ms=10, mew=1.2, alpha=0.8, zorder=3)
        axes.plot(x, y, marker=marker, color=colour, ms=8, mec="white", mew=1.0, zorder=4)
        points.append((row.name, x, y, colour))
    _clean(axes)
    axes.set_title(fill(title, 100), fontsize=10, loc="left")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if right < 500 * left else (1.0,), numticks=20))
    axes.xaxis.set_major_formatter(lambda x, _: counted(x))
    axes.xaxis.set_minor_formatter("")
    _legend(axes, found)
    _name(figure, axes, points)
    _save(figure, path)


def _legend(axes, found: Sequence[Row]) -> None:
    """Of what is in the picture."""
    front = Line2D([], [], color="#dddddd", lw=8, label="front: no row is cheaper and better")
    bar = Line2D([], [], color="#888888", lw=1.2, alpha=0.6, label="95 % over what was held out, and seeds")
    dash = Line2D([], [], color="#888888", marker="_", ms=9, ls="", label="a seed or fold")
    shown = {
        Line2D([], [], color=BLUE, marker="o", ms=8, ls="", label="lnp-edge"): any(row.trials for row in found),
        Line2D([], [], color=ORANGE, marker="D", ms=7, ls="", label="rival"): any(row.measured for row in found),
        front: True,
        bar: any(row.interval for row in found),
        dash: any(len(row.integers) > 1 for row in found),
    }
    handles = [handle for handle, there in shown.items() if there]
    axes.legend(handles=handles, frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)


PLACES = [
    (9, 0),
    (-9, 0),
    (9, 9),
    (9, -9),
    (-9, 9),
    (-9, -9),
    (0, 13),
    (0, -13),
    (12, 18),
    (12, -18),
    (-12, 18),
    (-12, -18),
]


def _name(figure: Figure, axes, points: list[tuple[str, float, float, str]]) -> None:
    """Write each name beside its point, where it covers least."""
    figure.draw_without_rendering()
    taken = [Bbox(np.add(axes.transData.transform((x, y)), [[-7, -7], [7, 7]])) for _, x, y, _ in points]
    whole = axes.get_window_extent()
    for name, x, y, colour in sorted(points, key=lambda point: point[1]):
        best = None
        for k, (right, above) in enumerate(PLACES):
            text = axes.annotate(
                name, (x, y), (right, above), textcoords="offset points", color=colour, fontsize=9, zorder=5,
                ha="left" if right > 0 else "right" if right < 0 else "center", va="center",
                path_effects=[Stroke(linewidth=3, foreground="white"), Normal()],
            )  # fmt: skip
            box = text.get_window_extent()
            covers = sum(_area(box, other) for other in taken) + box.width * box.height - _area(box, whole)
            if best is None or covers + 6 * k < best[0]:
                if best:
                    best[1].remove()
                best = covers + 6 * k, text, box
            else:
                text.remove()
        assert best
        taken.append(best[2])


def _area(a: Bbox, b: Bbox) -> float:
    """Of what both cover."""
    both = Bbox.intersection(a, b)
    return both.width * both.height if both else 0.0


def by_kept(results: list[dict], measures: list[str], path: Path) -> None:
    """Each measure against the share of synapses kept, with confidence intervals.

    One line per method; controls are horizontal lines.
    """
    names = list(dict.fromkeys(r["method"] for r in results))
    columns = 2 if len(measures) == 4 else min(3, len(measures))
    rows = -(-len(measures) // columns)
    figure = Figure(figsize=(4.3 * columns + 2.2, 3.3 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, measure in zip(panels, measures, strict=False):
        for k, (name, marker) in enumerate(zip(names, "  osD^vPX*h<>pd" * len(names), strict=False)):
            colour = ("#999999", INK, *PALETTE * len(names))[k]
            dashes = "-" if k < 2 + len(PALETTE) else (0, (4, 2))  # where the colours repeat
            here = [r for r in results if r["method"] == name]
            keeps = sorted({r["keep"] for r in here})
            found = [Estimate.of(list(statistics.values(here, measure, keep=keep).values())) for keep in keeps]
            if name in CONTROLS:
                axes.axhline(found[0].mean, color=colour, lw=1.2, ls="--" if name == "dense" else ":", label=name)
                continue
            half = [0 if np.isnan(e.half) else e.half for e in found]
            aside = 1.015 ** (names.index(name) - len(names) / 2)  # avoids overlap of intervals
            axes.errorbar(
                [100 * k * aside for k in keeps], [e.mean for e in found], half, color=colour, marker=marker, ms=4,
                ls=dashes, lw=1.5, elinewidth=0.8, capsize=2, label=name,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="recurrent synapses kept, %", title=measure)
        ticks = sorted({100 * r["keep"] for r in results if r["method"] not in CONTROLS})
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        _clean(axes)
    for axes in panels[len(measures) :]:
        axes.set_axis_off()
    lines, labels = panels[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside right center", frameon=False, fontsize=9)
    _save(figure, path)


def networks(found: dict[str, Network], path: Path) -> None:
    """Lyapunov spectra, eigenvalues, weights, degrees and time constants; one row per network."""
    titles = (
        "Lyapunov exponents, 1/s",
        "eigenvalues of M",
        "weights, normalised to their target",
        "in-degree",
        "tau_mem, s",
    )
    figure = Figure(figsize=(15, 2.3 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), len(titles), squeeze=False)
    dense = next(iter(found.values()))
    wanted = lyapunov.of_network(dense, steps=300, warm_up=100).exponents
    most = max(np.bincount(n.w_rec.indices, minlength=n.n).max() for n in found.values()) + 1
    for (name, network), row in zip(found.items(), panels, strict=True):
        spectrum = lyapunov.of_network(network, steps=300, warm_up=100).exponents
        row[0].plot(np.linspace(0, 1, len(wanted)), wanted, color="#bbbbbb", lw=3, label="dense")
        row[0].plot(np.linspace(0, 1, len(spectrum)), spectrum, color=BLUE, lw=1.3, label=name)
        row[0].set_ylabel(name, fontsize=9)
        values = np.linalg.eigvals(rate_model(network).m.toarray())
        row[1].plot(values.real, values.imag, ".", color=BLUE, ms=3)
        circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
        row[1].plot(circle.real, circle.imag, color="#bbbbbb", lw=1)
        row[1].set_aspect("equal", adjustable="datalim")
        leak = network.drive_for()[1]
        weights = network.w_rec.toarray() / leak
        limit = np.quantile(np.abs(weights[weights != 0]), 0.95) if network.w_rec.nnz else 1.0
        row[2].imshow(weights, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")
        row[3].hist(np.bincount(network.w_rec.indices, minlength=network.n), bins=np.linspace(0, most, 31), color=BLUE)
        row[4].hist(network.all("tau_mem"), bins=30, color=BLUE)
        for axes in row[[0, 1, 3, 4]]:
            _clean(axes)
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    _save(figure, path)


def _clean(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)


def _save(figure: Figure, path: Path) -> None:
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=130, format="png", metadata={"Software": None})
    write_whole(path, drawn.getvalue())
