"""Sensor counts to network input: one module an encoder, one function over spec/ops for host and device alike."""

from types import FunctionType

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec import ops, plugins


def encode(name: str, counts: NDArray[np.int16], params: dict[str, NDArray[np.int32]]) -> NDArray[np.int64]:
    """Network input, integers in -127..127, of whole arrays of counts [..., C]."""
    encoder = plugins.get("lnp_edge.encoders", name)
    over_arrays = {op: getattr(ops, op).py_func for op in ops.OPS} | {"clamp": np.clip}
    function = FunctionType(encoder.encode.__code__, over_arrays)
    return function(counts.astype(np.int64), *(params[p].astype(np.int64) for p in encoder.PARAMS))
