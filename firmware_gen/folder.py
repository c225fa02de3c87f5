"""The generated folder on disk. Its manifest identifies it; foreign files are refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lnp_edge.base import stopping
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.base.files import locked, read_bounded, sync, temporary_place
from lnp_edge.firmware_gen import commands, link
from lnp_edge.spec import board
from lnp_edge.spec.board import Board

MANIFEST = "lnp_manifest.json"
STAGE = ".lnp-"  # of the name of the temporary folder of write()
BUILD = "build"  # output of the compilers; ours, but not in the manifest
NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")
FILE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}(/[A-Za-z][A-Za-z0-9_.-]{0,63}){0,4}")
HASH = re.compile(r"[0-9a-f]{64}")
MOST_BYTES, MOST_FILES = 65536, 200
MOST_SOURCE = 2**30  # bytes of a generated file
ERROR = re.compile(r"(?<!\bno )\berror\b", re.I)  # dfu-util always says "No error condition is present"
# Of the first two a linker says no error.
WRONG = re.compile(rf"undefined reference|multiple definition|{ERROR.pattern}", re.I)
ELSEWHERE = "choose a new folder with -o, or move your own files out of this one"


@dataclass(frozen=True)
class Manifest:
    """The description of a generated folder. files maps each path to its SHA-256.

    library : the kind of library, see exports/; it has no program and no board
    floats : whether its program may compute in floating point, see commands.toolchain
    """

    name: str
    board: str
    files: dict[str, str]
    floats: bool = False
    library: str = ""

    @property
    def serves(self) -> bool:
        """Whether its program is the server that lnp verify asks, not one for a user to change."""
        return _serves(self.files)

    def holds(self, files: dict[str, str]) -> bool:
        """Whether these files, name and text, are among those of the folder."""
        return all(self.files.get(path) == _hash(text.encode()) for path, text in files.items())


def program(name: str, target: Board, files: dict[str, str], floats: bool = False) -> dict[str, str]:
    """The files of a program with its Makefile and its manifest. All files that end with .c are compiled.

    floats : whether the program may compute in floating point
    """
    sources = sorted(path for path in files if path.endswith(".c"))
    headers = sorted(path for path in files if path.endswith(".h"))
    found = files | {"Makefile": commands.makefile(target, name, sources, headers, floats)}
    return found | {MANIFEST: manifest(name, target, found, floats)}


def library(name: str, kind: str, files: dict[str, str]) -> dict[str, str]:
    """The files of a library of a kind of exports/, with its manifest."""
    return files | {MANIFEST: _manifest(name, {"library": kind}, files)}


def manifest(name: str, target: Board, files: dict[str, str], floats: bool = False) -> str:
    """The text of the manifest file of a program."""
    return _manifest(name, {"board": target.name, **({"floats": True} if floats else {})}, files)


def _manifest(name: str, more: dict[str, object], files: dict[str, str]) -> str:
    found = {
        "format": 1,
        "name": name,
        **more,
        "files": {path: _hash(text.encode()) for path, text in sorted(files.items())},
    }
    return json.dumps(found, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a program's folder. Raises ConfigError if the folder has no valid one, or is a library."""
    found = _read_manifest(folder)
    if found.library:
        what = f"{folder} is a library for {found.library}, not a program"
        raise ConfigError(what, "its README.md says how to use it; lnp generate --board writes a program")
    return found


def _read_manifest(folder: Path) -> Manifest:
    hint = "name a folder that lnp generate wrote"
    path = Path(folder) / MANIFEST
    data = read_bounded(path, MOST_BYTES, ConfigError, hint)
    try:
        raw = dict(json.loads(data))
        kind = raw.get("library", "")
        found = Manifest(raw["name"], "" if kind else raw["board"], raw["files"], raw.get("floats", False), kind)
        sound = raw["format"] == 1 and _is_sound(found)
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise ConfigError(f"{path} is damaged or of another version", "generate into a new folder with -o")
    return found


