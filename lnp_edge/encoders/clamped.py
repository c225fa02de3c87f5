"""The affine encoder with limits per channel.

x = clamp(round((count - offset) * gain / 2**shift), low, high), an int8.

An event channel, whose counts are 0 and 1, keeps them: x is 0 or 1, and the overflow proof uses 1
instead of 127.
"""

import numpy as np

from lnp_edge.encoders import affine
from lnp_edge.spec.ops import clamp, mul, shift_round, sub

# These ranges make low <= 0 <= high.
PARAMS = affine.PARAMS | {"low": (-127, 0), "high": (0, 127)}
TARGET_STD = affine.TARGET_STD
EVENT = {"offset": 0, "gain": 2, "shift": 1, "low": 0, "high": 1}  # x = clamp(count, 0, 1)


def encode(count, offset, gain, shift, low, high):
    """The input (int8) for one count (int16) of one channel."""
    x = sub(count, offset)
    x = mul(x, gain)
    x = shift_round(x, shift)
    x = clamp(x, low, high)
    return x


def limits(offset, gain, shift, low, high):
    """Largest |x| of each channel for any count, int32 [C]."""
    return np.maximum(-low, high)


def fit(counts):
    """Parameters that leave channels of zeros and ones as they are; others are as in affine.fit.

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
    """The counts, int16 [T, C], nearest to inputs x, float [T, C], for test signals."""
    return affine.decode(x, offset, gain, shift)
