"""A training's state on disk, so that it resumes to the same bits. Plain tensors: nothing in the file can run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lnp_edge.base.errors import ModelError
from lnp_edge.base.files import read_bounded, write_whole

MAX_BYTES = 2**32
ANEW = "delete it to start anew"
Leaves = dict[str, torch.Tensor]


def save(
    path: Path, key: str, leaf: Leaves, average: Leaves, optimiser: torch.optim.Optimizer,
    history: list[dict[str, float]], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Write all that changes while training, whole or not at all."""
    tensors = {f"leaf {name}": a.detach() for name, a in leaf.items()}
    tensors |= {f"average {name}": a for name, a in average.items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser {number} {name}": a for name, a in moments.items()}
    meta = {"key": key, "history": json.dumps(history), "rng": json.dumps(rng.bit_generator.state)}
    # Pruned weights may lie column by column, which safetensors refuses.
    write_whole(path, save_tensors({name: a.contiguous() for name, a in tensors.items()}, meta))


def load(
    path: Path, key: str, leaf: Leaves, average: Leaves, optimiser: torch.optim.Optimizer, rng: np.random.Generator
) -> list[dict[str, float]]:
    """Put the state saved there into the arguments and return the history; [] without a file.

    Raises ModelError if it is damaged or another training's.
    """
    if not path.exists():
        return []
    data = read_bounded(path, MAX_BYTES, ModelError, ANEW)
    try:
        tensors = load_tensors(data)
        meta = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if meta["key"] != key:
            raise ModelError(
                f"{path} belongs to another training",
                f"{ANEW}, or go back to the network, settings and seed it was made with",
            )
        with torch.no_grad():
            for name in leaf:
                leaf[name].copy_(tensors[f"leaf {name}"])
                average[name].copy_(tensors[f"average {name}"])
        state = optimiser.state_dict()
        for words, tensor in ((name.split(), a) for name, a in tensors.items()):
            if words[0] == "optimiser":
                state["state"].setdefault(int(words[1]), {})[words[2]] = tensor
        optimiser.load_state_dict(state)
        rng.bit_generator.state = json.loads(meta["rng"])
        return json.loads(meta["history"])
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as e:
        raise ModelError(f"{path} is no checkpoint: {str(e)[:80] or type(e).__name__}", ANEW) from None
