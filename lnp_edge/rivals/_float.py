"""What the rivals with a trained float network share: training data, input, and the scale of their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.progress import Progress
from lnp_edge.encoders import encode
from lnp_edge.firmware_gen import neuron
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.rivals import FORECAST_ONE, _c
from lnp_edge.task import metrics
from lnp_edge.task.split import Split
from lnp_edge.task.task import Task, encoded

CALIBRATION = 2000  # training windows, evenly spread, that give the ranges of activations
Train = Callable[[Split, bool, int, Progress | None], Any]
MOST_STEPS, MOST_CHANNELS = 8192, 256
LARGEST = 2**31 - 1
FURTHEST = 2**30  # forecast change, in the scores


def suits(data: Split) -> str:
    """The limits keep every sum within int32."""
    if (series := data.train.series) and series.free_run:
        return "its forecasts are fed back"
    if data.task.window > MOST_STEPS:
        return f"its windows have more than {MOST_STEPS:,} steps"
    return f"it has more than {MOST_CHANNELS} channels" if len(data.task.channels) > MOST_CHANNELS else ""


def are_trials(data: Split) -> bool:
    """Whether every recording is one window, so that the place of a step has a meaning."""
    return all(len(a) == data.task.window for a in data.train.recordings)


def chosen(
    data: Split, options: Sequence[bool], train: Train, steps: int, progress: Progress | None
) -> tuple[Any, bool]:
    """The network train(data, option, steps, progress) of the best option, and the option.

    If there are several, each is trained for a third of the steps without every third group of the
    training part (every third trial, if it has fewer than three groups), which tell the better one
    by the metric of the data set, the first of equal ones. It is the first if that leaves either part
    without a window.
    """
    tell = progress or (lambda share, text: None)
    share, begin, scores = 1 / (len(options) + 3), 0.0, []
    inner = _inner(data)
    if len(options) == 1 or any(
        max(map(len, part.recordings), default=0) < data.task.window for part in (inner.train, inner.test)
    ):
        return train(data, options[0], steps, progress), options[0]
    from lnp_edge.training import plain

    for option in options:
        net = train(inner, option, steps // 3, lambda done, text, at=begin: tell(at + share * done, text))  # type: ignore[misc]
        said = plain.outputs(net, encoded(data.task, inner.test_windows.counts)).argmax(1)
        scores.append(metrics.of(inner.test, inner.test_windows, said)[inner.test.metric])
        begin += share
    best = options[int(np.argmax(scores))]
    return train(data, best, steps, lambda done, text: tell(begin + (1 - begin) * done, text)), best


def _inner(data: Split) -> Split:
    """The training part in two, for a choice."""
    train = data.train
    if len(names := np.unique(train.groups)) < 3:
        train = replace(train, groups=np.arange(len(train.groups)) % 3)
        names = np.arange(3)
    held = set(names[2::3].tolist())
    return replace(data, train=train.of_groups(set(names.tolist()) - held), test=train.of_groups(held))


def batches(data: Split, size: int) -> Any:
    """Encoded random windows of the training part, changed as the task's [augment] says."""
    from lnp_edge.training.augment import Crops, Stretches

    if data.train.series:
        return Stretches(data.train, data.task, size, data.augment, washout=1.0)  # the last step alone
    return Crops(data.train, data.task, size, data.augment, data.balance)


