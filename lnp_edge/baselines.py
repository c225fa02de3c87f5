"""What a simple method reaches on the same windows."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def ridge_baseline(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    """Accuracy on test of ridge regression on flattened, standardised windows; each pair counts [W, T, C], labels."""
    (x, y), (x_test, y_test) = train, test
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1000.0))
    model.fit(x.reshape(len(x), -1).astype(np.float64), y)
    return float(model.score(x_test.reshape(len(x_test), -1).astype(np.float64), y_test))
