"""A training's state on disk, so that it resumes to the same bits."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch

from lnp_edge.errors import ModelError
from lnp_edge.network import Network


def identity(network: Network, *rest: object) -> str:
    """A digest of what a training starts from; a checkpoint of another training does not match."""
    h = hashlib.sha256(repr(rest).encode())
    for name in ("tau_mem", "tau_syn", "tau_out", "sign", "w_in", "w_out", "bias", "bias_out", "v_th"):
        h.update(np.ascontiguousarray(getattr(network, name)).tobytes())
    for part in (network.w_rec.data, network.w_rec.indices, network.w_rec.indptr):
        h.update(part.tobytes())
    return h.hexdigest()


def save(path: Path, key: str, state: dict, rng: np.random.Generator) -> None:
    """Write state (tensors, numbers, dicts and lists of them) and the generator, whole or not at all."""
    part = path.with_name(path.name + ".part")
    torch.save({"key": key, "rng": json.dumps(rng.bit_generator.state), **state}, part)
    os.replace(part, path)


def load(path: Path, key: str, rng: np.random.Generator) -> dict | None:
    """The state saved there, its generator put into rng; None without a file.

    Raises ModelError if it is damaged or another training's.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, weights_only=True)
        found = state["key"]
    except Exception as e:  # a damaged file raises any of a dozen types
        raise ModelError(
            f"{path.name} is not a checkpoint: {type(e).__name__}", "delete it to start anew"
        ) from None
    if found != key:
        raise ModelError(
            f"{path.name} belongs to another training",
            "delete it to start anew, or go back to the network, settings and seed it was made with",
        )
    rng.bit_generator.state = json.loads(state["rng"])
    return state
