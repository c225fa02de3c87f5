"""The state of a training on disk, from which it resumes to the same bits.

The file holds plain tensors and cannot execute anything. Its CRC-32 follows, 4 bytes.
"""

from __future__ import annotations

import json
import zlib
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
    """Write all that changes during training, completely or not at all."""
    tensors = {f"leaf {name}": a.detach() for name, a in leaf.items()}
    tensors |= {f"average {name}": a for name, a in average.items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser {number} {name}": a for name, a in moments.items()}
    meta = {"key": key, "history": json.dumps(history), "rng": json.dumps(rng.bit_generator.state)}
    # Pruned weights may be stored by columns, which safetensors refuses.
    data = save_tensors({name: a.contiguous() for name, a in tensors.items()}, meta)
    write_whole(path, data + zlib.crc32(data).to_bytes(4, "little"))


def load(
    path: Path, key: str, leaf: Leaves, average: Leaves, optimiser: torch.optim.Optimizer, rng: np.random.Generator
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
        tensors = load_tensors(data)
        meta = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if meta["key"] != key:
            raise ModelError(
                f"{path} belongs to another training",
                f"{ANEW}, or use the network, settings and seed that it was made with",
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
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError, OverflowError, RuntimeError) as e:
        raise ModelError(f"{path} is no checkpoint: {str(e)[:80] or type(e).__name__}", ANEW) from None
