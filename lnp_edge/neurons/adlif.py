"""Adaptive leaky integrate-and-fire neuron without synaptic current, by symplectic Euler steps.

    v[t] = beta * v[t-1] + drive[t] + bias - w[t-1]             beta = exp(-dt / tau_mem)
    z[t] = v[t] > v_th ;  v[t] -= v_th if z[t]
    w[t] = rho * w[t-1] + pull * v[t] + jump * z[t]             rho  = exp(-dt / tau_ad)

v is the membrane potential, w the adaptation. Baronig, Ferrand, Sabathiel & Legenstein 2024,
arXiv:2408.07517, write pull = a (1 - beta)(1 - rho) and jump = 2 b (1 - beta)(1 - rho) v_th. Their
oscillations decay because w follows the new v and not the old.
"""

from functools import lru_cache

import numpy as np
from numba import njit

from lnp_edge.base.jit import cached, inner
from lnp_edge.spec.model import INT32_MAX
from lnp_edge.spec.ops import add, gate, greater, leak, mul, sub
from lnp_edge.spec.parameters import LEAK, SCALED, SHARE, THRESHOLD, Parameter, time_constant, uniform

STATE = ("v", "w")


def drive_for(dt, p):
    """The constant drives for a current of 1, and for a potential of 1 without adaptation.

    They are 1 and 1 - beta.
    """
    return np.ones_like(p["tau_mem"]), 1 - np.exp(-dt / p["tau_mem"])


def _potential(dt, p):
    return drive_for(dt, p)[1]


def _leaks(dt, p):
    return (1 - np.exp(-dt / p["tau_mem"])) * (1 - np.exp(-dt / p["tau_ad"]))


PARAMETERS = {
    "tau_mem": time_constant("time constant of the membrane potential", 0.2),
    "tau_ad": time_constant("time constant of the adaptation", 0.4),
    "v_th": Parameter("spike threshold, which a spike also subtracts from the potential", "v", 1.0, low=0.0,
                      trains=False, in_config=False),
    "pull": Parameter("adaptation that a potential of 1 adds per step", "", 2.0, uniform, _leaks, low=0.0, high=0.5),
    "jump": Parameter("adaptation that a spike adds", "v", 1.5, uniform,
                      lambda dt, p: _leaks(dt, p) * p["v_th"], low=0.0),
    "bias": Parameter("constant drive", "v", 0.5, scale=_potential, in_config=False),
}  # fmt: skip
TABLES = {
    "c_mem": LEAK("tau_mem"),
    "c_ad": LEAK("tau_ad"),
    "c_pull": SHARE("pull"),
    "v_th": THRESHOLD("v_th"),
    "jump": SCALED("jump"),
    "bias": SCALED("bias"),
}


def step(v, w, drive, c_mem, c_ad, c_pull, v_th, jump, bias):
    """One step of one neuron: the new state and the spike z."""
    v = leak(v, c_mem)
    v = add(v, drive)
    v = add(v, bias)
    v = sub(v, w)
    z = greater(v, v_th)
    kick = gate(z, v_th)
    v = sub(v, kick)
    rest = leak(v, c_pull)
    pulled = sub(v, rest)
    jumped = mul(z, jump)
    w = leak(w, c_ad)
    w = add(w, pulled)
    w = add(w, jumped)
    return v, w, z


