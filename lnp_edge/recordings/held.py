"""Which recordings are held out for the test: whole groups, or the last part of the time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

import numpy as np

from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.config import DataSettings
from lnp_edge.recordings.cut import Recording

SHARE = 0.3  # of the groups or of the time
TRIED = 5000  # sets of groups
SMALL = 0.05  # of the time of a class in a group


@dataclass(frozen=True)
class Parts:
    """titles : of the groups by number; why : a sentence for the report"""

    recordings: list[Recording]
    groups: list[int]
    test: list[bool]
    held_out: tuple[int, ...]
    titles: tuple[str, ...]
    group_name: str
    why: str


def split(found: list[Recording], settings: DataSettings, classes: Sequence[str], groups: Sequence[str]) -> Parts:
    """The groups that [data] held_out names; else whole groups; else, if that is impossible, the last 30 % of time.

    Raises ConfigError if held_out names no group, or all.
    """
    name = settings.group + "s" * (not settings.group.endswith("s")) if settings.group else "part"
    if settings.held_out:
        known = {group: k for k, group in enumerate(groups)}
        for one in settings.held_out:
            if one not in known:
                raise ConfigError(
                    f"data.held_out has {one[:40]!r}, which is no group",
                    f"groups: {', '.join(groups[:20])}" if settings.group else 'say [data] group = "a column" first',
                )
        chosen = {known[one] for one in settings.held_out}
        if len(chosen) == len(groups):
            raise ConfigError(f"data.held_out names all {len(groups)} groups", "leave some for training")
        return _by_group(found, chosen, groups, name, "as [data] held_out says")
    if not settings.target and len(groups) > 1:
        if chosen := _chosen(found, len(classes), len(groups)):
            return _by_group(found, chosen, groups, name, f"about {SHARE:.0%} of the groups")
        why = f"the last {SHARE:.0%} of each class's time: no choice of whole groups leaves every class in both parts"
    elif settings.target:
        why = f"the last {SHARE:.0%} of each group's time" if len(groups) > 1 else f"the last {SHARE:.0%} of the time"
    else:
        why = f"the last {SHARE:.0%} of each class's time"
        why += ": there is one group, so the score says nothing of a new one"
    return _in_time(found, groups, bool(settings.target), why)


def _by_group(found: list[Recording], chosen: set[int], groups: Sequence[str], name: str, why: str) -> Parts:
    test = [r.group in chosen for r in found]
    return Parts(found, [r.group for r in found], test, tuple(sorted(chosen)), tuple(groups), name, why)


def _chosen(found: list[Recording], classes: int, groups: int) -> set[int]:
    """The last groups, or the first other set of as many, such that both parts have every class; {} if none has."""
    has = np.zeros((groups, classes), bool)
    for r in found:
        has[r.group, r.label] = True
    count = max(1, round(SHARE * groups))
    for some in islice(combinations(reversed(range(groups)), count), TRIED):
        inside = np.isin(np.arange(groups), some)
        if has[inside].any(0).all() and has[~inside].any(0).all():
            return set(some)
    return set()


def _in_time(found: list[Recording], groups: Sequence[str], series: bool, why: str) -> Parts:
    """The last part of the time of each class in each group, as groups of their own.

    A recording is cut in two if it holds more than a third of that time and neither part is small. No window
    reaches over the cut, because the two parts are recordings of their own.
    """
    kin = defaultdict(list)
    for k, r in enumerate(found):
        kin[(r.group, 0 if series else r.label)].append(k)
    pieces: dict[int, list[tuple[Recording, bool]]] = {}
    for members in kin.values():
        members.sort(key=lambda k: (found[k].start if found[k].absolute else 0.0, k))
        total = sum(len(found[k].x) for k in members)
        limit, before = (1 - SHARE) * total, 0
        for k in members:
            r, size = found[k], len(found[k].x)
            at = round(limit - before)
            before += size
            if size > total / 3 and SMALL * total < at < size - SMALL * total:
                late = replace(r, x=r.x[at:])
                pieces[k] = [(replace(r, x=r.x[:at]), False), (late, True)]
            else:
                pieces[k] = [(r, at < size / 2)]
        if len(members) > 1 and not any(t for k in members for _, t in pieces[k]):
            pieces[members[-1]] = [(found[members[-1]], True)]
    flat = [one for k in range(len(found)) for one in pieces[k]]
    tests = [t for _, t in flat]
    if len(set(tests)) < 2:
        rows = sum(len(r.x) for r in found)
        raise DataError(f"{rows} rows are too few to hold some out for the test", "record more, or check [data] gap")
    ids = [2 * r.group + t for r, t in flat]
    several = len(groups) > 1
    titles = [f"{group} ({part})" if several else part for group in groups for part in ("earlier", "later")]
    held_out = tuple(sorted({i for i, t in zip(ids, tests, strict=True) if t}))
    return Parts([r for r, _ in flat], ids, tests, held_out, tuple(titles), "part", why)
