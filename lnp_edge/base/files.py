"""Bounded reading of input files, and atomic writing of output files."""

import glob
import json
import os
import shutil
import stat
import tempfile
import tomllib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lnp_edge.base import system
from lnp_edge.base.errors import ConfigError, LnpError

CHECKPOINTS = "*.checkpoint"
CRC = "crc32"  # in a stored table
MOST_RESULT = 2**28  # bytes
MOST_BITS = 4096  # of an integer in TOML


def read_bounded(path: Path, limit: int, error: type[LnpError], hint: str) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises `error` with the reason and the hint.
    """
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | system.AT_ONCE)) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise error(f"{path} is not a regular file", hint)
            if info.st_size > limit:
                raise error(f"{path} has {info.st_size} bytes, more than {limit}", hint)
            return file.read(info.st_size)
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise error(f"cannot read {path}: {reason}", hint) from None


def listed(folder: Path, ending: str = "") -> list[Path]:
    """What a folder holds whose name has this ending, sorted; nothing if there is no folder.

    Raises ConfigError if it cannot be read: Path.glob would find nothing in it.
    """
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(ending))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as e:
        raise ConfigError(f"cannot read {folder}: {e.strerror}", "make it readable, or do without it") from None


def parse_json(text: str | bytes, most: int) -> Any:
    """The value of a JSON text of at most `most` bytes, with at most a list, table or comma in 16 of them.

    Raises ValueError if there are more: a value of two bytes may take 100 in memory.
    """
    plain = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    values = sum(plain.count(mark) for mark in (b"[", b"{", b","))
    if len(plain) > most or values > most // 16:
        raise ValueError(f"{len(plain)} bytes of JSON with {values} values, more than {most} with {most // 16}")
    return json.loads(text)


def parse_toml(text: bytes) -> dict[str, Any]:
    """The tables of a TOML text, before which editors of Windows write a byte order mark.

    Raises ValueError or RecursionError; also for an integer of more than MOST_BITS, which tomllib reads in hexadecimal,
    and which no message could print: Python writes 4,300 digits at most.
    """
    try:
        found = tomllib.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise ValueError(f"byte {e.start} of it is not UTF-8: save it as UTF-8") from None
    todo: list[Any] = [found]
    while todo:
        one = todo.pop()
        if isinstance(one, dict | list):
            todo += one.values() if isinstance(one, dict) else one
        elif isinstance(one, int) and one.bit_length() > MOST_BITS:
            raise ValueError(f"an integer of {one.bit_length()} bits, more than {MOST_BITS}")
    return found


ELSEWHERE = "choose another place with -o"
LONGEST_NAME = 255 - len("..") - 8  # of a file whose temporary name is .NAME.12345678


def refuse_unwritable(path: Path, hint: str = ELSEWHERE) -> None:
    """Raise ConfigError if write_whole could not write to `path`. Call it before long work."""
    path = Path(path)
    why = ""
    if len(os.fsencode(path.name)) > LONGEST_NAME:  # path.exists raises for it
        why = f"its name has more than {LONGEST_NAME} bytes"
    elif path.exists() and not path.is_file():  # root could replace /dev/null
        why = "not a regular file"
    elif not path.parent.is_dir():
        why = f"{path.parent} is not a folder"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        why = f"no permission in {path.parent}"
    if why:
        raise ConfigError(f"cannot write {path}: {why}", hint)


def write_whole(path: Path, data: bytes, hint: str = ELSEWHERE) -> None:
    """Write a file atomically, through a temporary file in the same folder.

    Raises ConfigError with the reason and the hint, which a command without -o has its own of.
    """
    path = Path(path)
    refuse_unwritable(path, hint)
    try:
        handle, name = _begun(path)
    except OSError as e:
        raise ConfigError(f"cannot write {path}: {e.strerror}", hint) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            with suppress(OSError):  # vfat has no permissions
                os.chmod(name, 0o666 & ~umask)
            if system.LOCKS:  # while it is locked, no other process takes it for one that was left
                os.replace(name, path)
        if not system.LOCKS:  # Windows moves no open file
            os.replace(name, path)
        sync(path.parent)
    except OSError as e:
        Path(name).unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {e.strerror}", hint) from None
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def temporary_place() -> str:
    """The folder for temporary files. Raises ConfigError if none can be written to, as in a read-only container."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise ConfigError("no folder for temporary files can be written to", "set TMPDIR to one") from None


def _begun(path: Path) -> tuple[int, str]:
    """A new temporary file of `path`, open and locked; what killed processes left of theirs is removed."""
    with locked(path.parent, wait=True):
        for left in path.parent.glob(f".{glob.escape(path.name)}.{8 * '?'}"):
            if left.is_file() and _is_free(left):
                left.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with suppress(OSError):
            system.lock(handle)
    return handle, name


