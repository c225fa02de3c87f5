"""What a simple method of the field says of the same windows: the row of a table that a network has to beat.

Nothing here is tuned but the reservoir's size of input and radius, on trajectories of other seeds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lnp_edge.task.split import Split

RESERVOIR, RADIUS, INPUT, BIAS, STRENGTH = 300, 0.4, 0.1, 0.1, 1e-8


def simple(data: Split) -> dict[str, NDArray]:
    """Name of each simple method, and what it predicts of the test windows, as metrics.of wants it."""
    if not (series := data.test.series):
        if data.test.pixel:
            return {"ridge on pixels": ridge(data, samples)}
        found = {"ridge on statistics": ridge(data, statistics)}
        if all(len(a) == data.task.window for a in data.test.recordings):  # a trial: each step has its own meaning
            found["ridge on samples"] = ridge(data, samples)
        return found
    if series.free_run:
        return {f"echo state network of {RESERVOIR}": reservoir(data)}
    now = data.test_windows.counts[:, -1:][..., list(series.target)]
    return {"persistence": now, "linear autoregression": now + autoregression(data)[:, None]}


def statistics(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Per channel mean, deviation, extremes, quartiles and mean step; mean products of channels. [W, F]."""
    x = counts.astype(np.float64)
    i, j = np.triu_indices(x.shape[2], 1)
    parts = [x.mean(1), x.std(1), x.min(1), x.max(1), *np.quantile(x, (0.25, 0.75), axis=1)]
    return np.concatenate([*parts, np.abs(np.diff(x, axis=1)).mean(1), (x[:, :, i] * x[:, :, j]).mean(1)], axis=1)


def samples(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Every count of a window, [W, T * C]. In float64: neighbours are nearly equal, and float32 solves them badly."""
    return counts.reshape(len(counts), -1).astype(np.float64)


def ridge(data: Split, features) -> NDArray[np.int64]:
    """Classes by ridge regression with scikit-learn's default strength; balanced where plain accuracy means little."""
    weight = None if data.test.metric == "accuracy" else "balanced"
    model = make_pipeline(StandardScaler(), RidgeClassifier(class_weight=weight))
    model.fit(features(data.train_windows.counts), data.train_windows.wanted)
    return model.predict(features(data.test_windows.counts))


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
