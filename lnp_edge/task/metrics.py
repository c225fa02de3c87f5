"""Metrics of predictions, for each kind of data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lnp_edge.task.dataset import Dataset, Windows, in_samples

DRAWS, FEWEST = 1000, 8  # of the bootstrap: draws, and units below which smaller ones are drawn
STRETCH, STRETCHES = 10, 20  # windows' lengths in a stretch; or shorter ones, to have so many
THRESHOLDS = (0.3, 0.4, 0.5)  # of the normalised error at which a valid time ends
TITLES = {"macro_f1": "macro F1", "rmse": "RMSE", "rmse_ratio": "RMSE / persistence", "valid_time": "valid time, 0.4",
          "j_kappa": "j-kappa"}  # fmt: skip


def title(key: str) -> str:
    """The name of a metric in a table."""
    return TITLES.get(key, key.replace("_", " "))


def lower_is_better(key: str) -> bool:
    return key.startswith("rmse")


def shown(dataset: Dataset) -> list[str]:
    """The metrics that a table shows besides dataset.metric."""
    if dataset.series:
        return ["valid_time_0.3", "valid_time_0.5", "rmse_ratio"] if dataset.series.free_run else ["rmse"]
    if dataset.metric == "accuracy":
        return ["macro_f1"]
    return ["accuracy", "j_kappa"]


def shown_by_class(dataset: Dataset) -> list[str]:
    """The metrics of single classes for a second table; none where accuracy is the metric, or for a series."""
    if dataset.series or dataset.metric == "accuracy":
        return []
    return [f"{what} {name}" for what in ("recall", "+P") for name in dataset.classes]


def of(dataset: Dataset, windows: Windows, predicted: NDArray) -> dict[str, float]:
    """The metrics for a data set's kind, dataset.metric among them.

    predicted : classes [W], or forecast counts [W, F, O], as windows.wanted

    Classes: see _of_classes. Series: rmse in the unit of the
    series, and rmse_ratio, the ratio to persistence (the forecast is the present value), both of
    the first step. Closed loop: also valid_time in Lyapunov times, the median over the windows, for
    each of THRESHOLDS.
    """
    if dataset.series is None:
        return _of_classes(dataset.classes, windows.wanted, predicted)
    now = windows.counts[:, -1:][..., list(dataset.series.target)]
    found = _of_series(dataset, now, windows.wanted, predicted)
    if dataset.series.free_run:
        for threshold in THRESHOLDS:
            times = valid_times(dataset, windows.wanted, predicted, threshold)
            found[f"valid_time_{threshold}"] = float(np.median(times))
        found["valid_time"] = found["valid_time_0.4"]
    return found


def interval(
    dataset: Dataset, windows: Windows, predicted: NDArray, cut: tuple[float, float]
) -> tuple[float, float, str]:
    """A 95 % interval of dataset.metric, and what was resampled: a percentile bootstrap, always the same draws.

    predicted : as in of(); not for a closed loop
    cut : window and hop, s

    Whole groups are drawn with replacement if there are at least FEWEST; else whole recordings or streams, and
    if these are few too, stretches of at most STRETCH windows' lengths. So windows that overlap stay
    together. With few groups the interval does not show how much people differ.
    """
    sums, what = by_unit(dataset, windows, predicted, cut)
    return *interval_of_mean(dataset, [sums]), what


def interval_of_mean(dataset: Dataset, sums: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """The interval of the mean over seeds, which are drawn too. sums : of each seed, as of by_unit, the same units"""
    rng, size = np.random.default_rng(1), len(sums[0])
    units = np.stack([rng.integers(0, size, size) for _ in range(DRAWS)])
    drawn = mean_redrawn(dataset, sums, units, rng.integers(0, len(sums), (DRAWS, len(sums))))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def by_unit(
    dataset: Dataset, windows: Windows, predicted: NDArray, cut: tuple[float, float]
) -> tuple[NDArray[np.float64], str]:
    """What the metric is made of, [U, S], for each unit that interval() resamples; and what the units are."""
    unit, what = _units(dataset, windows, cut)
    return np.stack([np.bincount(unit, column) for column in _additive(dataset, windows, predicted).T], axis=1), what


def redrawn(dataset: Dataset, sums: NDArray[np.float64], draws: NDArray[np.integer]) -> NDArray[np.float64]:
    """dataset.metric for each row of units, [D]. sums : of by_unit; draws [D, U]"""
    return np.array([_from_sums(dataset, sums[units].sum(0)) for units in draws])


def mean_redrawn(
    dataset: Dataset, sums: Sequence[NDArray[np.float64]], units: NDArray[np.integer], seeds: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The mean of dataset.metric over seeds, [D]. sums : of each of K seeds; units [D, U] and seeds [D, K], as drawn"""
    by_seed = np.stack([redrawn(dataset, one, units) for one in sums], axis=1)
    return np.take_along_axis(by_seed, seeds, axis=1).mean(1)


