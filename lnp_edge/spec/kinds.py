"""What a neuron's parameter is made of: how quantisation gets its integer, and the range it must keep."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """source: the field of the float Network; low..high: the allowed integers; ctype: how tables store it."""

    source: str
    low: int
    high: int
    ctype: str


def LEAK(source: str) -> Kind:
    """round((1 - exp(-dt / tau)) * 2**16) of the time constant `source`, a decay table of 16 bits."""
    return Kind(source, 1, 32768, "uint16")


def THRESHOLD(source: str) -> Kind:
    """As SCALED, and positive: subtracting it at a spike moves towards zero."""
    return Kind(source, 1, 2**31 - 1, "int32")


def SCALED(source: str) -> Kind:
    """`source` in units of the neuron's own weight scale, rounded."""
    return Kind(source, -(2**31) + 1, 2**31 - 1, "int32")
