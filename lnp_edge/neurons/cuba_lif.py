"""Current-based leaky integrate-and-fire neuron with an exponential synapse and reset by subtraction.

    i_syn[t] = alpha * i_syn[t-1] + drive[t] + bias      alpha = exp(-dt / tau_syn)
    v[t]     = beta * v[t-1] + i_syn[t]                  beta  = exp(-dt / tau_mem)
    z[t]     = v[t] > v_th ;  v[t] -= v_th if z[t]

Exact for a current constant within a step: Rotter & Diesmann 1999, Biol. Cybern. 81:381.
"""

from lnp_edge.spec.kinds import LEAK, SCALED, THRESHOLD
from lnp_edge.spec.ops import add, gate, greater, leak, sub

STATE = ("i_syn", "v")
PARAMS = {
    "c_syn": LEAK("tau_syn"),
    "c_mem": LEAK("tau_mem"),
    "v_th": THRESHOLD("v_th"),
    "bias": SCALED("bias"),
}


def step(i_syn, v, drive, c_syn, c_mem, v_th, bias):
    """One step of one neuron: the new state and the spike z."""
    i_syn = leak(i_syn, c_syn)
    i_syn = add(i_syn, drive)
    i_syn = add(i_syn, bias)
    v = leak(v, c_mem)
    v = add(v, i_syn)
    z = greater(v, v_th)
    kick = gate(z, v_th)
    v = sub(v, kick)
    return i_syn, v, z


def bound(drive, c_syn, c_mem, v_th, bias):
    """Largest |value| any variable of a step can reach when |drive| <= drive, for ever.

    leak removes at least c/65536 of |x|, so |x| <= A + leak(|x|) settles below (A + 1) * 65536 / c.
    All arguments Python integers; the result is exact integer arithmetic.
    """
    a = drive + abs(bias)
    s = -(-(a + 1) * 65536 // c_syn)
    return -(-(s + 1) * 65536 // c_mem) + abs(v_th)
