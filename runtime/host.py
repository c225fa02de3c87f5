"""Host-side sensor inference: windows that slide over a stream, on the reference or on a device alike."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec.model import QuantizedModel
from runtime.runner import Runner


@dataclass(frozen=True)
class Prediction:
    """The class of one window."""

    window: int  # counts from 0
    start: float  # s since the stream began
    end: float  # s
    label: int
    name: str
    y: tuple[int, ...]
    latency_us: float  # from the window's last row to this prediction

    def as_dict(self) -> dict:
        return dict(self.__dict__)


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
        label = int(np.argmax(y))
        yield Prediction(
            window=(number - model.window) // model.hop,
            start=round((number - model.window) * model.dt, 6),
            end=round(number * model.dt, 6),
            label=label,
            name=model.classes[label],
            y=tuple(y.tolist()),
            latency_us=(time.perf_counter() - begin) * 1e6,
        )


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
