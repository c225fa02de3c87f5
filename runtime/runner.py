"""What runs a model step by step: the reference and every device offer the same three methods."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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
