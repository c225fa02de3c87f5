"""Energies of octave bands on a logarithmic scale: an integer wavelet transform of every frame.

A frame of n = 2**m samples is split into halves of the band, m times, by the 5/3 wavelet of
Le Gall & Tabatabai 1988 in integer lifting steps (Calderbank, Daubechies, Sweldens & Yeo 1998):

    detail[k] = x[2 k - 1] - floor((x[2 k - 2] + x[2 k] + 1) / 2)
    smooth[k] = x[2 k - 2] + floor((detail[k - 1] + detail[k] + 2) / 4)

`smooth` is the signal of the next split. Features of a channel are `mean`, the last smooth value, and
for each split the energy LOG2(1 + sum over the frame of |detail|), in units of 1/64 of an octave. The
highest band is the first: from half to all of the frequencies that the samples can hold. Two samples
and one detail of the frame before are kept for each split, so bands do not see the edges of frames.
"""

from lnp_edge.base.errors import ConfigError

NOISE = False
SPECTRAL = True
LONGEST = 128


def features(frame):
    if frame not in (4, 8, 16, 32, 64, LONGEST):
        raise ConfigError(f"bands takes frames of 4 to {LONGEST} samples, a power of 2, not {frame}",
                          "choose [data] frame = 64")  # fmt: skip
    return ("mean", *(f"band {k + 1}" for k in range(_splits(frame))))


def _splits(frame):
    return frame.bit_length() - 1


def state(frame):
    """Of each split the last two samples and the last detail."""
    found: dict[str, int] = {}
    for k in range(_splits(frame)):
        most = 32769 * 2**k - 1  # a split at most doubles the largest |value|
        found |= {f"even{k}": most, f"odd{k}": most, f"detail{k}": 2 * most + 1}
    return found


def run(op, first, samples, *state):
    found, new, x = [], [], list(samples)
    for k in range(_splits(len(samples))):
        even, odd, detail = state[3 * k : 3 * k + 3]
        even, odd = op.choose(first, x[0], even), op.choose(first, x[0], odd)
        signal, moved, smooth = [even, odd, *x], 1, []
        for i in range(0, len(x), 2):
            before, detail = detail, op.sub(signal[i + 1], op.shift_round(op.add(signal[i], signal[i + 2]), 1))
            smooth.append(op.add(signal[i], op.shift_round(op.add(before, detail), 2)))
            moved = op.add(moved, op.absolute(detail))
        found.append(op.log2(moved))
        new += [x[-2], x[-1], detail]
        x = smooth
    return (op.clamp(x[0], -32768, 32767), *found), tuple(new)