def calibration(data: Split) -> NDArray[np.float32]:
    """Encoded training windows [W, T, C]."""
    counts = data.train_windows.counts
    return encoded(data.task, counts[:: max(1, -(-len(counts) // CALIBRATION))])


def inputs(task: Task, counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Integers in -127..127, as floats: sums of products stay below 2**53, so matrix products are exact."""
    return encode(task.encoder, counts, task.encoder_params).astype(np.float64)


def encoder_c(task: Task) -> str:
    """C: the tables of the encoder, and encode_channel(k, count)."""
    tables = [
        _c.array(f"encoder_{name}", values.astype(np.int16)) for name, values in sorted(task.encoder_params.items())
    ]
    return "\n".join([*tables, neuron.encoder(task.encoder, "encoder_")])


def ops_h() -> dict[str, str]:
    return {"lnp_ops.h": (CSRC / "lnp_ops.h").read_text("utf-8")}


def rows_quantised(w: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Weights int8, and the scale of each row [R] of w [R, ...], by the row's largest |w|."""
    most = np.abs(w).reshape(len(w), -1).max(1)
    scale = np.where(most > 0, most, 1.0) / 127
    return np.rint(w / scale.reshape(-1, *[1] * (w.ndim - 1))).astype(np.int8), scale


def together(rows: NDArray[np.int8], count: int) -> NDArray[np.int8]:
    """Rows [R, I] as C reads them, `count` rows at once: [R / count, I, count]."""
    return rows.reshape(-1, count, rows.shape[1]).transpose(0, 2, 1)


def fixed(values: NDArray[np.float64], bits: int, low: int = -LARGEST, high: int = LARGEST) -> NDArray[np.int64]:
    """round(values * 2**bits), limited: a limited value is wrong, but equally in Python and C."""
    return np.rint(np.clip(values * 2.0**bits, low, high)).astype(np.int64)


class ReadOut:
    """Scores from sums, for classes or a forecast: weights int8 of one scale, for scores to be comparable.

    classes  : scores[k] = bias[k] + sum over f of w[k, f] * x[f]
    forecast : that sum, s, is a change: scores[k] = FORECAST_ONE * last count of target k
               + (s * multiplier[k] + 2**(point - 1) >> point), in 64 bits, limited to +-2**30.
               point is the largest up to 32 with which every multiplier is below 2**31.

    weights : w [K, F] and bias [K] of the float network
    unit    : of x; most : largest |x|

    Raises AssertionError if a sum could leave int32.
    """

    def __init__(self, weights: tuple[NDArray, ...], unit: float, most: int, task: Task):
        w, bias = weights
        scale = max(float(np.abs(w).max()), 1e-9) / 127
        self.w = np.rint(w / scale).astype(np.int8)
        self.bias = fixed(bias / (scale * unit), 0, -(2**30), 2**30).astype(np.int32)
        reach = np.abs(self.bias.astype(np.int64)) + most * np.abs(self.w.astype(np.int64)).sum(1)
        assert reach.max() <= LARGEST, "the sums of the read-out leave int32"
        self.target: list[int] = []
        self.point = 32
        if task.forecast:
            self.target = list(task.forecast.target)
            factor = np.array(task.forecast.unit) * scale * unit * FORECAST_ONE  # 1/FORECAST_ONE of a count for 1
            self.point = min(32, 30 - int(np.ceil(np.log2(factor.max()))))
            self.multiplier = fixed(factor, self.point).astype(np.int32)

    def scores(self, x: NDArray[np.float64], counts: NDArray[np.int16]) -> NDArray[np.int32]:
        """x [W, F], whole numbers; counts [W, T, C]."""
        found = (x @ self.w.T.astype(np.float64)).astype(np.int64) + self.bias
        if self.target:
            change = (found * self.multiplier + (1 << (self.point - 1))) >> self.point
            now = counts[:, -1, self.target].astype(np.int64)
            found = now * FORECAST_ONE + np.clip(change, -FURTHEST, FURTHEST)
        return found.astype(np.int32)

    def _forecast_c(self) -> str:
        half = f"(1LL << {self.point - 1})"
        return f"""        const int64_t far = ((int64_t)sum * out_multiplier[k] + {half}) >> {self.point};
        const int32_t change = (int32_t)(far < -{FURTHEST} ? -{FURTHEST} : (far > {FURTHEST} ? {FURTHEST} : far));
        scores[k] = last[out_target[k]] * {FORECAST_ONE} + change;"""

    def c_text(self) -> str:
        """C: read_out(x int32 [F], counts, scores)."""
        classes = "        scores[k] = sum;"
        forecast = self._forecast_c() if self.target else ""
        last = "    const int16_t *last = counts + (LNP_RIVAL_STEPS - 1u) * LNP_RIVAL_CHANNELS;\n"
        tables = [_c.array("out_w", self.w), _c.array("out_bias", self.bias)]
        if self.target:
            tables += [
                _c.array("out_multiplier", self.multiplier),
                _c.array("out_target", np.array(self.target, np.uint16)),
            ]
        size = self.w.shape[1]
        return f"""{"".join(tables)}
static void read_out(const int32_t *x, const int16_t *counts, int32_t *scores)
{{
{last if self.target else "    (void)counts;" + chr(10)}    const int8_t *w = out_w;
    for (uint32_t k = 0; k < LNP_RIVAL_SCORES; k++) {{
        int32_t sum = out_bias[k];
        for (uint32_t f = 0; f < {size}u; f++) {{
            sum += x[f] * w[f];
        }}
        w += {size};
{forecast if self.target else classes}
    }}
}}
"""
