"""What a network must do, in terms of its data: encoder, window, names, forecast; and counts as it sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.encoders import encode
from lnp_edge.network import X_SCALE, Floats
from lnp_edge.spec.model import Forecast

ENCODED_AT_ONCE = 1024  # windows


@dataclass(frozen=True)
class Task:
    """What a model needs to know of its data beside the network."""

    encoder: str
    encoder_params: dict[str, NDArray[np.int32]]
    window: int  # steps
    hop: int  # steps
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    forecast: Forecast | None = None  # its unit in counts per unit of the float read-out
    products: Floats | None = None  # [C, C] mean products of two inputs, as integers; None: as if independent


def encoded(task: Task, counts: NDArray[np.int16]) -> NDArray[np.float32]:
    """Counts [..., C] as the input of a float network."""
    found = np.empty(counts.shape, np.float32)
    for k in range(0, len(counts), ENCODED_AT_ONCE):  # in int64
        part = slice(k, k + ENCODED_AT_ONCE)
        found[part] = encode(task.encoder, counts[part], task.encoder_params) / np.float32(X_SCALE)
    return found
