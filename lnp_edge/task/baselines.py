"""Baselines without a spiking network, on the same windows.

Nothing is chosen on the test windows: the features and the strength of a ridge regression by
cross-validation over the training groups, the input scale and spectral radius of the reservoir on
trajectories of other seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from lnp_edge.task import metrics
from lnp_edge.task.dataset import Windows
from lnp_edge.task.split import Split
from lnp_edge.training.augment import windows as augmented

Features = Callable[[NDArray[np.int16]], NDArray]

RESERVOIR, RADIUS, INPUT, BIAS, STRENGTH = 300, 0.4, 0.1, 0.1, 1e-8
BANDS, SHORTEST = 8, 32  # bands per channel; fewest steps of a window for which bands are computed
DEFAULT = 1.0  # scikit-learn's default strength of a ridge regression
STRENGTHS = (0.01, 0.1, DEFAULT, 10.0, 100.0, 1e3, 1e4, 1e5)
FOLDS = 10
SURELY = 0.05  # significance level at which a strength replaces the default
LAG = 4  # steps between the factors of a lagged product
COPIES = 3  # changed windows for each training window


def simple(data: Split) -> dict[str, NDArray]:
    """The predictions of each baseline for the test windows, by name, in the form of metrics.of.

    Ridge regressions are sorted by their score in cross-validation, best first.
    """
    if not (series := data.test.series):
        found = {name: ridge(data, features) for name, features in kinds(data).items()}
        best_first = sorted(found, key=lambda name: -found[name].score)
        return {name: found[name].predicted for name in best_first}
    if series.free_run:
        return {f"echo state network of {RESERVOIR}": reservoir(data)}
    now = data.test_windows.counts[:, -1:][..., list(series.target)]
    return {"persistence": now, "linear autoregression": now + autoregression(data)[:, None]}


def kinds(data: Split) -> dict[str, Features]:
    """The features for ridge regressions, by the name of their row."""
    if data.test.pixel:
        return {"ridge on pixels": samples}
    found: dict[str, Features] = {"ridge on statistics": statistics}
    if data.task.window >= SHORTEST:
        found["ridge on statistics and bands"] = statistics_and_bands
    if are_trials(data):  # then each step has its own meaning
        found["ridge on samples"] = samples
    return found


def are_trials(data: Split) -> bool:
    """Whether every recording is one window."""
    return all(len(a) == data.task.window for a in data.test.recordings)


def statistics(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Statistics of a window, [W, F].

    Per channel mean, standard deviation, minimum, maximum, quartiles and mean |step|; per pair of
    channels the mean product.
    """
    x = counts.astype(np.float64)
    i, j = np.triu_indices(x.shape[2], 1)
    in_order = np.sort(counts, axis=1).astype(np.float64)  # in which quantiles are found in a third of the time
    parts = [x.mean(1), x.std(1), in_order[:, 0], in_order[:, -1], *np.quantile(in_order, (0.25, 0.75), axis=1)]
    return np.concatenate([*parts, np.abs(np.diff(x, axis=1)).mean(1), (x[:, :, i] * x[:, :, j]).mean(1)], axis=1)


