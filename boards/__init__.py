"""The boards: each is a folder with a board.toml.

boards/chips holds what boards with one chip share; boards/common the start-up code, the linker scripts and the
drivers; boards/flashers the tools that flash real boards. A folder of a user's own may have all of these too:
`--boards DIR` and the variable LNP_BOARDS add it, and so does a package with an entry point of the group
lnp_edge.boards, which names the package.
"""

import codecs
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path

from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.base.files import listed, read_bounded
from lnp_edge.spec import board
from lnp_edge.spec import flasher as flash_tool
from lnp_edge.spec.plugins import nearest

FOLDER = Path(__file__).parent
FLASHERS = "flashers"
VARIABLE = "LNP_BOARDS"
GROUP = "lnp_edge.boards"  # of entry points
MAX_BYTES = 2**20  # of a file of C
STARTUP = ("memory", *sorted(set(board.FAMILIES.values()) - {""}))  # in common, but no drivers
BOOT, WATCHDOG, UART = "boot block", "watchdog", "UART"  # kinds of drivers; two have a section of board.toml
ENDS = {BOOT: "_boot", WATCHDOG: "_watchdog", UART: ""}  # of their names
TAKES = "lnp_uart_take"  # what the interrupt calls: a driver with it needs [uart] irq
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
# Whether a key is there, or its value if it is not.
ASKED = r"#\s*(?:ifdef|define)\s+%s\b|(?<![!\s])\s*\bdefined\s*\(?\s*%s\b"


