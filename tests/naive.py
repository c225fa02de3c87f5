"""The oracle: SEMANTICS.md in plain Python integers and dense loops. Slow and obvious on purpose.

Shares no code with the project: it reads the model's arrays and nothing else.
"""

from operator import mul


def leak(x, c):
    away = (c * abs(x) + 65535 + (1 if x < 0 else 0)) // 65536
    return x + away if x < 0 else x - away


def dense(w):
    """The weights from every unit, zeros too, of each neuron."""
    columns = [[0] * w.shape[0] for _ in range(w.shape[1])]
    for pre in range(w.shape[0]):
        for k in range(int(w.indptr[pre]), int(w.indptr[pre + 1])):
            columns[int(w.indices[k])][pre] = int(w.data[k])
    return columns


def cuba_lif(s, drive, p, i):
    s["i_syn"][i] = leak(s["i_syn"][i], p["c_syn"][i]) + drive + p["bias"][i]
    s["v"][i] = leak(s["v"][i], p["c_mem"][i]) + s["i_syn"][i]
    z = 1 if s["v"][i] > p["v_th"][i] else 0
    if z:
        s["v"][i] -= p["v_th"][i]
    return z


def adlif(s, drive, p, i):
    v = leak(s["v"][i], p["c_mem"][i]) + drive + p["bias"][i] - s["w"][i]
    z = 1 if v > p["v_th"][i] else 0
    v -= z * p["v_th"][i]
    s["v"][i] = v
    s["w"][i] = leak(s["w"][i], p["c_ad"][i]) + (v - leak(v, p["c_pull"][i])) + z * p["jump"][i]
    return z


def li(s, drive, p, i):
    s["y"][i] = leak(s["y"][i], p["c"][i]) + drive + p["bias"][i]
    return 0


def mean(s, drive, p, i):
    s["y"][i] = min(max(s["y"][i] + drive + p["bias"][i], -(2**30)), 2**30)
    return 0


NEURONS = {
    "cuba_lif": (("i_syn", "v"), cuba_lif),
    "adlif": (("v", "w"), adlif),
    "li": (("y",), li),
    "mean": (("y",), mean),
}


def affine(count, e, k):
    product = (count - e["offset"][k]) * e["gain"][k]
    rounded = (product + 2 ** (e["shift"][k] - 1)) // 2 ** e["shift"][k]
    return min(max(rounded, -127), 127)


