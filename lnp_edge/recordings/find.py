"""The files of a data set, and what the names of folders and files say about each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lnp_edge.base.console import ascii_only
from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.config import DataSettings

MAX_FILES = 20_000
FOLDER, FILE = "folder", "file"  # names that every file has
ROOT = "[data] root is relative to the TOML file; a network's own file is read in the folder where it was trained"
NAME = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class File:
    path: Path
    place: str  # relative to the root, with /
    says: dict[str, str] = field(default_factory=dict)  # the names of `path`, folder and file


def find(settings: DataSettings) -> tuple[list[File], list[str]]:
    """The files in natural order, and the places that match `files` but not `path`.

    Folders behind symbolic links are not entered, so that a loop ends. Raises DataError if there are none.
    """
    root, template = Path(settings.root or "."), template_of(settings.path)
    pattern = settings.files or NAME.sub("*", settings.path.replace("[", "[[]"))
    if not root.is_dir():
        raise DataError(f"no folder {root}", ROOT)
    try:
        paths = list(islice((p for p in root.glob(pattern) if not p.is_dir()), MAX_FILES + 1))
    except (ValueError, NotImplementedError, OSError, IndexError, re.error) as e:
        raise ConfigError(f"data.files is {pattern[:60]!r}: {e}", 'write a pattern such as "*/*.csv"') from None
    if len(paths) > MAX_FILES:
        raise DataError(f"more than {MAX_FILES} files match {pattern!r}", "choose [data] files more narrowly")
    found, others = list[File](), list[str]()
    for path in paths:
        place = path.relative_to(root).as_posix()
        says = {FOLDER: path.parent.name if "/" in place else root.resolve().name, FILE: path.stem}
        if template:
            if not (match := template.fullmatch(place)):
                others.append(ascii_only(place))
                continue
            says |= match.groupdict()
        found.append(File(path, ascii_only(place), {name: ascii_only(said) for name, said in says.items()}))
    if not found:
        tail = f", but {len(others)} match files, such as {others[0]}" if others else ""
        raise DataError(
            f"no file in {root} matches {(settings.path or pattern)!r}{tail}", "check [data] files, path and root"
        )
    return sorted(found, key=lambda file: natural(file.place)), others


def template_of(text: str) -> re.Pattern[str] | None:
    """The regular expression of a path such as "{person}/{activity}_{n}.csv"; None for ""."""
    if not text:
        return None
    parts, names = NAME.split(text), NAME.findall(text)
    for name in names:
        if not re.fullmatch(r"[A-Za-z]\w{0,39}", name) or names.count(name) > 1 or len(names) > 20:
            raise ConfigError(f"data.path has {{{name[:40]}}}", "each name once, of letters and digits: {person}")
    for k in range(0, len(parts), 2):
        parts[k] = re.escape(parts[k]).replace(r"\*", "[^/]*")
    for k in range(1, len(parts), 2):
        parts[k] = f"(?P<{parts[k]}>[^/]+?)"
    return re.compile("".join(parts))


def natural(text: str) -> list:
    """A key that sorts s2 before s10."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if part.isdecimal() and len(part) < 19 else (0, 0, part) for part in parts]
