"""The samples themselves, and how much each channel has risen since the step before.

For a frame of n samples the features of a channel are s[0] .. s[n-1] and

    slope = s[n-1] - the last sample of the step before      limited to int16; of the first step: s[n-1] - s[0]

A read-out that leaks sees only sums over some time. The sum of the slopes, with the same leak, is
the last sample less the leaky mean of those before, so with slopes the linear path of a forecast
([network] skip) can weigh what is now and what was apart. And a slope has 8 bits of its own.
"""

NOISE = True


def features(frame):
    own = ("",) if frame == 1 else tuple(f"sample {k}" for k in range(frame))
    return (*own, "slope")


def state(frame):
    return {"last": 32768}


def run(op, first, samples, last):
    before = op.choose(first, samples[0], last)
    slope = op.clamp(op.sub(samples[-1], before), -32768, 32767)
    return (*samples, slope), (samples[-1],)
