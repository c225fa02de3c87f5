"""Adaptive leaky integrate-and-fire neuron: membrane v and adaptation w, no synaptic current, symplectic Euler order.

    v[t] = beta * v[t-1] + drive[t] + bias - w[t-1]             beta = exp(-dt / tau_mem)
    z[t] = v[t] > v_th ;  v[t] -= v_th if z[t]
    w[t] = rho * w[t-1] + pull * v[t] + jump * z[t]             rho  = exp(-dt / tau_ad)

Baronig, Ferrand, Sabathiel & Legenstein 2024, arXiv:2408.07517: with pull = a (1 - beta)(1 - rho) they keep a from
oscillating for ever, as w follows the new v (symplectic Euler) and not the old. jump = 2 b (1 - beta)(1 - rho) v_th.
"""

from functools import lru_cache

import numpy as np

from lnp_edge.spec.ops import add, gate, greater, leak, mul, sub
from lnp_edge.spec.parameters import LEAK, SCALED, SHARE, THRESHOLD, Parameter, time_constant, uniform

STATE = ("v", "w")


def drive_for(dt, p):
    """Constant drive for a current of 1, and for a potential of 1 without adaptation: 1 and 1 - beta."""
    return np.ones_like(p["tau_mem"]), 1 - np.exp(-dt / p["tau_mem"])


def _potential(dt, p):
    return drive_for(dt, p)[1]


def _leaks(dt, p):
    return (1 - np.exp(-dt / p["tau_mem"])) * (1 - np.exp(-dt / p["tau_ad"]))


PARAMETERS = {
    "tau_mem": time_constant("how long the membrane keeps a potential", 0.2),
    "tau_ad": time_constant("how long the adaptation lasts", 0.4),
    "v_th": Parameter("potential above which it spikes, and what a spike takes off", "v", 1.0, low=0.0,
                      trains=False, in_config=False),
    "pull": Parameter("adaptation that a potential of 1 adds a step", "", 2.0, uniform, _leaks, low=0.0, high=0.5),
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
    """Largest |value| any variable of a step can reach when |drive| <= drive, for ever.

    Between spikes (v, w) is linear but for rounding: a step is M = [[b, -1], [p b, r - p]] with b = 1 - c_mem / 2**16,
    r = 1 - c_ad / 2**16, p = c_pull / 2**16. What enters it is at most drive + |bias| + 1 + v_th along (1, p), from
    the drive, the rounding of v's leak and the reset; and 2 + |jump| along (0, 1), from the rounding of two leaks and
    the jump. So |v| and |w| are at most these times the sums over k of |M**k (1, p)| and |M**k (0, 1)|.

    All arguments Python integers; the result is exact integer arithmetic.
    """
    along_v, along_w = drive + abs(bias) + 1 + v_th, 2 + abs(jump)
    reach = 0
    for of_v, of_w in _sums(c_mem, c_ad, c_pull):  # v, then w
        reach -= -(of_v * along_v + of_w * along_w) >> _DIGITS
    return reach + drive + abs(bias) + abs(jump) + 2


_DIGITS = 64  # after the binary point of a sum
_FINE = 192  # of the powers of M
_STEPS = 4096  # powers that are summed one by one


@lru_cache(2**17)
def _sums(c_mem, c_ad, c_pull):
    """Sums over all k >= 0 of |M**k (1, p)| and |M**k (0, 1)|, rounded up: ((of v), (of w)) in 2**-_DIGITS.

    With S = sum of |M**k| for k < K, the sum over all k is at most S + S E + S E**2 + ..., E = |M**K|, as M**(j K + k)
    is M**k times j times M**K. K doubles until E is small, which takes M**K squared and S + S E for S.
    Powers are cut to 2**-_FINE a step, which moves a sum by less than 2**-100 of it: 2**-40 is added.
    """
    one = 1 << _FINE
    keep_v, keep_w = 65536 - c_mem, 65536 - c_ad

    def advance(v, w):
        v = (keep_v * v >> 16) - w
        return v, (keep_w * w >> 16) + (c_pull * v >> 16)

    columns = [(one, 0), (0, one)]  # M**k
    impulse = (one, c_pull << (_FINE - 16))  # M**k (1, p)
    sums = [[0, 0], [0, 0]]  # rows v, w; columns as in M
    along = [0, 0]
    k = 0
    while k < _STEPS and (k == 0 or max(abs(x) for column in columns for x in column) > one >> 32):
        for row in (0, 1):
            along[row] += abs(impulse[row])
            for column in (0, 1):
                sums[row][column] += abs(columns[column][row])
        columns, impulse, k = [advance(*column) for column in columns], advance(*impulse), k + 1
    power = [[columns[0][0], columns[1][0]], [columns[0][1], columns[1][1]]]
    first_powers = None
    while max(abs(x) for row in power for x in row) > one >> 32:
        size = [[abs(x) + 1 for x in row] for row in power]
        sums = _plus(sums, _times(sums, size))
        power = _times(power, power)
        first_powers = sums
    if first_powers is not None:  # then the sums along (1, p) are bounded by those of both columns
        along = [row[0] + (row[1] * c_pull >> 16) + 1 for row in sums]
    tail = [2 * (row[0] + row[1]) >> 32 for row in sums]  # S (E + E**2 + ...) with every |entry| of E at most 2**-32
    found = []
    for row in (0, 1):
        both = (along[row] + 2 * tail[row], sums[row][1] + tail[row])
        found.append(tuple(((x + (x >> 40)) >> (_FINE - _DIGITS)) + 1 for x in both))
    return tuple(found)


def _times(a, b):
    return [[(a[i][0] * b[0][j] + a[i][1] * b[1][j]) >> _FINE for j in (0, 1)] for i in (0, 1)]


def _plus(a, b):
    return [[a[i][j] + b[i][j] + 1 for j in (0, 1)] for i in (0, 1)]
