"""Metrics of predictions, for each kind of data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lnp_edge.task.dataset import Dataset, Windows

THRESHOLDS = (0.3, 0.4, 0.5)  # of the normalised error at which a valid time ends
TITLES = {"macro_f1": "macro F1", "rmse": "RMSE", "rmse_ratio": "RMSE / persistence", "valid_time": "valid time, 0.4"}


def title(key: str) -> str:
    """The name of a metric in a table."""
    return TITLES.get(key, key.replace("_", " "))


def shown(dataset: Dataset) -> list[str]:
    """The metrics that a table shows besides dataset.metric."""
    if dataset.series:
        return ["valid_time_0.3", "valid_time_0.5", "rmse_ratio"] if dataset.series.free_run else ["rmse"]
    if dataset.metric == "accuracy":
        return ["macro_f1"]
    return ["accuracy", *(f"recall {name}" for name in dataset.classes)]


def of(dataset: Dataset, windows: Windows, predicted: NDArray) -> dict[str, float]:
    """The metrics for a data set's kind, dataset.metric among them.

    predicted : classes [W], or forecast counts [W, F, O], as windows.wanted

    Classes: accuracy, macro_f1, and the recall of each class. Series: rmse in the unit of the
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


def confusion(classes: tuple[str, ...], wanted: NDArray, predicted: NDArray) -> NDArray[np.int64]:
    """The confusion matrix: windows of each class (row) by predicted class (column).

    A prediction of -1 means no class and is not counted.
    """
    found = np.zeros((len(classes), len(classes)), np.int64)
    known = predicted >= 0
    np.add.at(found, (wanted[known], predicted[known]), 1)
    return found


def _of_classes(classes: tuple[str, ...], wanted: NDArray, predicted: NDArray) -> dict[str, float]:
    """The metrics of classes.

    A class without windows has recall 1 if it is never predicted, and else 0. macro_f1 is the mean
    over the classes that occur or are predicted.
    """
    table = confusion(classes, wanted, predicted)
    right, occur, named = np.diag(table), np.bincount(wanted, minlength=len(classes)), table.sum(0)
    f1 = [2 * r / (a + b) for r, a, b in zip(right, occur, named, strict=True) if a + b]
    recall = np.where(occur > 0, right / np.maximum(occur, 1), named == 0)
    found = {"accuracy": float(right.sum() / len(wanted)), "macro_f1": float(np.mean(f1))}
    return found | {f"recall {name}": float(r) for name, r in zip(classes, recall, strict=True)}


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
