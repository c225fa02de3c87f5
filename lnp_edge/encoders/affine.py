"""An encoder with one offset, gain and shift per channel.

x = clamp(round((count - offset) * gain / 2**shift), -127, 127), an int8.
"""

import numpy as np

from lnp_edge.spec.ops import clamp, mul, shift_round, sub

# |count - offset| <= 65535 and |gain| < 2**14 keep |product| below 2**30, as shift_round requires.
PARAMS = {"offset": (-32768, 32767), "gain": (-(2**14) + 1, 2**14 - 1), "shift": (1, 15)}
TARGET_STD = 32.0
_PART = 2**16  # samples at once; all images together would be over a gigabyte in float64


def encode(count, offset, gain, shift):
    """The input (int8) for one count (int16) of one channel."""
    x = sub(count, offset)
    x = mul(x, gain)
    x = shift_round(x, shift)
    x = clamp(x, -127, 127)
    return x


def limits(offset, gain, shift):
    """Largest |x| of each channel for any count, int32 [C]."""
    return np.full(len(offset), 127, np.int32)


def fit(counts):
    """Parameters that map the mean of each channel to 0 and its standard deviation to 32.

    counts : int16 [..., C]  training data only
    Returns {"offset", "gain", "shift"}, each int32 [C]. A constant channel gets gain 0.
    """
    flat = counts.reshape(-1, counts.shape[-1])
    mean, std = moments(flat)
    offset = np.round(mean).astype(np.int32)
    ratio = np.where(std > 0, TARGET_STD / np.maximum(std, 1e-9), 0.0)
    # The largest shift whose gain still fits in 14 bits gives the most precise ratio.
    room = np.floor(np.log2((2**14 - 1) / np.maximum(ratio, 1e-9)))
    shift = np.clip(room, 1, 15).astype(np.int32)
    gain = np.clip(np.round(ratio * 2.0**shift), 0, 2**14 - 1).astype(np.int32)
    return {"offset": offset, "gain": gain, "shift": shift}


def moments(flat):
    """Mean and standard deviation of each channel of int16 [N, C], float64 [C] each.

    Sums one part of the samples at a time.
    """
    total, square = np.zeros((2, flat.shape[1]))
    for k in range(0, len(flat), _PART):
        part = flat[k : k + _PART].astype(np.float64)
        total += part.sum(0)
        square += np.einsum("nc,nc->c", part, part)
    mean = total / len(flat)
    return mean, np.sqrt(np.maximum(square / len(flat) - mean**2, 0.0))


def decode(x, offset, gain, shift):
    """The counts, int16 [T, C], nearest to inputs x, float [T, C], for test signals."""
    unit = 2.0**shift / np.maximum(np.abs(gain), 1)  # counts per unit of x
    return np.clip(np.round(offset + unit * x), -32768, 32767).astype(np.int16)