def check(folder: Path) -> Manifest:
    """The manifest, if the folder holds what it says and would build in it alone. Else raises ConfigError.

    In a program of one's own main.c may be anything.
    """
    folder, found = Path(folder), read_manifest(folder)
    for name, digest in found.files.items():
        path = folder / name
        if path.is_symlink():
            raise ConfigError(f"{path} is a link", "put the file itself there")
        if not path.exists():
            raise ConfigError(f"{path} is missing", "generate the folder again: lnp generate")
        data = read_bounded(path, MOST_SOURCE, ConfigError, "generate the folder again: lnp generate")
        if _hash(data) != digest and (found.serves or name != "main.c"):
            changed = "generate the folder again, or build what you changed with make"
            raise ConfigError(f"{path} is not what lnp generate wrote", changed)
    for path in (folder / BUILD, *(folder / BUILD).glob("*")):
        if path.is_symlink() or (path.name == BUILD and path.exists() and not path.is_dir()):
            raise ConfigError(f"{path} is no folder", "remove it: the compiler writes there")
    return found


def _is_sound(m: Manifest) -> bool:
    def fits(pattern: re.Pattern[str], value: object) -> bool:
        return isinstance(value, str) and bool(pattern.fullmatch(value))

    return (
        fits(NAME, m.name)
        and fits(board.NAME, m.library or m.board)
        and isinstance(m.files, dict)
        and len(m.files) <= MOST_FILES
        and all(fits(FILE, path) and fits(HASH, digest) for path, digest in m.files.items())
    )


