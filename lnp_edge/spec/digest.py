"""The state digest of SEMANTICS.md section 5."""

import numpy as np
from numba import njit


@njit
def mix(h, word):
    """The digest h after one more state word; both uint32."""
    k = np.uint32(word * np.uint32(0xCC9E2D51))
    k = np.uint32(k << np.uint32(15)) | (k >> np.uint32(17))
    h = h ^ np.uint32(k * np.uint32(0x1B873593))
    h = np.uint32(h << np.uint32(13)) | (h >> np.uint32(19))
    return np.uint32(h * np.uint32(5) + np.uint32(0xE6546B64))
