"""A saved state: its bytes, and which states a device accepts. SEMANTICS.md section 10."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec import ops
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import QuantizedModel

HEAD, CRC_BYTES = struct.Struct("<III"), 4  # fingerprint, t, digest
PLAIN: dict[str, Callable[..., Any]] = {name: getattr(ops, name).py_func for name in ops.OPS}


def size(model: QuantizedModel) -> int:
    return HEAD.size + 4 * model.state_words + CRC_BYTES


def pack(model: QuantizedModel, t: int, digest: int, words: NDArray) -> bytes:
    """The bytes of a state. words : 32 bits each [state_words]"""
    return sealed(HEAD.pack(model.fingerprint, t, digest) + words.astype("<u4", copy=False).tobytes())


def sealed(body: bytes) -> bytes:
    """The bytes with their CRC-32."""
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def limits(model: QuantizedModel) -> NDArray[np.int64]:
    """The largest |value| of each state word by itself, int64 [state_words]; of z -1."""
    found: list[int] = []
    for field in model.fields:
        if field.population == GROUP:
            found += [model.front.state[field.name]] * field.words
        elif field.name == "z":
            found += [-1] * field.words
        else:
            p = model.population(field.population)
            found += [row[p.module.STATE.index(field.name)] for row in _of_neurons(model, p.name)]
    return np.array(found, np.int64)


def _of_neurons(model: QuantizedModel, population: str) -> list[tuple[int, ...]]:
    """For each neuron the limit of each state variable."""
    p = model.population(population)
    rows = list(zip(*(p.params[name].tolist() for name in p.module.TABLES), strict=True))
    if hasattr(p.module, "reachable"):
        return [p.module.reachable(drive, *row)[:2] for drive, row in zip(model.drive_bounds(p), rows, strict=True)]
    most = max(model.bounds(p))
    if not hasattr(p.module, "limits"):
        return [(most,) * len(p.module.STATE)] * p.n
    of = ops.bind(p.module.limits, PLAIN)
    return [tuple(np.atleast_1d(of(most, *row)).tolist()) for row in rows]


def used_bits(model: QuantizedModel) -> dict[int, int]:
    """Of each word of spikes, by its number: the bits that are neurons."""
    found, word = {}, 0
    for field in model.fields:
        if field.name == "z":
            n = model.population(field.population).n
            for k in range(field.words):
                found[word + k] = (1 << min(32, n - 32 * k)) - 1
        word += field.words
    return found


def pairs(model: QuantizedModel) -> dict[tuple[int, int], tuple[int, int, int, int, int]]:
    """Of neurons whose two state variables have limits together: their words, and what `reachable` says of them."""
    found, word = {}, {}
    at = 0
    for field in model.fields:
        word[field.full_name] = at
        at += field.words
    for p in model.populations:
        if hasattr(p.module, "reachable"):
            x, y = (word[f"{p.name}_{name}"] for name in p.module.STATE)
            rows = zip(*(p.params[name].tolist() for name in p.module.TABLES), strict=True)
            for i, (drive, row) in enumerate(zip(model.drive_bounds(p), rows, strict=True)):
                found[x + i, y + i] = p.module.reachable(drive, *row)
    return found


def within(of: tuple[int, int, int, int, int], v: int, w: int) -> bool:
    """Whether a pair is accepted. of : its limits, see pairs"""
    most_v, most_w, k, total, apart = of
    x, y = v // 4, 2**k * w // 4
    return abs(v) <= most_v and abs(w) <= most_w and abs(x + y) <= total and abs(x - y) <= apart
