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

from lnp_edge.base.jit import cached
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
    drive + |bias| + 1 + v_th along (1, p), from the drive, the rounding of v's leak and the reset,
    and at most 2 + |jump| along (0, 1), from the rounding of two leaks and the jump. So |v| and |w|
    are at most these amounts times the sums over k of |M**k (1, p)| and |M**k (0, 1)|.

    All arguments are Python integers; the arithmetic rounds up.
    """
    along_v, along_w = drive + abs(bias) + 1 + v_th, 2 + abs(jump)
    reach = 0
    for of_v, of_w in _sums(c_mem, c_ad, c_pull):  # the sums for v, then those for w
        reach -= -(_fixed(of_v) * along_v + _fixed(of_w) * along_w) >> _DIGITS
    return reach + drive + abs(bias) + abs(jump) + 2


_DIGITS = 64  # bits after the binary point of a sum
_STEPS = 4096  # powers that are summed one by one
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


@njit
def _times(a, b):
    return (
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
    )


@njit
def _plus(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@njit
def _scaled(x, a):
    return x * a[0], x * a[1], x * a[2], x * a[3]


@njit
def _sizes(a):
    return abs(a[0]), abs(a[1]), abs(a[2]), abs(a[3])
