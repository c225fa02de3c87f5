"""Inference on a sensor stream in sliding windows, on the reference or on a device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError, ModelError
from lnp_edge.runtime.outside import Outside
from lnp_edge.runtime.runner import Runner
from lnp_edge.spec.frontend import RAW
from lnp_edge.spec.model import QuantizedModel


@dataclass(frozen=True)
class Prediction:
    """The result for one window, or at one hop of a stream: its class, or the forecast of a time series."""

    window: int  # counts from 0, gaps or not
    start: float  # s since the stream began
    end: float  # s
    label: int | None  # None for a series
    name: str  # of the class; "" for a series
    margin: int  # of the class's read-out over the others, see spec/decision.py
    percent: int  # confidence
    unknown: bool
    forecast: dict[str, float] | None  # of each read-out, in its channel's unit, else counts; None for a class
    forecast_counts: dict[str, float] | None  # the same as counts, not rounded
    y: tuple[int, ...]
    latency_us: float = field(compare=False)  # from the window's last row to this prediction; no part of what it says

    def as_dict(self) -> dict:
        forecasts = ("forecast", "forecast_counts")
        hidden = forecasts if self.forecast is None else ("label", "name", "margin", "percent", "unknown")
        return {key: value for key, value in self.__dict__.items() if key not in hidden}


def infer(
    runner: Runner, model: QuantizedModel, rows: Iterable[NDArray[np.int16]], tell: Callable[[str], None] | None = None
) -> Iterator[Prediction]:
    """Yield a prediction at every moment of SEMANTICS.md section 7. rows : samples, int16 [C] each."""
    stream = Stream(runner, model, tell)
    for row in rows:
        if found := stream.push(row):
            yield found


class Stream:
    """A stream of samples: push gives the predictions.

    Each window starts from reset, as in training, so its read-outs depend only on its own samples. A
    network whose decision.stream is set is reset once, before the first sample.

    tell : is told, once, of samples beyond the training range, see Outside
    """

    def __init__(self, runner: Runner, model: QuantizedModel, tell: Callable[[str], None] | None = None):
        self._runner, self.model = runner, model
        self.outside = Outside(model, tell)
        self.begin()

    def begin(self) -> None:
        """Begin anew, from prediction 0 at 0 s."""
        self._predictions, self._all = 0, -1  # so far; the number of the last sample
        self.gap()

    def gap(self, lost: int = 0) -> None:
        """What comes does not follow on what came. Predictions and times are counted on.

        lost : samples, none of them before the first that was taken
        """
        self._all += lost if self._all >= 0 else 0
        if self.model.decision.stream:
            self._runner.reset()
        # Of a stream, those since the decision before.
        self._recent: deque[NDArray[np.int16]] = deque(maxlen=self.model.window)
        self.outside.gap()
        self._times: deque[float] = deque(maxlen=self.model.window)
        self._samples, self._present = 0, None

    _present: int | None  # the class of the prediction before

    def push(self, row: NDArray[np.int16], t: float | None = None) -> Prediction | None:
        """Take the next sample, int16 [C]; the prediction that is due with it, if one is.

        t : s since the stream began; without it, an interval after the sample before
        """
        model = self.model
        self._all += 1
        self._times.append(self._all * model.sample_dt if t is None else t)
        self._recent.append(row)
        self.outside.add(row)
        self._samples += 1
        if self._samples < model.window or (self._samples - model.window) % model.hop:
            return None
        begin = time.perf_counter()
        outside = self.outside.of_last(len(self._recent))
        counts = model.rows(np.stack(self._recent))
        if model.decision.stream:
            y = self._runner.steps(counts, digests=False).y
            self._recent.clear()
        else:
            y = classify(self._runner, counts)
        predicted = self._predict(y, row, outside, begin)
        self.outside.tell()
        return predicted

    def _predict(self, y: NDArray[np.int32], row: NDArray[np.int16], outside: int, begin: float):
        model, values, counts, decided = self.model, None, None, None
        if model.forecast:
            counts = dict(zip(model.classes, model.forecast.of(row, y).tolist(), strict=True))
            both = zip(model.classes, model.forecast_quantities, strict=True)
            values = {name: quantity.value(counts[name]) for name, quantity in both}
        else:
            decided = model.decision.next(self._present, y.tolist(), outside)
            self._present = decided.label
        self._predictions += 1
        return Prediction(
            window=self._predictions - 1,
            start=round(self._times[0], 6),
            end=round(self._times[-1] + model.sample_dt, 6),
            label=decided.label if decided else None,
            name=model.classes[decided.label] if decided else "",
            margin=decided.margin if decided else 0,
            percent=decided.percent if decided else 0,
            unknown=decided.unknown if decided else False,
            forecast=values,
            forecast_counts=counts,
            y=tuple(y.tolist()),
            latency_us=(time.perf_counter() - begin) * 1e6,
        )


def free_run(runner: Runner, model: QuantizedModel, warm_up: NDArray[np.int16], steps: int) -> NDArray[np.int16]:
    """A model's forecast from its own forecasts, int16 [steps, n_in]. warm_up : int16 [T, n_in]."""
    return np.array(list(feed_back(runner, model, warm_up, steps)), np.int16).reshape(steps, model.n_in)


def feed_back(
    runner: Runner, model: QuantizedModel, warm_up: NDArray[np.int16], steps: int
) -> Iterator[NDArray[np.int16]]:
    """Yield the rows of free_run, int16 [n_in], one per step.

    Starts from reset. Each forecast, rounded and clipped to int16, is the input of the next step:
    runners with equal y produce equal rows. Raises ModelError unless the model forecasts every
    channel, one step ahead, and DataError for an empty warm-up.
    """
    if not (model.forecast and model.forecast.closes(model.n_in) and model.front == RAW):
        raise ModelError("this model's forecast cannot be fed back", "use a model of every channel, one step ahead")
    if not len(warm_up):
        raise DataError("the warm-up of a forecast has no rows", "give at least one row, better a window")
    y, now = classify(runner, warm_up), warm_up[-1]
    for step in range(steps):
        if step:
            y = runner.steps(now[None], digests=False).y
        now = np.clip(np.rint(model.forecast.of(now, y)), -32768, 32767).astype(np.int16)
        yield now


def classify(runner: Runner, counts: NDArray[np.int16]) -> NDArray[np.int32]:
    """Read-out y [n_out] after the rows of one window, int16 [T, n_in].

    The class is the index of the largest read-out, the lowest of equal ones.
    """
    runner.reset()
    return runner.steps(counts, digests=False).y
