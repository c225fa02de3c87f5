"""How far a verification is, on disk: a host that is killed goes on from there.

It needs little, for seeds make the inputs again: what was found in the runs that have ended, and of the one that has
not its number, the last step that agreed and the digest after it, which covers all steps before. Written whole or not
at all, with a CRC-32, about once a second; at once when a step differs, which a kill must not make forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import read_result, refuse_unwritable, write_result
from lnp_edge.runtime.link import Traffic

EVERY = 1.0  # s between two writes, and at least WORK times as long as one takes
WORK = 20.0
MOST = 2**53  # of a count: steps of any run stay below
ELSEWHERE = "choose another --resume"
HINT = f"{ELSEWHERE}, or delete it to begin anew"
FULL = f"make room, or {ELSEWHERE}"


@dataclass
class Part:
    """What was found so far on one kind of inputs; at to differs are of the run that has not ended.

    classes, digests : the device's class and the digest after each run that has ended
    """

    steps: int = 0
    longest: int = 0
    cycles: int = 0
    timed: int = 0  # steps whose cycles are known
    classes: list[int] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)
    at: int = 0  # steps so far; they agree
    digest: int = 0  # after them
    label: int = 0  # the device's class after them
    run: int = 0  # its number on the device
    differs: bool = False  # one of them does not agree
    save: Callable[[bool], None] = field(default=lambda at_once: None, repr=False, compare=False)

    def begins(self, run: int) -> None:
        self.at, self.digest, self.label, self.run, self.differs = 0, 0, 0, run, False

    def agrees(self, steps: int, digest: int, label: int, cycles: int) -> None:
        """So many steps more, the last of them with this digest and this class."""
        self.at, self.digest, self.label = self.at + steps, digest, label
        self.cycles, self.timed = self.cycles + cycles, self.timed + steps
        self.save(False)

    def ends(self) -> None:
        """The run."""
        self.classes.append(self.label)
        self.digests.append(self.digest)
        self.steps, self.longest = self.steps + self.at, max(self.longest, self.at)
        self.begins(0)
        self.save(False)

    def does_not_agree(self, steps: int, label: int) -> None:
        """Some of so many steps more."""
        self.at, self.label, self.differs = self.at + steps, label, True
        self.save(True)

    def as_dict(self) -> dict:
        return {name: value for name, value in asdict(self).items() if name != "save"}


LISTS, FLAGS = ("classes", "digests"), ("differs",)
NUMBERS = tuple(f.name for f in fields(Part) if f.name not in (*LISTS, *FLAGS, "save"))


class Journal:
    """The parts of one verification. Without a path it is kept in memory alone.

    key : what is verified, in words; a file with another one is refused
    traffic : what passes on the line, kept beside; it goes on after what the file has

    Raises ConfigError if the file is damaged, of another verification, or cannot be written.
    """

    def __init__(
        self,
        path: Path | None = None,
        key: str = "",
        traffic: Traffic | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.path, self.key, self._traffic, self._clock = path, key, traffic or Traffic(), clock
        self.parts: dict[str, Part] = {}
        self._next = clock() + EVERY
        if path is None:
            return
        refuse_unwritable(path, ELSEWHERE)
        found = read_result(path, _valid, HINT)
        if found is None:
            self.save(True)
            return
        if found["verification"] != key:
            raise ConfigError(
                f"{path} is of another verification: {found['verification']}",
                f"{HINT}; this one is {key}",
            )
        self.parts = {name: Part(**part, save=self.save) for name, part in found["parts"].items()}
        self._traffic.goes_on(found["link"])
        self.save(True)  # that it was killed

    def part(self, name: str) -> Part:
        return self.parts.setdefault(name, Part(save=self.save))

    def save(self, at_once: bool) -> None:
        if self.path is None or (not at_once and self._clock() < self._next):
            return
        begin = self._clock()
        parts = {name: part.as_dict() for name, part in self.parts.items()}
        found = {"verification": self.key, "parts": parts, "link": self._traffic.as_dict()}
        write_result(self.path, found, FULL)
        end = self._clock()
        self._next = end + max(EVERY, WORK * (end - begin))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Whatever ends it is told: a line that is lost, or a user."""
        if kind:
            self.save(True)


def _valid(found: dict) -> bool:
    parts, link = found.get("parts"), found.get("link")
    return (
        found.keys() == {"verification", "parts", "link"}
        and isinstance(found["verification"], str)
        and isinstance(parts, dict)
        and all(map(_is_part, parts.values()))
        and isinstance(link, dict)
        and all(_is_count(n) for n in link.values())
    )


def _is_part(part: object) -> bool:
    if not isinstance(part, dict) or part.keys() != {*NUMBERS, *LISTS, *FLAGS}:
        return False
    counts = all(_is_count(part[name]) for name in NUMBERS)
    lists = all(isinstance(part[name], list) and all(map(_is_count, part[name])) for name in LISTS)
    return (
        counts
        and lists
        and all(isinstance(part[name], bool) for name in FLAGS)
        and len(part["classes"]) == len(part["digests"])
        and part["timed"] <= part["steps"] + part["at"]
        and part["longest"] <= part["steps"]
        and (part["steps"] > 0) == bool(part["classes"])
        and (part["at"] > 0 or not part["differs"])
    )


def _is_count(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and 0 <= n < MOST
