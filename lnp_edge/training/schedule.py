"""The learning rate over the epochs, when a training ends, and whether it had converged.

Without [train] patience the rate falls by half a cosine over all epochs. With patience = K it stays
until the training loss stops falling, which is when the mean loss of K epochs is not LESS below
that of the K epochs before. Then it falls by half a cosine over K epochs, and training ends. So a
training that is stopped by its loss also ends at a rate of 0; `epochs` is the most it may take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lnp_edge.config import TrainSettings

History = Sequence[dict[str, float]]  # of loop.train: loss, and accuracy if there are classes, per epoch
LESS = 0.01  # share by which the loss must fall within `patience` epochs
FEWEST = 10  # epochs from which a rise can be told from noise
# A training has not converged if from the fifth of its epochs before the last fifth to the last one
# its accuracy rises by RISE, or without classes its loss falls by FALL, and by more than ERRORS
# standard errors. The rate falls all the while, so a flat end alone does not show convergence.
RISE, FALL, ERRORS = 0.01, 0.02, 2.0


def plateau(history: History, settings: TrainSettings) -> int | None:
    """The number of epochs after which the loss first stopped falling, if it did in time; see above."""
    k, losses = settings.patience, [epoch["loss"] for epoch in history]
    for end in range(2 * k, min(len(losses), settings.epochs - k) + 1) if k else ():
        if np.mean(losses[end - k : end]) > (1 - LESS) * np.mean(losses[end - 2 * k : end - k]):
            return end
    return None


def length(history: History, settings: TrainSettings) -> int:
    """The number of epochs of the training, as far as these epochs tell."""
    found = plateau(history, settings)
    return settings.epochs if found is None else found + settings.patience


def rate(done: float, epochs: int, settings: TrainSettings) -> float:
    """The relative learning rate after `done` of so many epochs: warm-up, then decay."""
    falls = min(settings.patience, epochs) or epochs
    warm = done / settings.epochs / 0.05 if not settings.patience else 4 * done / falls
    share = (done - (epochs - falls)) / falls
    return min(1.0, warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share))))


def warning(history: History, settings: TrainSettings, batches: int = 0) -> str:
    """Why a training has not converged, in words; "" if nothing shows that. batches : as [stream] batches"""
    n, longer = len(history), f"raise [train] epochs, now {settings.epochs}"
    if batches:
        longer = f"raise [stream] batches, now {batches}"
    if n == 0:
        return ""
    if settings.patience:
        found = plateau(history, settings)
        return f"the loss was still falling when the rate had to fall: {longer}" if found is None else ""
    if n < FEWEST:
        return f"{n} epochs are too few to converge, or to tell: {longer}"
    key = "accuracy" if "accuracy" in history[-1] else "loss"
    values = np.array([epoch[key] for epoch in history])
    last, before = values[-(n // 5) :], values[-2 * (n // 5) : -(n // 5)]
    noise = ERRORS * math.sqrt(_square_error(last) + _square_error(before))
    gain = float(last.mean() - before.mean()) * (1 if key == "accuracy" else -1)
    if gain <= max(noise, RISE if key == "accuracy" else FALL * float(before.mean())):
        return ""
    moved = "rose" if key == "accuracy" else "fell"
    means = f"{before.mean():.3f} to {last.mean():.3f}"
    return f"between the last two fifths of the epochs the training {key} {moved} from {means}: {longer}"


def _square_error(values: NDArray[np.float64]) -> float:
    """Of the mean."""
    return float(values.var(ddof=1)) / len(values)
