"""The mean of a frame, and how much the signal moves within 1, 2, 4, ... samples, as logarithms.

For a frame of n = 2**m samples, features of a channel are

    mean    = round(sum of the samples / n)
    lag L   = LOG2(1 + sum over the frame of |sample[t] - sample[t - L]|)       L = 1, 2, 4, ..., n

in units of 1/64 of an octave. Before the first frame the signal is taken to have been its first
sample. Sums of differences at several lags are a coarse spectrum that needs no multiplication.
"""

from lnp_edge.base.errors import ConfigError

NOISE = False
SPECTRAL = True
LONGEST = 32


def features(frame):
    if frame not in (2, 4, 8, 16, LONGEST):
        raise ConfigError(f"logdiff takes frames of 2 to {LONGEST} samples, a power of 2, not {frame}",
                          "choose [data] frame = 8")  # fmt: skip
    return ("mean", *(f"lag {lag}" for lag in _lags(frame)))


def _lags(frame):
    return [2**k for k in range(frame.bit_length())]


def state(frame):
    return {f"past{k}": 32768 for k in range(frame)}  # the frame before, its earliest sample first


def run(op, first, samples, *past):
    n = len(samples)
    back = [op.choose(first, samples[0], p) for p in past]
    signal = [*back, *samples]
    total = samples[0]
    for sample in samples[1:]:
        total = op.add(total, sample)
    found = [op.shift_round(total, n.bit_length() - 1)]
    for lag in _lags(n):
        moved = 1
        for k in range(n, 2 * n):
            moved = op.add(moved, op.absolute(op.sub(signal[k], signal[k - lag])))
        found.append(op.log2(moved))
    return tuple(found), tuple(samples)
