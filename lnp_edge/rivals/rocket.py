"""Ridge regression on features like MiniRocket's: Dempster et al. 2021, KDD, arXiv 2012.08791.

The 84 kernels of nine weights, three of them 2 and six -1, are dilated by 1, 3 and 9 steps; every
second one continues beyond both ends of the window, where a channel rests at its mean over the
training data, rounded. Each kernel and dilation reads one channel, drawn in turn. A feature is the
number of steps where the sum exceeds a threshold; each kernel has four or eight, quantiles of its sums
over some training windows.

As the kernels sum to zero and hardly see where a channel rests, each number of thresholds has a second
model, with LEVELS more features for each channel: the numbers of steps above quantiles of its counts. It
is trained on each window and up to three changed ones. Of these up to four models the one of the best
cross-validation over training groups is taken, of equal ones the cheapest. Eight thresholds are left out
where the features of all training windows would need more than MOST_VALUES.

The published method mixes channels, has more dilations and 10,000 features. These settings were
chosen by cross-validation on the training people of SPAR and HAPT. On SPAR, one person left out, mean of
three seeds: 0.896 with levels and changed windows, 0.892 with changed windows alone, 0.879 with levels
alone, 0.883 with neither.

All of this is exact in integers. The ridge regression is quantised by one rule: coefficients of the
numbers of steps, times one factor for all, rounded to int16: the largest factor with |c| <= 32767
and every score within 2**30. Features that vary by less than LEAST steps are left out. The strength
is the best in cross-validation over training groups, as published: with about as many features as
windows the default of the other ridge regressions would be too weak.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.jit import cached
from lnp_edge.base.progress import Progress
from lnp_edge.rivals import _c, _ridge
from lnp_edge.task.baselines import COPIES, Linear, changed, linear
from lnp_edge.task.split import Split

TITLE = "ridge, rocket"

TAPS, CENTRE = 9, 4
KERNELS = np.array(list(combinations(range(TAPS), 3)), np.uint8)  # [84, 3], where the weight is 2
DILATIONS = (1, 3, 9)
PASS = 4  # thresholds that the C counts at once
THRESHOLDS = (PASS, 2 * PASS)  # of each kernel, the numbers tried
LEVELS = 2 * PASS  # of each channel
SAMPLED = 256  # training windows whose sums give the thresholds
GOLDEN = (np.sqrt(5) - 1) / 2
LEAST = 0.25  # steps of standard deviation
MOST_STEPS, LARGEST, WITHIN = 4096, 32767, 2**30
MOST_VALUES = 2**26  # features of all training windows: 512 MB, and some copies
MOST_CHANGED = 2**25  # of them and the changed ones


def suits(data: Split) -> str:
    if why := _ridge.why_not(data, MOST_STEPS, TAPS + 1):
        return why
    values = _values(data, THRESHOLDS[0])
    return f"its training would need {8 * values / 1e9:.1f} GB" if values > MOST_VALUES else ""


def _values(data: Split, thresholds: int) -> int:
    """Features of all training windows."""
    each = len(KERNELS) * len(DILATIONS) * thresholds + len(data.task.channels) * LEVELS
    return len(data.train_windows) * each


def fit(data: Split, seed: int, progress: Progress | None = None) -> Rocket:
    tell = progress or (lambda share, what: None)
    counts, tried = data.train_windows.counts, list[tuple[Linear, Rocket]]()
    numbers = [t for t in THRESHOLDS if _values(data, t) <= MOST_VALUES]
    for number, thresholds in enumerate(numbers):

        def part(of: int, share: float, begun: float = number / len(numbers)) -> None:
            tell(begun + (of + share) / 2 / len(numbers), "cross-validation")

        tell(number / len(numbers), "features")
        rich = _untrained(data, seed, thresholds)
        plain = replace(rich, level=rich.level[:, :0])
        features = rich.features(counts).astype(np.float64)
        copies = min(COPIES, max(0, MOST_CHANGED // _values(data, thresholds) - 1))
        more = changed(data, rich.features, copies)
        tried += [
            (linear(data, features[:, : rich.threshold.size], lambda share: part(0, share), level=1), plain),
            (linear(data, features, lambda share: part(1, share), level=1, more=more), rich),
        ]
    model, rocket = max(tried, key=lambda one: one[0].score)
    w = np.where(model.deviation[:, None] < LEAST, 0.0, model.w / model.deviation[:, None])
    intercept = model.intercept - model.mean @ w
    most = (np.abs(w).sum(0) * counts.shape[1] + np.abs(intercept)).max()
    factor = min(LARGEST / max(np.abs(w).max(), 1e-30), 0.99 * WITHIN / max(most, 1e-30))
    return replace(rocket, c=np.rint(w.T * factor).astype(np.int16), bias=np.rint(intercept * factor).astype(np.int32))


def _untrained(data: Split, seed: int, thresholds: int) -> Rocket:
    """The features, with levels; coefficients are empty."""
    counts, rng = data.train_windows.counts, np.random.default_rng(seed)
    steps, channels = counts.shape[1:]
    rest = np.rint(counts.mean((0, 1), dtype=np.float64)).astype(np.int16)
    dilations = [d for d in DILATIONS if (TAPS - 1) * d < steps]
    reads = np.stack([rng.permutation(len(KERNELS)) % channels for _ in dilations])  # [D, 84]
    order = [(c, d, k) for c in range(channels) for d in range(len(dilations)) for k in np.flatnonzero(reads[d] == c)]
    channel, which, kernel = (np.array(column, np.uint8) for column in zip(*order, strict=True))
    dilation = np.array(dilations, np.uint8)[which]
    some = counts[rng.permutation(len(counts))[:SAMPLED]].astype(np.int64) - rest
    quantiles = (np.arange(1, len(order) * thresholds + 1) * GOLDEN % 1).reshape(-1, thresholds)
    threshold = np.empty(quantiles.shape, np.int32)
    for p, q in enumerate(quantiles):
        threshold[p] = np.floor(np.quantile(_sums(some[:, :, channel[p]], int(kernel[p]), int(dilation[p])), q))
    shares = np.arange(1, LEVELS + 1) / (LEVELS + 1)
    level = np.floor(np.quantile(some + rest, shares, axis=(0, 1)).T).astype(np.int16)
    empty = np.zeros((len(data.train.classes), 0), np.int16)
    return Rocket(rest, channel, dilation, kernel, threshold, level, empty, np.zeros(len(empty), np.int32))


def _sums(x: NDArray[np.int64], kernel: int, dilation: int) -> NDArray[np.int64]:
    """What kernels compare with thresholds, for windows [W, T] of one channel at rest around 0."""
    if kernel % 2 == 0:
        x = np.pad(x, ((0, 0), (CENTRE * dilation, CENTRE * dilation)))
    length = x.shape[1] - (TAPS - 1) * dilation
    taps = [x[:, j * dilation : j * dilation + length] for j in range(TAPS)]
    return 3 * sum(taps[j] for j in KERNELS[kernel]) - sum(taps)


@dataclass(frozen=True)
class Rocket:
    """P pairs of kernel and dilation, those of a channel together, and in it those of a dilation."""

    rest: NDArray[np.int16]  # [C]
    channel: NDArray[np.uint8]  # [P]
    dilation: NDArray[np.uint8]  # [P]
    kernel: NDArray[np.uint8]  # [P]
    threshold: NDArray[np.int32]  # [P, a number of THRESHOLDS]
    level: NDArray[np.int16]  # [C, LEVELS], or [C, 0]
    c: NDArray[np.int16]  # [K, threshold.size + level.size]
    bias: NDArray[np.int32]  # [K]

    def features(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        """[W, threshold.size + level.size], numbers of steps."""
        taps = KERNELS[self.kernel].astype(np.int64)
        found = np.zeros((len(counts), *self.threshold.shape), np.int32)
        longest = CENTRE * int(self.dilation.max())
        line = np.zeros(counts.shape[1] + 2 * longest, np.int32)
        _count(
            np.ascontiguousarray(counts.transpose(0, 2, 1)), self.rest.astype(np.int32), self.channel,
            self.dilation.astype(np.int64), taps, self.kernel % 2 == 0, self.threshold, longest, line, found,
        )  # fmt: skip
        above = np.empty((len(counts), *self.level.shape), np.int32)
        for k in range(above.shape[2]):
            above[:, :, k] = (counts > self.level[:, k]).sum(1)
        return np.concatenate([part.reshape(len(counts), -1) for part in (found, above)], axis=1)

    def scores(self, counts: NDArray[np.int16]) -> NDArray[np.int32]:
        # Exact in float64: every partial sum is an integer below 2**31.
        return (self.features(counts).astype(np.float64) @ self.c.T.astype(np.float64) + self.bias).astype(np.int32)

    def c_files(self) -> dict[str, str]:
        changes = (np.diff(self.channel, prepend=255) != 0) | (np.diff(self.dilation, prepend=0) != 0)
        starts = np.flatnonzero(changes)
        sizes = np.diff([*starts, len(self.kernel)])
        again = self.threshold.shape[1] > PASS
        # The coefficients of a feature lie together.
        return {"lnp_rival.c": f"""#include "lnp_rival.h"

