"""Rows of a task's table: what each method scores and costs, and which row is recommended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.console import counted
from lnp_edge.config import Config
from lnp_edge.experiments.evidence.statistics import LEVEL, Estimate
from lnp_edge.stages import pipeline
from lnp_edge.stages.rival import Measured
from lnp_edge.task import metrics
from lnp_edge.task.dataset import Dataset

COSTS = ("instr. a second", "flash B", "RAM B")
DRAWS = 4000  # of the bootstrap: a corrected tail of 1 in 500 has some eight of them


@dataclass(frozen=True)
class Costs:
    """On the emulated board; flash and RAM of the whole image."""

    per_second: float  # instructions for a second of signal
    flash: int
    ram: int


@dataclass(frozen=True)
class Row:
    """The measures of a method: of a baseline, of each trial, or of a rival for each seed and fold."""

    name: str
    simple: Sequence[dict[str, float]] = ()
    trials: Sequence[dict] = ()  # results of runs.py
    measured: Sequence[Measured] = ()
    costs: Costs | None = None  # of the first
    interval: tuple[float, float] | None = None  # of the mean over seeds, see metrics.interval_of_mean
    sums: Sequence[NDArray[np.float64]] = ()  # of each seed, [U, S] of all folds, see metrics.by_unit
    units: str = ""  # of one fold

    @property
    def drawn(self) -> str:
        """What the interval resamples, of all folds: "42 recordings"; "" without one."""
        return f"{len(self.sums[0])} {self.units.partition(' ')[2]}" if self.sums else ""

    @property
    def floats(self) -> Sequence[dict[str, float]]:
        return self.simple or [r["float_measures"] for r in self.trials]

    @property
    def integers(self) -> list[dict[str, float]]:
        return [r["measures"] for r in self.trials] + [{m.metric: m.value} for m in self.measured]

    @property
    def warnings(self) -> list[str]:
        """Of each training that has not converged."""
        return [warning for trial in self.trials if (warning := _warning(trial))]

    def scores(self, metric: str) -> list[float]:
        """Of the integers, by seed and fold."""
        return [measures[metric] for measures in self.integers]

    def mean(self, metric: str) -> float:
        return float(np.mean(self.scores(metric)))

    def in_words(self, metric: str) -> str:
        assert self.costs
        return f"{self.name} ({self.mean(metric):.3f} at {counted(self.costs.per_second)} instructions a second)"

    def cells(self, metric: str, others: list[str]) -> list[str]:
        """Name, measure in floats and in integers, interval, other measures, neurons, synapses, COSTS."""
        kinds = ("neurons", "synapses")
        sizes = [f"{np.mean([r[kind] for r in self.trials]):.0f}" if self.trials else "" for kind in kinds]
        more = self.means(others)
        costs = [counted(self.costs.per_second), f"{self.costs.flash}", f"{self.costs.ram}"] if self.costs else [""] * 3
        ends = "{:.2f}–{:.2f}".format(*self.interval) if self.interval else ""
        return [self.name, _spread(self.floats, metric), _spread(self.integers, metric), ends, *more, *sizes, *costs]

    def means(self, keys: list[str]) -> list[str]:
        """Cells of further measures, of the integers if there are any; empty where one is not known."""
        shown = self.integers or self.floats
        return [f"{np.mean([m[key] for m in shown]):.3f}" if all(key in m for m in shown) else "" for key in keys]

    def as_dict(self) -> dict:
        measured = [one.as_dict() for one in self.measured]
        return {
            "name": self.name,
            "simple": list(self.simple),
            "trials": list(self.trials),
            "measured": measured,
            "interval": self.interval,
            "costs": vars(self.costs) if self.costs else None,
            "warnings": self.warnings,
        }


def _warning(trial: dict) -> str:
    """That of the result; older ones lack it."""
    if "warning" in trial:
        return trial["warning"]
    return pipeline.warning(Config.from_json(json.dumps(trial["config"])), trial["history"])


def _spread(measures: Sequence[dict[str, float]], key: str) -> str:
    """The mean, with the standard deviation if there are several."""
    values = [m[key] for m in measures]
    if not values:
        return ""
    return f"{np.mean(values):.3f}" + (f"±{np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def difference(row: Row, first: Row, metric: str, seeds: int) -> str:
    """The mean of row - first in integers with its interval, paired by seed; "" of first itself and of no seeds.

    Folds of a seed are averaged.
    """
    if row is first or len(row.scores(metric)) != len(first.scores(metric)):
        return ""
    ours, theirs = (np.reshape(one.scores(metric), (seeds, -1)).mean(1) for one in (row, first))
    found = Estimate.of(list(ours - theirs))
    return f"{found.mean:+.3f}" + (f" ± {found.half:.3f}" if seeds > 1 else "")


def notes(rows: Sequence[Row], dataset: Dataset, unmeasured: Sequence[tuple[Row, str]] = ()) -> list[str]:
    """What is said under a table: trainings that have not converged, the best row within each budget, the
    recommended row, and what it leaves out.

    unmeasured : rows of baselines without costs, each with the rival that would have them, or ""
    """
    unfinished = [
        f"{row.name}: {len(row.warnings)} of {len(row.trials)} trainings not converged; {row.warnings[0]}."
        for row in rows
        if row.warnings
    ]
    able, metric = [row for row in rows if row.costs and row.sums], dataset.metric
    networks = [row for row in able if row.trials]
    if len(able) < 2:
        return unfinished
    if other := next((row for row in able if _units(row) != _units(able[0])), None):
        unlike = f"{able[0].name} by {able[0].units}, {other.name} by {other.units}"
        return [*unfinished, f"No row is recommended, as the test was resampled in unlike units: {unlike}."]
    found, best = recommended(able, dataset), front(able, metric)[-1]
    steps = (f"from {counted(row.costs.per_second)} {row.name} ({row.mean(metric):.3f})"
             for row in front(able, metric) if row.costs)  # fmt: skip
    within = f"Best within a budget of instructions a second: {'; '.join(steps)}."
    said = f"Recommended: {found.in_words(metric)}"
    if found is not best:
        said += f", the cheapest row that is not surely worse than {best.in_words(metric)}"
    said += "."
    if networks and not found.trials:
        said += f" Of the networks: {recommended(networks, dataset).in_words(metric)}."
    sign = -1 if metrics.lower_is_better(metric) else 1
    for row, name in unmeasured:
        value = float(np.mean([m[metric] for m in row.simple]))
        if sign * round(value, 3) > sign * round(found.mean(metric), 3):
            said += (
                f" {row.name} is better ({value:.3f}), its cost not measured" + f": --rivals {name}" * bool(name) + "."
            )
    seeds, units = len(found.sums), found.drawn
    compared = (
        f"{len(able) - 1} {'comparison' if len(able) == 2 else 'comparisons'}"
        + f", of networks {len(networks) - 1}" * (" Of the networks" in said)
    )
    surely = (
        f"Surely: by the {LEVEL:.0%} interval of the difference, corrected for {compared}, from a bootstrap over "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'} and {units}."
    )
    if not units.endswith(dataset.group_name):
        surely += f" Groups ({dataset.group_name}) may differ by more."
    rivals = [row for row in able if not row.trials]
    beside = [_beside(networks, front(rivals, metric)[-1], dataset)] if networks and rivals else []
    return [*unfinished, within, *beside, said, surely]


def _beside(networks: Sequence[Row], best: Row, dataset: Dataset) -> str:
    """The difference of each network to the best rival."""
    most, *others = _drawn([best, *networks], dataset)
    digits, found = 4 if dataset.series else 3, []
    for row, drawn in zip(networks, others, strict=True):
        low, high = np.quantile(drawn - most, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        less = row.mean(dataset.metric) - best.mean(dataset.metric)
        found.append(f"{row.name} {less:+.{digits}f} ({LEVEL:.0%} {low:+.{digits}f} to {high:+.{digits}f})")
    return f"Less the best rival, {best.name}: {'; '.join(found)}; paired by seed and unit."


def _units(row: Row) -> tuple[str, list[int]]:
    """What must be the same for rows to be paired: the name of the units, and their number for each seed."""
    return row.units, [len(sums) for sums in row.sums]


def recommended(rows: Sequence[Row], dataset: Dataset) -> Row:
    """The cheapest row of the front that is not surely worse than the best.

    Every draw takes the same seeds and units for both: rows are paired. Bonferroni's correction, for the
    comparison of each other row with the best.
    """
    assert all(_units(row) == _units(rows[0]) for row in rows)
    able = front(rows, dataset.metric)
    sign, drawn = -1 if metrics.lower_is_better(dataset.metric) else 1, _drawn(able, dataset)
    tail = (1 - LEVEL) / 2 / max(1, len(rows) - 1)
    found = zip(able, drawn, strict=True)
    return next(row for row, one in found if row is able[-1] or np.quantile(sign * (one - drawn[-1]), 1 - tail) >= 0)


def _drawn(rows: Sequence[Row], dataset: Dataset) -> list[NDArray[np.float64]]:
    """The measure of each row in each draw of seeds and units, [D]: the same draws for each row."""
    rng, size, count = np.random.default_rng(1), len(rows[0].sums[0]), len(rows[0].sums)
    draws = rng.integers(0, size, (DRAWS, size))
    seeds = rng.integers(0, count, (DRAWS, count))
    return [metrics.mean_redrawn(dataset, row.sums, draws, seeds) for row in rows]


def front(rows: Sequence[Row], metric: str) -> list[Row]:
    """The rows than which no other is both cheaper and better, from the cheapest."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.costs.per_second if row.costs else np.inf, -_worth(row, metric))):
        if not found or _worth(row, metric) > _worth(found[-1], metric):
            found.append(row)
    return found


def _worth(row: Row, metric: str) -> float:
    return -row.mean(metric) if metrics.lower_is_better(metric) else row.mean(metric)
