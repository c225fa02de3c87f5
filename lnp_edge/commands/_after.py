"""What is shown after a training: the network beside baselines, its mistakes, and advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.console import note, out, print_table
from lnp_edge.config import Config
from lnp_edge.experiments import predict
from lnp_edge.network import Network
from lnp_edge.stages import pipeline, rival
from lnp_edge.task import baselines, metrics
from lnp_edge.task.advice import Scores, advice
from lnp_edge.task.dataset import Windows
from lnp_edge.task.split import Split
from lnp_edge.training import schedule

ON_TRAINING = 2000  # windows that the score of the training part is taken from
WIDEST = 12  # classes of a matrix; of more, the commonest mistakes are listed
LISTED = 10


def results(
    config: Config, data: Split, network: Network, predicted: NDArray, task: str, curve: Sequence[dict[str, float]] = ()
) -> dict[str, Any]:
    """Measures of the network and of the baselines, on the test; of the network on the training part too.

    predicted : the network's, of predict.of_network;  curve : of its training
    """
    found: dict[str, Any] = {"measures": pipeline.measures(data, predicted), "windows": len(data.test_windows)}
    swapped = replace(data, test=data.train)
    every = swapped.test_windows
    some = np.unique(np.linspace(0, len(every) - 1, min(ON_TRAINING, len(every))).astype(int))
    windows = every if data.streaming else Windows(every.counts[some], every.wanted[some], every.groups[some])
    again = predict.of_network(config, swapped, network, windows)
    found["training"] = metrics.of(data.train, windows, again)
    note("baselines")
    found["baselines"] = {name: pipeline.measures(data, said) for name, said in baselines.simple(data).items()}
    if data.test.classes:
        found["confusion"] = metrics.confusion(data.test.classes, data.test_windows.wanted, predicted).tolist()
    seen = changed(config, curve, found["training"]["accuracy"]) if data.test.classes else None
    scores = _scores(data, found, predicted, seen)
    found["advice"] = advice(data, scores, task, rival.of_baselines(rival.data_of(config)))
    return found


def changed(config: Config, curve: Sequence[dict[str, float]], plain: float) -> tuple[float, float] | None:
    """The accuracy on training windows as [augment] changes their speed, and as they are: plain.

    None where the difference has another cause: no speed is changed, or in a short training the averaged
    weights, which are measured, lag behind those that were trained.
    """
    return (curve[-1]["accuracy"], plain) if config.augment.speed and len(curve) >= schedule.FEWEST else None


def _scores(data: Split, found: dict[str, Any], predicted: NDArray, seen: tuple[float, float] | None) -> Scores:
    key, closed = data.test.metric, bool(data.test.series and data.test.series.free_run)
    interval = None if closed else metrics.interval(data.test, data.test_windows, predicted, data.cut)[:2]
    rivals = {name: measures[key] for name, measures in found["baselines"].items()}
    lower = metrics.lower_is_better(key)
    return Scores(found["measures"][key], found["training"][key], rivals, interval, seen, lower)


def show(data: Split, found: dict[str, Any]) -> None:
    """Print the results."""
    keys = [data.test.metric, *metrics.shown(data.test)]
    rows = {
        "the network, floats": found["measures"],
        **found["baselines"],
        "the network, on training": found["training"],
    }
    cells = [[name, *(f"{measures[key]:.3f}" for key in keys)] for name, measures in rows.items()]
    print_table(f"{data.train.name}: {data.held_out_text}, held out", ["", *(_title(data, key) for key in keys)], cells)
    if data.test.classes:
        _mistakes(data.test.classes, np.array(found["confusion"]))
    for sentence in found["advice"]:
        out.print(sentence, markup=False)


def _title(data: Split, key: str) -> str:
    unit = data.test.series.unit if data.test.series and key == "rmse" else ""
    return metrics.title(key) + (f" [{unit}]" if unit else "")


def _mistakes(classes: tuple[str, ...], matrix: NDArray) -> None:
    """The confusion matrix, or the commonest mistakes if there are many classes."""
    if len(classes) <= WIDEST:
        rows = [[name, *map(str, row)] for name, row in zip(classes, matrix.tolist(), strict=True)]
        print_table("class (row), answer (column)", ["", *classes], rows)
        return
    wrong = matrix - np.diag(np.diag(matrix))
    for k in np.argsort(-wrong, axis=None)[:LISTED].tolist():
        wanted, said = divmod(k, len(classes))
        if wrong[wanted, said]:
            text = (
                f"{classes[wanted]} taken for {classes[said]}: {wrong[wanted, said]} of {matrix[wanted].sum()} windows"
            )
            out.print(text, markup=False)
