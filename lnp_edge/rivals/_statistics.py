"""The features of task.baselines in integers: statistics of a window, log band powers, lagged products.

They are exact for every int16 input.

Each is a feature of the baseline times a constant, or plus one, which standardising takes out:

per channel   sum of the counts; T times the standard deviation, by an integer square root of 32
              bits and a shift; minimum; maximum; four times each quartile, interpolated as numpy
              does; sum of |step|
per pair      sum of the products; with lags also of each channel and any channel LAG steps before
per band      log2 of the power, in 1/1024: floor by the leading bit, the rest by a parabola (within 0.008)

The power of a band comes from a discrete Fourier transform by tables of cos and sin in 1/2**14,
summed in 64 bits and kept in 1/16 of a count. The first count is subtracted: the rounding of the
tables would let a large mean through. A step halves an even length: its odd frequencies
come from x[n] - x[n + T/2], which is folded once more by symmetry, and its even ones are the
transform of x[n] + x[n + T/2]. An odd length is folded by symmetry. 100 steps take 1,902 products a
channel in place of 10,000.
"""

from __future__ import annotations

from itertools import combinations, pairwise, product

import numpy as np
from numpy.typing import NDArray

from lnp_edge.rivals import _c
from lnp_edge.task.baselines import BANDS, LAG, band_edges

MOST_STEPS, MOST_BAND_STEPS = 4096, 1024  # sums stay within int32 and int64
ONE = 14  # bits of the tables' fraction
KEPT = 4  # bits of the fraction of a spectrum's real and imaginary parts
LOG_ONE = 10  # bits of the fraction of a logarithm
BEND = 11  # /32: log2(1 + m) is near m + 11/32 m (1 - m)


def features(counts: NDArray[np.int16], bands: bool, lags: bool) -> NDArray[np.int64]:
    """[W, F], in the order in which the C puts them: the channels one after another, then the pairs."""
    x = counts.astype(np.int64)
    steps = x.shape[1]
    ordered = np.sort(x, axis=1)
    columns = []
    for c in range(x.shape[2]):
        own = x[:, :, c]
        total = own.sum(1)
        columns += [total, root(steps * np.square(own).sum(1) - total * total)]
        columns += [ordered[:, 0, c], ordered[:, -1, c]]
        for quarter in (1, 3):
            k, part = divmod(quarter * (steps - 1), 4)
            columns.append((4 - part) * ordered[:, k, c] + part * ordered[:, min(k + 1, steps - 1), c])
        columns.append(np.abs(np.diff(own, axis=1)).sum(1))
        if bands:
            columns += list(log_powers(own).T)
    channels = range(x.shape[2])
    columns += [(x[:, :, i] * x[:, :, j]).sum(1) for i, j in combinations(channels, 2)]
    if lags:
        columns += [(x[:, LAG:, i] * x[:, :-LAG, j]).sum(1) for i, j in product(channels, channels)]
    return np.stack(columns, axis=1)


