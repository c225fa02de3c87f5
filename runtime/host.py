"""Host-side sensor inference: windows that slide over a stream, on the reference or on a device alike."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ModelError
from lnp_edge.runtime.runner import Runner
from lnp_edge.spec.model import QuantizedModel


@dataclass(frozen=True)
class Prediction:
    """What is said of one window: its class, or of a series what comes after it."""

    window: int  # counts from 0
    start: float  # s since the stream began
    end: float  # s
    label: int | None  # None of a series
    name: str  # of the class; "" of a series
    forecast: dict[str, float] | None  # counts that each read-out foretells; None of a class
    y: tuple[int, ...]
    latency_us: float  # from the window's last row to this prediction

    def as_dict(self) -> dict:
        hidden = ("forecast",) if self.forecast is None else ("label", "name")
        return {key: value for key, value in self.__dict__.items() if key not in hidden}


def infer(runner: Runner, model: QuantizedModel, rows: Iterable[NDArray[np.int16]]) -> Iterator[Prediction]:
    """A prediction each time a window of the stream is complete. rows : int16 [n_in] each.

    Each window starts from reset, as in training, so a prediction depends on its own rows alone.
    """
    recent: deque[NDArray[np.int16]] = deque(maxlen=model.window)
    for number, row in enumerate(rows, 1):
        recent.append(row)
        if number < model.window or (number - model.window) % model.hop:
            continue
        begin = time.perf_counter()
        y = classify(runner, np.stack(recent))
        label = None if model.forecast else int(np.argmax(y))
        foretold = None
        if model.forecast:
            foretold = dict(zip(model.classes, model.forecast.of(row, y).tolist(), strict=True))
        yield Prediction(
            window=(number - model.window) // model.hop,
            start=round((number - model.window) * model.dt, 6),
            end=round(number * model.dt, 6),
            label=label,
            name="" if label is None else model.classes[label],
            forecast=foretold,
            y=tuple(y.tolist()),
            latency_us=(time.perf_counter() - begin) * 1e6,
        )


def free_run(runner: Runner, model: QuantizedModel, warm_up: NDArray[np.int16], steps: int) -> NDArray[np.int16]:
    """The counts [steps, n_in] that a model foretells of itself after warm_up int16 [T, n_in]."""
    return np.array(list(feed_back(runner, model, warm_up, steps)), np.int16).reshape(steps, model.n_in)


def feed_back(
    runner: Runner, model: QuantizedModel, warm_up: NDArray[np.int16], steps: int
) -> Iterator[NDArray[np.int16]]:
    """The rows int16 [n_in] of free_run, a step at a time.

    From reset; each forecast, rounded and clipped to int16, is the next step's input. Runners with equal y go
    the same way. Raises ModelError for a model whose forecast is not of every channel, one step ahead.
    """
    if not (model.forecast and model.forecast.closes(model.n_in)):
        raise ModelError("this model's forecast cannot be fed back", "it takes every channel, foretold one step ahead")
    y, now = classify(runner, warm_up), warm_up[-1]
    for step in range(steps):
        if step:
            y = runner.steps(now[None]).y
        now = np.clip(np.rint(model.forecast.of(now, y)), -32768, 32767).astype(np.int16)
        yield now


def classify(runner: Runner, counts: NDArray[np.int16]) -> NDArray[np.int32]:
    """Read-out y [n_out] after one window, int16 [T, n_in]; the class is its largest, ties to the lowest index."""
    runner.reset()
    return runner.steps(counts).y


def predict(
    runner: Runner, windows: NDArray[np.int16], progress: Callable[[], None] = lambda: None
) -> NDArray[np.intp]:
    """Class of each window, [W]. windows : int16 [W, T, n_in]."""
    found = np.zeros(len(windows), np.intp)
    for k, counts in enumerate(windows):
        found[k] = np.argmax(classify(runner, counts))
        progress()
    return found
