"""Plug-ins are found by presence: one module in a package, no list to keep."""

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType

from lnp_edge.base.errors import ConfigError


def names(package: str) -> list[str]:
    """Names of the plug-ins in a package such as "lnp_edge.neurons", sorted: its modules without an underscore.

    Folders and modules named _so are helpers of the plug-ins.
    """
    found = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(found.__path__) if not (m.ispkg or m.name.startswith("_")))


def get(package: str, name: str) -> ModuleType:
    """The plug-in of that name. Raises ConfigError with what exists and where a new one goes."""
    known = names(package)
    if name not in known:
        raise unknown(package.rpartition(".")[2].rstrip("s"), name, known, f"{package.replace('.', '/')}/")
    return importlib.import_module(f"{package}.{name}")


def unknown(kind: str, name: str, known: list[str], folder: str) -> ConfigError:
    """The error for a name that nothing answers to."""
    near = get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(
        f"no {kind} is called {str(name)[:60]!r}",
        f"{hint}there is: {', '.join(known)} (a new one goes into {folder})",
    )
