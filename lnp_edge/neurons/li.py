"""Leaky integrator that does not spike: the read-out.

y[t] = gamma * y[t-1] + drive[t] + bias      gamma = exp(-dt / tau)
"""

from lnp_edge.spec.ops import add, leak
from lnp_edge.spec.parameters import LEAK, SCALED, Parameter, time_constant

STATE = ("y",)
PARAMETERS = {
    "tau": time_constant("time constant of the read-out", 4.0),
    "bias": Parameter("constant drive", "y", 0.0, in_config=False),
}
TABLES = {"c": LEAK("tau"), "bias": SCALED("bias")}


def step(y, drive, c, bias):
    """One step of one neuron: the new state."""
    y = leak(y, c)
    y = add(y, drive)
    y = add(y, bias)
    return y


def bound(drive, c, bias):
    """Largest |y| ever reached while |drive| <= drive, as in cuba_lif.bound. Python integers."""
    return -(-(drive + abs(bias) + 1) * 65536 // c)
