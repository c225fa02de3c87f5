"""Leaky integrate-and-fire neuron whose spike takes a parameter of its own off, not the threshold.

v[t] = beta * v[t-1] + drive[t] + bias ;  z[t] = v[t] > v_th ;  v[t] -= v_reset if z[t]
"""

import numpy as np

from lnp_edge.spec.ops import add, gate, greater, leak, sub
from lnp_edge.spec.parameters import LEAK, SCALED, THRESHOLD, Parameter, time_constant

STATE = ("v",)


def drive_for(dt, p):
    """Constant drive for a current of 1, and for a potential of 1: 1 and 1 - beta."""
    return np.ones_like(p["tau_mem"]), 1 - np.exp(-dt / p["tau_mem"])


PARAMETERS = {
    "tau_mem": time_constant("how long the membrane keeps a potential", 0.2),
    "v_th": Parameter("potential above which it spikes", "v", 1.0, low=0.0, trains=False, in_config=False),
    "v_reset": Parameter("what a spike takes off", "v", 1.5, low=0.0, trains=False),
    "bias": Parameter("constant drive", "v", 0.5, scale=lambda dt, p: drive_for(dt, p)[1], in_config=False),
}
TABLES = {"c_mem": LEAK("tau_mem"), "v_th": THRESHOLD("v_th"), "v_reset": THRESHOLD("v_reset"), "bias": SCALED("bias")}


def step(v, drive, c_mem, v_th, v_reset, bias):
    """One step of one neuron: the new state and the spike z."""
    v = leak(v, c_mem)
    v = add(v, drive)
    v = add(v, bias)
    z = greater(v, v_th)
    kick = gate(z, v_reset)
    v = sub(v, kick)
    return v, z


def bound(drive, c_mem, v_th, v_reset, bias):
    """As cuba_lif.bound; a spike leaves v above -v_reset. Python integers."""
    return -(-(drive + abs(bias) + 1) * 65536 // c_mem) + v_reset
