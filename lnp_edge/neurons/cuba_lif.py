"""Current-based leaky integrate-and-fire neuron with exponential synapse and reset by subtraction.

    i_syn[t] = alpha * i_syn[t-1] + drive[t] + bias      alpha = exp(-dt / tau_syn)
    v[t]     = beta * v[t-1] + i_syn[t]                  beta  = exp(-dt / tau_mem)
    z[t]     = v[t] > v_th ;  v[t] -= v_th if z[t]

Exact if the input is constant within a step: Rotter & Diesmann 1999, Biol. Cybern. 81:381.
"""

import numpy as np

from lnp_edge.spec.ops import add, gate, greater, leak, sub
from lnp_edge.spec.parameters import LEAK, SCALED, THRESHOLD, Parameter, time_constant


def drive_for(dt, p):
    """The constant drives for a current of 1, and for a potential of 1 without spikes.

    They are 1 - alpha and (1 - alpha)(1 - beta).
    """
    current = 1 - np.exp(-dt / p["tau_syn"])
    return current, current * (1 - np.exp(-dt / p["tau_mem"]))


def _potential(dt, p):
    return drive_for(dt, p)[1]


STATE = ("i_syn", "v")
PARAMETERS = {
    "tau_mem": time_constant("time constant of the membrane potential", 0.2),
    "tau_syn": time_constant("time constant of the synaptic current", 0.1),
    "v_th": Parameter("spike threshold, which a spike also subtracts from the potential", "v", 1.0, low=0.0,
                      trains=False, in_config=False),
    "bias": Parameter("constant drive", "v", 0.5, scale=_potential, in_config=False),
}  # fmt: skip
TABLES = {
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


def limits(most, c_syn, c_mem, v_th, bias):
    """The largest |i_syn| and |v| of a loaded state: v's leak then removes from most what i_syn adds."""
    rest = leak(most, c_mem)
    room = sub(most, rest)
    return room, most


def bound(drive, c_syn, c_mem, v_th, bias):
    """Largest |value| that any variable of a step can ever reach while |drive| <= drive.

    leak removes at least c/65536 of |x|, so |x| <= A + leak(|x|) stays below (A + 1) * 65536 / c.
    All arguments are Python integers; the arithmetic is exact.
    """
    a = drive + abs(bias)
    s = -(-(a + 1) * 65536 // c_syn)
    return -(-(s + 1) * 65536 // c_mem) + abs(v_th)
