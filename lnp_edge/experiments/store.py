"""Run work on independent items and keep each result on disk, so that nothing is run twice."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rich.progress

from lnp_edge.base.console import bars, note
from lnp_edge.base.files import make_folder, read_result, write_result
from lnp_edge.base.progress import Progress
from lnp_edge.experiments.executors import Executor, processes

Result = dict[str, Any]


class Item(Protocol):
    """An item of work. If its work reports progress, it also has a `name`, shown beside its bar."""

    @property
    def key(self) -> str:
        """A name for all that the result depends on, seed included: equal keys, equal results."""

    def valid(self, found: Result) -> bool:
        """Is this a result of this kind of item?"""


class Store:
    """Results in a folder, in one <key>.json each."""

    def __init__(self, folder: Path):
        self.folder = folder
        make_folder(folder)

    def path(self, item: Any) -> Path:
        return self.folder / f"{item.key}.json"

    def load(self, item: Any) -> Result | None:
        """The saved result, or None. Raises ConfigError if it is damaged."""
        return read_result(self.path(item), item.valid)

    def save(self, item: Any, found: Any) -> None:
        write_result(self.path(item), found)


def run(
    items: Sequence[Item], work: Callable[[Any, Progress], Any], store: Store, executor: Executor = processes,
    title: str = "", shown: rich.progress.Progress | None = None,
) -> list[Result]:  # fmt: skip
    """The result of each item: from the store, or by work(item, progress), see executors.py.

    work : a pure function;  title : what the items are
    shown : progress bars to add to, if there are some on the screen
    """
    unique: dict[str, Any] = {item.key: item for item in items}
    todo = [item for item in unique.values() if store.load(item) is None]
    done = len(unique) - len(todo)
    if done:
        note(f"{done} of {len(unique)} {title} are already in {store.folder}")
    with nullcontext(shown) if shown else bars() as shown:
        total = shown.add_task(title, total=len(unique), completed=done, info="")
        rows = dict[str, rich.progress.TaskID]()

        def tell(key: str, share: float, what: str) -> None:
            if key not in rows:
                rows[key] = shown.add_task(unique[key].name, total=100, info="")
            shown.update(rows[key], completed=round(100 * share), info=what, visible=share < 1)

        with closing(executor(partial(_named, work), todo, tell)) as found:
            for key, result in found:
                store.save(unique[key], result)
                shown.update(total, advance=1)
    return [result for item in items if (result := store.load(item))]


def _named(work: Callable[[Any, Progress], Any], item: Item, tell: Callable[..., None]) -> tuple[str, Any]:
    return item.key, work(item, partial(tell, item.key))


def machine() -> str:
    """Where a result comes from."""
    return f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
