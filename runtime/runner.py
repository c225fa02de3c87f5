"""The interface for running a model step by step: the reference and every device implement it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError


@dataclass(frozen=True)
class Steps:
    """The result of running some steps."""

    y: NDArray[np.int32]  # read-out after the last step, [n_out]
    digests: NDArray[np.uint32]  # state digest after each step, [T]; without digests, at most the last
    cycles: int  # of the device's counter; 0 if it has none


class Runner(Protocol):
    def reset(self) -> None:
        """Set all state and t to 0."""

    def steps(self, counts: NDArray[np.int16], digests: bool = True) -> Steps:
        """Run the next steps on sensor counts, int16 [T, n_in]. Faster without digests."""

    def state(self) -> NDArray[np.uint32]:
        """All state words, in the order of SEMANTICS.md section 5."""


def checked(counts: NDArray, n_in: int) -> NDArray[np.int16]:
    """counts as int16 [T, n_in], C-contiguous and writeable; the same array if it already is.

    Numba would compile its kernel again for any other array. Raises DataError for a wrong shape,
    for values that are not integers, and for integers outside int16: a kernel would read beyond the
    array, or read other values.
    """
    try:
        counts = np.asarray(counts)
    except ValueError:
        raise DataError("the rows of counts differ in length", "give one column per channel in every row") from None
    if counts.ndim != 2 or counts.shape[1] != n_in:
        raise DataError(
            f"counts have shape {counts.shape}, not (steps, {n_in})", "give one row per step, one column per channel"
        )
    if counts.dtype != np.int16:
        counts = _narrowed(counts)
    return counts if counts.flags.carray else counts.copy()


def _narrowed(counts: NDArray) -> NDArray[np.int16]:
    if counts.dtype.kind not in "iu":
        raise DataError(f"counts are {counts.dtype}, not integers", "scale and round them like the training data")
    wrong = np.argwhere((counts < -32768) | (counts > 32767))
    if len(wrong):
        step, channel = wrong[0].tolist()
        raise DataError(
            f"count {counts[step, channel]} at step {step}, channel {channel} is outside -32768..32767",
            "scale the counts like the training data",
        )
    return counts.astype(np.int16)
