"""What a simple method reaches on the same windows: ridge regression in floats on a few statistics of each channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Labelled = tuple[np.ndarray, np.ndarray]  # counts [W, T, C], labels [W]


def statistics(counts: NDArray[np.int16]) -> NDArray[np.float64]:
    """Per channel mean, deviation, extremes, quartiles and mean step; mean products of channels. [W, F]."""
    x = counts.astype(np.float64)
    i, j = np.triu_indices(x.shape[2], 1)
    parts = [x.mean(1), x.std(1), x.min(1), x.max(1), *np.quantile(x, (0.25, 0.75), axis=1)]
    return np.concatenate([*parts, np.abs(np.diff(x, axis=1)).mean(1), (x[:, :, i] * x[:, :, j]).mean(1)], axis=1)


def ridge_baseline(train: Labelled, test: Labelled) -> float:
    """Accuracy on `test` of ridge regression with scikit-learn's default strength: nothing is tuned."""
    model = make_pipeline(StandardScaler(), RidgeClassifier())
    model.fit(statistics(train[0]), train[1])
    return float(model.score(statistics(test[0]), test[1]))
