"""Encoders, sensor counts to network input: one file each, found by its presence. affine.py is the example to follow.

A file has

    PARAMS      {name: (low, high)}, the integers that it keeps of each channel and their ranges, in the order of
                `encode`'s last arguments. A device holds them as int16.
    TARGET_STD  the standard deviation that `fit` gives a channel of ordinary counts, in units of the input
    encode(count, *PARAMS) -> x
                lines of name = op(...) over spec/ops.py for one count, any int16, of one channel. Numba compiles it, C
                and ONNX are printed from it. |x| <= 127, whatever the parameters; no intermediate leaves int32.
    limits(*PARAMS) -> int32 [C]
                the largest |x| of each channel for any count, of which the proof of no overflow makes use
    fit(counts) -> {name: int32 [C]}
                parameters for training data, int16 [..., C]
    decode(x, *PARAMS) -> int16 [..., C]
                counts nearest to inputs x, float [..., C], for test signals; parameters of `fit`
"""

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec import ops, plugins

_OVER_ARRAYS = {name: getattr(ops, name).py_func for name in ops.OPS} | {"clamp": np.clip}


def encode(name: str, counts: NDArray[np.int16], params: dict[str, NDArray[np.int32]]) -> NDArray[np.int64]:
    """Network input, integers in -127..127, of whole arrays of counts [..., C]."""
    encoder = plugins.get("lnp_edge.encoders", name)
    values = (params[p].astype(np.int64) for p in encoder.PARAMS)
    return ops.bind(encoder.encode, _OVER_ARRAYS)(counts.astype(np.int64), *values)
