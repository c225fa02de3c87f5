"""Looks at a folder and guesses what its files hold: the settings that `lnp new` writes, with the reason for each."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge import readers
from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.readers import NUMBER, TIME, Column, Table
from lnp_edge.recordings import names
from lnp_edge.recordings.find import FILE, FOLDER, MAX_FILES, natural
from lnp_edge.recordings.names import GROUP, LABEL, MANY, Parts
from lnp_edge.recordings.report import counted
from lnp_edge.recordings.times import CLOCK, unit_of

LOOKED_AT = 8  # files
BLOCKS = 20  # of each
INDEX = re.compile(r"^$|^(index|unnamed.*|level_\d|row|nr|no|n|sample|count|counter|seq)$", re.I)


@dataclass
class Guess:
    """Keys of [data] as TOML values, and a comment for each."""

    keys: dict[str, object] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # columns that are no channels, with the reason
    units: dict[str, str] = field(default_factory=dict)

    def say(self, key: str, value: object, why: str = "") -> None:
        self.keys[key], self.why[key] = value, why


def look(folder: Path, given: dict[str, object]) -> Guess:
    """What the files in a folder hold. given : keys that the user decided. Raises DataError if no file is a table."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}", "give the folder that holds the recordings")
    places = _places(folder)
    found = Guess()
    found.say("files", _pattern(places), counted(len(places), "file"))
    tables = _open(folder, places)
    first = tables[0]
    inside = {column.name: column for column in first.columns}
    if not first.named and first.rate == 0:
        names = [f"c{name}" for name in first.names]
        found.say("columns", names, "the files have no header: give each column its name")
    named = found.keys.get("columns")
    alias = dict(zip(first.names, named if isinstance(named, list) else first.names, strict=True))
    texts = {name: _values(tables, name) for name, column in inside.items() if _may_be_names(column)}
    blocks = [_first_block(table) for table in tables]
    clock = _clock(found, inside, blocks, alias)
    if not clock and not given.get("rate"):
        if first.rate:
            found.say("rate", first.rate, "Hz, as the files say")
        else:
            found.say("rate", 50.0, "CHECK: the files do not say how many rows a second they have, in Hz")
    by_path = _by_path(places, given)
    texts = {alias[name]: values for name, values in texts.items()}
    _label(found, given, texts, by_path, {alias[name]: column for name, column in inside.items()})
    if by_path and not given.get("path") and {found.keys.get("label"), given.get("label")} - {None, "label"}:
        by_path = _by_path(places, given, has_label=False)
    _require_told(given, list(alias.values()), by_path, places)
    _group(found, given, texts, by_path, places)
    _channels(found, given, inside, blocks, alias, clock)
    if target := given.get("target"):
        channels = found.keys["channels"]
        assert isinstance(channels, list)
        alike = [name for name in channels if readers.key(name) == readers.key(target)]
        given = given | {"target": alike[0] if len(alike) == 1 and target not in channels else target}
    for key, value in given.items():
        if value and key != "path":
            found.say(key, value, "as told")
    if not found.keys.get("label") and not found.keys.get("target"):
        channels = found.keys["channels"]
        assert isinstance(channels, list)
        found.say("target", channels[0], "CHECK: no labels were found, so this channel is forecast from all")
    others = [name for name, values in texts.items() if 2 <= len(values) <= MANY and name not in found.keys.values()]
    found.left_out += [f"{name}: names, {_some(texts[name])}" for name in others]
    used = {found.keys.get("label"), found.keys.get("group")}
    if by_path and (given.get("path") or used & {by_path.label, by_path.person}):
        found.say("path", by_path.template, "as told" if given.get("path") else "what the names say")
        found.keys.pop("files")
    return found


def _places(folder: Path) -> list[str]:
    """The files of the ending that most files have, relative to the folder; links to folders are not entered."""
    known, found = readers.endings(), defaultdict(list)
    walk = ((Path(top) / name) for top, _, names in os.walk(folder) for name in names)
    for path in islice(walk, MAX_FILES):
        ending = next((e for e in known if path.name.lower().endswith(e)), None)
        if ending and path.is_file() and not path.name.startswith("."):
            found[path.suffix].append(path.relative_to(folder).as_posix())
    good = {ending: sorted(some, key=natural) for ending, some in found.items() if _opens(folder, some)}
    if not good:
        raise DataError(f"no table in {folder}", f"known endings: {', '.join(sorted(known))}")
    return max(good.values(), key=len)


