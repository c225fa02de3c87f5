"""Samples beyond the range of training: another unit, scale or place of a sensor. Only told; no prediction changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.console import ascii_only
from lnp_edge.spec.decision import RANGE
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.quantity import Quantity

# Of the samples of a channel, in a window. SPAR: in no window of unseen people; wind: in 0.9 % of another year's.
SHARE = 0.2


class Outside:
    """Counts the samples of a stream that leave the training range; tells once, when many of a prediction's window do.

    A model without a range counts none.
    """

    def __init__(self, model: QuantizedModel, tell: Callable[[str], None] | None = None):
        self._model, self._tell = model, tell
        rule, c = model.decision, len(model.channels)
        self._low, self._high = np.array(rule.low, np.int16), np.array(rule.high, np.int16)
        self._ranged, self._told = bool(rule.low), False
        self._samples, self._all = 0, np.zeros(c, np.int64)
        self.gap()

    def gap(self) -> None:
        """The window begins anew."""
        self._window: deque[tuple[NDArray[np.bool_], bool]] = deque(maxlen=self._model.window)  # by channel; any
        self._in_window = np.zeros_like(self._all)

    def add(self, row: NDArray[np.int16]) -> None:
        """Take the next sample, counts [C]."""
        if not self._ranged:
            return
        leaves = (row < self._low) | (row > self._high)
        if len(self._window) == self._model.window:
            self._in_window -= self._window[0][0]
        self._window.append((leaves, bool(leaves.any())))
        self._in_window += leaves
        self._samples += 1
        self._all += leaves

    def of_last(self, samples: int) -> int:
        """How many of the last samples leave the range."""
        return sum(leaves for _, leaves in islice(reversed(self._window), samples))

    def tell(self) -> None:
        """Tell, if many samples of the window of this prediction leave the range and nothing was told before.

        Called last of a prediction: what is called may raise.
        """
        if not self._told and self._in_window.max() > SHARE * self._model.window:
            self._told = True
            if self._tell:
                self._tell(self._said(self._in_window, self._model.window))

    def summary(self) -> list[str]:
        """The share in all of the stream, in words, if anything was told."""
        return [self._said(self._all, self._samples)] if self._told else []

    def _said(self, outside: NDArray[np.int64], samples: int) -> str:
        """How many samples of the worst channel leave its range, with the range in the unit of the user's files."""
        worst, model = int(outside.argmax()), self._model
        quantity = (model.quantities or (Quantity(),) * len(model.channels))[worst]
        low, high = quantity.values(np.array([self._low[worst], self._high[worst]], np.float64)).tolist()
        unit = " counts" if quantity.in_file else f" {quantity.unit}".rstrip()
        share = 100 * outside[worst] / samples
        percent = f"{share:.0f}" if share >= 1 else f"{share:.2g}"
        return ascii_only(
            f"input beyond training: {percent} % of {samples} samples of channel "
            f"{model.channels[worst]} are outside {low:.6g} to {high:.6g}{unit}, "
            f"which hold {100 * (RANGE[1] - RANGE[0]):.4g} % of the training samples"
        )