def statistics_and_bands(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """statistics, band_powers and lagged products, [W, F]."""
    return np.concatenate([statistics(counts), band_powers(counts), lagged(counts)], axis=1)


def lagged(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """The mean product of each channel and each other one, or itself, LAG steps before: [W, C * C]."""
    x = counts.astype(np.float64)
    later, now = x[:, LAG:].transpose(0, 2, 1), x[:, :-LAG]
    return (later @ now).reshape(len(x), -1) / now.shape[1]


def band_powers(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Logarithm of the mean power in each of BANDS bands of every channel, [W, BANDS * C].

    The bands divide the frequencies above 0 on a logarithmic scale, with at least one frequency in
    each. A power of 1 is added, which keeps the logarithm of silence finite.
    """
    x = counts - counts.mean(1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(x, axis=1)[:, 1:])) / x.shape[1]
    bands = [power[:, a:b].mean(1) for a, b in pairwise(band_edges(x.shape[1]))]
    return np.log(np.concatenate(bands, axis=1) + 1)


def band_edges(steps: int) -> list[int]:
    """Band b of a window has the frequencies 1 + edges[b] to edges[b + 1], in cycles a window."""
    most, edges = steps // 2, [0]
    for k in range(1, BANDS + 1):
        edges.append(max(edges[-1] + 1, round((most + 1) ** (k / BANDS)) - 1))
    return edges


def samples(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """All counts of a window, [W, T * C].

    In float64, because neighbouring counts are nearly collinear, too much for float32.
    """
    return counts.reshape(len(counts), -1).astype(np.float64)


@dataclass(frozen=True)
class Fitted:
    """The result of a ridge regression."""

    score: float  # data.train.metric in cross-validation, the mean over the folds
    strength: float
    predicted: NDArray[np.int64]  # classes of the test windows


@dataclass(frozen=True)
class Linear:
    """A ridge regression on standardised features: scores [W, K] = (features - mean) / deviation @ w + intercept."""

    score: float  # data.train.metric in cross-validation, the mean over the folds
    strength: float
    mean: NDArray[np.float64]  # [F]
    deviation: NDArray[np.float64]  # [F], 1 where a feature is constant
    w: NDArray[np.float64]  # [F, K]
    intercept: NDArray[np.float64]  # [K]

    def scores(self, features: NDArray) -> NDArray[np.float64]:
        return (features - self.mean) / self.deviation @ self.w + self.intercept


def ridge(data: Split, features: Features) -> Fitted:
    """Classify by ridge regression on standardised features, see linear; on statistics_and_bands see richer."""
    if features is statistics_and_bands:
        found, lags = richer(data, features)
    else:
        found, lags = linear(data, features(data.train_windows.counts)), True
    scores = found.scores(_without(features(data.test_windows.counts), data, lags))
    return Fitted(found.score, found.strength, scores.argmax(1))


def richer(
    data: Split, features: Features, progress: Callable[[float], None] = lambda share: None
) -> tuple[Linear, bool]:
    """A ridge regression with lagged products, the last C * C features, and changed windows, or one with neither.

    The better one in cross-validation over the training groups, and whether it has them. Over the training people of
    SPAR they gave, at the default strength, with one person left out 0.852 to 0.889, with three left out 0.833 to
    0.871, in the worst such three 0.771 to 0.844. Statistics alone gained nothing by changed windows.
    """
    found = features(data.train_windows.counts)
    plain = linear(data, _without(found, data, False), lambda share: progress(share / 2))
    rich = linear(data, found, lambda share: progress((1 + share) / 2), more=changed(data, features, COPIES))
    return (rich, True) if rich.score > plain.score else (plain, False)


def _without(found: NDArray, data: Split, lags: bool) -> NDArray:
    """The features without lagged products, or with them."""
    return found if lags else found[:, : -(len(data.task.channels) ** 2)]


def changed(data: Split, features: Features, copies: int) -> tuple[NDArray, Windows] | None:
    """Features of training windows changed as [augment] says, and these windows.

    There are as many of them as `copies` times the training windows; None for no copies, and for a single group, whose
    folds would share recordings.
    """
    if not copies or len(np.unique(data.train_windows.groups)) < 2:
        return None
    found = augmented(data.train, data.task, data.augment, copies * len(data.train_windows))
    return features(found.counts), found


def linear(
    data: Split, features: NDArray, progress: Callable[[float], None] = lambda share: None, level: float = SURELY,
    windows: Windows | None = None, more: tuple[NDArray, Windows] | None = None,
) -> Linear:  # fmt: skip
    """A ridge regression for classes on features [W, F] of the training windows, or of other windows.

    more : features and windows that are trained on too, but not asked in cross-validation. All windows together weigh
        as much as those without them.

    Classes are balanced unless the metric is accuracy. The strength is the best of STRENGTHS in
    cross-validation over the training groups if it is significantly better than the default in a
    paired t-test over the folds, at a level of significance; else it is the default. With level = 1
    it is the best.
    """
    from scipy.stats import ttest_rel  # half a second, which no other command has to wait

    train = windows or data.train_windows
    asked, wanted, groups = len(train), train.wanted, train.groups
    if more:
        features = np.concatenate([features, more[0]])
        wanted, groups = np.concatenate([wanted, more[1].wanted]), np.concatenate([groups, more[1].groups])
    z, (mean, deviation) = _standardised(features)
    turn = None
    if len(z) < features.shape[1]:  # all windows lie in a space of fewer dimensions: solved there, it costs less
        turn, within = np.linalg.qr(z[:, :-1].T)
        z = np.concatenate([within.T, z[:, -1:]], axis=1)

    def model(score: float, strength: float, w: NDArray) -> Linear:
        return Linear(score, strength, mean, deviation, w[:-1] if turn is None else turn @ w[:-1], w[-1])

    y = 2.0 * np.eye(len(data.train.classes))[wanted] - 1
    weight = np.full(len(z), asked / len(z))
    if data.test.metric != "accuracy":
        weight = asked / np.maximum(1, np.bincount(wanted, minlength=y.shape[1]))[wanted] / y.shape[1]
    fold = _folds(data, replace(train, groups=groups, wanted=wanted))
    if len(np.unique(fold)) < 2:  # one window: nothing to choose by
        return model(np.nan, DEFAULT, _solve(*_products(z, y, weight), DEFAULT))
    parts = [np.flatnonzero(fold == k) for k in np.unique(fold)]
    sums = [_products(z[part], y[part], weight[part]) for part in parts]
    gram, moment = (np.sum([s[k] for s in sums], axis=0) for k in (0, 1))
    scores = np.empty((len(STRENGTHS), len(parts)))
    for k, part in enumerate(parts):
        part = part[part < asked]
        left, of_fold = Windows(train.counts[:0], wanted[part], groups[part]), z[part]
        for i, strength in enumerate(STRENGTHS):
            predicted = (of_fold @ _solve(gram - sums[k][0], moment - sums[k][1], strength)).argmax(1)
            scores[i, k] = metrics.of(data.train, left, predicted)[data.train.metric]
        progress((k + 1) / len(parts))
    best, default = int(scores.mean(1).argmax()), STRENGTHS.index(DEFAULT)
    if level < 1 and not (best != default and ttest_rel(scores[best], scores[default]).pvalue < level):
        best = default
    return model(float(scores[best].mean()), STRENGTHS[best], _solve(gram, moment, STRENGTHS[best]))


def _folds(data: Split, train: Windows) -> NDArray[np.intp]:
    """The fold of each training window.

    Whole groups are assigned to folds in turn. If there is one group, trials are assigned in turn,
    and a series is divided into contiguous parts.
    """
    names, group = np.unique(train.groups, return_inverse=True)
    if len(names) > 1:
        return group % FOLDS
    windows = np.arange(len(group))
    return windows % FOLDS if are_trials(data) else windows * FOLDS // len(group)


def _standardised(x: NDArray) -> tuple[NDArray, tuple[NDArray, NDArray]]:
    """Features [W, F] standardised, with a last column of ones.

    Returns the features [W, F + 1] and their scale: mean, and standard deviation or 1.
    """
    mean, deviation = x.mean(0), x.std(0)
    deviation = np.where(deviation > 0, deviation, 1)
    found = np.ones((len(x), x.shape[1] + 1))
    np.subtract(x, mean, out=found[:, :-1])
    found[:, :-1] /= deviation
    return found, (mean, deviation)


def _products(z: NDArray, y: NDArray, weight: NDArray) -> tuple[NDArray, NDArray]:
    """The weighted Gram matrix [F + 1, F + 1] and moments [F + 1, K] of a ridge regression."""
    weighted = z * weight[:, None]
    return weighted.T @ z, weighted.T @ y


def _solve(gram: NDArray, moment: NDArray, strength: float) -> NDArray[np.float64]:
    """Coefficients [F + 1, K]. The last row has the intercepts, which are not regularised."""
    count, mean = gram[-1, -1], gram[-1, :-1] / gram[-1, -1]
    inner = gram[:-1, :-1] - count * np.outer(mean, mean) + strength * np.eye(len(mean))
    w = solve(inner, moment[:-1] - np.outer(mean, moment[-1]), assume_a="pos")
    return np.concatenate([w, (moment[-1] / count - mean @ w)[None]])


def autoregression(data: Split) -> NDArray[np.float64]:
    """The forecast change [W, O] of the targets, by a linear model of all counts of a window."""
    return autoregressive(data).scores(samples(data.test_windows.counts))


def autoregressive(data: Split) -> Linear:
    """A linear model of all counts of a window for the change of the targets, in counts; of the default strength."""
    assert data.train.series
    target = list(data.train.series.target)
    train = data.train_windows
    return regression(samples(train.counts), train.wanted[:, 0].astype(float) - train.counts[:, -1, target])


def regression(features: NDArray, wanted: NDArray) -> Linear:
    """A ridge regression of wanted [W, K] on features [W, F], of the default strength."""
    z, (mean, deviation) = _standardised(features)
    w = _solve(*_products(z, wanted, np.ones(len(z))), DEFAULT)
    return Linear(np.nan, DEFAULT, mean, deviation, w[:-1], w[-1])


def reservoir(data: Split) -> NDArray[np.float64]:
    """The counts [W, F, C] that an echo state network forecasts in a closed loop after each window.

    It has tanh units in float64 with a tenth of the recurrent weights, and a read-out by ridge
    regression on the even units and the squares of the odd ones (Jaeger & Haas 2004, Science
    304:78; Pathak et al. 2018, Phys. Rev. Lett. 120:024102).
    """
    assert data.test.series
    rng = np.random.default_rng(1)
    shortest = min(map(len, data.train.recordings))
    x = np.stack([a[:shortest] for a in data.train.recordings]).astype(float)
    mean, std = x.mean((0, 1)), x.std((0, 1))
    x, warm_up = (x - mean) / std, (data.test_windows.counts - mean) / std
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
        if t >= warm_up.shape[1] // 2:
            known = features(r, x[:, t])
            gram += known.T @ known
            moment += known.T @ (x[:, t + 1] - x[:, t])
    w_out = np.linalg.solve(gram, moment)
    r, now, found = np.zeros((len(warm_up), n)), warm_up[:, 0], []
    for t in range(warm_up.shape[1] - 1 + data.test.series.free_run):
        r = step(r, now)
        if t + 1 < warm_up.shape[1]:
            now = warm_up[:, t + 1]
        else:
            now = np.clip(now + features(r, now) @ w_out, -100, 100)  # keep it finite
            found.append(now)
    return np.stack(found, axis=1) * std + mean
