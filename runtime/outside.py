"""Samples beyond what training saw: another unit, scale or place of a sensor. Only told; no prediction changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.console import ascii_only
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.quantity import Quantity

# Of the samples of a channel, in a window. SPAR: in no window of unseen people; wind: in 0.9 % of another year's.
SHARE = 0.2


class Outside:
    """Counts the samples of a stream that leave the training range; tells once, when many of a window do.

    A model without a range counts none.
    """

    def __init__(self, model: QuantizedModel, tell: Callable[[str], None] | None = None):
        self._model, self._tell = model, tell
        rule, c = model.decision, len(model.channels)
        self._low = np.array(rule.low or (-32768,) * c, np.int16)
        self._high = np.array(rule.high or (32767,) * c, np.int16)
        self._ranged, self._told = bool(rule.low), False
        self._samples, self._in_window = 0, np.zeros(c, np.int64)
        self._all = np.zeros(c, np.int64)

    def add(self, row: NDArray[np.int16]) -> bool:
        """Take the next sample, counts [C]; whether it leaves the range."""
        if not self._ranged:
            return False
        leaves = (row < self._low) | (row > self._high)
        self._samples += 1
        self._in_window += leaves
        if self._samples % self._model.window == 0:
            if not self._told and self._in_window.max() > SHARE * self._model.window:
                self._told = True
                if self._tell:
                    self._tell(self._said(self._in_window, self._model.window))
            self._all += self._in_window
            self._in_window[:] = 0
        return bool(leaves.any())

    def summary(self) -> list[str]:
        """The share in all of the stream, in words, if anything was told."""
        return [self._said(self._all + self._in_window, self._samples)] if self._told else []

    def _said(self, outside: NDArray[np.int64], samples: int) -> str:
        """How many samples of the worst channel leave its range, with the range in the unit of the user's files."""
        worst, model = int(outside.argmax()), self._model
        quantity = (model.quantities or (Quantity(),) * len(model.channels))[worst]
        low, high = quantity.values(np.array([self._low[worst], self._high[worst]], np.float64)).tolist()
        unit = " counts" if quantity.in_file else f" {quantity.unit}".rstrip()
        return ascii_only(
            f"input beyond what training saw: {100 * outside[worst] / samples:.0f} % of {samples} samples of channel "
            f"{model.channels[worst]} are outside {low:.6g} to {high:.6g}{unit}"
        )