def write(files: dict[str, str], folder: Path) -> None:
    """Write generated files. Nothing else in the generator writes to the disk.

    Refuses a folder that holds anything else, or a file of ours that was edited, and leaves it
    unchanged. All files are first written to a temporary folder, so that a full disk does not
    damage what was there before. Killed at any point, the folder can be written again: what it
    holds is told by its manifest and by that of the temporary folder, which is written last and
    moved last.
    """
    folder = Path(folder)
    made = not os.path.lexists(folder)  # Path.exists raises for a name that is too long
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            left = [path for path in folder.iterdir() if _is_stage(path)]
            old = _refuse_foreign(files, folder, left)
            stage, ready = Path(tempfile.mkdtemp(prefix=STAGE, dir=folder)), False
            try:
                ordered = sorted(files, key=lambda path: path == MANIFEST)
                for path in ordered:
                    (stage / path).parent.mkdir(parents=True, exist_ok=True)
                    (stage / path).write_bytes(files[path].encode())
                    _to_disk(stage / path)
                sync(stage)
                ready = True
                for path in ordered:
                    if path == MANIFEST:
                        for other in old - files.keys():
                            (folder / other).unlink(missing_ok=True)
                            for above in (folder / other).parents[: other.count("/")]:
                                _remove_empty(above)
                        sync(folder)
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(stage / path, folder / path)
            except BaseException:
                if not ready:
                    shutil.rmtree(stage, ignore_errors=True)
                raise
            sync(folder)
            for done in (*left, stage):
                shutil.rmtree(done, ignore_errors=True)
    except OSError as e:
        if made:
            _remove_empty(folder)
        own = any(made in (folder, *folder.parents) for made in stopping.SCRATCH)
        hint = "make room, or set TMPDIR to another folder" if own else "choose another folder with -o"
        raise ConfigError(f"cannot write to {folder}: {e.strerror}", hint) from None


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder to build in, removed at the end. It stays if a tool failed in it: the error names a log in it."""
    made = Path(tempfile.mkdtemp(prefix="lnp-", dir=temporary_place()))
    stopping.SCRATCH.add(made)
    try:
        yield made
    finally:
        stopping.SCRATCH.discard(made)
        if not any(made.rglob(f"{BUILD}/*.log")):
            shutil.rmtree(made, ignore_errors=True)


def _is_stage(path: Path) -> bool:
    """Whether it is a temporary folder of write(), left by a run that was killed."""
    if not path.name.startswith(STAGE) or path.is_symlink() or not path.is_dir():
        return False
    return all(
        FILE.fullmatch(p.relative_to(path).as_posix()) and (p.is_file() or p.is_dir()) and not p.is_symlink()
        for p in path.rglob("*")
    )


def _refuse_foreign(files: dict[str, str], folder: Path, left: list[Path]) -> set[str]:
    """The names of our files in the folder. Raises ConfigError if it holds any other file, or another kind of
    program or library.

    A file is ours if its content is that of the old or of the new run, or of one that was killed. left : the
    temporary folders of these
    """
    present = {p.relative_to(folder).as_posix(): p for p in _walk(folder, {folder / BUILD, *left}) if p not in left}
    if not present:
        return set()
    known: dict[str, set[str]] = {name: {_hash(text.encode())} for name, text in files.items()}
    runs = []
    for stage in left:
        with suppress(ConfigError):  # killed before it was whole, and so before anything was moved
            runs.append(_read_manifest(stage))
    if MANIFEST in present:
        runs.append(_read_manifest(folder))
    elif not runs:
        raise ConfigError(f"{folder} holds {sorted(present)[0]!r}, which lnp did not write", ELSEWHERE)
    for run in runs:
        for name, digest in run.files.items():
            known.setdefault(name, set()).add(digest)
    for name, path in sorted(present.items()):
        empty = any(other.startswith(f"{name}/") for other in known)  # if a run was killed
        if path.is_symlink() or not (path.is_file() or (path.is_dir() and (name == BUILD or empty))):
            raise ConfigError(f"{folder} holds {name!r}, which lnp did not write", ELSEWHERE)
        if name == MANIFEST or path.is_dir():
            continue
        if name not in known:
            raise ConfigError(f"{folder} holds {name!r}, which lnp did not write", ELSEWHERE)
        if _hash(path.read_bytes()) not in known[name]:
            raise ConfigError(f"{path} was edited after lnp wrote it", ELSEWHERE)
    if MANIFEST in present:  # last, for only now all in it is ours
        old = _read_manifest(folder)
        new = json.loads(files[MANIFEST]).get("library", "") if MANIFEST in files else ""
        there, this = _kind(old.library, old.files), _kind(new, files)
        if there != this:
            what = f"{folder} holds {there}, this is {this}"
            raise ConfigError(what, "choose a new folder with -o, or remove this one")
    return set(present) & set(known)


def _kind(library: str, paths: Iterable[str]) -> str:
    """What a folder with these files is, in words. library : its kind, "" of a program"""
    if library:
        return f"a library for {library}"
    return f"a program {'that answers' if _serves(paths) else 'without the link of'} lnp verify"


def _serves(paths: Iterable[str]) -> bool:
    return any(Path(path).stem in link.FILES for path in paths)


def _walk(folder: Path, closed: set[Path]) -> Iterator[Path]:
    """Files, links and empty folders at any depth, and the closed folders themselves."""
    for path in folder.iterdir():
        opened = path.is_dir() and not path.is_symlink() and path not in closed
        yield from (tuple(_walk(path, closed)) if opened else ()) or (path,)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tool_failed(
    folder: Path, tool: str, code: int, text: str, try_next: str, why: str = "", release: str = ""
) -> BoardError:
    """The error for a failed compiler or flash tool: why, or its first message, and where its log is."""
    name = Path(tool).name
    log = folder / BUILD / f"{name}.log"
    try:
        log.parent.mkdir(exist_ok=True)
        log.write_text(text, "utf-8")
        where = f"all its output is in {log}"
    except OSError as e:
        where = f"its output could not be kept: {e.strerror}"
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no output"]
    first = why or next((line for line in lines if WRONG.search(line)), lines[-1])
    how = f"failed with code {code}" if code >= 0 else f"was ended by signal {-code}"
    return BoardError(f"{f'{name} {release}'.strip()} {how}: {first[:200]}", f"{try_next}; {where}")
