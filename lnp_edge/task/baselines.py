"""Baselines: what methods without a network say of the same windows, the rows of a table that a network has to beat.

Everything is chosen on the training windows: between kinds of features and for the strength of a ridge regression by
cross-validation over the training groups, the reservoir's size of input and radius on trajectories of other seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.stats import ttest_rel
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lnp_edge.task import metrics
from lnp_edge.task.dataset import Windows
from lnp_edge.task.split import Split

Features = Callable[[NDArray[np.int16]], NDArray[np.float64]]

RESERVOIR, RADIUS, INPUT, BIAS, STRENGTH = 300, 0.4, 0.1, 0.1, 1e-8
BANDS, SHORTEST = 8, 32  # bands a channel; steps of a window from which each band has a frequency of its own
DEFAULT = 1.0  # scikit-learn's strength of a ridge regression
STRENGTHS = (0.01, 0.1, DEFAULT, 10.0, 100.0, 1e3, 1e4, 1e5)
FOLDS = 10
SURELY = 0.05  # a strength replaces the default if the folds would show such a gain by chance less often than this


def simple(data: Split) -> dict[str, NDArray]:
    """Name of each baseline, and what it predicts of the test windows, as metrics.of wants it.

    Of several ridge regressions the first is the one that is best in cross-validation on the training windows.
    """
    if not (series := data.test.series):
        found = {name: ridge(data, features) for name, features in _kinds(data).items()}
        best_first = sorted(found, key=lambda name: -found[name].score)
        return {name: found[name].predicted for name in best_first}
    if series.free_run:
        return {f"echo state network of {RESERVOIR}": reservoir(data)}
    now = data.test_windows.counts[:, -1:][..., list(series.target)]
    return {"persistence": now, "linear autoregression": now + autoregression(data)[:, None]}


def _kinds(data: Split) -> dict[str, Features]:
    """What a ridge regression may be given, by the row's name."""
    if data.test.pixel:
        return {"ridge on pixels": samples}
    found: dict[str, Features] = {"ridge on statistics": statistics}
    if data.task.window >= SHORTEST:
        found["ridge on statistics and bands"] = statistics_and_bands
    if _are_trials(data):  # each step has its own meaning
        found["ridge on samples"] = samples
    return found


def _are_trials(data: Split) -> bool:
    """Is every recording one window?"""
    return all(len(a) == data.task.window for a in data.test.recordings)


def statistics(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Per channel mean, deviation, extremes, quartiles and mean step; mean products of channels. [W, F]."""
    x = counts.astype(np.float64)
    i, j = np.triu_indices(x.shape[2], 1)
    parts = [x.mean(1), x.std(1), x.min(1), x.max(1), *np.quantile(x, (0.25, 0.75), axis=1)]
    return np.concatenate([*parts, np.abs(np.diff(x, axis=1)).mean(1), (x[:, :, i] * x[:, :, j]).mean(1)], axis=1)


def statistics_and_bands(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    return np.concatenate([statistics(counts), band_powers(counts)], axis=1)


def band_powers(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Logarithm of the mean power in each of BANDS bands of every channel, [W, BANDS * C].

    The bands divide the frequencies above 0 evenly on a logarithmic scale, with one at least in each. The power of
    one count keeps silence finite.
    """
    x = counts - counts.mean(1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(x, axis=1)[:, 1:])) / x.shape[1]
    most, edges = power.shape[1], [0]
    for k in range(1, BANDS + 1):
        edges.append(max(edges[-1] + 1, round((most + 1) ** (k / BANDS)) - 1))
    bands = [power[:, a:b].mean(1) for a, b in pairwise(edges)]
    return np.log(np.concatenate(bands, axis=1) + 1)