#define STEPS LNP_RIVAL_STEPS
#define CHANNELS LNP_RIVAL_CHANNELS
#define SCORES LNP_RIVAL_SCORES
#define BEYOND {CENTRE * int(self.dilation.max())}u  // steps at rest before and after a window
#define GROUPS {len(starts)}u  // kernels of one channel and dilation

{_c.array("tap", KERNELS)}
{_c.array("rest", self.rest)}
{_c.array("channel_of", self.channel[starts])}
{_c.array("dilation_of", self.dilation[starts])}
{_c.array("kernels_in", sizes.astype(np.uint8))}
{_c.array("kernel", self.kernel)}
{_c.array("threshold", self.threshold)}
{_c.array("level", self.level) if self.level.size else ""}
{_c.array("coefficient", self.c.T)}
{_c.array("bias", self.bias)}
static int32_t line[STEPS + 2u * BEYOND];  // a channel
static int32_t nine[STEPS];                // sums of nine steps
{"static int32_t sums[STEPS];                // of a kernel" if again else ""}

{_counting("count", "const int32_t *x, const uint8_t *taps, int32_t d, uint32_t from, uint32_t to", "int32_t", _KERNEL,
           "3 * (a[t] + b[t] + c[t]) - nine[t]", _STORED if again else "")}
{_counting("count_again", "uint32_t from, uint32_t to", "int32_t", "", "sums[t]") if again else ""}
{_counting("count_above", "const int16_t *x, uint32_t from, uint32_t to", "int16_t", "", "x[t * CHANNELS]")
 if self.level.size else ""}