def bound(drive, c_mem, c_ad, c_pull, v_th, jump, bias):
    """Largest |value| that any variable of a step can ever reach while |drive| <= drive.

    Between spikes (v, w) is linear except for rounding: a step is M = [[b, -1], [p b, r - p]] with
    b = 1 - c_mem / 2**16, r = 1 - c_ad / 2**16, p = c_pull / 2**16. Each step adds at most
    G = drive + |bias| + 1 + v_th along (1, p), from the drive, the rounding of v's leak and the reset,
    and at most J = 2 + |jump| along (0, 1), from the rounding of two leaks and the jump. So from rest
    |v| and |w| are at most V and W, these amounts times the sums over k of |M**k (1, p)| and
    |M**k (0, 1)|.

    From a loaded state they may go further, see `reachable`. Where int32 has room for that by a coarse
    bound, the result is that from rest.

    All arguments are Python integers; the arithmetic rounds up.
    """
    v, w, along = _largest(drive, c_mem, c_ad, c_pull, v_th, jump, bias)
    most = v + w + drive + abs(bias) + abs(jump) + 2
    if most > INT32_MAX:
        return most
    leaks = c_mem, c_ad, c_pull
    if max(_from_box(*leaks, v, w)) + drive + abs(bias) > INT32_MAX:
        rows = reachable(drive, *leaks, v_th, jump, bias)
        v, w = (int(x) + 1 for x in _from_rows(*leaks, *map(float, (*along, *rows)), *_sums(*leaks)))
        most = max(most, v, w, v * (65536 - c_mem) // 65536 + 1 + drive + abs(bias))  # the last: before w acts
    return most


def reachable(drive, c_mem, c_ad, c_pull, v_th, jump, bias):
    """Limits that every state reached from rest keeps: (V, W, k, total, apart).

        |v| <= V    |w| <= W    |v // 4 + 2**k w // 4| <= total    |v // 4 - 2**k w // 4| <= apart

    v and w turn into each other, so that V and W alone admit corners from which v goes 1.5 V far. The
    other two cut the corners. 2**k W is 3/4 V to 3/2 V, if W is not above V.

    No step overflows after a load of such a state: after t steps v is what the state left, a row of
    M**t times it, and what t steps added, at most the first t terms of V. `bound` allows for the
    largest such sum over t.
    """
    v, w, along = _largest(drive, c_mem, c_ad, c_pull, v_th, jump, bias)
    k = max(0, (3 * v // (2 * w)).bit_length() - 1)
    leaks = c_mem, c_ad, c_pull
    sums = _diagonals(*leaks, *map(float, (*along, v, w, k)), *_sums(*leaks))
    total, apart = (int(sum_ / 4) + 3 for sum_ in sums)  # // moves each of two terms by less than 1
    return v, w, k, total, apart


def _largest(drive, c_mem, c_ad, c_pull, v_th, jump, bias):
    """V, W and (G, J) of `bound`, integers."""
    along = drive + abs(bias) + 1 + v_th, 2 + abs(jump)
    v, w = (
        -(-(_fixed(of_v) * along[0] + _fixed(of_w) * along[1]) >> _DIGITS) for of_v, of_w in _sums(c_mem, c_ad, c_pull)
    )
    return v, w, along


_DIGITS = 64  # bits after the binary point of a sum
_STEPS = 4096  # powers that are summed one by one
_FOLLOWED = 8192  # powers through which a loaded state is followed
_SMALL = 2.0**-40
_ROUND = 3 * 2.0**-53  # bounds the rounding of two products and a sum, as a share of the terms


def _fixed(x):
    return int(x * 2.0**_DIGITS) + 1


@lru_cache(2**17)
@cached
def _sums(c_mem, c_ad, c_pull):
    """Sums over all k >= 0 of |M**k (1, p)| and |M**k (0, 1)|, never too small: floats.

    Returns ((two sums for v), (two sums for w)).

    With S the sum of |M**k| for k < K and E = |M**K|, the sum over all k is at most
    S + S E + S E**2 + ..., because M**(j K + k) = M**k (M**K)**j. K doubles until E is small, by
    squaring M**K and replacing S by S + S E.

    What rounding can hide is added. A step from column (v, w) is off by at most
    _ROUND (|v| + |w|, p b |v| + |w|) = _ROUND N |(v, w)|, and M**j carries that on. So the true sum S
    is at most s + _ROUND S N s, s the sum found, and M**K is off by at most _ROUND S N largest. Here
    S <= 2 s: no |entry| of M**k exceeds 2 k (Cayley-Hamilton; both |eigenvalues| are below 1), and
    that of row w, column v is at most p b k, so that _ROUND S N s <= S / 2. All else is sums and
    products without signs, fewer than 2**13 in a row: 2**-40 of the result is added for them.
    """
    b, r, p = 1 - c_mem / 65536, 1 - c_ad / 65536, c_pull / 65536
    pull, keep = p * b, r - p  # exact
    v, x, w, y = 1.0, 0.0, 0.0, 1.0  # M**k: rows (v, x) and (w, y)
    sum_v = sum_x = sum_w = sum_y = most_v = most_x = most_w = most_y = 0.0
    along_v = along_w = 0.0  # sums of |M**k (1, p)|
    for k in range(_STEPS):
        along_v, along_w = along_v + abs(v + p * x), along_w + abs(w + p * y)
        sum_v, sum_x, sum_w, sum_y = sum_v + abs(v), sum_x + abs(x), sum_w + abs(w), sum_y + abs(y)
        most_v, most_x = max(most_v, abs(v)), max(most_x, abs(x))
        most_w, most_y = max(most_w, abs(w)), max(most_y, abs(y))
        v, x, w, y = b * v - w, b * x - y, pull * v + keep * w, pull * x + keep * y
        if k % 16 == 15 and max(abs(v), abs(x), abs(w), abs(y)) < _SMALL:
            break
    found = (sum_v, sum_x, sum_w, sum_y)
    carried = _scaled(2 * _ROUND, _times(found, (1.0, 1.0, pull, 1.0)))
    error = _times(carried, found)
    first, more = _plus(found, error), (0.0, 0.0, 0.0, 0.0)
    along_v, along_w = along_v + 2 * (error[0] + p * error[1]), along_w + 2 * (error[2] + p * error[3])
    power, off = (v, x, w, y), _times(carried, (most_v, most_x, most_w, most_y))
    size = _plus(_sizes(power), off)
    while max(size) > _SMALL:
        more = _plus(more, _times(_plus(first, more), size))
        off = _plus(_plus(_times(size, off), _times(off, size)), _scaled(_ROUND, _times(size, size)))
        power = _times(power, power)
        size = _plus(_sizes(power), off)
    # S (E + E**2 + ...) with every |entry| of E at most _SMALL.
    sums = _plus(first, more)
    more = _plus(more, _times(sums, (2 * _SMALL, 2 * _SMALL, 2 * _SMALL, 2 * _SMALL)))
    up = 1 + 2.0**-40
    return (
        (up * (along_v + more[0] + p * more[1]), up * (first[1] + more[1])),
        (up * (along_w + more[2] + p * more[3]), up * (first[3] + more[3])),
    )


@inner
def _times(a, b):
    return (
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
    )


@inner
def _plus(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@inner
def _scaled(x, a):
    return x * a[0], x * a[1], x * a[2], x * a[3]


@inner
def _sizes(a):
    return abs(a[0]), abs(a[1]), abs(a[2]), abs(a[3])


@cached
def _diagonals(c_mem, c_ad, c_pull, along_v, along_w, most_v, most_w, k, sums_v, sums_w):
    """The largest |v + 2**k w| and |v - 2**k w| that is reached from rest, never too small.

    The sums over k of |M**k (1, p)| and |M**k (0, 1)| along two more directions, of the first powers.
    What they leave of most_v and most_w bounds the rest.
    """
    b, r, p = 1 - c_mem / 65536, 1 - c_ad / 65536, c_pull / 65536
    pull, keep, f = p * b, r - p, 2.0**k
    v, x, w, y = 1.0, 0.0, 0.0, 1.0
    total = apart = seen_v = seen_w = 0.0
    for step in range(_FOLLOWED):
        g_v, g_w = v + p * x, w + p * y
        total += along_v * abs(g_v + f * g_w) + along_w * abs(x + f * y)
        apart += along_v * abs(g_v - f * g_w) + along_w * abs(x - f * y)
        seen_v += along_v * abs(g_v) + along_w * abs(x)
        seen_w += along_v * abs(g_w) + along_w * abs(y)
        v, x, w, y = b * v - w, b * x - y, pull * v + keep * w, pull * x + keep * y
        if step % 16 == 15 and max(abs(v), abs(x), abs(w), abs(y)) < _SMALL:
            break
    _, off_v, off_w = _rounding(p, pull, along_v, along_w, sums_v, sums_w)
    rest = most_v - seen_v + f * (most_w - seen_w) + 2 * (off_v + f * off_w)
    rest += 2 * _SMALL * (most_v + f * most_w)
    return (1 + 2 * _SMALL) * (total + rest), (1 + 2 * _SMALL) * (apart + rest)


@cached
def _from_box(c_mem, c_ad, c_pull, v, w):
    """The largest |v| and |w| that any state within v and w ever leads to, a coarse bound: floats.

    See _beyond. v and w are at the same time the most that all steps add.
    """
    more_v, more_w = _beyond(c_mem, c_ad, c_pull, v, w)
    return (1 + _SMALL) * (v + more_v) + 1, (1 + _SMALL) * (w + more_w) + 1


@cached
def _from_rows(c_mem, c_ad, c_pull, along_v, along_w, most_v, most_w, k, total, apart, sums_v, sums_w):
    """The largest |v| and |w| that any state within the limits of `reachable` ever leads to: floats.

    After t steps it is at most the largest |row of M**t times the state|, _furthest, and the first t
    terms of the sums. After the last power that is followed, _beyond and all terms.
    """
    b, r, p = 1 - c_mem / 65536, 1 - c_ad / 65536, c_pull / 65536
    pull, keep, f = p * b, r - p, 2.0**k
    limits = most_v, most_w, f, 4 * (total + 2), 4 * (apart + 2)
    off, off_v, off_w = _rounding(p, pull, along_v, along_w, sums_v, sums_w)
    left_v, left_w = off[0] * most_v + off[1] * most_w, off[2] * most_v + off[3] * most_w
    v, x, w, y = 1.0, 0.0, 0.0, 1.0
    largest_v = largest_w = seen_v = seen_w = 0.0
    for step in range(_FOLLOWED):
        largest_v = max(largest_v, _furthest(v, x, limits) + seen_v)
        largest_w = max(largest_w, _furthest(w, y, limits) + seen_w)
        seen_v += along_v * abs(v + p * x) + along_w * abs(x)
        seen_w += along_v * abs(w + p * y) + along_w * abs(y)
        v, x, w, y = b * v - w, b * x - y, pull * v + keep * w, pull * x + keep * y
        if step % 16 == 15 and max(abs(v), abs(x), abs(w), abs(y)) < _SMALL:
            break
    end_v, end_w = _furthest(v, x, limits) + left_v, _furthest(w, y, limits) + left_w
    more_v, more_w = _beyond(c_mem, c_ad, c_pull, end_v, end_w)
    # M**t is at most the sum over all t: closer where c_pull is large, whose _beyond may be infinite.
    column_v, column_w = sums_v[0] + p * sums_v[1], sums_w[0] + p * sums_w[1]
    more_v = min(more_v, column_v * end_v + sums_v[1] * end_w)
    more_w = min(more_w, column_w * end_v + sums_w[1] * end_w)
    largest_v, largest_w = largest_v + left_v + off_v, largest_w + left_w + off_w
    up = 1 + 2 * _SMALL
    return up * max(largest_v, most_v + more_v), up * max(largest_w, most_w + more_w)


@inner
def _furthest(of_v, of_w, limits):
    """The largest |of_v v + of_w w| over the states within the limits, or a little more.

    By duality: whatever sum of the four rows (1, 0), (0, 1), (1, f), (1, -f) gives (of_v, of_w), the
    same sum of their limits is a bound. The smallest of three.
    """
    most_v, most_w, f, total, apart = limits
    same = total if of_v * of_w > 0 else apart
    size_v, size_w = abs(of_v), abs(of_w)
    both = min(size_v, size_w / f)
    edge = both * same + (size_v - both) * most_v + (size_w - both * f) * most_w
    corner = 0.5 * abs(of_v + of_w / f) * total + 0.5 * abs(of_v - of_w / f) * apart
    return min(size_v * most_v + size_w * most_w, edge, corner)


@njit
def _beyond(c_mem, c_ad, c_pull, v, w):
    """The largest |v| and |w| that M**t gives of a state within v and w, over all t.

    E = p v**2 - 2 s v w + w**2 never grows if, with A = p - 2 s p + p**2 and B = 2 r (p - s), both
    p - b**2 A and 1 - r**2 - A + B are positive and s = b (A - B / 2): these are the differences
    of the coefficients of E before and after M; that of v w is 0. So |v| <= sqrt(E / (p - s**2))
    and |w| <= sqrt(p E / (p - s**2)). If p <= 1/2 both are positive. Otherwise: infinity.
    """
    b, r, p = 1 - c_mem / 65536, 1 - c_ad / 65536, c_pull / 65536
    s = b * p * (1 + p - r) / (1 + 2 * p * b - r * b)
    energy, whole = p - 2 * s * p + p * p, p - s * s
    lost_v, lost_w = p - b * b * energy, 1 - r * r - energy + 2 * r * (p - s)
    # Rounding leaves less than 2**-50 of v w: of no matter to the sign beside this product.
    if not (lost_v > 0 and lost_w > 0 and lost_v * lost_w > 2.0**-90 and whole > 0):
        return np.inf, np.inf
    size = (p * v * v + 2 * s * v * w + w * w) / whole
    return (1 + _SMALL) * np.sqrt(size), (1 + _SMALL) * np.sqrt(p * size)


@inner
def _rounding(p, pull, along_v, along_w, sums_v, sums_w):
    """What rounding hides in a power or in a sum of powers, and in the sums of v and of w; see _sums."""
    sums = (sums_v[0] + p * sums_v[1], sums_v[1], sums_w[0] + p * sums_w[1], sums_w[1])
    off = _times(_scaled(_ROUND, _times(sums, (1.0, 1.0, pull, 1.0))), sums)
    off_v = along_v * (off[0] + p * off[1]) + along_w * off[1]
    return off, off_v, along_v * (off[2] + p * off[3]) + along_w * off[3]