def samples(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Every count of a window, [W, T * C]. In float64: neighbours are nearly equal, and float32 solves them badly."""
    return counts.reshape(len(counts), -1).astype(np.float64)


@dataclass(frozen=True)
class Fitted:
    """A ridge regression: how it did in cross-validation, with which strength, and what it says of the test windows."""

    score: float  # data.test.metric, the mean over the folds
    strength: float
    predicted: NDArray[np.int64]


def ridge(data: Split, features: Features) -> Fitted:
    """Classes by ridge regression on standardised features; balanced where plain accuracy means little.

    The strength is the best of STRENGTHS in cross-validation over the training groups, if it beats the default surely
    (paired by fold); else the default. A few people say little of strengths that differ by less.
    """
    train = data.train_windows
    z, scale = _standardised(features(train.counts))
    y = 2.0 * np.eye(len(data.train.classes))[train.wanted] - 1
    weight = np.ones(len(z))
    if data.test.metric != "accuracy":
        weight = len(z) / np.maximum(1, np.bincount(train.wanted, minlength=y.shape[1]))[train.wanted] / y.shape[1]
    fold = _folds(data)
    parts = [np.flatnonzero(fold == k) for k in np.unique(fold)]
    sums = [_products(z[part], y[part], weight[part]) for part in parts]
    gram, moment = (np.sum([s[k] for s in sums], axis=0) for k in (0, 1))
    scores = np.empty((len(STRENGTHS), len(parts)))
    for k, part in enumerate(parts):
        left, of_fold = Windows(train.counts[:0], train.wanted[part], train.groups[part]), z[part]
        for i, strength in enumerate(STRENGTHS):
            said = (of_fold @ _solve(gram - sums[k][0], moment - sums[k][1], strength)).argmax(1)
            scores[i, k] = metrics.of(data.train, left, said)[data.train.metric]
    best, default = int(scores.mean(1).argmax()), STRENGTHS.index(DEFAULT)
    if not (best != default and ttest_rel(scores[best], scores[default]).pvalue < SURELY):
        best = default
    test, _ = _standardised(features(data.test_windows.counts), scale)
    said = (test @ _solve(gram, moment, STRENGTHS[best])).argmax(1)
    return Fitted(float(scores[best].mean()), STRENGTHS[best], said)


def _folds(data: Split) -> NDArray[np.intp]:
    """The fold of each training window: groups are dealt out; trials too, where all are one group; else times."""
    names, group = np.unique(data.train_windows.groups, return_inverse=True)
    if len(names) > 1:
        return group % FOLDS
    windows = np.arange(len(group))
    return windows % FOLDS if _are_trials(data) else windows * FOLDS // len(group)


def _standardised(x: NDArray, scale: tuple[NDArray, NDArray] | None = None) -> tuple[NDArray, tuple[NDArray, NDArray]]:
    """Features [W, F] of mean 0 and deviation 1, or by the scale of others, and a last column of ones."""
    mean, deviation = scale or (x.mean(0), x.std(0))
    found = np.ones((len(x), x.shape[1] + 1))
    np.subtract(x, mean, out=found[:, :-1])
    found[:, :-1] /= np.where(deviation > 0, deviation, 1)
    return found, (mean, deviation)


def _products(z: NDArray, y: NDArray, weight: NDArray) -> tuple[NDArray, NDArray]:
    weighted = z * weight[:, None]
    return weighted.T @ z, weighted.T @ y


def _solve(gram: NDArray, moment: NDArray, strength: float) -> NDArray[np.float64]:
    """Coefficients [F + 1, K], the last row of them the constants, which are not held small."""
    count, mean = gram[-1, -1], gram[-1, :-1] / gram[-1, -1]
    inner = gram[:-1, :-1] - count * np.outer(mean, mean) + strength * np.eye(len(mean))
    w = solve(inner, moment[:-1] - np.outer(mean, moment[-1]), assume_a="pos")
    return np.concatenate([w, (moment[-1] / count - mean @ w)[None]])


def autoregression(data: Split) -> NDArray[np.float64]:
    """The change [W, O] of the targets that a linear model of the whole window's counts forecasts."""
    assert data.test.series
    target = list(data.test.series.target)
    train = data.train_windows
    model = make_pipeline(StandardScaler(), Ridge())
    model.fit(samples(train.counts), train.wanted[:, 0].astype(float) - train.counts[:, -1, target])
    return model.predict(samples(data.test_windows.counts)).reshape(len(data.test_windows), -1)


def reservoir(data: Split) -> NDArray[np.float64]:
    """The counts [W, F, C] that an echo state network forecasts in a closed loop after each window.

    In float64 and of tanh units, a tenth of the recurrent weights present, the read-out by ridge regression on units
    and squares (Jaeger & Haas 2004, Science 304:78; Pathak et al. 2018, Phys. Rev. Lett. 120:024102).
    """
    assert data.test.series
    rng = np.random.default_rng(1)
    shortest = min(map(len, data.train.recordings))
    x = np.stack([a[:shortest] for a in data.train.recordings]).astype(float)
    mean, std = x.mean((0, 1)), x.std((0, 1))
    x, heard = (x - mean) / std, (data.test_windows.counts - mean) / std
    c, n = x.shape[2], RESERVOIR
    w = rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.1)
    w *= RADIUS / np.abs(np.linalg.eigvals(w)).max()
    w_in, bias = rng.uniform(-INPUT, INPUT, (c, n)), rng.uniform(-BIAS, BIAS, n)

    def step(r: NDArray, now: NDArray) -> NDArray:
        return np.tanh(r @ w + now @ w_in + bias)

    def features(r: NDArray, now: NDArray) -> NDArray:
        return np.concatenate([r[:, ::2], r[:, 1::2] ** 2, now, np.ones((len(r), 1))], axis=1)

    r, gram, moment = np.zeros((len(x), n)), np.eye(n + c + 1) * STRENGTH, np.zeros((n + c + 1, c))
    for t in range(shortest - 1):
        r = step(r, x[:, t])
        if t >= heard.shape[1] // 2:
            known = features(r, x[:, t])
            gram += known.T @ known
            moment += known.T @ (x[:, t + 1] - x[:, t])
    w_out = np.linalg.solve(gram, moment)
    r, now, found = np.zeros((len(heard), n)), heard[:, 0], []
    for t in range(heard.shape[1] - 1 + data.test.series.free_run):
        r = step(r, now)
        if t + 1 < heard.shape[1]:
            now = heard[:, t + 1]
        else:
            now = np.clip(now + features(r, now) @ w_out, -100, 100)  # what has run away stays finite
            found.append(now)
    return np.stack(found, axis=1) * std + mean