static const int16_t *add(const int16_t *c, const uint32_t *steps, int32_t *scores)
{{
    for (uint32_t f = 0; f < {PASS}; f++) {{
        for (uint32_t s = 0; s < SCORES; s++) {{
            scores[s] += *c++ * (int32_t)steps[f];
        }}
    }}
    return c;
}}

void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    const uint8_t *k = kernel;
    const int32_t *least = threshold;
    const int16_t *c = coefficient;
    int32_t *const x = line + BEYOND;
    uint32_t steps[{PASS}];
    for (uint32_t s = 0; s < SCORES; s++) {{
        scores[s] = bias[s];
    }}
    for (uint32_t g = 0; g < GROUPS; g++) {{
        const uint32_t channel = channel_of[g];
        const int32_t d = dilation_of[g];
        const uint32_t beyond = {CENTRE}u * dilation_of[g];
        for (uint32_t t = 0; t < STEPS; t++) {{
            x[t] = counts[t * CHANNELS + channel] - rest[channel];
        }}
        for (int32_t t = 0; t < (int32_t)STEPS; t++) {{
            int32_t sum = 0;
            if (t < d) {{
                for (int32_t j = -{CENTRE}; j <= {CENTRE}; j++) {{
                    sum += x[t + j * d];
                }}
            }} else {{
                sum = nine[t - d] + x[t + {CENTRE} * d] - x[t - {CENTRE + 1} * d];
            }}
            nine[t] = sum;
        }}
        for (uint32_t left = kernels_in[g]; left > 0; left--) {{
            const uint32_t from = *k % 2 == 0 ? 0 : beyond;
            count(x, tap + 3u * *k, d, from, STEPS - from, least, steps);
            c = add(c, steps, scores);
            least += {PASS};
{_AGAIN if again else ""}            k++;
        }}
    }}
{_LEVELS if self.level.size else ""}}}
"""}  # fmt: skip


def _counting(name: str, takes: str, kind: str, begin: str, now: str, then: str = "") -> str:
    """A C function: in how many steps an expression exceeds each of PASS thresholds.

    |x| < 2^17, so the sum of a kernel is less than 18 * 2^17, and so are thresholds: their difference fits.
    """
    each = range(PASS)
    return f"""static void {name}({takes}, const {kind} *least, uint32_t *found)
{{
{begin}    const int32_t {", ".join(f"l{i} = least[{i}]" for i in each)};
    uint32_t {", ".join(f"n{i} = 0" for i in each)};
    for (uint32_t t = from; t < to; t++) {{
        const int32_t now = {now};
{"".join(f"        n{i} += (uint32_t)(l{i} - now) >> 31;{chr(10)}" for i in each)}{then}    }}
{"".join(f"    found[{i}] = n{i};{chr(10)}" for i in each)}}}
"""


_KERNEL = f"""    const int32_t *const a = x + d * (taps[0] - {CENTRE});
    const int32_t *const b = x + d * (taps[1] - {CENTRE});
    const int32_t *const c = x + d * (taps[2] - {CENTRE});
