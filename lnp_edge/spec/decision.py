"""How read-outs become a decision: SEMANTICS.md section 7. Integers alone, the same on host and device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lnp_edge.base.errors import ModelError

MOST = 2**32 - 1  # of a margin: read-outs are int32
MAX_LEVELS = 16
RANGE = 0.001, 0.999  # quantiles of a channel's counts in training: low and high
HINT = "the model file is damaged or not ours: write it again with lnp quantize"


@dataclass(frozen=True)
class Decision:
    """The rule of a classifier's decisions; the default is the class of the largest read-out of each window.

    stream : the network is never reset: a decision follows the first window, and then every hop
    lead   : what the read-out of another class must have more than that of the present one to replace it
    least  : a decision is unknown if its margin is less
    low, high : the quantiles RANGE of each channel's counts in training; () if unknown
    outside : a decision is unknown if more of its samples than these have a count beyond low or high;
        with a whole window, none is: see ranged()
    levels : pairs (margin, percent), both ascending: with at least this margin, so many decisions
        were right on data that no training saw
    """

    stream: bool = False
    lead: int = 0
    least: int = 0
    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()
    outside: int = 0
    levels: tuple[tuple[int, int], ...] = ()

    def check(self, channels: int, window: int) -> None:
        """Raises ModelError naming what SEMANTICS.md does not allow."""

        def hold(condition: bool, what: str) -> None:
            if not condition:
                raise ModelError(what, HINT)

        for name, most in (("lead", MOST), ("least", MOST), ("outside", window)):
            value = getattr(self, name)
            hold(0 <= value <= most, f"the decision's {name} is {str(value)[:20]}, outside 0..{most}")
        ranges = len(self.low), len(self.high)
        hold(ranges in ((0, 0), (channels, channels)), f"the decision has ranges of {ranges} channels, not {channels}")
        pairs = zip(self.low, self.high, strict=True)
        hold(all(-32768 <= a <= b <= 32767 for a, b in pairs), "a range of the decision is empty or beyond int16")
        hold(len(self.levels) <= MAX_LEVELS, f"the decision has {len(self.levels)} levels, at most {MAX_LEVELS} fit")
        margins, shares = [m for m, _ in self.levels], [p for _, p in self.levels]
        rise = all(0 <= m <= MOST for m in margins) and sorted(set(margins)) == margins
        hold(
            rise and all(0 <= p <= 100 for p in shares) and sorted(shares) == shares,
            "the decision's levels do not rise",
        )

    def ranged(self, window: int) -> bool:
        """Whether samples beyond the range can make a decision unknown; if not, the range is only known."""
        return bool(self.low) and self.outside < window

    def without_range(self) -> Decision:
        return replace(self, low=(), high=(), outside=0)

    def next(self, present: int | None, y: Sequence[int], outside: int) -> Decided:
        """The decision from read-outs y [K].

        present : the class of the decision before; None for the first
        outside : samples that left the range, see Moments
        """
        best = max(range(len(y)), key=y.__getitem__)  # the first of equal ones
        keeps = present is not None and y[best] - y[present] < self.lead
        label = present if keeps and present is not None else best
        others = [value for k, value in enumerate(y) if k != label]
        margin = max(0, y[label] - max(others)) if others else 0
        percent = max((p for m, p in self.levels if margin >= m), default=0)
        return Decided(label, margin, percent, margin < self.least or outside > self.outside)


@dataclass(frozen=True)
class Decided:
    label: int  # class
    margin: int  # its read-out less the largest of the others; 0 if another is larger
    percent: int  # of the levels: confidence; 0 below the first
    unknown: bool


PLAIN = Decision()
