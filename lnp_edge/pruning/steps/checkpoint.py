"""Checkpoints of a long pruning, from which it continues to the same bits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lnp_edge.base.errors import ModelError
from lnp_edge.config import Config
from lnp_edge.network import Network
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile

ANEW = "delete it to start anew"
SECTION = "pruning"  # of the history in the file


@dataclass
class State:
    """Everything that changes while pruning."""

    network: Network
    rng: np.random.Generator
    rounds: int = 0  # rounds done
    costs: list[float] = field(default_factory=list)  # of the time constants tried so far

    def save(self, path: Path | None, key: str) -> None:
        """Write the state atomically, unless path is None."""
        if path:
            done = {"key": key, "rounds": self.rounds, "costs": self.costs, "rng": self.rng.bit_generator.state}
            network_file.save(NetworkFile(self.network, Config(), {SECTION: done}), path)


def load(path: Path | None, key: str, start: Network, seed: int) -> State:
    """The state saved at `path`, or the initial state if there is no file.

    Raises ModelError if the file is damaged or belongs to another pruning.
    """
    state = State(start, np.random.default_rng(seed))
    if not path or not path.exists():
        return state
    try:
        file = network_file.load(path)
        done = file.history[SECTION]
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy below 2 takes -1 for 2**64 - 1, and warns
            state.rng.bit_generator.state = done["rng"]
        found = State(file.network, state.rng, int(done["rounds"]), [float(c) for c in done["costs"]])
        if found.rounds < 0:
            raise ValueError(f"{found.rounds} rounds")
    except ModelError as e:
        raise ModelError(e.what, ANEW) from None
    except (KeyError, TypeError, ValueError, OverflowError, DeprecationWarning) as e:
        raise ModelError(f"{path} is no checkpoint: {str(e)[:80] or type(e).__name__}", ANEW) from None
    if done.get("key") != key:
        raise ModelError(f"{path} belongs to another pruning", f"{ANEW}, or go back to its settings and seed")
    return found
