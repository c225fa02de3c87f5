"""Rivals that were trained and measured, on disk in one <task>-<rival>-<hash>.json each.

A folder beside the file has the rival's C. The file holds stages.rival.Measured, the groups held out, the
date and versions. Its name is a hash of what the result depends on, so nothing is measured twice, and what
was stopped goes on. Where fewer windows were compared with the reference than are asked for, it is measured again.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lnp_edge.base.files import make_folder, write_whole
from lnp_edge.base.progress import Progress
from lnp_edge.config import Config, TrainSettings
from lnp_edge.experiments import store
from lnp_edge.experiments.executors import Executor, processes
from lnp_edge.experiments.store import Result, Store, machine
from lnp_edge.stages import rival
from lnp_edge.stages.rival import COMPARED, Measured


@dataclass(frozen=True)
class RivalTrial:
    """A rival to train and measure; arguments as of rival.measure."""

    rival: str
    config: Config
    seed: int
    held_out: tuple[int, ...] | None = None  # groups; None: those of the data set
    compared: int = COMPARED

    @property
    def drawn(self) -> int:
        """The seed; of a rival that draws nothing that of the configuration: all its seeds are one trial."""
        return self.seed if rival.draws(self.rival) else self.config.seed

    @property
    def name(self) -> str:
        return f"{self.config.data.name} {self.rival}, seed {self.drawn}"

    @property
    def key(self) -> str:
        """A name for all that the result depends on: of the configuration the data and their augmentation."""
        train = TrainSettings(balance=self.config.train.balance)
        used = Config(self.drawn, rival.raw(self.config).data, train=train, augment=self.config.augment)
        text = f"{used.to_json()} {self.held_out}"
        return f"{used.data.name}-{self.rival}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def valid(self, found: Result) -> bool:
        """Whether it is of this rival and every field has its type; numbers are finite and not negative."""
        kinds = {one.name: str(one.type) for one in fields(Measured)}
        texts: list[Any] = [found.get(name) for name, kind in kinds.items() if kind == "str"]
        numbers: list[Any] = [found.get(name) for name, kind in kinds.items() if kind == "float"]
        counts: list[Any] = [found.get(name) for name, kind in kinds.items() if kind == "int"]
        rows: Any = found.get("sums")
        return (
            all(isinstance(text, str) and text.isprintable() for text in texts)
            and all(type(x) in (int, float) and 0 <= x < math.inf for x in numbers)
            and all(type(x) is int and x >= 0 for x in counts)
            and isinstance(rows, list)
            and all(isinstance(row, list) and all(type(x) in (int, float) for x in row) for row in rows)
            and found["name"] == self.rival
            and type(found.get("asked")) is int
        )


class Rivals(Store):
    """The store of measured rivals."""

    def all(self, trials: Sequence[RivalTrial], executor: Executor = processes) -> list[Measured]:
        """What each rival gives and costs; see store.run."""
        names = [one.name for one in fields(Measured) if one.name != "files"]
        return [
            Measured(**{name: found[name] for name in names})
            for found in store.run(trials, work, self, executor, "rivals")
        ]

    def load(self, item: RivalTrial) -> Result | None:
        found = super().load(item)
        return found if found and found["asked"] >= item.compared else None

    def c_folder(self, item: RivalTrial) -> Path:
        """Where the C of a rival is."""
        return self.path(item).with_suffix("")

    def save(self, item: RivalTrial, found: Measured) -> None:
        make_folder(self.c_folder(item))
        for name, text in found.files.items():
            write_whole(self.c_folder(item) / name, text.encode())
        more = {
            "held_out": item.held_out,
            "asked": item.compared,
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(),
        }
        figures = {name: value for name, value in vars(found).items() if name != "files"}
        super().save(item, figures | more)


def work(item: RivalTrial, progress: Progress) -> Measured:
    data = rival.data_of(item.config, item.held_out)
    return rival.measure(item.rival, data, item.drawn, progress, item.compared)