def root(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """The square root of n >= 0: of its leading 31 or 32 bits rounded down, times a power of two."""
    half, left = np.zeros_like(n), n.copy()
    while (big := left >> 32 > 0).any():
        left[big] >>= 2
        half[big] += 1
    return np.floor(np.sqrt(left.astype(np.float64))).astype(np.int64) << half  # exact below 2**52


def log2(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """log2 of n >= 1 in 1/2**LOG_ONE."""
    e = np.frexp(n.astype(np.float64))[1].astype(np.int64) - 1
    e -= (n >> e) == 0  # the conversion to float64 rounds up to the next power of two
    m = np.where(e >= 15, n >> np.maximum(e - 15, 0), n << np.maximum(15 - e, 0)) & 0x7FFF
    bent = m + (((m * (0x8000 - m)) >> 15) * BEND >> 5)
    return (e << LOG_ONE) + (bent >> (15 - LOG_ONE))


def log_powers(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """log2 of the power in each band, [W, BANDS], of windows [W, T] of one channel."""
    steps, edges = x.shape[1], band_edges(x.shape[1])
    power, x = np.zeros((len(x), steps // 2 + 1), np.int64), x - x[:, :1]
    for level in _levels(steps):
        a, b, x = level.fold(x)
        for k, (cos, sin) in zip(level.frequencies, level.tables, strict=True):
            # Exact in float64: partial sums are integers below 2**53.
            re, im = (
                (part.astype(np.float64) @ row.astype(np.float64)).astype(np.int64) >> (ONE - KEPT)
                for part, row in ((a, cos), (b, sin))
            )
            power[:, k] = re * re + im * im
    ones = [(hi - lo) * steps << 2 * KEPT for lo, hi in pairwise(edges)]  # a mean power of 1
    bands = [power[:, 1 + lo : 1 + hi].sum(1) for lo, hi in pairwise(edges)]
    return log2(np.stack(bands, axis=1) + np.array(ones))


class _Level:
    """The frequencies that come from one length of the folded signal."""

    def __init__(self, length: int, steps: int):
        self.length, self.even = length, length % 2 == 0
        half = length // 2
        if self.even:
            own = range(1, half + 1, 2)
            self.a = range((half + 1) // 2)  # n whose cosines count
            self.b = range(1, half // 2 + 1)  # n whose sines count
        else:
            own = range(1, half + 1)
            self.a, self.b = range(half + 1), range(1, half + 1)
        self.frequencies = [k * steps // length for k in own]
        angle = 2 * np.pi / length
        self.tables = [
            tuple(
                np.rint(2**ONE * f(angle * (k * np.array(n, np.int64) % length))).astype(np.int16)
                for f, n in ((np.cos, self.a), (np.sin, self.b))
            )
            for k in own
        ]

    def fold(self, x: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """What cosines and sines are summed over, and the signal of half the length."""
        half, a, b = self.length // 2, np.array(self.a), np.array(self.b, np.intp)
        if self.even:
            y = x[:, :half] - x[:, half:]
            sign, other = -1, half - a
            alone_a, alone_b = a == 0, 2 * b == half
        else:
            y, sign, other = x, 1, self.length - a
            alone_a, alone_b = a == 0, b == 0
        mirror = y[:, np.where(alone_a, 0, other)]
        found_a = y[:, a] + sign * np.where(alone_a, 0, mirror)
        mirror = y[:, (half if self.even else self.length) - b] if len(b) else y[:, :0]
        found_b = y[:, b] - sign * np.where(alone_b, 0, mirror)
        return found_a, found_b, x[:, :half] + x[:, half:] if self.even else x[:, :1]


def _levels(steps: int) -> list[_Level]:
    found, length = [], steps
    while length > 1:
        found.append(_Level(length, steps))
        length = length // 2 if length % 2 == 0 else 1
    return found


def c_text(steps: int, bands: bool, lags: bool) -> str:
    """C: lnp_features(counts) puts every feature, by a function put that stands before it."""
    lower, part_lower = divmod(steps - 1, 4)
    upper, part_upper = divmod(3 * (steps - 1), 4)
    head = f"""#define STEPS LNP_RIVAL_STEPS
#define CHANNELS LNP_RIVAL_CHANNELS

static int16_t now[STEPS];  // one channel
{_SELECT}{_LEAST if part_lower or part_upper else ""}{_ROOT}
static void put_statistics(void)
{{
    int32_t total = 0, moved = 0, least = now[0], most = now[0], before = now[0];
    int64_t squares = 0;
    for (uint32_t t = 0; t < STEPS; t++) {{
        const int32_t x = now[t], step = x - before;
        before = x;
        total += x;
        squares += (int64_t)x * x;
        moved += step < 0 ? -step : step;
        least = x < least ? x : least;
        most = x > most ? x : most;
    }}
    put(total);
    put(root((uint64_t)((int64_t)STEPS * squares - (int64_t)total * total)));
    put(least);
    put(most);
    int32_t found = {4 - part_lower} * select(0, STEPS - 1, {lower});
{_after(lower, part_lower, steps)}    put(found);
    found = {4 - part_upper} * select({min(lower + 1, upper)}, STEPS - 1, {upper});
{_after(upper, part_upper, steps)}    put(found);
    put(moved);
}}
"""
    middle = _bands_text(steps) if bands else ""
    call = "        put_bands();\n" if bands else ""
    tail = f"""
// The sum of products of two channels, from rows `one` and `other` on.
LNP_ALONE static int64_t product(const int16_t *one, const int16_t *other, uint32_t steps)
{{
    int64_t sum = 0;
    for (uint32_t t = 0; t < steps; t++) {{
        sum += (int64_t)*one * *other;
        one += CHANNELS;
        other += CHANNELS;
    }}
    return sum;
}}

static void put_features(const int16_t *counts)
{{
    for (uint32_t c = 0; c < CHANNELS; c++) {{
        for (uint32_t t = 0; t < STEPS; t++) {{
            now[t] = counts[t * CHANNELS + c];{_COPY if bands else ""}
        }}
        put_statistics();
{call}    }}
    for (uint32_t i = 0; i < CHANNELS; i++) {{
        for (uint32_t j = i + 1; j < CHANNELS; j++) {{
            put(product(counts + i, counts + j, STEPS));
        }}
    }}
{_LAGGED if lags else ""}}}
"""
    return head + middle + tail


_LAGGED = f"""    for (uint32_t i = 0; i < CHANNELS; i++) {{
        for (uint32_t j = 0; j < CHANNELS; j++) {{
            put(product(counts + {LAG}u * CHANNELS + i, counts + j, STEPS - {LAG}u));
        }}
    }}
"""

_COPY = "\n            signal[t] = now[t] - counts[c];"

_SELECT = """
// now[k] of the sorted channel; what is smaller lies before it, what is larger behind it.
// Hoare 1961, CACM 4:321. Only the time depends on the order of the counts.
LNP_ALONE static int32_t select(int32_t low, int32_t high, int32_t k)
{
    while (low < high) {
        const int32_t pivot = now[k];
        int32_t i = low, j = high;
        while (i <= j) {
            while (now[i] < pivot) {
                i++;
            }
            while (now[j] > pivot) {
                j--;
            }
            if (i <= j) {
                const int16_t kept = now[i];
                now[i++] = now[j];
                now[j--] = kept;
            }
        }
        low = j < k ? i : low;
        high = k < i ? j : high;
    }
    return now[k];
}
"""

_LEAST = """
LNP_ALONE static int32_t least_from(uint32_t t)
{
    int32_t found = now[t];
    for (; t < STEPS; t++) {
        found = now[t] < found ? now[t] : found;
    }
    return found;
}
"""

_ROOT = """
// The root of the leading 31 or 32 bits, rounded down, times a power of two.
LNP_ALONE static int64_t root(uint64_t n)
{
    uint32_t half = 0;
    for (; n >> 32 != 0; half++) {
        n >>= 2;
    }
    uint32_t left = (uint32_t)n, found = 0;
    for (uint32_t bit = 1u << 30; bit != 0; bit >>= 2) {
        const uint32_t tried = found + bit;
        found >>= 1;
        if (left >= tried) {
            left -= tried;
            found += bit;
        }
    }
    return (int64_t)found << half;
}
"""


def _after(k: int, part: int, steps: int) -> str:
    return f"    found += {part} * least_from({k + 1});\n" if part else ""


def _bands_text(steps: int) -> str:
    levels, edges = _levels(steps), band_edges(steps)
    rows = [_in_turn(*pair) for level in levels for pair in level.tables]
    band = {k: b for b, (lo, hi) in enumerate(pairwise(edges)) for k in range(1 + lo, 1 + hi)}
    order = np.array([band[k] for level in levels for k in level.frequencies], np.uint8)
    ones = np.array([(hi - lo) * steps << 2 * KEPT for lo, hi in pairwise(edges)], np.uint32)
    return f"""
#define BANDS {BANDS}u

// For each frequency the cosine of n and the sine of n + 1 in turn, in 1/2^{ONE}.
{_c.array("wave", np.concatenate(rows))}
// The band of each frequency, in the order of their computation; a mean power of 1 in each band.
{_c.array("band_of", order)}
{_c.array("silence", ones)}
static int32_t signal[STEPS], folded[STEPS + 2u];
{_LOG2}
// |counts| less the first are below 2^16, their sums within 2^16 STEPS <= 2^26; with {KEPT} bits of
// fraction they fit int32. The power of all frequencies is at most STEPS^2 2^32 2^{2 * KEPT} / 2
// (Parseval).
static void put_bands(void)
{{
    uint64_t power[BANDS];
    for (uint32_t b = 0; b < BANDS; b++) {{
        power[b] = silence[b];
    }}
    const int16_t *w = wave;
    const uint8_t *band = band_of;
    for (uint32_t length = STEPS; length > 1;) {{
        const uint32_t half = length / 2, even = 1 - length % 2;
        const uint32_t terms = even ? (half + 1) / 2 : half + 1, count = even ? terms : half;
        if (even) {{
            // Odd frequencies: n and half - n share a sine, and a cosine but for its sign.
            int32_t *const y = signal + half;
            for (uint32_t n = 0; n < half; n++) {{
                const int32_t first = signal[n], second = y[n];
                signal[n] = first + second;
                y[n] = first - second;
            }}
            folded[0] = y[0];
            for (uint32_t n = 1; n < terms; n++) {{
                folded[2 * n] = y[n] - y[half - n];
                folded[2 * n - 1] = y[n] + y[half - n];
            }}
            folded[2 * terms - 1] = y[half / 2];  // times 0 if half is odd
        }} else {{
            folded[0] = signal[0];
            for (uint32_t n = 1; n < terms; n++) {{
                folded[2 * n] = signal[n] + signal[length - n];
                folded[2 * n - 1] = signal[n] - signal[length - n];
            }}
            folded[2 * terms - 1] = 0;
        }}
        for (uint32_t k = 0; k < count; k++) {{
            int64_t re = 0, im = 0;
            const int32_t *x = folded;
            for (const int16_t *const end = w + 2 * terms; w != end; w += 2, x += 2) {{
                re += (int64_t)x[0] * w[0];
                im += (int64_t)x[1] * w[1];
            }}
            const int64_t a = (int32_t)(re >> {ONE - KEPT}), b = (int32_t)(im >> {ONE - KEPT});
            power[*band++] += (uint64_t)(a * a + b * b);
        }}
        length = even ? half : 1;
    }}
    for (uint32_t b = 0; b < BANDS; b++) {{
        put(log2_of(power[b]));
    }}
}}
"""


def _in_turn(cos: NDArray[np.int16], sin: NDArray[np.int16]) -> NDArray[np.int16]:
    """Cosines and sines in turn; a missing last sine is 0."""
    found = np.zeros(2 * len(cos), np.int16)
    found[::2], found[1 : 2 * len(sin) : 2] = cos, sin
    return found


_LOG2 = f"""
// log2(n) in 1/2^{LOG_ONE}, n >= 1: the leading bit, and a parabola for the 15 bits behind it.
LNP_ALONE static int32_t log2_of(uint64_t n)
{{
    int32_t e = 0;
    uint32_t top = (uint32_t)(n >> 32);
    if (top != 0) {{
        e = 32;
    }} else {{
        top = (uint32_t)n;
    }}
    for (int32_t s = 16; s > 0; s >>= 1) {{
        if (top >> s != 0) {{
            top >>= s;
            e += s;
        }}
    }}
    const int32_t m = (int32_t)((e >= 15 ? n >> (e - 15) : n << (15 - e)) & 0x7FFFu);
    const int32_t bent = m + (((m * (0x8000 - m)) >> 15) * {BEND} >> 5);
    return e * {1 << LOG_ONE} + (bent >> {15 - LOG_ONE});
}}
"""
