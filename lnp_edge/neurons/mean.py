"""Sum over the window that does not spike: a read-out that weighs all steps alike.

y[t] = y[t-1] + drive[t] + bias

The sum is T times the mean over a window of T steps. It is limited to +-2**30, which no window of a
quantised network reaches, so that a stream without a reset cannot overflow.
"""

from lnp_edge.spec.ops import add, clamp
from lnp_edge.spec.parameters import SCALED, Parameter

STATE = ("y",)
PARAMETERS = {"bias": Parameter("constant drive", "y", 0.0, in_config=False)}
TABLES = {"bias": SCALED("bias")}


def step(y, drive, bias):
    """One step of one neuron: the new state."""
    y = add(y, drive)
    y = add(y, bias)
    y = clamp(y, -1073741824, 1073741824)
    return y


def limits(most, bias):
    """The largest |y| of a loaded state: the limit that every step keeps."""
    y = clamp(most, -1073741824, 1073741824)
    return y


def bound(drive, bias):
    """Largest |value| that any variable of a step can reach while |drive| <= drive. Python integers."""
    return 2**30 + drive + abs(bias)
