"""Figures: learning curves, confusion matrices, forecasts, comparisons."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lnp_edge.base.files import write_whole
from lnp_edge.dynamics import lyapunov
from lnp_edge.dynamics.rate_model import rate_model
from lnp_edge.experiments.evidence import statistics
from lnp_edge.experiments.evidence.report import CONTROLS
from lnp_edge.experiments.evidence.statistics import Estimate
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
