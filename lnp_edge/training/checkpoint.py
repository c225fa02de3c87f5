"""The state of a training on disk, from which it resumes to the same bits.

The file holds plain tensors and cannot execute anything. Its CRC-32 follows, 4 bytes.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lnp_edge.base.errors import ModelError
from lnp_edge.base.files import parse_json, read_bounded, write_whole
from lnp_edge.training.adamw import AdamW

MAX_BYTES = 2**32
MAX_METADATA = 2**25  # the history of the most epochs that [train] allows takes 15 MB
ANEW = "delete it to start anew"
Leaves = dict[str, torch.Tensor]


def save(
    path: Path, key: str, leaf: Leaves, average: Leaves, optimiser: AdamW,
    history: list[dict[str, float]], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Write all that changes during training, completely or not at all."""
    tensors = {f"leaf {name}": a.detach() for name, a in leaf.items()}
    tensors |= {f"average {name}": a for name, a in average.items()}
    for number, moments in enumerate(optimiser.moments):
        tensors |= {f"optimiser {number} {name}": a for name, a in moments.items()}
    meta = {"key": key, "history": json.dumps(history), "rng": json.dumps(rng.bit_generator.state)}
    # Pruned weights may be stored by columns, which safetensors refuses.
    data = save_tensors({name: a.contiguous() for name, a in tensors.items()}, meta)
    write_whole(path, data + zlib.crc32(data).to_bytes(4, "little"))


def load(
    path: Path, key: str, leaf: Leaves, average: Leaves, optimiser: AdamW, rng: np.random.Generator
) -> list[dict[str, float]]:
    """Load the saved state into the arguments and return the history; [] if there is no file.

    Raises ModelError if the file is damaged or belongs to another training.
    """
    if not path.exists():
        return []
    data = read_bounded(path, MAX_BYTES, ModelError, ANEW)
    data, crc = data[:-4], data[-4:]
    if zlib.crc32(data).to_bytes(4, "little") != crc:
        raise ModelError(f"{path} is no checkpoint, or a damaged one", ANEW)
    try:
        found = load_tensors(data)
        tensors = dict(found)
        meta = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")], MAX_METADATA)["__metadata__"]
        if meta["key"] != key:
            raise ModelError(
                f"{path} belongs to another training",
                f"{ANEW}, or use the network, settings and seed that it was made with",
            )
        moments = _moments(tensors, optimiser)
        arrays = {f"leaf {name}": a for name, a in leaf.items()} | {f"average {name}": a for name, a in average.items()}
        for name, a in arrays.items():
            _expect(name, tensors.pop(name), a)
        if tensors:
            raise ValueError(f"it has {next(iter(tensors))!r}")
        history = _history(parse_json(meta["history"], MAX_METADATA))
        generator = parse_json(meta["rng"], MAX_METADATA)
        if min(generator["state"].values()) < 0:  # numpy 1.26 takes it modulo 2^128
            raise ValueError("its generator has a negative state")
        rng.bit_generator.state = generator
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as e:
        raise ModelError(f"{path} is no checkpoint: {str(e)[:80] or type(e).__name__}", ANEW) from None
    with torch.no_grad():
        for name in leaf:
            leaf[name].copy_(found[f"leaf {name}"])
            average[name].copy_(found[f"average {name}"])
    optimiser.moments = moments
    return history


def _moments(tensors: Leaves, optimiser: AdamW) -> list[Leaves]:
    """The optimiser's own, taken out of the tensors."""
    found: list[Leaves] = []
    for k, moments in enumerate(optimiser.moments):
        keys = {name: f"optimiser {k} {name}" for name in moments}
        found.append({name: _expect(key, tensors.pop(key), moments[name]) for name, key in keys.items()})
    return found


def _expect(name: str, tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if tensor.dtype != like.dtype or tensor.shape != like.shape:
        raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, not {like.dtype} {tuple(like.shape)}")
    if not tensor.isfinite().all():
        raise ValueError(f"{name} is not finite")
    return tensor


def _history(found: object) -> list[dict[str, float]]:
    """Of each epoch the same measures, finite numbers."""
    epochs = found if isinstance(found, list) else []
    if not epochs or not all(isinstance(e, dict) and e.keys() == epochs[0].keys() >= {"loss"} for e in epochs):
        raise ValueError("its history is no list of epochs")
    if not all(isinstance(value, float) and math.isfinite(value) for epoch in epochs for value in epoch.values()):
        raise ValueError("its history is not finite")
    return epochs
