"""Plug-ins are the modules of a package: adding a file adds a plug-in."""

import importlib
import pkgutil
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from lnp_edge.base.errors import ConfigError, LnpError

# What a package holds, where its name does not say it.
KINDS = {"lnp_edge.datasets": "data set", "lnp_edge.frontends": "front end", "lnp_edge.pruning": "pruning method"}
ALIKE = 0.55  # likeness from which a name is proposed: difflib's own 0.6 finds no esp32-c3-devkitm-1 for esp32c3


def names(package: str) -> list[str]:
    """Names of the plug-ins in a package such as "lnp_edge.neurons", sorted.

    Folders, and modules whose names start with an underscore, are helpers and do not count.
    """
    found = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(found.__path__) if not (m.ispkg or m.name.startswith("_")))


def get(package: str, name: str) -> ModuleType:
    """The plug-in called `name`.

    Raises ConfigError that lists the available ones and says where a new one goes, or that says why
    its file cannot be imported.
    """
    _require(package, str(name), tuple(importlib.import_module(package).__path__))
    try:
        return importlib.import_module(f"{package}.{name}")
    except LnpError:
        raise
    except Exception as e:  # whatever the file does
        raise broken(f"{package.replace('.', '/')}/{name}.py", e) from None


@lru_cache
def _require(package: str, name: str, path: tuple[str, ...]) -> None:
    """Raise ConfigError unless there is such a plug-in.

    Folders are listed once for each name: every step of a network asks for its neurons.
    """
    known = names(package)
    if name not in known:
        raise unknown(
            KINDS.get(package, package.rpartition(".")[2].rstrip("s")), name, known, f"{package.replace('.', '/')}/"
        )


def broken(file: str, e: Exception) -> ConfigError:
    """The error for what the file of a plug-in raises, with the line in it."""
    frames = [(e.filename, e.lineno)] if isinstance(e, SyntaxError) else []
    frames += [(frame.filename, frame.lineno) for frame in traceback.extract_tb(e.__traceback__)]
    lines = [line for path, line in frames if Path(path or "").name == Path(file).name]
    where = f"{file}:{lines[-1]}" if lines else file
    return ConfigError(f"{where}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}", "correct this file")


def unknown(kind: str, name: str, known: list[str], folder: str) -> ConfigError:
    """The error for an unknown name, with the nearest known one."""
    return ConfigError(
        f"no {kind} is called {str(name)[:60]!r}",
        f"{nearest(name, known)}available: {', '.join(known)} (add a new one to {folder})",
    )


def nearest(name: str, known: Iterable[str], most: int = 1) -> str:
    """The known names that are most like this one, as a question before a hint; "" if none is alike."""
    near = get_close_matches(str(name), list(known), most, ALIKE)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""
