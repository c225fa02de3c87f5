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

    All arguments are Python integers; the arithmetic is exact.
    """
    along_v, along_w = drive + abs(bias) + 1 + v_th, 2 + abs(jump)
    reach = 0
    for of_v, of_w in _sums(c_mem, c_ad, c_pull):  # the sums for v, then those for w
        reach -= -(of_v * along_v + of_w * along_w) >> _DIGITS
    return reach + drive + abs(bias) + abs(jump) + 2


_DIGITS = 64  # bits after the binary point of a sum
_FINE = 192  # bits after the binary point of the powers of M
_STEPS = 4096  # powers that are summed one by one


@lru_cache(2**17)
def _sums(c_mem, c_ad, c_pull):
    """Sums over all k >= 0 of |M**k (1, p)| and |M**k (0, 1)|, rounded up, in units of 2**-_DIGITS.

    Returns ((two sums for v), (two sums for w)).

    With S the sum of |M**k| for k < K and E = |M**K|, the sum over all k is at most
    S + S E + S E**2 + ..., because M**(j K + k) = M**k (M**K)**j. K doubles until E is small, by
    squaring M**K and replacing S by S + S E. Powers are truncated to 2**-_FINE at each step, which
    changes a sum by less than 2**-100 of it; 2**-40 of it is added.
    """
    one = 1 << _FINE
    keep_v, keep_w = 65536 - c_mem, 65536 - c_ad
    # M**k by columns, M**k (1, p), and the sums of all. Written out, as most of a proof's time goes here.
    v0, w0, v1, w1, v2, w2 = one, 0, 0, one, one, c_pull << (_FINE - 16)
    sum_v0, sum_w0, sum_v1, sum_w1, sum_v2, sum_w2 = 0, 0, 0, 0, 0, 0
    k = 0
    while k < _STEPS and (k == 0 or max(abs(v0), abs(w0), abs(v1), abs(w1)) > one >> 32):
        sum_v0, sum_v1, sum_v2 = sum_v0 + abs(v0), sum_v1 + abs(v1), sum_v2 + abs(v2)
        sum_w0, sum_w1, sum_w2 = sum_w0 + abs(w0), sum_w1 + abs(w1), sum_w2 + abs(w2)
        v0, v1, v2 = (keep_v * v0 >> 16) - w0, (keep_v * v1 >> 16) - w1, (keep_v * v2 >> 16) - w2
        w0 = (keep_w * w0 >> 16) + (c_pull * v0 >> 16)
        w1 = (keep_w * w1 >> 16) + (c_pull * v1 >> 16)
        w2 = (keep_w * w2 >> 16) + (c_pull * v2 >> 16)
        k += 1
    power, sums, along = [[v0, v1], [w0, w1]], [[sum_v0, sum_v1], [sum_w0, sum_w1]], [sum_v2, sum_w2]
    first_powers = None
    while max(abs(x) for row in power for x in row) > one >> 32:
        size = [[abs(x) + 1 for x in row] for row in power]
        sums = _plus(sums, _times(sums, size))
        power = _times(power, power)
        first_powers = sums
    if first_powers is not None:  # then the columns' sums bound those along (1, p)
        along = [row[0] + (row[1] * c_pull >> 16) + 1 for row in sums]
    # S (E + E**2 + ...) with every |entry| of E at most 2**-32.
    tail = [2 * (row[0] + row[1]) >> 32 for row in sums]
    found = []
    for row in (0, 1):
        both = (along[row] + 2 * tail[row], sums[row][1] + tail[row])
        found.append(tuple(((x + (x >> 40)) >> (_FINE - _DIGITS)) + 1 for x in both))
    return tuple(found)


def _times(a, b):
    return [[(a[i][0] * b[0][j] + a[i][1] * b[1][j]) >> _FINE for j in (0, 1)] for i in (0, 1)]


def _plus(a, b):
    return [[a[i][j] + b[i][j] + 1 for j in (0, 1)] for i in (0, 1)]
