"""Results of a comparison on disk, a small file each: nothing is run twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lnp_edge.base.files import make_folder, read_result, write_whole
from lnp_edge.experiments import pool

Result = dict[str, Any]


class Item(Protocol):
    @property
    def key(self) -> str:
        """A file's name: equal for equal results only."""

    def valid(self, found: dict) -> bool:
        """Is this a result of such an item?"""


T = TypeVar("T", bound=Item)


def run_all(work: Callable[[T], Result], items: list[T], folder: Path, finished: Callable[[int], None]) -> list[Result]:
    """work(item) of each, in as many processes as there are cores; what is in the folder is not run again.

    finished : is told how many more are done
    """
    make_folder(folder)
    places = {item.key: folder / f"{item.key}.json" for item in items}
    todo = list({item.key: item for item in items if read_result(places[item.key], item.valid) is None}.values())
    finished(len(items) - len(todo))

    def store(found: tuple[str, Result]) -> None:
        write_whole(places[found[0]], json.dumps(found[1]).encode())
        finished(1)

    if todo:
        pool.run_all(partial(_run, work), todo, lambda *args: None, store)
    return [found for item in items if (found := read_result(places[item.key], item.valid))]


def _run(work: Callable[[T], Result], item: T, report: pool.Report) -> tuple[str, Result]:
    return item.key, work(item)
