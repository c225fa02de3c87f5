"""Send on delta: a channel speaks only when it has moved by its threshold since it last spoke.

Let `held` be what was sent of a channel, 0 after a reset. For each sample of the frame

    change = sample - held                    limited to int16
    sent   = change if |change| >= threshold else 0;  held += sent

The features are what is sent, so their sum is `held`: with a threshold of 1 count the samples
themselves, and else never as far from them as the threshold, but for jumps beyond int16, which take two
or three samples. The network receives changes and must integrate what it needs of the level, which its leaks forget.

What is sent is the change, no count of thresholds: the encoder scales it anyway, a rest would be lost
or sent late, and there is no division. Miskowicz 2006, Sensors 6:49.
"""

import numpy as np

from lnp_edge.base.errors import ConfigError
from lnp_edge.encoders.affine import moments

NOISE = False  # it would pass where a sensor is still
EVENTS = True
LONGEST = 32
PARAMS = {"threshold": (1, 32767)}  # counts
SETTINGS = {"threshold": (0.1, 0.0, 100.0)}  # in standard deviations of the channel; 0: one count


def fit(counts, threshold):
    """The threshold of each channel, at least one count."""
    most = moments(counts)[1] * threshold
    return {"threshold": np.clip(np.rint(most), *PARAMS["threshold"]).astype(np.int32)}


def features(frame):
    if frame > LONGEST:
        raise ConfigError(f"delta takes frames of 1 to {LONGEST} samples, not {frame}", "choose [data] frame = 1")
    return ("change",) if frame == 1 else tuple(f"change {k}" for k in range(frame))


def state(frame):
    return {"held": 32768}


def run(op, first, samples, held, threshold):
    found = []
    for sample in samples:
        change = op.clamp(op.sub(sample, held), -32768, 32767)
        still = op.greater(threshold, op.absolute(change))
        sent = op.choose(still, 0, change)
        found.append(sent)
        held = op.clamp(op.add(held, sent), -32768, 32767)  # only a loaded 32768 is beyond
    return tuple(found), (held,)
