"""What the counts of a channel mean in physical units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ModelError

MAX_UNIT_TEXT = 32  # characters
MOST_MISSING, LARGEST_MISSING = 16, 1e30


def rounded(exact: NDArray) -> NDArray[np.int16]:
    """The nearest counts, halves to even, within int16: as lnp_count of csrc/lnp_types.h."""
    return np.clip(np.rint(exact), -32768, 32767).astype(np.int16)


def is_missing(values: NDArray, missing: tuple[float, ...]) -> NDArray[np.bool_]:
    """Which values, as they stand in a file, stand for no sample: NaN, infinities, what is beyond LARGEST_MISSING,
    and those equal to one of `missing`.

    Equal in single precision, so that -999.9 is found in files of float32 too: as LNP_<NAME>_IS_MISSING in C.
    """
    found = ~(np.abs(np.asarray(values, np.float64)) <= LARGEST_MISSING)
    if missing:
        with np.errstate(over="ignore"):
            found |= np.isin(values.astype(np.float32), np.array(missing, np.float32))
    return found


MAX_TITLE = 64  # characters


def is_title(text: object) -> bool:
    """Whether it can name a channel or a class of a model."""
    return isinstance(text, str) and 0 < len(text) <= MAX_TITLE and text.isprintable()


@dataclass(frozen=True)
class Quantity:
    """physical = (count - zero) * scale, in `unit`.

    zero    : the count of the physical value 0, for unsigned counts usually the middle
    in_file : whether the user's files hold counts; else they hold physical values
    """

    unit: str = ""
    zero: float = 0.0
    scale: float = 1.0
    in_file: bool = True

    def counts(self, values: NDArray) -> NDArray:
        """Counts, not rounded, of values as they stand in a file."""
        return values if self.in_file else values / self.scale + self.zero

    def values(self, counts: NDArray) -> NDArray:
        """Counts as they stand in a file: the inverse of counts()."""
        return counts if self.in_file else (counts - self.zero) * self.scale

    @property
    def physical(self) -> bool:
        """Whether what is said of the channel is said in physical values: of plain counts it is said in counts."""
        return bool(self.unit) or not self.in_file

    def value(self, count: float) -> float:
        """A count, rounded or not, as it is said: the physical value, or the count if nothing else is known."""
        return (count - self.zero) * self.scale if self.physical else count

    @property
    def decimals(self) -> int:
        """Digits behind the point that a count of 1 changes."""
        return max(0, math.ceil(-math.log10(self.scale) - 1e-9)) if self.physical else 0

    def told(self, count: float) -> str:
        """value(count) in words, with its unit."""
        return f"{self.value(count):.{self.decimals}f} {self.unit}".rstrip()

    @property
    def rest(self) -> float:
        """The count about which augmentation turns and scales: zero, or 0 where zero is at the edge of int16."""
        return self.zero if abs(self.zero) < 32768 else 0.0

    def check(self, channel: str) -> None:
        """Raises ModelError for a scale that is not positive and finite, and for a unit that is no short text."""
        numbers = math.isfinite(self.zero) and 1e-30 <= self.scale <= 1e30 and abs(self.zero) <= 1e12
        if not (numbers and len(self.unit) <= MAX_UNIT_TEXT and self.unit.isprintable()):
            what = f"channel {channel} is (count - {self.zero:g}) * {self.scale:g} {self.unit[:32]!r}"
            raise ModelError(what, "the model file is damaged or not ours: write it again with lnp quantize")