"""

_STORED = "        sums[t] = now;\n"

_AGAIN = f"""            count_again(from, STEPS - from, least, steps);
            c = add(c, steps, scores);
            least += {PASS};
"""

_LEVELS = f"""    for (uint32_t channel = 0; channel < CHANNELS; channel++) {{
        for (uint32_t from = 0; from < {LEVELS}; from += {PASS}) {{
            count_above(counts + channel, 0, STEPS, level + {LEVELS}u * channel + from, steps);
            c = add(c, steps, scores);
        }}
    }}
"""


@cached
def _count(x, rest, channel, dilation, taps, beyond, threshold, longest, line, found):
    """Count into found, int32 [W, P, thresholds]. x : int16 [W, C, T]; taps : [P, 3]; beyond : [P]

    line : int32 [T + 2 * longest], zeros: a channel with `longest` steps at rest before and after it
    """
    windows, _, steps = x.shape
    pairs, most = threshold.shape
    for w in range(windows):
        for p in range(pairs):
            c, d = channel[p], dilation[p]
            # A loop: of slices, Numba compiles what to say of other shapes, 2 s.
            for t in range(steps):
                line[longest + t] = x[w, c, t] - rest[c]
            skipped = 0 if beyond[p] else CENTRE * d
            for t in range(skipped, steps - skipped):
                at = longest + t
                total = 0
                for j in range(-CENTRE, CENTRE + 1):
                    total += line[at + j * d]
                heavy = 0
                for j in range(3):
                    heavy += line[at + (taps[p, j] - CENTRE) * d]
                total = 3 * heavy - total
                for k in range(most):
                    found[w, p, k] += total > threshold[p, k]
