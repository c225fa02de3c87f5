"""Memory tasks: trials of noisy symbols, as recordings of int16 counts for lnp_edge/datasets.

The trials are generated, so there is nothing to download and no licence. A symbol lasts STEPS
steps; the network must remember it while it receives later symbols. Every sample has noise: without
it, a single neuron would remember all its input in the phase of its next spike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lnp_edge.task.dataset import Dataset

STEPS = 10  # steps per symbol
DT = 0.01  # s
COUNTS = 200  # counts of a symbol of size 1
NOISE = 0.5  # standard deviation, relative to a symbol of size 1
TRIALS = 2000, 1000  # for training, for the test
Floats = NDArray[np.float64]


def dataset(
    name: str,
    channels: tuple[str, ...],
    classes: tuple[str, ...],
    drawn: Callable[[np.random.Generator, int], tuple[Floats, NDArray[np.int64]]],
    seed: int,
) -> Dataset:
    """The data set of a memory task.

    drawn : a function of (rng, R) that returns symbols [R, L, C] of size 1 and classes [R]
    """
    counts, labels = [], []
    for part, number in enumerate(TRIALS):
        rng = np.random.default_rng([seed, part])
        symbols, wanted = drawn(rng, number)
        x = np.repeat(symbols, STEPS, axis=1)
        counts.append(np.rint(COUNTS * (x + NOISE * rng.standard_normal(x.shape))).astype(np.int16))
        labels.append(wanted)
    return Dataset(
        name=name,
        dt=DT,
        channels=channels,
        classes=classes,
        recordings=np.concatenate(counts),
        labels=np.concatenate(labels),
        groups=np.repeat([0, 1], TRIALS),
        held_out=(1,),
        group_name="part",
    )


def bits(count: int) -> tuple[str, ...]:
    """Names of the classes 0 to 2**count - 1 in binary, such as "101"."""
    return tuple(f"{k:0{count}b}" for k in range(2**count))


def numbers(bit: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Classes [R] from bits [R, B], most significant first."""
    return bit @ (1 << np.arange(bit.shape[1])[::-1])
