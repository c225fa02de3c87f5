"""Sensor counts to network input as by affine, with limits of its own for each channel.

x = clamp(round((count - offset) * gain / 2**shift), low, high), an int8.

An event channel, which is 0 or 1, keeps its counts: x is 0 or 1, and the proof of no overflow need not count with 127.
"""

import numpy as np

from lnp_edge.encoders import affine
from lnp_edge.spec.ops import clamp, mul, shift_round, sub

# 0 lies in low..high, so that the two are in order.
PARAMS = affine.PARAMS | {"low": (-127, 0), "high": (0, 127)}
TARGET_STD = affine.TARGET_STD
EVENT = {"offset": 0, "gain": 2, "shift": 1, "low": 0, "high": 1}  # x = clamp(count, 0, 1)


def encode(count, offset, gain, shift, low, high):
    """One count (int16) of one channel to one input (int8)."""
    x = sub(count, offset)
    x = mul(x, gain)
    x = shift_round(x, shift)
    x = clamp(x, low, high)
    return x


def limits(offset, gain, shift, low, high):
    """Largest |x| of each channel for any count, int32 [C]."""
    return np.maximum(-low, high)


def fit(counts):
    """Parameters that leave a channel of zeros and ones as it is, and map others as affine.fit does.

    counts : int16 [..., C]  training data only
    Returns PARAMS, each int32 [C].
    """
    flat = counts.reshape(-1, counts.shape[-1])
    whole = {name: np.full(flat.shape[1], limit, np.int32) for name, limit in (("low", -127), ("high", 127))}
    event = ((flat == 0) | (flat == 1)).all(0)
    return {
        name: np.where(event, EVENT[name], values).astype(np.int32)
        for name, values in (affine.fit(counts) | whole).items()
    }


def decode(x, offset, gain, shift, low, high):
    """The counts nearest to inputs x, for test signals. x : float [T, C]; returns int16 [T, C]."""
    return affine.decode(x, offset, gain, shift)