def _units(dataset: Dataset, windows: Windows, cut: tuple[float, float]) -> tuple[NDArray[np.intp], str]:
    """The unit of each window, and the name of the units."""
    names, group = np.unique(windows.groups, return_inverse=True)
    if len(names) >= FEWEST:
        return group, f"{len(names)} {dataset.group_name}"
    assert windows.source is not None, "see dataset.windows and streams.windows"
    numbers, first, source = np.unique(windows.source, return_index=True, return_inverse=True)
    if len(numbers) >= FEWEST:
        return source, f"{len(numbers)} recordings"
    length, hop = in_samples(dataset, *cut)
    within = np.arange(len(windows)) - first[source]
    stretch = within // max(1, min(STRETCH * length // hop, len(windows) // STRETCHES))
    unit = np.unique(np.stack([source, stretch]), axis=1, return_inverse=True)[1].ravel()
    return unit, f"{unit.max() + 1} stretches of time"


def _additive(dataset: Dataset, windows: Windows, predicted: NDArray) -> NDArray[np.float64]:
    """What the metric is made of, [W, S]: the sum over windows gives the metric of these windows."""
    if dataset.series is None:
        size = len(dataset.classes)
        return np.eye(size * size)[windows.wanted * size + predicted]
    now = windows.counts[:, -1:][..., list(dataset.series.target)]
    errors = [np.square(guess[:, 0] - windows.wanted[:, 0].astype(float)).sum(1) for guess in (predicted, now)]
    return np.stack([*errors, np.ones(len(now))], axis=1)


def _from_sums(dataset: Dataset, sums: NDArray[np.float64]) -> float:
    if dataset.series is None:
        table = sums.reshape(len(dataset.classes), -1)
        right, both = np.diag(table), table.sum(0) + table.sum(1)
        if dataset.metric == "accuracy":
            return float(right.sum() / table.sum())
        return float(np.mean(2 * right[both > 0] / both[both > 0]))
    error, stays, count = sums
    if dataset.metric == "rmse":
        return float(np.sqrt(error / count) / dataset.series.per_unit)
    return float(np.sqrt(error / stays))


def confusion(classes: tuple[str, ...], wanted: NDArray, predicted: NDArray) -> NDArray[np.int64]:
    """The confusion matrix: windows of each class (row) by predicted class (column).

    A prediction of -1 means no class and is not counted.
    """
    found = np.zeros((len(classes), len(classes)), np.int64)
    known = predicted >= 0
    np.add.at(found, (wanted[known], predicted[known]), 1)
    return found


def _of_classes(classes: tuple[str, ...], wanted: NDArray, predicted: NDArray) -> dict[str, float]:
    """accuracy, macro_f1, j_kappa, and for each class its recall and its positive predictive value, +P.

    A class without windows has recall 1 if it is never predicted, and else 0; so has one that is never
    predicted +P 1 if it has no windows, and else 0. macro_f1 is the mean over the classes that occur or
    are predicted. j_kappa is that of tables of heart beats (Mar, Zaunseder, Martinez, Llamedo & Poll
    2011, IEEE Trans. Biomed. Eng. 58:2168): half of Cohen's kappa and half of the mean of recall and +P
    over all classes but the most frequent.
    """
    table = confusion(classes, wanted, predicted)
    right, occur, named = np.diag(table), np.bincount(wanted, minlength=len(classes)), table.sum(0)
    f1 = [2 * r / (a + b) for r, a, b in zip(right, occur, named, strict=True) if a + b]
    recall = np.where(occur > 0, right / np.maximum(occur, 1), named == 0)
    precision = np.where(named > 0, right / np.maximum(named, 1), occur == 0)
    agree, chance = right.sum() / len(wanted), occur @ named / len(wanted) ** 2
    kappa = (agree - chance) / (1 - chance) if chance < 1 else 1.0
    rare = np.arange(len(classes)) != occur.argmax()
    j = np.mean([recall[rare], precision[rare]]) if rare.any() else 1.0
    found = {"accuracy": float(agree), "macro_f1": float(np.mean(f1)), "j_kappa": float((kappa + j) / 2)}
    for what, values in (("recall", recall), ("+P", precision)):
        found |= {f"{what} {name}": float(value) for name, value in zip(classes, values, strict=True)}
    return found


def _of_series(dataset: Dataset, now: NDArray, wanted: NDArray, predicted: NDArray) -> dict[str, float]:
    """rmse and rmse_ratio of the first step. now [W, 1, O], wanted and predicted [W, F, O]."""
    assert dataset.series
    error, stays = (
        np.sqrt(np.mean(np.square((guess[:, :1] - wanted[:, :1].astype(float)) / dataset.series.per_unit)))
        for guess in (predicted, now)
    )
    return {"rmse": float(error), "rmse_ratio": float(error / stays)}


def valid_times(dataset: Dataset, wanted: NDArray, predicted: NDArray, threshold: float) -> NDArray[np.float64]:
    """Lyapunov times until the error first exceeds `threshold`, or the whole free run, [W].

    The error is the distance between predicted and true state, divided by the root mean square
    distance of true states from their mean (Pathak et al. 2018, Phys. Rev. Lett. 120:024102), with
    every channel in units of its standard deviation.
    """
    assert dataset.series
    true = wanted.reshape(-1, wanted.shape[-1]).astype(float)
    deviation = true.std(0)
    error = np.sqrt(np.mean(np.square((predicted - wanted.astype(float)) / deviation), axis=-1))
    beyond = error > threshold
    steps = np.where(beyond.any(1), beyond.argmax(1), wanted.shape[1])
    return steps * dataset.dt * dataset.series.lyapunov
