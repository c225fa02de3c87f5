"""What runs a model step by step: the reference and every device offer the same three methods."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError


@dataclass(frozen=True)
class Steps:
    """What running some steps gave."""

    y: NDArray[np.int32]  # read-out after the last step, [n_out]
    digests: NDArray[np.uint32]  # state digest after each step, [T]
    cycles: int  # of the device's counter; 0 where it has none


class Runner(Protocol):
    def reset(self) -> None:
        """All state to 0, t to 0."""

    def steps(self, counts: NDArray[np.int16]) -> Steps:
        """Run the next steps on sensor counts, int16 [T, n_in]."""

    def state(self) -> NDArray[np.uint32]:
        """All state words, in the order of SEMANTICS.md section 5."""


def checked(counts: NDArray, n_in: int) -> NDArray[np.int16]:
    """counts as int16 [T, n_in], rows in order and writeable; the same array where it is all that.

    Numba would compile its kernel again for an array that is not. Raises DataError for another shape, for what are no
    integers, and for an integer that int16 does not hold: a kernel reads beyond the array, or something else.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] != n_in:
        raise DataError(
            f"counts have shape {counts.shape}, not (steps, {n_in})", "give a row a step, a column a channel"
        )
    if counts.dtype != np.int16:
        counts = _narrowed(counts)
    return counts if counts.flags.carray else counts.copy()


def _narrowed(counts: NDArray) -> NDArray[np.int16]:
    if counts.dtype.kind not in "iu":
        raise DataError(f"counts are {counts.dtype}, not integers", "scale and round them as the training data were")
    wrong = np.argwhere((counts < -32768) | (counts > 32767))
    if len(wrong):
        step, channel = wrong[0].tolist()
        raise DataError(
            f"count {counts[step, channel]} at step {step}, channel {channel} is beyond -32768..32767",
            "scale the counts as the training data were",
        )
    return counts.astype(np.int16)
