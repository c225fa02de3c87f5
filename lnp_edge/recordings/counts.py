"""Physical values to int16 counts: physical = (count - zero) * scale.

Whole numbers within int16 stay as they are. Others get a scale from the training part: a plain decimal
number (1, 2 or 5 times a power of ten) with which the training part fills at most half of int16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.console import ascii_only
from lnp_edge.base.errors import DataError
from lnp_edge.config import ChannelSettings
from lnp_edge.readers import Column
from lnp_edge.spec.quantity import MAX_UNIT_TEXT, Quantity, rounded

LARGEST = 32767
UNSIGNED = 65535  # of 16 bits: moved to int16 by half of its range
ROOM = 2.0  # counts beyond the training part's range
WILD = 20.0  # extremes further out than so many usual ranges are clipped
TAIL = 5e-4  # share of the samples beyond the usual range, on each side
SMALLEST = 1e-30  # scale of a model
FURTHEST = 5e11  # |zero|, of which a model may have twice as much
FROM = 200_000  # samples


def plain(size: float) -> float:
    """The smallest number of 1, 2 or 5 times a power of ten that is not below `size`."""
    exponent = int(np.floor(np.log10(size)))
    for digits, power in ((1, exponent), (2, exponent), (5, exponent), (1, exponent + 1)):
        found = float(f"{digits}e{power}")  # not 10.0 ** power: 0.001, not 0.0010000000000000002
        if found >= size * (1 - 1e-12):
            return found
    raise AssertionError(size)


def quantity(
    training: NDArray[np.float64], whole: bool, given: ChannelSettings, column: Column, in_vector: bool
) -> Quantity:
    """The counts of a channel from its training samples [N], the settings, and what the first file says.

    whole : whether all values are whole numbers within int16
    """
    unit = ascii_only(given.unit)[:MAX_UNIT_TEXT] or column.unit
    if column.scale is not None:  # its values are counts of int16
        zero = column.zero if given.zero is None else given.zero
        given, whole = ChannelSettings(unit, zero, given.scale or column.scale), True
    low, high = float(training.min()), float(training.max())
    if whole:
        # An unsigned converter rests in the middle of its range: 0..1023 at 512.
        middle = 2.0 ** max(1, int(high).bit_length()) / 2 if in_vector and low >= 0 and high > 1 else 0.0
        zero = middle if given.zero is None else given.zero
        return Quantity(unit, zero, 1.0 if given.scale is None else given.scale, True)
    if low >= 0 and high <= UNSIGNED and given.zero is given.scale is None and (training == np.rint(training)).all():
        return Quantity(unit, -(UNSIGNED + 1) / 2, 1.0, False)
    usual = np.quantile(training, (TAIL, 0.5, 1 - TAIL))

    def reach(about: float) -> float:
        body, all_of_it = float(np.abs(usual - about).max()), max(high - about, about - low)
        return all_of_it if all_of_it <= WILD * body else body

    centre = 0.0 if reach(0.0) <= 4 * reach(float(usual[1])) or given.zero == 0 else float(usual[1])
    size = reach(centre) or abs(centre) or 1.0
    finest = abs(centre) / FURTHEST  # of a channel that hardly moves about a high level
    scale = plain(max(ROOM * size / LARGEST, finest, SMALLEST)) if given.scale is None else given.scale
    zero = float(-np.rint(centre / scale)) + 0.0 if given.zero is None else given.zero
    return Quantity(unit, zero, scale, False)


def in_one_unit(own: Column, first: Column, place: str) -> Column:
    """The first file's column of a channel, with the unit that a later file says.

    Raises DataError if a file says another unit, or if its scale differs and it says none.
    """
    scaled_alike = (own.zero, own.scale) == (first.zero, first.scale)
    if own.unit != first.unit and (not scaled_alike or (own.unit and first.unit)):
        what = f"{place} has {own.name} in {own.unit or 'no unit'}, files before it in {first.unit or 'no unit'}"
        raise DataError(what, "write the files again in one unit, or choose some of them with [data] files")
    return replace(first, unit=first.unit or own.unit)


def rescaled(x: NDArray[np.float64], own: Column, first: Column) -> NDArray[np.float64]:
    """Values of a file whose channel has another scale than that of the first file, as that has them."""
    physical = x if own.zero is None or own.scale is None else (x - own.zero) * own.scale
    if first.zero is None or first.scale is None:
        return physical
    return np.clip(np.rint(physical / first.scale + first.zero), -32768, 32767)


def converted(
    x: NDArray[np.floating], origin: NDArray[np.float64], quantities: Sequence[Quantity]
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Counts int16 [T, C] of values x + origin as in the files [T, C], and how many of each channel were clipped."""
    found = np.empty(x.shape, np.int16)
    clipped = np.zeros(x.shape[1], np.int64)
    for c, quantity in enumerate(quantities):
        exact = np.rint(quantity.counts(x[:, c] + origin[c]))
        found[:, c] = rounded(exact)
        clipped[c] = np.count_nonzero(exact != found[:, c])
    return found, clipped
