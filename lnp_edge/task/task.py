"""The task of a network in terms of its data, and the encoding of counts as network input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lnp_edge.encoders import encode
from lnp_edge.network import X_SCALE, Floats
from lnp_edge.spec.frontend import RAW, FrontEnd, inputs
from lnp_edge.spec.model import Forecast
from lnp_edge.spec.quantity import Quantity

ENCODED_AT_ONCE = 1024  # windows


@dataclass(frozen=True)
class Task:
    """What a model needs to know about its data, besides the network."""

    encoder: str
    encoder_params: dict[str, NDArray[np.int32]]
    window: int  # samples
    hop: int  # samples
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    forecast: Forecast | None = None  # its unit is counts per unit of the float read-out
    # [C, C], mean products of two inputs, which are integers; None: inputs count as independent.
    products: Floats | None = None
    front: FrontEnd = RAW
    quantities: tuple[Quantity, ...] = ()  # of each channel; () if nothing is known but counts
    missing: tuple[float, ...] = ()  # values that stand for no sample, as recordings hold them

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The name of each input of the network."""
        return inputs(self.front, self.channels)

    @property
    def steps(self) -> int:
        """Steps of the network in a window."""
        return self.window // self.front.frame


def encoded(task: Task, counts: NDArray[np.int16]) -> NDArray[np.float32]:
    """The inputs of a float network for windows of counts [W, T, C], [W, T / frame, inputs].

    Each window starts from a reset.
    """
    found = np.empty((len(counts), counts.shape[1] // task.front.frame, len(task.inputs)), np.float32)
    for k in range(0, len(counts), ENCODED_AT_ONCE):  # bounds the memory of the int64 copy
        part = slice(k, k + ENCODED_AT_ONCE)
        features = task.front.run(counts[part])
        found[part] = encode(task.encoder, features, task.encoder_params) / np.float32(X_SCALE)
    return found