def _opens(folder: Path, places: list[str]) -> bool:
    for place in places[:3]:
        try:
            readers.open_table(folder / place)
            return True
        except DataError:
            continue
    return False


def _pattern(places: list[str]) -> str:
    depths = {place.count("/") for place in places}
    ending = Path(places[0]).suffix
    return ("*/" * depths.pop() if len(depths) == 1 else "**/") + f"*{ending}"


def _open(folder: Path, places: list[str]) -> list[Table]:
    found = []
    for place in places[:: max(1, len(places) // LOOKED_AT)][:LOOKED_AT]:
        try:
            found.append(readers.open_table(folder / place))
        except readers.Empty:
            continue
    if not found:
        raise DataError(f"the files in {folder} have no rows", "choose another folder")
    return found


def _may_be_names(column: Column) -> bool:
    return column.kind not in (NUMBER, TIME) or bool(LABEL.search(column.name) or GROUP.search(column.name))


def _values(tables: Sequence[Table], name: str) -> Counter[str]:
    """The different texts of a column in the files looked at, and in how many rows each is."""
    found = Counter[str]()
    for table in tables:
        if name in table.names:
            for block in islice(table.blocks([], [name]), BLOCKS):
                values, counts = np.unique(block[name].astype(str), return_counts=True)
                found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if len(found) > 1000:
            break
    return Counter({text: count for text, count in found.items() if text not in ("", "nan", "None")})


def _first_block(table: Table) -> dict[str, NDArray]:
    numbers = [c.name for c in table.columns if c.kind == NUMBER]
    block = next(iter(table.blocks(numbers, [])), None) if numbers else None
    return block or {}


def _clock(found: Guess, inside: dict[str, Column], blocks: list[dict], alias: dict[str, str]) -> list[str]:
    """The columns of time, by their names in the file."""
    times = [name for name, column in inside.items() if column.kind == TIME]
    if times:
        chosen = times[:2] if len(times) > 1 and re.search("date|datum|tag|day", times[0], re.I) else times[:1]
        found.say("time", [alias[name] for name in chosen] if len(chosen) > 1 else alias[chosen[0]], "dates")
        return chosen
    for name, column in inside.items():
        columns = [block[name] for block in blocks if name in block]
        x = columns[0] if columns else np.zeros(0)
        steps = np.diff(x[np.isfinite(x)])
        if not (len(steps) and np.mean(steps >= 0) > 0.95 and steps.max() > 0):
            continue
        step = float(np.median(steps[steps > 0]))
        regular = np.mean(np.abs(steps - step) <= 0.5 * step) > 0.8 and step != 1
        if CLOCK.search(column.name) or (not CLOCK.search(" ".join(inside)) and regular and name == next(iter(inside))):
            found.say("time", alias[name])
            if unit := unit_of(column.name, column.unit, x):
                found.say("time_unit", unit)
            elif step == int(step) and step > 1:
                found.say("time_unit", "ms" if step <= 1000 else "us", f"CHECK: a guess, since its steps are {step:g}")
            return [name]
    return []


def _by_path(places: list[str], given: dict[str, object], has_label: bool = True) -> Parts | None:
    """What the names of files say, with no part for the label or group that a folder or a file as a whole says."""
    label, group = (str(given.get(key) or "") for key in ("label", "group"))
    if path := given.get("path"):
        return names.as_told(places, str(path), label, group)
    whole = next((name for name in (label, group) if name in (FOLDER, FILE)), "")
    return names.parts(places, has_label and label not in (FOLDER, FILE), whole)


def _require_told(given: dict[str, object], columns: Sequence[str], by_path: Parts | None, places: list[str]) -> None:
    """Raises ConfigError if nothing says what the user calls label or group, or one thing says both."""
    if given.get("label") and given.get("label") == given.get("group"):
        raise ConfigError(
            f"--label and --group are both {str(given['label'])[:40]!r}: each class would be a group of its own",
            "name another column or part of the names, or leave --group out",
        )
    said = {readers.key(name) for name in columns} | {FOLDER, FILE}
    said |= {readers.key(name) for name in (by_path.names if by_path else ())}
    for key, part in (("label", "label"), ("group", "person")):
        name = str(given.get(key) or "")
        if not name or readers.key(name) in said:
            continue
        word = re.sub(r"\W", "_", name)[:40]
        guess = names.parts(places) if key == "label" else by_path
        if guess and part in guess.names:
            remedy = f"if the files' names say it: --path {shlex.quote(guess.called(part, word))}"
            remedy += f" --{key} {word}" if word != name else ""
        else:
            remedy = (
                f"choose one of these, or folder or file, or say it in words of the names: --path {{{word}}}_{{n}}.csv"
            )
        raise ConfigError(f"no column {name[:40]!r}, for --{key}, among {_some(Counter(columns))}", remedy)


def _some(values: Counter[str]) -> str:
    names = [name if len(name) <= 30 else f"{name[:27]}..." for name in sorted(values, key=natural)]
    return f"{len(names)}: {', '.join(names[:6])}" + (", ..." if len(names) > 6 else "")


def _label(
    found: Guess,
    given: dict[str, object],
    texts: dict[str, Counter[str]],
    by_path: Parts | None,
    inside: dict[str, Column],
) -> None:
    if given.get("label") or given.get("target"):
        return
    fit = {n: v for n, v in texts.items() if 2 <= len(v) <= MANY and not GROUP.search(n)}
    named = [name for name in fit if LABEL.search(name)]
    chosen = named or [name for name in fit if inside[name].kind != NUMBER]
    if chosen:
        found.say("label", chosen[0], f"{_some(fit[chosen[0]])}; a recording is cut where it changes")
    elif by_path and len(by_path.labels) > 1:
        check = "" if by_path.told_apart else "CHECK: a guess, "
        other = (
            f"; if it is the other way round, add --overwrite --path {shlex.quote(by_path.swapped)}"
            if check and by_path.people
            else ""
        )
        found.say("label", by_path.label, f"{check}{_some(by_path.labels)}, from the files' names{other}")


def _group(
    found: Guess, given: dict[str, object], texts: dict[str, Counter[str]], by_path: Parts | None, places: list[str]
) -> None:
    if given.get("group"):
        return
    fit = [n for n, v in texts.items() if 2 <= len(v) <= 1000 and GROUP.search(n) and n != found.keys.get("label")]
    if fit:
        found.say("group", fit[0], f"{_some(texts[fit[0]])}")
    elif by_path and len(by_path.people) > 1:
        guess = "" if by_path.sure else "CHECK: each counts as a person or machine of its own, "
        if by_path.sure and found.keys.get("label") == by_path.label and not by_path.told_apart:
            guess = "CHECK: a guess, "
        found.say("group", by_path.person, f"{guess}{_some(by_path.people)}")
    elif 2 <= len(places) <= 200 and given.get("label") != FILE and not (by_path and by_path.labels):
        found.say("group", FILE, "CHECK: each file counts as a person or machine of its own")


def _channels(
    found: Guess,
    given: dict[str, object],
    inside: dict[str, Column],
    blocks: list[dict],
    alias: dict[str, str],
    clock: list[str],
) -> None:
    taken = {found.keys.get("label"), found.keys.get("group"), given.get("label"), given.get("group")}
    chosen = []
    for name, column in inside.items():
        if alias[name] in taken or name in clock or column.kind != NUMBER:
            continue
        parts = [block[name] for block in blocks if name in block]
        x = np.concatenate(parts) if parts else np.zeros(0)
        known = x[np.isfinite(x)]
        if INDEX.search(name) and len(known) > 1 and np.mean(np.diff(known) == 1) > 0.9:
            found.left_out.append(f"{alias[name]}: only counts the rows")
        elif not len(known):
            found.left_out.append(f"{alias[name]}: has no value")
        elif known.min() == known.max():
            found.left_out.append(f"{alias[name]}: is always {known[0]:g}")
        else:
            chosen.append(alias[name])
            if column.unit:
                found.units[alias[name]] = column.unit
    if not chosen:
        raise DataError(
            f"no column of numbers varies in {len(blocks)} files", f"columns: {', '.join(list(inside)[:20])}"
        )
    found.say("channels", chosen)
    if vectors := triples(chosen):
        found.say("vectors", vectors, "a turn of the sensor mixes these three: training turns them at random")


def triples(names: Sequence[str]) -> list[list[str]]:
    """Triples of names that differ by one letter, x, y and z: ax ay az, "acc X" "acc Y" "acc Z"."""
    found: list[list[str]] = []
    for name in names:
        for k, letter in enumerate(name):
            if letter not in "xX" or (k and name[k - 1].islower() and k + 1 < len(name) and name[k + 1].islower()):
                continue
            three = [name[:k] + other + name[k + 1 :] for other in ("xyz" if letter == "x" else "XYZ")]
            if all(one in names for one in three) and not any(one in t for t in found for one in three):
                found.append(three)
    return found
