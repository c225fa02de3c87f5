"""Encoders turn sensor counts into network input, one per file. affine.py is the example to follow.

A file defines

    PARAMS      {name: (low, high)}, the integer parameters of a channel and their ranges, in the
                order of `encode`'s last arguments. A device stores them as int16.
    TARGET_STD  the standard deviation of an ordinary channel after `fit`, in units of x
    encode(count, *PARAMS) -> x
                lines `name = op(...)` with the operations of spec/ops.py, for one count (any int16)
                of one channel. Numba compiles it; C and ONNX are printed from it. |x| <= 127 for
                all parameters, and no intermediate value leaves int32.
    limits(*PARAMS) -> int32 [C]
                the largest |x| of each channel for any count, for the overflow proof
    fit(counts) -> {name: int32 [C]}
                parameters for training data, int16 [..., C]
    decode(x, *PARAMS) -> int16 [..., C]
                the counts nearest to inputs x, float [..., C], for test signals; takes the
                parameters that `fit` returns
"""

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec import ops, plugins


def encode(name: str, counts: NDArray[np.integer], params: dict[str, NDArray[np.int32]]) -> NDArray[np.int64]:
    """The network input, integers in -127..127, for an array of features [..., inputs]."""
    encoder = plugins.get("lnp_edge.encoders", name)
    values = (params[p].astype(np.int64) for p in encoder.PARAMS)
    return ops.bind(encoder.encode, ops.OVER_ARRAYS)(counts.astype(np.int64), *values)
