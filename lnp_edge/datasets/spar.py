"""SPAR: seven shoulder exercises of 10 people with a smart watch.

Accelerometer and gyroscope at 25 Hz; counts are int8, acceleration * 16 in g and angular rate * 8
in rad/s. There are 140 recordings of 19 to 52 s, each of one exercise and one arm. Burns et al.
2018, arXiv 1802.01489, from seglearn 1.2.5, BSD-3-Clause.
"""

from pathlib import Path

import numpy as np

from lnp_edge.datasets import _files as files
from lnp_edge.task.dataset import Dataset

FILE = "spar_watch_25hz_int8.npz"
HELD_OUT = (8, 9, 10)
# The arms are mirror images along x, the forearm; a reflection reverses rotations about the other
# axes. On people 1 to 7 it raises the accuracy of a classifier trained on one arm and tested on the
# other from 0.43 to 0.83; the next best of the eight reflections gives 0.67.
MIRROR = (-1, 2, 3, 4, -5, -6)
_MAX_BYTES = 4_000_000  # the file has 0.5 MB


def load(root=None) -> Dataset:
    """The data set from the file in folder `root`; None: from the package.

    Raises DataError if the file is missing or damaged.
    """
    path = files.find(root or Path(__file__).parent, FILE, "reinstall lnp-edge, or give the folder it is in")
    wanted = ("signal", "length", "y", "subject", "classes", "channels", "rate_hz")
    signal, length, y, subject, classes, channels, rate = files.read_npz(path, wanted, _MAX_BYTES)
    try:
        _check(signal, length, y, subject, classes, channels, rate)
    except Exception as e:  # numpy raises many types for malformed arrays
        raise files.damaged(path, e) from None
    ends = np.cumsum(length.astype(np.int64))
    return Dataset(
        name="spar",
        dt=1 / int(rate),
        channels=tuple(map(str, channels)),
        classes=tuple(map(str, classes)),
        recordings=tuple(np.split(signal.astype(np.int16), ends[:-1])),
        labels=y.astype(np.int64),
        groups=subject.astype(np.int64),
        held_out=HELD_OUT,
        mirror=MIRROR,
    )


def _check(signal, length, y, subject, classes, channels, rate):
    hold = files.hold
    for name, a in {"signal": signal, "length": length, "y": y, "subject": subject, "rate_hz": rate}.items():
        hold(np.issubdtype(a.dtype, np.signedinteger) and a.dtype.itemsize <= 2, f"{name} is {a.dtype}")
    hold(signal.ndim == 2 and signal.shape[1] == len(channels) == 6, f"signal has shape {signal.shape}")
    hold(length.ndim == 1 and length.shape == y.shape == subject.shape, "length, y and subject differ in shape")
    hold(
        length.min(initial=1) > 0 and length.sum(dtype=np.int64) == len(signal),
        "lengths do not sum to the signal",
    )
    hold(y.min(initial=0) >= 0 and y.max(initial=0) < len(classes), "a label has no class")
    hold(rate.shape == () and rate > 0, "rate_hz is not a positive number")