def clamped(count, e, k):
    nearest = (2 * (count - e["offset"][k]) * e["gain"][k] // 2 ** e["shift"][k] + 1) // 2  # halves up
    if nearest < e["low"][k]:
        return e["low"][k]
    return e["high"][k] if nearest > e["high"][k] else nearest


ENCODERS = {"affine": affine, "clamped": clamped}


def octaves(x):
    """64 times a logarithm that is exact at powers of 2 and straight between them, rounded down."""
    if x < 1:
        return 0
    e = len(bin(x)) - 3
    return 64 * e + 64 * (x - 2**e) // 2**e


class LogDiff:
    """Keeps the whole signal of a channel, preceded by its first sample for ever."""

    def __init__(self, frame):
        self.frame, self.heard = frame, []

    def features(self, samples):
        first = (self.heard or samples)[0]
        signal = [first] * self.frame + self.heard + samples
        self.heard += samples
        now = range(len(signal) - self.frame, len(signal))
        found, lag = [(2 * sum(samples) // self.frame + 1) // 2], 1
        while lag <= self.frame:
            found.append(octaves(1 + sum(abs(signal[t] - signal[t - lag]) for t in now)))
            lag *= 2
        return found

    def state(self):
        return self.heard[-self.frame :] or [0] * self.frame


class Bands:
    """The wavelet transform of each frame, with the end of the one before."""

    def __init__(self, frame):
        self.splits = len(bin(frame)) - 3
        self.kept = [[0, 0, 0] for _ in range(self.splits)]
        self.heard = False

    def features(self, samples):
        x, found = list(samples), []
        for split in range(self.splits):
            before, last, detail = self.kept[split]
            if not self.heard:
                before = last = x[0]
            signal, details, smooth = [before, last, *x], [detail], []
            for k in range(len(x) // 2):
                details.append(signal[2 * k + 1] - (signal[2 * k] + signal[2 * k + 2] + 1) // 2)
                smooth.append(signal[2 * k] + (details[k] + details[k + 1] + 2) // 4)
            found.append(octaves(1 + sum(abs(d) for d in details[1:])))
            self.kept[split] = [x[-2], x[-1], details[-1]]
            x = smooth
        self.heard = True
        return [min(max(x[0], -32768), 32767), *found]

    def state(self):
        return [kept[k] for kept in self.kept for k in range(3)]


class Delta:
    """What a channel sends when it has moved by its threshold."""

    def __init__(self, frame, threshold):
        self.threshold, self.sent = threshold, []

    def features(self, samples):
        found = []
        for sample in samples:
            change = sample - sum(self.sent)
            change = change if abs(change) >= self.threshold else 0
            found.append(max(-32768, min(32767, change)))
            self.sent.append(found[-1])
        return found

    def state(self):
        return [sum(self.sent)]


class Stack:
    def __init__(self, frame):
        pass

    def features(self, samples):
        return samples

    def state(self):
        return []


class Slope:
    """The samples of a frame, and how far its last one is from that of the frame before."""

    def __init__(self, frame):
        self.ends = []

    def features(self, samples):
        self.ends.append(samples[-1])
        before = self.ends[-2] if len(self.ends) > 1 else samples[0]
        return [*samples, max(-32768, min(32767, samples[-1] - before))]

    def state(self):
        return self.ends[-1:] or [0]


FRONT_ENDS = {"stack": Stack, "logdiff": LogDiff, "bands": Bands, "delta": Delta, "slope": Slope}


class Naive:
    def __init__(self, model):
        self.m = model
        self.w = [dense(p.w) for p in model.projections]
        self.p = [{k: [int(a) for a in v] for k, v in p.params.items()} for p in model.populations]
        self.e = {k: [int(a) for a in v] for k, v in model.encoder_params.items()}
        self.s = [{name: [0] * p.n for name in NEURONS[p.neuron][0]} for p in model.populations]
        self.z = {p.name: [0] * p.n for p in model.populations}
        self.h = 0
        of_channels = zip(*model.front.params, strict=True) if model.front.params else [()] * len(model.channels)
        self.front = [FRONT_ENDS[model.front.kind](model.front.frame, *own) for own in of_channels]

    @property
    def y(self):
        return self.s[-1]["y"]

    def step(self, count):
        m = self.m
        channels = len(self.front)
        found = [front.features([int(a) for a in count[c::channels]]) for c, front in enumerate(self.front)]
        features = [of_channel[f] for f in range(len(found[0])) for of_channel in found]
        sent = self.z | {"input": [ENCODERS[m.encoder](a, self.e, k) for k, a in enumerate(features)]}
        for population, s, p in zip(m.populations, self.s, self.p, strict=True):
            z = []
            for i in range(population.n):
                drive = 0
                for projection, w in zip(m.projections, self.w, strict=True):
                    if projection.target == population.name:
                        drive += 2**projection.shift * sum(map(mul, w[i], sent[projection.source]))
                z.append(NEURONS[population.neuron][1](s, drive, p, i))
            sent[population.name] = self.z[population.name] = z
        assert all(abs(x) < 2**31 for s in self.s for values in s.values() for x in values)
        for w in self.words():
            self.h = mix(self.h, w)

    def words(self):
        states = [front.state() for front in self.front]
        found = [of_channel[k] % 2**32 for k in range(len(states[0])) for of_channel in states]
        for population, s in zip(self.m.populations, self.s, strict=True):
            for name in NEURONS[population.neuron][0]:
                found += [x % 2**32 for x in s[name]]
            if population.name != self.m.populations[-1].name:  # the read-out
                packed = [0] * ((population.n + 31) // 32)
                for i, z in enumerate(self.z[population.name]):
                    packed[i // 32] += z << (i % 32)
                found += packed
        return found


def mix(h, w):
    k = w * 0xCC9E2D51 % 2**32
    k = (k << 15 | k >> 17) % 2**32
    h = h ^ (k * 0x1B873593 % 2**32)
    h = (h << 13 | h >> 19) % 2**32
    return (h * 5 + 0xE6546B64) % 2**32


def decisions(m, samples):
    """Every decision, as (label, margin, percent, unknown); each runs the network anew from its reset."""
    rule, found, before = m.decision, [], None
    frame, end = m.front.frame, m.window
    while end <= len(samples):
        network, begin = Naive(m), 0 if rule.stream else end - m.window
        for at in range(begin, end, frame):
            network.step([count for sample in samples[at : at + frame] for count in sample])
        y = network.y
        label = y.index(max(y))
        if before is not None and max(y) - y[before] < rule.lead:
            label = before
        margin = max(0, y[label] - max(y[:label] + y[label + 1 :])) if len(y) > 1 else 0
        percent = ([0] + [share for least, share in rule.levels if least <= margin])[-1]
        fresh = end - (m.hop if rule.stream and end > m.window else m.window)
        strange = 0
        for sample in samples[fresh:end]:
            limits = list(zip(rule.low, rule.high, strict=True)) or [(-32768, 32767)] * len(sample)
            strange += any(count < low or count > high for count, (low, high) in zip(sample, limits, strict=True))
        found.append((label, margin, percent, margin < rule.least or strange > rule.outside))
        before, end = label, end + m.hop
    return found