def _is_free(path: Path) -> bool:
    """Whether no process has locked a file or a folder. Where there are no locks, nobody knows."""
    if not system.LOCKS:
        return False
    try:
        with locked(path):
            return True
    except (OSError, ConfigError):
        return False


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Lock a file or a folder against other processes of lnp, as system.lock does.

    Raises ConfigError if another process has it and this one is not to wait.
    """
    if not system.LOCKS:  # and Windows opens no folder
        yield
        return
    handle = os.open(path, os.O_RDONLY | system.AT_ONCE)
    try:
        try:
            system.lock(handle, wait)
        except BlockingIOError:
            raise ConfigError(f"another lnp writes to {path}", "wait for it, or choose another place with -o") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def alone(path: Path, hint: str) -> Iterator[None]:
    """Keep other processes of lnp from a file that write_whole replaces: a hidden one beside it is locked meanwhile.

    Raises ConfigError if another process has it.
    """
    if not system.LOCKS:
        yield
        return
    place = path.with_name(f".{path.name}.lock")
    busy = ConfigError(f"another lnp is at work with {path}", hint)
    try:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | system.AT_ONCE, 0o666)
    except OSError as e:
        raise ConfigError(f"cannot write {place}: {e.strerror}", hint) from None
    try:
        try:
            system.lock(handle, wait=False)
            ended = not os.path.samestat(os.fstat(handle), os.stat(place))  # just now, and another has begun
        except FileNotFoundError:
            ended = True
        except BlockingIOError:
            raise busy from None
        if ended:
            raise busy
        try:
            yield
        finally:
            place.unlink(missing_ok=True)
    finally:
        os.close(handle)


def sync(folder: Path) -> None:
    """Bring the names in a folder to the disk, where it can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_result(path: Path, table: dict, hint: str = ELSEWHERE) -> None:
    """Store a JSON table, with its CRC-32 as the last entry. Raises ConfigError with the hint, see write_whole."""
    plain = json.loads(json.dumps(table))  # as it will be read: keys are texts
    write_whole(path, json.dumps(plain | {CRC: _crc(plain)}, indent=1).encode(), hint)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which then becomes `folder`: all of it or nothing. What killed processes left is removed."""
    folder = Path(folder).absolute()
    hint = "choose another place"
    make_folder(folder.parent, hint)
    try:
        for left in folder.parent.glob(f".{glob.escape(folder.name)}.{8 * '?'}"):
            if left.is_dir() and not left.is_symlink() and _is_free(left):
                shutil.rmtree(left, ignore_errors=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        inner = made / "new"  # not itself locked: write_whole locks the folder that it writes to
        inner.mkdir()
    except OSError as e:
        raise ConfigError(f"cannot write {folder}: {e.strerror}", hint) from None
    try:
        with locked(made):
            yield inner
            os.replace(inner, folder)
        sync(folder.parent)
    except OSError as e:
        raise ConfigError(f"cannot write {folder}: {e.strerror}", hint) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def read_result(
    path: Path, valid: Callable[[dict], bool], hint: str = "delete it, or choose another place with -o"
) -> dict | None:
    """The table that write_result stored at `path`, or None if there is no file.

    Raises ConfigError if the file is damaged or does not hold a valid table. Older ones have no CRC.
    """
    if not os.path.exists(path):  # Path.exists raises for a name that is too long
        return None
    data = read_bounded(path, MOST_RESULT, ConfigError, hint)
    try:
        found = parse_json(data, MOST_RESULT)
        crc = found.pop(CRC, None) if isinstance(found, dict) else None
        if crc not in (None, _crc(found)):
            raise ValueError("it is damaged: its CRC-32 differs")
        if not isinstance(found, dict) or not valid(found):
            raise ValueError("not a result of lnp-edge")
        return found
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"cannot read {path}: {e}", hint) from None


def _crc(table: dict) -> int:
    """Of its text as json writes it, whatever the order and the layout in the file."""
    return zlib.crc32(json.dumps(table, sort_keys=True).encode())


def beside(output: Path, kind: str) -> Path:
    """The path where a command keeps the intermediate results of an output file."""
    return output.parent / f"{output.name}.{kind}"  # a folder, such as / and ., has no name to change


def discard(*paths: Path) -> None:
    """Remove the checkpoints of a command. Call it after the output is written.

    In a folder, removes the files that match CHECKPOINTS, and the folder if it is then empty.
    """
    for path in paths:
        for file in path.glob(CHECKPOINTS) if path.is_dir() else [path]:
            file.unlink(missing_ok=True)
        if path.is_dir():
            with suppress(OSError):  # it is not empty, or another process removed it
                path.rmdir()


def make_folder(folder: Path, hint: str = ELSEWHERE) -> None:
    """Create a folder and its parents. Raises ConfigError with the hint if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"cannot create {folder}: {e.strerror}", hint) from None