def folders() -> list[Path]:
    """The folder of boards that ships, and those of the user. Raises ConfigError if one is none of boards."""
    own = [folder for point in _packages() for folder in _of_package(point)]
    own += [Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for folder in own:
        if not folder.is_dir():
            hint = f"name a folder that has NAME/board.toml: --boards DIR, or the variable {VARIABLE}"
            raise ConfigError(f"no folder of boards: {folder}", hint)
        if folder / "board.toml" in listed(folder):
            what = f"{folder} is the folder of one board, not of boards"
            raise ConfigError(what, f"name the one that it is in: {folder.resolve().parent}")
    return list({folder.resolve(): folder for folder in (*own[::-1], FOLDER)}.values())[::-1]


@cache
def _packages() -> tuple[EntryPoint, ...]:
    """Entry points of packages with boards, which are searched once: that takes milliseconds.

    Raises ConfigError if those of some package, which may have nothing to do with boards, cannot be read.
    """
    try:
        return tuple(entry_points(group=GROUP))
    except Exception as e:  # whatever is in foreign files
        what = f"the entry points of {_unreadable()} cannot be read: {str(e)[:120]!r}"
        raise ConfigError(what, "install it again, or remove it") from None


def _unreadable() -> str:
    """The folders of the packages whose entry points cannot be read."""
    found = []
    for one in distributions():
        try:
            _ = one.entry_points
        except Exception:
            found.append(str(getattr(one, "_path", "a package")))
    return " and ".join(found)


def _of_package(point: EntryPoint) -> list[Path]:
    """The folders of a package with boards: of one without code there may be several. No code of it runs.

    Raises ConfigError if there is none.
    """
    outer, *inner = point.value.split(".")
    try:
        spec = find_spec(outer)
    except ValueError:  # a name that is none, or of the program itself
        spec = None
    places = (spec and spec.submodule_search_locations) or ()
    found = [folder for place in places if (folder := Path(place, *inner)).is_dir()]
    if not found:
        what = f"boards of {point.name}: there is no package {point.value[:60]!r}"
        raise ConfigError(what, "install what has this entry point again, as files and not as a zip, or remove it")
    return found


@contextmanager
def beside(folder: Path | None) -> Iterator[None]:
    """Within it, the boards of this folder are there too, for programs that this one starts as well.

    Raises ConfigError for a path that LNP_BOARDS, which separates folders, cannot hold.
    """
    before = os.environ.get(VARIABLE)
    if folder is not None and os.pathsep in str(folder.absolute()):
        what = f"the folder of boards {folder.absolute()} has a {os.pathsep!r} in its path"
        raise ConfigError(what, f"rename or move it: {VARIABLE} separates folders with that")
    if folder is not None:
        os.environ[VARIABLE] = os.pathsep.join(filter(None, (before, str(folder.absolute()))))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def names() -> list[str]:
    """The names of all folders with a board.toml, sorted."""
    return list(board.names(folders()))


def readable() -> tuple[list[board.Board], dict[str, BoardError]]:
    """All boards that can be read, sorted by name, and by the names of the others what is wrong with them.

    Raises ConfigError for what is no single board's, such as two of one name.
    """
    found, wrong = list[board.Board](), dict[str, BoardError]()
    for name in names():
        try:
            found.append(get(name))
        except BoardError as e:
            wrong[name] = e
    return found, wrong


def get(name: str) -> board.Board:
    """The board of that name. Raises BoardError if it cannot be read, and ConfigError if there is none."""
    found, known = board.find(folders(), name), flashers()
    for tool, values in found.tools.items():
        if tool not in known:
            raise BoardError(
                f"{name}/board.toml: no flash tool is called {tool!r}",
                f"{nearest(tool, known)}available: {', '.join(known)} (a new one goes into boards/flashers/)",
            )
        flasher(tool).check(values, f"{name}/board.toml")
    _check_keys(found, UART, "baud", found.uart, found.registers)
    if found.watchdog:
        _check_keys(found, WATCHDOG, "ms", found.watchdog, found.watchdog_registers)
    return found


def _check_keys(b: board.Board, kind: str, other: str, name: str, values: Iterable[str]) -> None:
    """Raise BoardError for a driver that is not there, for a key of its section that its C does not name, and for one
    that is missing though its C does not ask for it.

    other : the key that every driver has
    """
    own = COMMENT.sub("", text(driver(b, kind, name)))
    section, macro = kind.lower(), f"LNP_{kind.upper()}_"
    named = {*re.findall(rf"\b{macro}([A-Z0-9_]+)", own), *(("IRQ",) if TAKES in own else ())} - {other.upper()}
    taken = sorted({key.lower() for key in named} | {"driver", other})
    for key in values:
        if key not in taken:
            raise BoardError(
                f"{b.name}/board.toml: [{section}] {key} is nothing that {name}.c takes",
                f"{nearest(key, taken)}allowed: {', '.join(taken)}",
            )
    needed = {key.lower() for key in named if not re.search(ASKED.replace("%s", macro + key), own)}
    if absent := sorted(needed - set(values)):
        unit = f", or name a unit of chips/{b.chip}.toml that has them" if b.chip else ""
        raise BoardError(
            f"{b.name}/board.toml: [{section}] has no {', '.join(absent)}, which {name}.c needs",
            f"write what is missing, by the chip's data sheet{unit}; docs/boards.md says what a board needs",
        )


def text(path: Path) -> str:
    """The text of a file of C. A user's own may be anything."""
    data = read_bounded(path, MAX_BYTES, BoardError, "write a driver of C there").removeprefix(codecs.BOM_UTF8)
    if not data.isascii():
        raise BoardError(f"{path} is not ASCII", "write C in ASCII: the generated folder is")
    return data.decode()


def flashers() -> list[str]:
    """The names of all flash tools, sorted."""
    return list(flash_tool.names(_of_flashers()))


def flasher(name: str) -> flash_tool.Flasher:
    """The flash tool of that name, one of flashers(). Raises BoardError if its file cannot be read."""
    return flash_tool.load(flash_tool.names(_of_flashers())[name])


def _of_flashers() -> list[Path]:
    return [folder / FLASHERS for folder in folders()]


def proof(b: board.Board, known: list[board.Board]) -> str:
    """What is proved of a board without hardware, in words; known : all boards."""
    return board.proof(b, known) if (FOLDER / b.name).is_dir() else board.OWN


def driver(b: board.Board, kind: str, name: str) -> Path:
    """The file of a driver. Raises BoardError, which lists those of its kind, if there is none of that name."""
    known = {
        k: path for k, path in drivers().items() if next(of for of, end in ENDS.items() if k.endswith(end)) == kind
    }
    if name not in known:
        raise BoardError(
            f"{b.name}: no {kind} driver is called {name!r}",
            f"{nearest(name, known)}available: {', '.join(known)} (a new one goes into boards/common/)",
        )
    return known[name]


def drivers() -> dict[str, Path]:
    """The files of all drivers, by name. Raises ConfigError if two have one name."""
    found: dict[str, Path] = {}
    for path in (path for folder in folders() for path in listed(folder / "common", ".c")):
        if path.stem in found or (path.stem in STARTUP and path.parent.parent != FOLDER):
            raise ConfigError(f"{path} has the name of one that ships", "rename this file, and [uart] driver with it")
        if path.stem not in STARTUP:
            found[path.stem] = path
    return dict(sorted(found.items()))
